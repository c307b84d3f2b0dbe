"""What the readers of YAML, JSON and JSON lines give, and what they say of what they refuse."""

import os
import threading

import pytest
import yaml

from autogrow.cli.options import parse_model_options
from autogrow.errors import MAX_LINE, AutogrowError, PolicyError, UsageError, as_line, one_line, shortened
from autogrow.reading import plain
from autogrow.reading.json_files import parse_json, read_json, read_json_lines
from autogrow.reading.yaml_files import parse_yaml, read_yaml
from autogrow.study.run_folder import RunFolder

GIVEN = {
    "a: 3": {"a": 3},
    "a: 0x1F\nb: 1_000\nc: 017": {"a": 31, "b": 1000, "c": 15},
    "a: 1.5e+3\nb: -0.5": {"a": 1500.0, "b": -0.5},
    "a: yes\nb: False\nc: ~\nd:": {"a": True, "b": False, "c": None, "d": None},
    "a: 2024-01-01\nb: 2024-01-01 10:00:00": {"a": "2024-01-01", "b": "2024-01-01 10:00:00"},
    "a: =\nb: 'no'\n'1': x": {"a": "=", "b": "no", "1": "x"},
    "a: [1, {b: [c]}]": {"a": [1, {"b": ["c"]}]},
    "\ufeffa: é": {"a": "é"},
    "a: 9223372036854775807": {"a": 2**63 - 1},
}


@pytest.mark.parametrize(("text", "content"), GIVEN.items())
def test_yaml_gives_plain_data(text, content, tmp_path):
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "file.yaml", "policy file", PolicyError) == content


def test_what_is_written_is_read(tmp_path):
    content = {"a": [1, 2.5, None, True, "yes", "2024-01-01", "1e5", "=", "<<", "~", "é\n", ""], "no": {"0": "null"}}
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    assert read_yaml(tmp_path / "file.yaml", "policy file", PolicyError) == content


REFUSED = {
    "a: 1\nb: 2\n'a': 3": "line 3: 'a' stands twice, first in line 1; remove one",
    "a:\n  b: {c: 1,\n    d: 2, c: 1}": "line 3: 'c' stands twice, first in line 2",
    "a: &x 1": r"line 1: YAML aliases \(&name, \*name\) are not read",
    "a: 1\nb: *x": "line 2: YAML aliases",
    "a: !!str 3": r"line 1: YAML tags \(!name\) are not read",
    "a: !mine {}": "line 1: YAML tags",
    "a: 1\n<<: {b: 2}": r"line 2: YAML merge keys \(<<\) are not read",
    "a: 1\n2: b": "line 2: the key 2 is not a name; put it in quotes",
    "yes: b": "the key True is not a name",
    "2024-01-01: b\n[c]: d": r"line 2: the key \['c'\] is not a name",
    "a: .inf": "line 1: a is inf, not a finite number",
    "a: [1, .nan]": "a is nan, not a finite number",
    f"a: {'9' * 5000}": "a is a number of 5000 characters, more than 400",
    "a: 9223372036854775808": "a is 9223372036854775808, a number beyond 64 bits",
    "a: 0x_": "a is 0x_, which is no number",
    'a: "\\ud800"': "a is a text with '.ud800', which is half of a character",
    'a: "x\\0y"': "a is a text with a NUL character",
    'a: "\\UFFFFFFFF"': "not valid YAML: a number in an escape",
    f"%YAML {'1' * 5000}.1\n---\na: 1": "not valid YAML",
    "a: " + "[" * 33 + "]" * 33: "line 1: nested more than 32 levels deep",
    "a: 1\n---\nb: 2": "not valid YAML at line 2",
    "": "it is empty, a policy file is a YAML mapping",
    "- 1": "it is a list, a policy file is a YAML mapping",
    "a: b: c": "not valid YAML at line 1",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[f"{number}" for number in range(len(REFUSED))])
def test_yaml_is_refused_with_the_place(text, message, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=f"file.yaml: .*{message}") as caught:
        read_yaml(path, "policy file", PolicyError)
    assert len(str(caught.value)) <= MAX_LINE


@pytest.mark.parametrize("text", ["a: &x 1", "a: 1\na: 2"])
def test_a_runs_settings_and_values_on_the_command_line_are_read_alike(text, tmp_path):
    run = RunFolder(tmp_path)
    run.config_file.write_text(f"format: autogrow-run/1\n{text}\n")
    with pytest.raises(AutogrowError, match="YAML aliases|stands twice"):
        run.settings()
    with pytest.raises(UsageError, match="--model-option o: line 1: .*(YAML aliases|stands twice)"):
        parse_model_options((f"o={{{', '.join(text.splitlines())}}}",))


