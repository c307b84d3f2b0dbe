"""How a text is named as a data set: its path, and after a question mark what it is read with other than usual.

    book.txt
    book.txt?context=64&tokenizer=chars
    stdlib?context=256&mebibytes=2

One name says all of it, so that trials, resumed runs and saved networks read the text as it was read first.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from autogrow.data.tokenizers import TOKENIZERS
from autogrow.errors import UsageError, nearest, shortened
from autogrow.paths import NPZ_SUFFIX, place_and_query, resolved

DEFAULT_CONTEXT = 128
LONGEST_CONTEXT = 65_536
MOST_MEBIBYTES = 1024
OPTIONS = ("context", "tokenizer", "mebibytes")
EXAMPLES = {"context": DEFAULT_CONTEXT, "mebibytes": 2}
STDLIB = "stdlib"
"""The source text of the running Python's standard library."""


@dataclass(frozen=True)
class TextOptions:
    """What a text is read with."""

    context: int = DEFAULT_CONTEXT
    """Tokens of a window."""
    tokenizer: str = "bytes"
    """A name among `TOKENIZERS`, or the path of a ``tokenizer.json``."""
    mebibytes: int | None = None
    """Of the text, from its beginning, that are read; None reads all, of the standard library as many as are usual."""

    def __post_init__(self) -> None:
        if self.mebibytes is not None and not 1 <= self.mebibytes <= MOST_MEBIBYTES:
            raise UsageError(f"mebibytes {self.mebibytes} is not between 1 and {MOST_MEBIBYTES}: give for example 2")
        if not 2 <= self.context <= LONGEST_CONTEXT:
            raise UsageError(f"context {self.context} is not between 2 and {LONGEST_CONTEXT}: give for example 128")

    @property
    def query(self) -> str:
        """As a name has it: what is other than usual."""
        usual = TextOptions()
        given = [(name, getattr(self, name)) for name in OPTIONS]
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
        if key not in OPTIONS or not value:
            raise UsageError(f"data set {shortened(name, 60)!r}: {part!r} is none of context=NUMBER, tokenizer=NAME "
                             f"and mebibytes=NUMBER{nearest(key, OPTIONS)}")  # fmt: skip
        given[key] = value
    return place, text_options(**given)


def text_options(
    context: str | int | None = None, tokenizer: str | None = None, mebibytes: str | int | None = None
) -> TextOptions:
    """Options as they are given. Raises `UsageError` for a number that is none, or is out of range."""
    if tokenizer is not None and tokenizer not in TOKENIZERS:
        tokenizer = str(resolved(tokenizer))
    return TextOptions(
        context=DEFAULT_CONTEXT if context is None else _whole_number("context", context),
        tokenizer=TextOptions.tokenizer if tokenizer is None else tokenizer,
        mebibytes=None if mebibytes is None else _whole_number("mebibytes", mebibytes),
    )


def _whole_number(name: str, value: str | int) -> int:
    if not re.fullmatch(r"\d{1,9}", str(value)):
        raise UsageError(f"{name} {str(value)!r} is no whole number: give for example {EXAMPLES[name]}")
    return int(value)


def with_options(name: str, context: int | None, tokenizer: str | None) -> str:
    """A text's name with other options than it says; None leaves one as it is."""
    if context is None and tokenizer is None:
        return name
    place, said = parse_text_name(name)
    chosen = said.context if context is None else context
    return text_options(chosen, tokenizer or said.tokenizer, said.mebibytes).of(place)


def absolute_name(name: str) -> str:
    """The name of a text, or of a file of tokens, as it is seen from anywhere."""
    place, options = parse_text_name(name)
    return options.of(place if place == STDLIB else str(resolved(place)))


def is_text_place(name: str) -> bool:
    """Whether there is a file or a folder that a name of no other data set may mean."""
    place = place_and_query(name)[0]
    return place == STDLIB or (not place.lower().endswith(NPZ_SUFFIX) and Path(resolved(place)).exists())
