"""From text to tokens and back: the table of tokenizers, each one class.

What a tokenizer is made again from is a `TokenRecord`, which stands in the record of a data set and of a saved network.
Installed packages add tokenizers through entry points of ``autogrow.tokenizers``; a new one of ours is a class here.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from autogrow.errors import RAISED_BY_OTHERS, DataError, UsageError, one_line, shortened
from autogrow.reading.arrays import Array
from autogrow.reading.texts import MEBIBYTE, decoded, read_text
from autogrow.registry import Registry, subclass_of

NUM_BYTES = 256
MOST_VOCABULARY_BYTES = 12 * MEBIBYTE
NUMBERS = "numbers"
"""In place of a tokenizer's name: the tokens were given, and what they stand for is not known."""


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """How text became tokens, and how it is cut into windows."""

    context: int
    """Tokens of a window: what a network reads before each token that it names."""
    tokenizer: str
    """Its name among `TOKENIZERS`, or `NUMBERS`."""
    num_tokens: int
    """Of the vocabulary: a network has as many outputs."""
    vocabulary: str = ""
    """What the tokenizer is made again from: its own `Tokenizer.vocabulary`."""
    bytes_per_token: float | None = None
    """Mean over the text; None where it is not known."""
    edition: str = ""
    """Which text it is, where that is not always the same: "Python 3.11.7"."""

    @property
    def unit(self) -> str:
        """What the tokens are called: "characters"."""
        return TOKENIZERS[self.tokenizer].unit if self.tokenizer in TOKENIZERS else Tokenizer.unit


class Tokenizer(ABC):
    """Text to tokens and back.

    One whose tokens depend on the text, or on anything else, says in `vocabulary` what it is made again from, and has
    `for_text` and `from_vocabulary` of its own.
    """

    kind: ClassVar[str]
    """The name in `TOKENIZERS`."""
    unit: ClassVar[str] = "tokens"
    """What the tokens are called, after a number of them."""
    num_tokens: int
    vocabulary: str = ""

    @classmethod
    def for_text(cls, content: bytes, where: str) -> Self:
        """The one for a text that is trained on. Raises `DataError` (naming `where`) where it is none."""
        return cls()

    @classmethod
    def from_vocabulary(cls, vocabulary: str, where: str) -> Self:
        """The one whose `vocabulary` was recorded. Raises `DataError` (naming `where`) for what is none."""
        return cls()

    @abstractmethod
    def encode(self, text: str) -> Array:
        """(number,) whole numbers from 0. Raises `DataError` for characters that have no token."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become replacement characters."""

    def encode_file(self, content: bytes, where: str) -> Array:
        """The tokens of a file's content. Raises `DataError` (naming `where`) where it is no text."""
        return self.encode(decoded(content, where, DataError))


TOKENIZERS: Registry[type[Tokenizer]] = Registry(
    "tokenizer", UsageError, group="autogrow.tokenizers", accepts=subclass_of(Tokenizer)
)


@TOKENIZERS.register("bytes")
class Bytes(Tokenizer):
    """Every byte of the text in UTF-8 is a token."""

    kind = unit = "bytes"
    num_tokens = NUM_BYTES

    def encode(self, text: str) -> Array:
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode("utf-8", errors="replace")

    def encode_file(self, content: bytes, where: str) -> Array:
        return np.frombuffer(content, dtype=np.uint8)


@TOKENIZERS.register("chars")
class Characters(Tokenizer):
    """Every character of the text is a token, numbered in the order of `vocabulary`."""

    kind, unit = "chars", "characters"

    def __init__(self, vocabulary: str) -> None:
        self.vocabulary = vocabulary
        self.num_tokens = len(vocabulary)
        self._points = np.frombuffer(vocabulary.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)

    @classmethod
    def for_text(cls, content: bytes, where: str) -> Self:
        """Of all characters that occur in the text, in the order of their code points."""
        return cls("".join(sorted(set(decoded(content, where, DataError)))))

    @classmethod
    def from_vocabulary(cls, vocabulary: str, where: str) -> Self:
        return cls(vocabulary)

    def encode(self, text: str) -> Array:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        places = np.searchsorted(self._points, points).clip(max=max(len(self._points) - 1, 0))
        if (unknown := self._points[places] != points).any():
            raise DataError(
                f"{shortened(text, 40)!r} holds {chr(points[unknown][0])!r}, which is none of the {self.num_tokens} "
                "characters of the vocabulary: leave it out"
            )
        return places.astype(np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.vocabulary[token] for token in tokens)


