"""Documents that are almost right: one field of another type, a size that nobody has, a line too many."""

import copy
import json

import yaml
from hypothesis import strategies as st

LONG_DIGITS = "9" * 5000
STRANGE = [
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.5, 1e-320, 1e308,
    float("inf"), float("nan"),
    "", " ", "word", "x" * 700, "a\x00b", "\ud800", "\x1b[31mred", "mlp", "1e5", "2024-01-01", "~nosuchuser/x", "a:b",
    [], [None], [[]], [0] * 50, ["word", 3], {}, {"kind": "schedule"}, {"low": 2, "high": 1}, {"": None}, {"name": []},
]  # fmt: skip
"""Values that a field may come to have. Harmless: none is large, and none names anything outside."""
SNIPPETS = [
    "a: &name 1", "b: *name", "c: !!python/name:os.system", "d: !!set {1, 2}", "<<: {a: 1}", "e: 2024-01-01", "1: one",
    "? [a, b]\n: 1", "- 1", "f: [1, 2", "g: {", f"h: {LONG_DIGITS}", "i: 1:30", "j: 0x_", "k: .nan", '"\\ud800": 1',
    "null: 1", "--- again", "%YAML 9.9", "\tm: 1", "n: |\n  text", 'o: "\\UFFFFFFFF"', "p: " + "[" * 60 + "]" * 60,
    "format: twice", "q: =", "r: !<tag> 1", "s: ? ", "t: 1_000", "u: 12e03", "v: +.inf", "w: 0b2",
]  # fmt: skip
"""Lines of YAML that a loader may stumble over."""
JSON_SNIPPETS = [
    "NaN", "-Infinity", "1e999", LONG_DIGITS, "-", "[" * 2000, "[" * 60 + "]" * 60, '{"a": 1, "a": 2}', '"\\ud800"',
    "{", '{"a": ', "null", "3", '"text"', "[]", "{}", "\x00", "\ufeff{}",
]  # fmt: skip
BYTES = [b"\xff\xfe\x00", b"\xc3", b"\x00" * 64, b"", b"\xef\xbb\xbf"]


def places(document, path=()):
    """The paths of all values in a document."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inside:
        yield (*path, key)
        if isinstance(value, dict | list) and value:
            yield from places(value, (*path, key))


@st.composite
def mutated(draw, document):
    """The document with one to three of its values changed, dropped, wrapped, doubled or renamed."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        every = list(places(changed))
        if not every:
            break
        *parents, last = draw(st.sampled_from(every))
        inside = changed
        for key in parents:
            inside = inside[key]
        change(draw, inside, last)
    return changed


def change(draw, inside, key):
    how = draw(st.sampled_from(["replace", "replace", "replace", "drop", "wrap", "wrap deeply", "rename", "add"]))
    if how == "replace":
        inside[key] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
    elif how == "drop":
        del inside[key]
    elif how == "wrap":
        inside[key] = draw(st.sampled_from([[inside[key]], {"value": inside[key]}]))
    elif how == "wrap deeply":
        for _ in range(draw(st.sampled_from([5, 40, 120]))):
            inside[key] = [inside[key]]
    elif isinstance(inside, dict):
        value = inside.pop(key) if how == "rename" else copy.deepcopy(draw(st.sampled_from(STRANGE)))
        inside[draw(st.sampled_from(["unknown", "", "x" * 300, "a b", f"{key}s"]))] = value
    else:
        inside.append(copy.deepcopy(draw(st.sampled_from(STRANGE))))


@st.composite
def damaged(draw, text, snippets):
    """A text with a line too many, or cut, or with bytes that are no text, or untouched."""
    content = text.encode("utf-8", "surrogatepass")
    how = draw(st.sampled_from(["", "", "", "line", "twice", "cut", "bytes"]))
    lines = text.splitlines()
    if how == "line":
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(snippets)))
    elif how == "twice" and lines:
        lines.append(draw(st.sampled_from(lines)))
    elif how == "cut":
        return content[: draw(st.integers(0, len(content)))]
    elif how == "bytes":
        place = draw(st.integers(0, len(content)))
        return content[:place] + draw(st.sampled_from(BYTES)) + content[place:]
    if how in ("line", "twice"):
        content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return content


@st.composite
def almost_yaml(draw, document):
    text = yaml.safe_dump(draw(mutated(document) | st.just(document)), sort_keys=False)
    return draw(damaged(text, SNIPPETS))


@st.composite
def almost_json(draw, document):
    text = json.dumps(draw(mutated(document) | st.just(document)), indent=draw(st.sampled_from([None, 1])))
    return draw(damaged(text, JSON_SNIPPETS))


@st.composite
def almost_json_lines(draw, records):
    """Records of which one or two are changed, a line too many, a last line cut."""
    lines = [json.dumps(draw(mutated(record)) if draw(st.booleans()) else record) for record in records]
    return draw(damaged("\n".join(lines) + "\n", JSON_SNIPPETS))


@st.composite
def flipped(draw, content):
    """Bytes of which a few are others, are missing, or are there twice."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        last = max(len(changed) - 1, 0)
        place = draw(st.integers(0, last) | st.integers(0, min(last, 300)))
        how = draw(st.sampled_from(["flip", "cut", "insert"]))
        if how == "flip" and changed:
            changed[place] ^= draw(st.integers(1, 255))
        elif how == "cut":
            del changed[place:]
        else:
            changed[place:place] = draw(st.sampled_from(BYTES))
    return bytes(changed)
