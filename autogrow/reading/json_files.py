"""JSON documents and JSON lines as data only: finite numbers of 64 bits, no key twice, bounded depth."""

import json
from pathlib import Path
from typing import Any, NoReturn

from autogrow.errors import AutogrowError, kind_of
from autogrow.reading import plain
from autogrow.reading.texts import MEBIBYTE, decoded, read_bytes

MAX_BYTES = 16 * MEBIBYTE
MAX_LINES_BYTES = 1024 * MEBIBYTE
"""Of a run's records, which grow with its length."""


def read_json(
    path: Path, what: str, error: type[AutogrowError], *, fix: str, max_bytes: int = MAX_BYTES
) -> dict[str, Any]:
    """The object that a JSON file holds. Raises `error` for anything else.

    Args:
        what: The kind of file, as messages call it.
        fix: What its user can do about a damaged one; it ends the message.
    """
    return parse_json(read_bytes(path, what, error, max_bytes=max_bytes), str(path), error, fix=fix)


def parse_json(content: bytes | str, where: str, error: type[AutogrowError], *, fix: str) -> dict[str, Any]:
    """The object in a JSON text. Raises `error`, whose message begins with `where` and ends with `fix`."""
    text = content if isinstance(content, str) else decoded(content, where, error)
    try:
        value = _parsed(text)
        if not isinstance(value, dict):
            raise plain.NotPlainError(f"{kind_of(value)}, not an object {{...}}")
    except ValueError as failure:
        raise error(f"{where} is damaged, {_problem(failure)}: {fix}") from None
    return value


def read_json_lines(path: Path, what: str, error: type[AutogrowError]) -> list[dict[str, Any]]:
    """The records of a file with one JSON object per line; a missing file is empty.

    A last line cut short by a kill is left out. Raises `error` naming any other line that is no record.
    """
    if not path.exists():
        return []
    lines = read_bytes(path, what, error, max_bytes=MAX_LINES_BYTES).split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            value = _parsed(line.decode())
            if not isinstance(value, dict):
                raise plain.NotPlainError(f"{kind_of(value)}, not an object {{...}}")
        except ValueError as failure:
            # What is cut short is neither whole JSON nor, perhaps, whole characters.
            if number == len(lines) and isinstance(failure, json.JSONDecodeError | UnicodeDecodeError):
                break
            problem = (
                "is not JSON" if isinstance(failure, json.JSONDecodeError) else f"is no record, {_problem(failure)}"
            )
            raise error(f"{path}: line {number} {problem}; restore the file or remove the line") from None
        records.append(value)
    return records


def _parsed(text: str) -> Any:
    """Raises `ValueError` of some kind for anything but plain data."""
    try:
        return plain.checked(_loads(text))
    except RecursionError:
        raise plain.NotPlainError(f"lists or objects nested more than {plain.MAX_DEPTH} levels deep") from None


def _loads(text: str) -> Any:
    return json.loads(
        text,
        parse_int=plain.whole_number,
        parse_float=plain.real_number,
        parse_constant=_no_constant,
        object_pairs_hook=_without_twins,
    )


def _problem(failure: ValueError) -> str:
    if isinstance(failure, json.JSONDecodeError):
        return f"it is not JSON from line {failure.lineno} on"
    return "it is not UTF-8 text" if isinstance(failure, UnicodeDecodeError) else f"it holds {failure}"


def _no_constant(name: str) -> NoReturn:
    raise plain.NotPlainError(f"{name}, not a finite number")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise plain.NotPlainError(f"an object in which {twin!r} stands twice")
    return content
