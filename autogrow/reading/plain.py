"""What data from files may consist of, whichever format it came in."""

import math
from typing import Any

from autogrow.errors import kind_of

MAX_DEPTH = 32
"""Levels of lists and mappings inside each other; Python's own limits are reached by a few hundred."""
MAX_DIGITS = 400
"""Characters of one number: the largest float has 309 digits."""
LARGEST_INTEGER = 2**63 - 1
"""Of what arrays, databases and PyTorch count with."""


class NotPlainError(ValueError):
    """A value that nothing of ours can hold; the message describes it, without a place."""


def whole_number(text: str) -> int:
    """The integer that decimal digits stand for. Raises `NotPlainError` beyond 64 bits."""
    if len(text) > MAX_DIGITS:
        raise too_long(text)
    return checked_integer(int(text))


def checked_integer(value: int) -> int:
    """The number itself. Raises `NotPlainError` beyond 64 bits."""
    if not -LARGEST_INTEGER - 1 <= value <= LARGEST_INTEGER:
        raise NotPlainError(f"{value}, a number beyond 64 bits")
    return value


def real_number(text: str) -> float:
    """The float that decimal digits stand for. Raises `NotPlainError` beyond the largest."""
    if len(text) > MAX_DIGITS:
        raise too_long(text)
    return checked_float(float(text))


def checked_float(value: float) -> float:
    """The number itself. Raises `NotPlainError` unless it is finite."""
    if not math.isfinite(value):
        raise NotPlainError(f"{value}, not a finite number")
    return value


def too_long(text: str) -> NotPlainError:
    """The error for digits that nobody meant."""
    return NotPlainError(f"a number of {len(text)} characters, more than {MAX_DIGITS}")


def checked_text(text: str) -> str:
    """The text itself. Raises `NotPlainError` for characters that no path, file or terminal can take."""
    if "\0" in text:
        raise NotPlainError("a text with a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotPlainError(f"a text with {text[error.start]!a}, which is half of a character") from None
    return text


def checked(value: Any, depth: int = 0) -> Any:
    """The value itself. Raises `NotPlainError` for what is no plain data, or too deep; tuples may stand for lists."""
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise NotPlainError(f"{name!r} as a name, which is no text")
            checked_text(name)
    elif not isinstance(value, list | tuple):
        return _checked_scalar(value)
    if depth == MAX_DEPTH:
        raise NotPlainError(f"lists or mappings nested more than {MAX_DEPTH} levels deep")
    for entry in value.values() if isinstance(value, dict) else value:
        checked(entry, depth + 1)
    return value


def _checked_scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return checked_text(value)
    if isinstance(value, float):
        return checked_float(value)
    if isinstance(value, int):
        return checked_integer(value)
    raise NotPlainError(f"{kind_of(value)}, which is neither number nor text, list nor mapping")