JSON_REFUSED = {
    '{"a": NaN}': "it holds nan|NaN, not a finite number",
    '{"a": -Infinity}': "it holds -Infinity, not a finite number",
    '{"a": 1e999}': "it holds inf, not a finite number",
    f'{{"a": {"9" * 5000}}}': "a number of 5000 characters",
    '{"a": 9223372036854775808}': "a number beyond 64 bits",
    '{"a": 1, "a": 1}': "an object in which 'a' stands twice",
    '{"a": "\\ud800"}': "half of a character",
    "[" * 100_000: "nested more than 32 levels deep",
    '{"a": ' + "[" * 32 + "]" * 32 + "}": "nested more than 32 levels deep",
    '{"a": 1,\n "b" 2}': "it is not JSON from line 2 on",
    "[1]": r"it holds a list, not an object \{\.\.\.\}",
    "": "it is not JSON from line 1 on",
}


@pytest.mark.parametrize(("text", "message"), JSON_REFUSED.items(), ids=[f"{n}" for n in range(len(JSON_REFUSED))])
def test_json_is_refused_in_one_line_that_ends_with_the_fix(text, message, tmp_path):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UsageError, match=f"file.json is damaged, .*({message}).*: mend it$"):
        read_json(tmp_path / "file.json", "record", UsageError, fix="mend it")


def test_json_that_is_right():
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\\u00e9"]}', "it", UsageError, fix="") == {
        "a": [1, 2.5, None, "é"]
    }


@pytest.mark.parametrize("torn", ["", '{"a"', '{"a": "\xc3', "\0\0\0\0", "\n\n"])
def test_a_last_line_that_was_cut_short_is_left_out(torn, tmp_path):
    (tmp_path / "lines").write_bytes(b'{"a": 1}\n{"a": "\xe2\x80\xa8"}\n' + torn.encode("latin-1"))
    assert read_json_lines(tmp_path / "lines", "record", UsageError) == [{"a": 1}, {"a": "\u2028"}]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b'{"a": 1}\n{"a"\n{"a": 2}\n', "line 2 is not JSON; restore the file or remove the line"),
        (b'{"a": 1}\n3\n', "line 2 is no record, it holds an int"),
        (b'{"a": 1}\n\n{"a": 2}\n', "line 2 is not JSON"),
        (b'{"a": NaN}\n', "line 1 is no record, it holds NaN"),
        (b'{"a": "\xff"}\n{}\n', "line 1 is no record, it is not UTF-8 text"),
    ],
)
def test_any_other_line_that_is_no_record_is_named(lines, message, tmp_path):
    (tmp_path / "lines").write_bytes(lines)
    with pytest.raises(UsageError, match=message):
        read_json_lines(tmp_path / "lines", "record", UsageError)


def test_no_records_are_none(tmp_path):
    assert read_json_lines(tmp_path / "absent", "record", UsageError) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "cannot read the record: "),
        (lambda path: None, "cannot read the record: No such file"),
        (lambda path: path.symlink_to(path), "cannot read the record: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"a: \xff"), "line 1 is not UTF-8 text"),
        (lambda path: path.write_bytes(b"a: 1 #" + b"x" * 70_000), "70006 bytes, a record has at most 65536"),
        (lambda path: path.symlink_to("/dev/zero"), "more than 65536 bytes, a record has at most 65536"),
        (os.mkfifo, "it is empty"),
    ],
    ids=["folder", "absent", "loop", "bytes", "large", "endless", "pipe"],
)
def test_what_is_no_file_of_its_kind(make, message, tmp_path):
    make(tmp_path / "file")
    with pytest.raises(UsageError, match=message):
        read_yaml(tmp_path / "file", "record", UsageError)


def test_a_pipe_that_somebody_writes_to_is_read(tmp_path):
    """As a shell's ``<(command)`` is."""
    reading, writing = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(writing, b"a: 1"), os.close(writing)))
    writer.start()
    assert read_yaml(tmp_path / f"/dev/fd/{reading}", "record", UsageError) == {"a": 1}
    writer.join()
    os.close(reading)


@pytest.mark.parametrize("value", [{1: 2}, {"a": object()}, {"a": [float("nan")]}, [2**70], ["\ud800"]])
def test_what_no_file_can_hold_is_not_plain(value):
    with pytest.raises(plain.NotPlainError):
        plain.checked(value)


def test_an_error_is_one_line_of_bounded_length():
    error = PolicyError(f"a value {'x' * 5000} of\na file {'y ' * 5000}: mend it")
    assert len(str(error)) <= MAX_LINE
    assert "\n" not in str(error)
    assert str(error).startswith("a value xxx") and str(error).endswith(": mend it")
    assert one_line(ValueError("z" * 5000)).startswith("ValueError: zzz")
    assert len(as_line("z " * 5000)) <= MAX_LINE
    assert shortened("0123456789", 9) == "0123...89" and shortened("012345678", 9) == "012345678"


def test_one_value_is_read_as_a_file_is():
    assert parse_yaml("[64, {a: no}]", "it", UsageError) == [64, {"a": False}]
