"""The errors that users see: each names the value, the limit and the fix, in one line.

The command line prints the message after ``autogrow: error:`` and exits with `exit_code`. Anything that is not an
`AutogrowError` is a defect of autogrow (or of the user's own model) and keeps its traceback.
"""

import difflib
import re
from collections.abc import Iterable

MAX_LINE = 1200
"""Characters of an error: what a file or a command line holds may be repeated in it, but not at any length."""
MAX_WORD = 200
"""Characters without a space in it; paths may be long."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, what turns the direction of writing, and what cannot be encoded."""


RAISED_BY_OTHERS = (Exception, SystemExit, GeneratorExit)
"""What a user's own code may raise: anything. KeyboardInterrupt is left out, which is the user's wish to stop."""


class AutogrowError(Exception):
    """Base of every error that a user can cause and mend. Its text is one line of bounded length."""

    exit_code = 2

    def __str__(self) -> str:
        return as_line(super().__str__())


class UsageError(AutogrowError):
    """A flag, name or setting that cannot be used as given."""


class DataError(AutogrowError):
    """Data that is missing, damaged or inconsistent."""


class PolicyError(AutogrowError):
    """A growth policy or search space that cannot be used."""


class NetworkError(AutogrowError):
    """A network that cannot be built, traced, widened or loaded."""


class RunFolderError(AutogrowError):
    """A run folder that is missing, incomplete or from another search."""


class NoSuccessfulTrialError(AutogrowError):
    """The search ended, but no trial finished."""

    exit_code = 1


class RunFolderInUseError(AutogrowError):
    """Another process holds the run folder."""

    exit_code = 3


class ClusterError(AutogrowError):
    """The Ray cluster that a search ran on is lost."""


class ExperimentError(AutogrowError):
    """An experiment that cannot go on, though what is finished is kept."""


class TrainingDivergedError(AutogrowError):
    """The loss or an output became NaN or infinite."""


def nearest(value: str, known: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'cifar100'?`` for a misspelt name, or an empty string."""
    matches = difflib.get_close_matches(value, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, value: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: what was given, what exists, and the nearest name."""
    names = sorted(known)
    return f"unknown {kind} {value!r}: known are {', '.join(names)}{nearest(value, names)}"


def kind_of(value: object) -> str:
    """The value's type with its article: "an int", "a list"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def shortened(text: str, length: int) -> str:
    """The text with its middle left out where it is longer."""
    if len(text) <= length:
        return text
    tail = (length - 3) // 3
    return f"{text[: length - 3 - tail]}...{text[-tail:]}"


def as_line(text: str) -> str:
    """The text without line breaks, shortened to what a person reads: long words first, then the whole."""
    text = text.encode("utf-8", "backslashreplace").decode()  # half a character cannot be printed or stored
    return shortened(" ".join(shortened(word, MAX_WORD) for word in text.split()), MAX_LINE)


def message_of(error: BaseException) -> str:
    """The error's message. It is made by somebody else's code, which may fail at it."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001  KeyboardInterrupt from there is not the user's
        return "its message cannot be made"


def one_line(error: BaseException) -> str:
    """The error's message without line breaks, preceded by its type unless it is one of ours."""
    text = as_line(message_of(error))
    if isinstance(error, AutogrowError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(text: str) -> str:
    """The text with control characters written out (``\\x1b``), so that a terminal shows them and obeys none."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)