@TOKENIZERS.register("file")
class FileTokenizer(Tokenizer):
    """What a tokenizer.json says, which is named by its path and read by the tokenizers library."""

    kind, unit = "file", "tokens of a tokenizer file"

    def __init__(self, content: str, where: str) -> None:
        self.vocabulary, self._where = content, where
        self.num_tokens = int(self._library.get_vocab_size(with_added_tokens=True))

    @classmethod
    def for_text(cls, content: bytes, where: str) -> Self:
        raise UsageError("tokenizer 'file' has no vocabulary: give the path of its tokenizer.json")

    @classmethod
    def from_vocabulary(cls, vocabulary: str, where: str) -> Self:
        return cls(vocabulary, where)

    @cached_property
    def _library(self) -> Any:
        try:
            from tokenizers import Tokenizer as Library
        except ImportError:
            raise UsageError(
                "a tokenizer file needs the package tokenizers, which is not installed: pip install tokenizers"
            ) from None
        try:
            return Library.from_str(self.vocabulary)
        except RAISED_BY_OTHERS as error:
            raise DataError(
                f"{self._where}: no tokenizer of the tokenizers library ({one_line(error)}): give its tokenizer.json"
            ) from error

    def encode(self, text: str) -> Array:
        return np.array(self._library.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._library.decode([int(token) for token in tokens], skip_special_tokens=False))


def tokenizer_for(wanted: str, content: bytes, where: str) -> Tokenizer:
    """The tokenizer of a name, or of a tokenizer file's path, for a text to train on.

    Raises `DataError` (naming `where`) for a text, or a file, that is none.
    """
    if wanted in TOKENIZERS:
        return TOKENIZERS[wanted].for_text(content, where)
    return FileTokenizer(read_text(Path(wanted), "tokenizer", DataError, max_bytes=MOST_VOCABULARY_BYTES), wanted)


def tokenizer_of(record: TokenRecord, where: str) -> Tokenizer:
    """The tokenizer that a record says.

    Raises `DataError` (naming `where`) where there is none, or another one, and `UsageError` where it is not installed.
    """
    if record.tokenizer == NUMBERS:
        raise DataError(f"{where} was made of tokens given as numbers: no text is known for them")
    found = TOKENIZERS[record.tokenizer].from_vocabulary(record.vocabulary, where)
    if found.num_tokens > record.num_tokens:
        raise DataError(f"{where}: its tokenizer has {found.num_tokens} tokens, the network {record.num_tokens}")
    return found


def tokens_of(tokenizer: Tokenizer, content: bytes, where: str) -> Array:
    """(number,) the tokens of a file's content. Raises `DataError` (naming `where`) for what is no text or no token."""
    tokens = np.asarray(tokenizer.encode_file(content, where))
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise DataError(
            f"{where}: tokenizer {tokenizer.kind!r} gives {tokens.dtype} {tokens.shape}, not (number,) whole numbers"
        )
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < tokenizer.num_tokens:
        raise DataError(
            f"{where}: tokenizer {tokenizer.kind!r} gives tokens from {tokens.min()} to {tokens.max()}, and has "
            f"{tokenizer.num_tokens} of them"
        )
    return tokens


def files_of_tokenizer(wanted: str) -> tuple[Path, ...]:
    """What a tokenizer rests on: its file, or the module of an installed package's. Raises `DataError`."""
    if wanted not in TOKENIZERS:
        if not Path(wanted).is_file():
            known = ", ".join(name for name in TOKENIZERS if name != FileTokenizer.kind)
            raise DataError(
                f"tokenizer {wanted!r} is no file: give {known}, or the path of a tokenizer.json of the tokenizers "
                "library"
            )
        return (Path(wanted),)
    return () if TOKENIZERS.origin(wanted) is None else (Path(inspect.getfile(TOKENIZERS[wanted])),)
