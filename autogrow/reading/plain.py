"""What data from files may consist of, whichever format it came in."""

import math
from typing import Any

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
    """The text itself. Raises `NotPlainError` for half of a surrogate pair, which no file or terminal can take."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotPlainError(f"a text with {text[error.start]!a}, which is half of a character") from None
    return text


def check_depth(value: Any) -> None:
    """Raises `NotPlainError` for data of more than `MAX_DEPTH` levels."""
    level, depth = [value], 0
    while level := [entry for outer in level for entry in _inside(outer)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise NotPlainError(f"nested more than {MAX_DEPTH} levels deep")


def _inside(value: Any) -> list[Any]:
    """What a list or mapping holds. An empty one is a level, too."""
    if isinstance(value, dict):
        return [*value.values(), None]
    return [*value, None] if isinstance(value, list) else []
