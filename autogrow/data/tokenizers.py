"""From text to tokens and back: bytes, characters, or a vocabulary that the `tokenizers` library reads.

What a tokenizer is made again from is a `TokenRecord`, which stands in the record of a data set and of a saved network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from autogrow.errors import RAISED_BY_OTHERS, DataError, UsageError, one_line, shortened
from autogrow.reading.arrays import Array
from autogrow.reading.texts import MEBIBYTE, decoded, read_text

NUM_BYTES = 256
MOST_VOCABULARY_BYTES = 12 * MEBIBYTE
TokenizerKind = Literal["bytes", "chars", "file", "numbers"]


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """How text became tokens, and how it is cut into windows."""

    context: int
    """Tokens of a window: what a network reads before each token that it names."""
    tokenizer: TokenizerKind
    """numbers: the tokens were given, and what they stand for is not known."""
    num_tokens: int
    """Of the vocabulary: a network has as many outputs."""
    vocabulary: str = ""
    """Of "chars" all characters in their order, of "file" the file's content."""
    bytes_per_token: float | None = None
    """Mean over the text; None where it is not known."""
    edition: str = ""
    """Which text it is, where that is not always the same: "Python 3.11.7"."""


class Tokenizer(ABC):
    """Text to tokens and back."""

    num_tokens: int

    @abstractmethod
    def encode(self, text: str) -> Array:
        """(number,) whole numbers from 0. Raises `DataError` for characters that have no token."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become replacement characters."""

    def encode_file(self, content: bytes, where: str) -> Array:
        """The tokens of a file's content. Raises `DataError` (naming `where`) where it is no text."""
        return self.encode(decoded(content, where, DataError))


class Bytes(Tokenizer):
    """Every byte of the text in UTF-8 is a token."""

    num_tokens = NUM_BYTES

    def encode(self, text: str) -> Array:
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode("utf-8", errors="replace")

    def encode_file(self, content: bytes, where: str) -> Array:
        return np.frombuffer(content, dtype=np.uint8)


class Characters(Tokenizer):
    """Every character is a token, numbered in the order of `vocabulary`."""

    def __init__(self, vocabulary: str) -> None:
        self.vocabulary = vocabulary
        self.num_tokens = len(vocabulary)
        self._points = np.frombuffer(vocabulary.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)

    @classmethod
    def of(cls, text: str) -> "Characters":
        """Of all characters that occur in a text, in the order of their code points."""
        return cls("".join(sorted(set(text))))

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


class FileTokenizer(Tokenizer):
    """The vocabulary and rules of a ``tokenizer.json``, read by the `tokenizers` library."""

    def __init__(self, content: str, where: str) -> None:
        self._content, self._where = content, where
        self.num_tokens = int(self._library.get_vocab_size(with_added_tokens=True))

    @cached_property
    def _library(self) -> Any:
        try:
            from tokenizers import Tokenizer as Library
        except ImportError:
            raise UsageError(
                "a tokenizer file needs the package tokenizers, which is not installed: pip install tokenizers"
            ) from None
        try:
            return Library.from_str(self._content)
        except RAISED_BY_OTHERS as error:
            raise DataError(
                f"{self._where}: no tokenizer of the tokenizers library ({one_line(error)}): give its tokenizer.json"
            ) from error

    def encode(self, text: str) -> Array:
        return np.array(self._library.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._library.decode([int(token) for token in tokens], skip_special_tokens=False))


def tokenizer_of(record: TokenRecord, where: str) -> Tokenizer:
    """The tokenizer that a record says. Raises `DataError` (naming `where`) where there is none, or another one."""
    if record.tokenizer == "bytes":
        found: Tokenizer = Bytes()
    elif record.tokenizer == "chars":
        found = Characters(record.vocabulary)
    elif record.tokenizer == "file":
        found = FileTokenizer(record.vocabulary, where)
    else:
        raise DataError(f"{where} was made of tokens given as numbers: no text is known for them")
    if found.num_tokens > record.num_tokens:
        raise DataError(f"{where}: its tokenizer has {found.num_tokens} tokens, the network {record.num_tokens}")
    return found


def read_tokenizer_file(path: Path) -> str:
    """The content of a tokenizer file. Raises `DataError` where it cannot be read."""
    return read_text(path, "tokenizer", DataError, max_bytes=MOST_VOCABULARY_BYTES)
