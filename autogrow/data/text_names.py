"""How a text is named as a data set: its path, and after a question mark what it is read with other than usual.

    book.txt
    book.txt?context=64&tokenizer=chars
    stdlib?context=256

One name says all of it, so that trials, resumed runs and saved networks read the text as it was read first.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from autogrow.errors import UsageError, nearest, shortened
from autogrow.paths import NPZ_SUFFIX, place_and_query, resolved

DEFAULT_CONTEXT = 128
LONGEST_CONTEXT = 65_536
STDLIB = "stdlib"
"""The source text of the running Python's standard library."""
WITHOUT_FILES = ("bytes", "chars")
"""Tokenizers that need no file."""


@dataclass(frozen=True)
class TextOptions:
    """What a text is read with."""

    context: int = DEFAULT_CONTEXT
    """Tokens of a window."""
    tokenizer: str = "bytes"
    """bytes, chars, or the path of a ``tokenizer.json``."""

    def __post_init__(self) -> None:
        if not 2 <= self.context <= LONGEST_CONTEXT:
            raise UsageError(f"context {self.context} is not between 2 and {LONGEST_CONTEXT}: give for example 128")

    @property
    def query(self) -> str:
        """As a name has it: what is other than usual."""
        usual = TextOptions()
        given = [(name, getattr(self, name)) for name in ("context", "tokenizer")]
        written = "&".join(f"{name}={value}" for name, value in given if value != getattr(usual, name))
        return f"?{written}" if written else ""

    def of(self, place: str) -> str:
        """The name of the text at `place`, read so."""
        return f"{place}{self.query}"


def parse_text_name(name: str) -> tuple[str, TextOptions]:
    """The place and the options of a text's name. Raises `UsageError` for options that there are none of."""
    place, query = place_and_query(name)
    given: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, _, value = part.partition("=")
        if key not in ("context", "tokenizer") or not value:
            known = ("context", "tokenizer")
            raise UsageError(f"data set {shortened(name, 60)!r}: {part!r} is neither context=NUMBER nor "
                             f"tokenizer=NAME{nearest(key, known)}")  # fmt: skip
        given[key] = value
    return place, text_options(given.get("context"), given.get("tokenizer"))


def text_options(context: str | int | None = None, tokenizer: str | None = None) -> TextOptions:
    """Options as they are given. Raises `UsageError` for a context that is no number, or is out of range."""
    if context is not None and not re.fullmatch(r"\d{1,9}", str(context)):
        raise UsageError(f"context {str(context)!r} is no whole number: give for example {DEFAULT_CONTEXT}")
    if tokenizer is not None and tokenizer not in WITHOUT_FILES:
        tokenizer = str(resolved(tokenizer))
    usual = TextOptions()
    return TextOptions(usual.context if context is None else int(context), tokenizer or usual.tokenizer)


def with_options(name: str, context: int | None, tokenizer: str | None) -> str:
    """A text's name with other options than it says; None leaves one as it is."""
    if context is None and tokenizer is None:
        return name
    place, said = parse_text_name(name)
    return text_options(said.context if context is None else context, tokenizer or said.tokenizer).of(place)


def absolute_name(name: str) -> str:
    """The name of a text, or of a file of tokens, as it is seen from anywhere."""
    place, options = parse_text_name(name)
    return options.of(place if place == STDLIB else str(resolved(place)))


def is_text_place(name: str) -> bool:
    """Whether there is a file or a folder that a name of no other data set may mean."""
    place = place_and_query(name)[0]
    return place == STDLIB or (not place.lower().endswith(NPZ_SUFFIX) and Path(resolved(place)).exists())
