"""YAML as data only: no aliases, no tags, no merge keys, no dates, and no key twice.

PyYAML parses; values are made here, so that none of its loaders' own types can arise. Words, numbers, true and null are
told apart as its safe loader does it (YAML 1.1). A date stays the text that was written.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import yaml
from yaml.constructor import SafeConstructor

from autogrow.errors import AutogrowError, kind_of
from autogrow.reading import plain
from autogrow.reading.texts import read_text

MAX_BYTES = 64 * 1024
"""Of a file that people write; their parser takes half a second for as much."""

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_CONSTRUCTOR = SafeConstructor()


class _FaultError(Exception):
    """What is wrong with a document, and at which line."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(f"line {mark.line + 1}: {problem}" if mark is not None else problem)


def read_yaml(path: Path, what: str, error: type[AutogrowError], *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The top-level mapping of a YAML file. Raises `error` with the place of the fault.

    Args:
        what: The kind of file, as messages call it.
    """
    content = parse_yaml(read_text(path, what, error, max_bytes=max_bytes), str(path), error)
    if not isinstance(content, dict):
        found = "empty" if content is None else kind_of(content)
        raise error(f"{path}: it is {found}, a {what} is a YAML mapping of names to values")
    return content


def parse_yaml(text: str, where: str, error: type[AutogrowError]) -> Any:
    """The plain data that one YAML document holds. Raises `error`, whose message begins with `where`."""
    try:
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader))
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else _value(node)
    except _FaultError as fault:
        raise error(f"{where}: {fault}") from None
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or getattr(fault, "reason", None) or "cannot be parsed"
        raise error(f"{where}: not valid YAML{place}: {problem}") from None
    except (ValueError, OverflowError):  # PyYAML's own, of a character or a version that there cannot be
        raise error(f"{where}: not valid YAML: a number in an escape or directive is too large") from None


def _check_events(events: Iterator[yaml.Event]) -> None:
    """Refuse what makes a document more than data, and depths at which composing it would not end well."""
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _FaultError("YAML aliases (&name, *name) are not read; write the value out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _FaultError("YAML tags (!name) are not read; leave it out", event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > plain.MAX_DEPTH:
            raise _FaultError(f"nested more than {plain.MAX_DEPTH} levels deep", event.start_mark)


def _value(node: yaml.Node, name: str = "") -> Any:
    """What a node holds; `name` is the key that it stands under, for messages."""
    if isinstance(node, yaml.MappingNode):
        return _mapping(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(entry, name) for entry in node.value]
    try:
        return _scalar(cast(yaml.ScalarNode, node))
    except ValueError as error:
        # PyYAML takes some words for numbers that are none, such as 0x_.
        problem = str(error) if isinstance(error, plain.NotPlainError) else f"{node.value}, which is no number"
        raise _FaultError(f"{name or 'it'} is {problem}", node.start_mark) from None


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    content: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == _MERGE:
            raise _FaultError("YAML merge keys (<<) are not read; write the values out", key_node.start_mark)
        key = _value(key_node)
        if not isinstance(key, str):
            raise _FaultError(f"the key {key!r} is not a name; put it in quotes if it is one", key_node.start_mark)
        if key in content:
            raise _FaultError(f"{key!r} stands twice, first in line {lines[key]}; remove one", key_node.start_mark)
        content[key], lines[key] = _value(value_node, key), line
    return content


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    kind = node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return bool(_CONSTRUCTOR.construct_yaml_bool(node))
    if kind in ("int", "float") and len(node.value) > plain.MAX_DIGITS:
        raise plain.too_long(node.value)
    if kind == "int":
        return plain.checked_integer(_CONSTRUCTOR.construct_yaml_int(node))
    if kind == "float":
        return plain.checked_float(_CONSTRUCTOR.construct_yaml_float(node))
    return plain.checked_text(node.value)
