"""The one way to the terminal: what is printed shows what it says, whatever a file, a name or an error holds.

Text that comes from a folder may hold escape sequences that move the cursor, rename the window or pretend to be other
output. While a command runs, standard output and standard error show such characters instead of sending them; colours
and tables go through a `rich` console that does the same with every piece of text that it draws.

Where an encoding lacks a character (ASCII, Latin-1), what is nearest to it is written: nobody's report fails by a dash.
"""

import codecs
import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from autogrow.errors import AutogrowError, printable

if TYPE_CHECKING:
    from rich.console import Console

NEAREST = "autogrow.nearest"
"""Name of the error handler that writes the nearest characters that an encoding has."""
_LOOKALIKES = {"–": "-", "—": "-", "…": "~", "±": "+-", "×": "x", "·": ".", "−": "-", "“": '"', "”": '"', "’": "'"}


class OutputError(AutogrowError):
    """What is printed cannot be written."""


class ReaderGoneError(OutputError):
    """Nobody reads what is printed any more (``autogrow report | head``), which is no fault."""

    exit_code = 0


class CheckedStream(io.TextIOBase):
    """Another text stream, whose failures are errors of ours: click and rich end the program at some of them."""

    # No `buffer`: click would write UTF-8 to it where the encoding is ASCII, past all of this.
    def __init__(self, stream: TextIO) -> None:
        self.inner = stream

    def write(self, text: str) -> int:
        with naming_failures():
            self.inner.write(text)
        return len(text)

    def flush(self) -> None:
        with naming_failures():
            self.inner.flush()

    def isatty(self) -> bool:
        return self.inner.isatty()

    def fileno(self) -> int:
        return self.inner.fileno()

    def close(self) -> None:
        """Not the stream below, which others have, too."""

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.inner.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.inner.errors


class PrintableStream(CheckedStream):
    """Another text stream, to which no control character gets through."""

    def write(self, text: str) -> int:
        super().write(printable(text))
        return len(text)


@contextmanager
def naming_failures() -> Iterator[None]:
    """Failures to print inside the block are an `OutputError`."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError("nobody reads what is printed") from error
    except OSError as error:
        raise OutputError(f"cannot write what is printed: {error.strerror}: print to another place") from error


@contextmanager
def printable_output() -> Iterator[None]:
    """Standard output and standard error are printable inside the block. A closed one takes all and keeps nothing."""
    before = sys.stdout, sys.stderr
    with ExitStack() as undo:
        # Python has None for a stream that was closed before it began.
        out, err = (stream or undo.enter_context(open(os.devnull, "w")) for stream in before)
        for stream in (out, err):
            undo.enter_context(_written_by_nearest(stream))
        sys.stdout, sys.stderr = PrintableStream(out), PrintableStream(err)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def console(*, err: bool = False, **options: Any) -> "Console":
    """A `rich` console on standard output, or on standard error, that draws printable text; no markup in strings."""
    from rich.console import Console
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            # All text comes through here, that of cells too; what rich itself sends as control stays.
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    stream = sys.stderr if err else sys.stdout
    inner = stream.inner if isinstance(stream, PrintableStream) else stream
    file = cast(TextIO, CheckedStream(inner))
    return PrintableConsole(file=file, **{"markup": False, "emoji": False, "highlight": False, **options})


@contextmanager
def _written_by_nearest(stream: TextIO) -> Iterator[None]:
    """Have a stream write the nearest characters where its encoding lacks one."""
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=NEAREST)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            stream.reconfigure(errors=before)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_nearest_of(character) for character in text), error.end


def _nearest_of(character: str) -> str:
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _LOOKALIKES.get(character) or letters or "?"


codecs.register_error(NEAREST, _nearest)
