"""Text as a data set: a file, a folder of files, the standard library's source; or tokens that are given as numbers.

The text becomes one row of tokens, of which the last tenth is the test split. The row is stored in as few bytes as its
vocabulary needs, and memory-mapped like the arrays of other data sets.
"""

import platform
import sysconfig
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from autogrow.data.arrays import DecodedArrays
from autogrow.data.sources import Source
from autogrow.data.text_names import STDLIB, TextOptions, absolute_name, parse_text_name
from autogrow.data.tokenizers import NUMBERS, TOKENIZERS, TokenRecord, files_of_tokenizer, tokenizer_for, tokens_of
from autogrow.data.windows import TEST_FRACTION, split_end, split_windows
from autogrow.errors import DataError
from autogrow.paths import place_and_query, resolved
from autogrow.reading.arrays import Array
from autogrow.reading.texts import MEBIBYTE, read_bytes
from autogrow.tasks.text import MOST_TOKENS, TEXT, unigram_entropy

LAYOUT = "tokens"
MOST_BYTES = 1024 * MEBIBYTE
"""Of a text."""
STDLIB_BYTES = 8 * MEBIBYTE
"""Of the standard library's source, of which any Python has more."""
TABLES = (".csv", ".tsv")
"""Endings of files that hold text, and often numbers that somebody means to learn from."""
_NOT_STDLIB = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
"""Folders of other packages, and tests, which not every Python has."""


def find_text(name: str, task: str | None = None, layout: str | None = None) -> Source:
    """The source of a text's name. Raises `DataError` where there is none, or it is to be anything but text."""
    for what, wanted, own in (("task", task, TEXT), ("layout", layout, LAYOUT)):
        if wanted not in (None, own):
            fix = f"leave out --{what}"
            if place_and_query(name)[0].lower().endswith(TABLES):
                fix = "for a table of numbers give arrays, numpy.savez('data.npz', x_train=..., y_train=...)"
            raise DataError(f"dataset {name!r} is text, and has the {what} {own}, not {wanted}: {fix}")
    place, options = parse_text_name(name)
    tokenizer_files = files_of_tokenizer(options.tokenizer)
    files = _stdlib_files() if place == STDLIB else _files_at(resolved(place))
    editions = (platform.python_version() if place == STDLIB else None, TOKENIZERS.origin(options.tokenizer))
    variant = " ".join(edition for edition in editions if edition is not None)
    full_name = absolute_name(name)
    decode = partial(_decode, full_name, place, files, options)
    return Source(full_name, (*files, *tokenizer_files), decode, variant)


def _files_at(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise DataError(f"no file or folder {path}: give the path of a text, or of a folder of texts")
    found = (entry for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink())
    files = tuple(
        sorted(file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts))
    )
    if not files:
        raise DataError(f"folder {path} holds no files: give the path of a text, or of a folder of texts")
    return files


def _stdlib_files() -> tuple[Path, ...]:
    """The library's modules in an order by the hash of their names, so that every split has its share of all kinds."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = [path for path in root.rglob("*.py") if not _NOT_STDLIB.intersection(path.relative_to(root).parts[:-1])]
    if not modules:
        raise DataError(f"this Python has no source of its standard library at {root}: give the path of a text")
    return tuple(sorted(modules, key=lambda path: sha256(path.relative_to(root).as_posix().encode()).digest()))


def _decode(name: str, place: str, files: tuple[Path, ...], options: TextOptions) -> DecodedArrays:
    most = STDLIB_BYTES if place == STDLIB else MOST_BYTES
    if options.mebibytes is not None:
        most = min(options.mebibytes * MEBIBYTE, MOST_BYTES)
    content, left_out = _content(files, most, cuts=place == STDLIB or options.mebibytes is not None)
    if not content.strip():
        raise DataError(f"{name}: there is no text in it: give a file that holds some")
    tokenizer = tokenizer_for(options.tokenizer, content, name)
    tokens = tokens_of(tokenizer, content, name)
    record = TokenRecord(
        context=options.context,
        tokenizer=tokenizer.kind,
        num_tokens=tokenizer.num_tokens,
        vocabulary=tokenizer.vocabulary,
        bytes_per_token=len(content) / max(len(tokens), 1),
        edition=f"Python {platform.python_version()}" if place == STDLIB else "",
    )
    notes = (f"{left_out} files that hold no text were left out",) if left_out else ()
    return tokens_as_arrays(tokens, None, record, name, notes)


def _content(files: tuple[Path, ...], most: int, *, cuts: bool) -> tuple[bytes, int]:
    """The files' content one after another, at most `most` bytes, and how many files were left out as no text.

    cuts: Whether what is more is left out; it is refused otherwise.
    """
    parts: list[bytes] = []
    length = left_out = 0
    for file in files:
        part = read_bytes(file, "text file", DataError, max_bytes=MOST_BYTES)
        if b"\0" in part and len(files) > 1:
            left_out += 1
            continue
        parts.append(part if part.endswith(b"\n") or len(files) == 1 else part + b"\n")
        length += len(parts[-1])
        if length > most and not cuts:
            raise DataError(f"{file.parent}: more than {most // MEBIBYTE} MiB of text: give less of it")
        if length >= most:
            break
    content = b"".join(parts)
    # Cut inside a character, or written in another encoding: what is no UTF-8 is left out with the rest.
    return content[:most].decode("utf-8", errors="ignore").encode() if cuts else content, left_out


def given_tokens(train: Array, test: Array | None, context: int, origin: str) -> DecodedArrays:
    """Tokens that a user gives as numbers: (number,) whole numbers from 0. Raises `DataError` for any others."""
    for name, tokens in (("x_train", train), ("x_test", test)):
        if tokens is not None and (tokens.ndim != 1 or tokens.dtype.kind not in "iu" or not tokens.size):
            raise DataError(f"{origin}: {name} is {tokens.dtype} {tokens.shape}: give (number,) whole numbers from 0")
    given = [tokens for tokens in (train, test) if tokens is not None]
    smallest, largest = min(int(tokens.min()) for tokens in given), max(int(tokens.max()) for tokens in given)
    if smallest < 0 or largest >= MOST_TOKENS:
        raise DataError(f"{origin}: tokens from {smallest} to {largest}: number them from 0, without large gaps")
    record = TokenRecord(context=context, tokenizer=NUMBERS, num_tokens=largest + 1)
    return tokens_as_arrays(train, test, record, origin)


def tokens_as_arrays(
    train: Array, test: Array | None, record: TokenRecord, origin: str, notes: tuple[str, ...] = ()
) -> DecodedArrays:
    """Rows of tokens as they are stored; without a test split, the end of `train` becomes it.

    Raises `DataError` (naming `origin`) where a split would hold no window.
    """
    if test is None:
        train, test = split_end(train, TEST_FRACTION, record.context, "test", origin)
    if len(test) <= record.context:
        raise DataError(
            f"{origin}: {len(test)} test tokens are too few for a window of {record.context}: give a longer text, or a "
            f"context of at most {len(test) - 1}"
        )
    split_windows(train, record.context, validation_fraction=None, train_size=None, origin=origin)
    dtype = np.min_scalar_type(record.num_tokens - 1)
    chance = f"chance level {unigram_entropy(train):.3f} nats per token"
    return DecodedArrays(
        task=TEXT,
        x_train=np.ascontiguousarray(train, dtype=dtype),
        x_test=np.ascontiguousarray(test, dtype=dtype),
        augmentation="window_shift",
        layout="tokens",
        tokens=record,
        notes=(*notes, chance),
    )
