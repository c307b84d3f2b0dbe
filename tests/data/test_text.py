"""Text as a data set: what it is read as, how it is split, and what is refused in one line."""

import numpy as np
import pytest

from autogrow.data import Dataset, open_dataset
from autogrow.data.dataset import open_array
from autogrow.data.opening import open_given
from autogrow.data.test_split import open_test_split
from autogrow.data.text_names import TextOptions, parse_text_name
from autogrow.data.tokenizers import tokenizer_of
from autogrow.errors import DataError, UsageError

LINES = "".join(f"line {number} of a small text, whose end is not like its beginning\n" for number in range(120))


@pytest.fixture
def book(tmp_path, user_cache):
    path = tmp_path / "book.txt"
    path.write_text(LINES)
    return path


def test_a_text_is_bytes_in_windows(book):
    dataset = open_dataset(f"{book}?context=32")
    assert (dataset.task, dataset.input_shape, dataset.num_outputs) == ("text", (32,), 256)
    inputs, targets = dataset.training_arrays()
    assert isinstance(inputs, np.memmap) and inputs.dtype == np.uint8 and len(inputs) == dataset.num_train
    assert bytes(inputs[:3].reshape(-1)).decode() == LINES[:96]
    assert bytes(targets[:3].reshape(-1)).decode() == LINES[1:97]


def test_splits_are_parts_of_the_text_with_a_gap_of_a_window(book):
    dataset = open_dataset(f"{book}?context=32")
    train, validation = dataset.split(seed=5)
    parts = [bytes(split.streams[0]).decode() for split in (train, validation, open_test_split(dataset))]
    places = [LINES.index(part) for part in parts]
    for part, place, following in zip(parts, places, places[1:], strict=False):
        assert place + len(part) + 32 == following
    assert places[0] == 0 and places[-1] + len(parts[-1]) == len(LINES)
    assert np.array_equal(dataset.split(seed=6)[1].inputs, validation.inputs)


def test_a_smaller_training_set_is_the_beginning(book):
    dataset = open_dataset(f"{book}?context=32")
    train, validation = dataset.split(seed=0, train_size=10)
    assert len(train) == 10 and len(validation) == len(dataset.split(seed=0)[1])
    with pytest.raises(UsageError, match="train_size 0 is not between 1 and"):
        dataset.split(seed=0, train_size=0)


def test_options_are_part_of_the_name_and_of_the_fingerprint(book, monkeypatch):
    monkeypatch.chdir(book.parent)
    names = ("book.txt", "book.txt?context=64", "book.txt?tokenizer=chars", "book.txt?context=64&tokenizer=chars")
    opened = [open_dataset(name) for name in names]
    assert [dataset.name for dataset in opened] == [str(book) + name.removeprefix("book.txt") for name in names]
    assert len({dataset.fingerprint for dataset in opened}) == 4
    again = open_dataset(opened[3].name, task="text", layout="tokens")
    assert again == opened[3]


def test_characters_are_numbered_in_their_order(tmp_path, user_cache):
    path = tmp_path / "umlaut.txt"
    path.write_text("äöü 中文 🙂\n" * 60)
    dataset = open_dataset(f"{path}?tokenizer=chars&context=16")
    tokenizer = tokenizer_of(dataset.tokens, "here")
    assert tokenizer.vocabulary == "\n äöü中文🙂" and dataset.num_outputs == 8
    assert tokenizer.decode(dataset.training_arrays()[0][0]) == ("äöü 中文 🙂\n" * 2)[:16]
    assert tokenizer.encode("ü🙂").tolist() == [4, 7]
    assert dataset.tokens.bytes_per_token == pytest.approx(19 / 9)
    with pytest.raises(DataError, match="'üx' holds 'x', which is none of the 8 characters of the vocabulary"):
        tokenizer.encode("üx")


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path, user_cache):
    folder = tmp_path / "books"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "second.txt").write_text("two " * 200)
    (folder / "a.txt").write_text("one " * 300)
    (folder / ".hidden").write_text("hidden " * 300)
    (folder / "picture.png").write_bytes(b"\0\1\2" * 100)
    dataset = open_dataset(f"{folder}?context=16")
    assert bytes(open_array(dataset.arrays_folder, "x_train")).startswith(b"one " * 300 + b"\n" + b"two ")
    assert b"hidden" not in bytes(open_array(dataset.arrays_folder, "x_train"))
    assert dataset.notes[0] == "1 files that hold no text were left out"
    (folder / "a.txt").write_text("one " * 301)
    assert open_dataset(f"{folder}?context=16").fingerprint != dataset.fingerprint


def test_tokens_are_given_as_numbers(tmp_path, user_cache):
    tokens = np.random.default_rng(0).integers(0, 300, 2000)
    dataset = open_given(tokens, tmp_path)
    assert (dataset.task, dataset.num_outputs, dataset.input_shape) == ("text", 300, (128,))
    assert np.array_equal(dataset.training_arrays()[0][0], tokens[:128])
    with_test = Dataset.from_tokens(tokens, tokens[:500], context=16, data_dir=tmp_path)
    assert len(open_array(with_test.arrays_folder, "x_train")) == 2000 and with_test.num_test == 31
    assert open_dataset(with_test.name, task="text", layout="tokens").fingerprint == with_test.fingerprint
    np.savez(tmp_path / "mine.npz", x_train=tokens, x_test=tokens[:500])
    assert open_dataset(f"{tmp_path / 'mine.npz'}?context=16").fingerprint == with_test.fingerprint


def test_the_notes_say_the_chance_level(tmp_path, user_cache):
    path = tmp_path / "two.txt"
    path.write_text("ab" * 1000)
    dataset = open_dataset(f"{path}?context=8")
    assert "chance level 0.693 nats per token" in dataset.describe()
    assert dataset.chance_level() == pytest.approx(np.log(2), abs=1e-3)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "", "there is no text in it"),
        (b" \n", "", "there is no text in it"),
        (b"short", "", "5 tokens are too few for windows of 128: their test split would have 0; give a longer text"),
        (b"x" * 600, "", "600 tokens are too few for windows of 128: .* would have 60.*, or a context of at most 59"),
        (b"x" * 600, "?context=one", "context 'one' is no whole number"),
        (b"x" * 600, "?context=1", "context 1 is not between 2 and 65536"),
        (b"x" * 600, "?mebibytes=some", "mebibytes 'some' is no whole number: give for example 2"),
        (b"x" * 600, "?mebibytes=0", "mebibytes 0 is not between 1 and 1024"),
        (b"x" * 600, "?context=8&mebibyte=1", "'mebibyte=1' is none of context=NUMBER, .* did you mean 'mebibytes'"),
        (b"x" * 600, "?context=8&tokenizer=missing.json", "tokenizer '.*missing.json' is no file: give bytes, chars"),
        (b"\xff\xfe" * 600, "?context=8&tokenizer=chars", "line 1 is not UTF-8 text"),
    ],
)
def test_bad_text_is_one_line(tmp_path, user_cache, content, name, message):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises((DataError, UsageError), match=message):
        open_dataset(f"{path}{name}")
    assert not list(user_cache.rglob("*"))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((4, 500), int), "x_train is int64 .4, 500.: give .number,. whole numbers"),
        (np.full(500, -1), "tokens from -1 to -1: number them from 0"),
        (np.zeros(9, int), "9 tokens are too few for windows of 16"),
    ],
)
def test_bad_tokens_are_one_line(tmp_path, user_cache, tokens, message):
    with pytest.raises(DataError, match=message):
        Dataset.from_tokens(tokens, context=16, data_dir=tmp_path / "given")
    assert not (tmp_path / "given").exists()


def test_text_is_nothing_else(book):
    with pytest.raises(DataError, match="is text, and has the task text, not regression: leave out --task"):
        open_dataset(str(book), task="regression")
    table = book.with_name("table.csv")
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"table.csv' is text, .* not regression: for a table of numbers give arrays"):
        open_dataset(str(table), task="regression")
    with pytest.raises(DataError, match="dataset 'digits' is no text, so there is no context: leave that out"):
        open_dataset("digits?context=64")
    with pytest.raises(DataError, match="no file or folder .*missing.txt"):
        open_dataset("missing.txt?context=64")


def test_a_tokenizer_file_needs_its_library(book, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(UsageError, match="needs the package tokenizers, which is not installed: pip install"):
        open_dataset(f"{book}?tokenizer={tmp_path / 'tokenizer.json'}")


def test_the_beginning_of_a_text_may_be_read_alone(tmp_path, user_cache):
    path = tmp_path / "long.txt"
    path.write_bytes(b"ab" * 2**19 + b"c" * 2**20)
    name = f"{path}?context=64&mebibytes=1"
    dataset = open_dataset(name)
    arrays = (open_array(dataset.arrays_folder, each) for each in ("x_train", "x_test"))
    assert sum(map(len, arrays)) == 2**20 - 64  # a gap of a window lies between them
    assert dataset.name == name
    assert open_dataset(f"{path}?context=64").fingerprint != dataset.fingerprint


def test_tokens_are_no_text_to_be_cut(tmp_path, user_cache):
    np.savez(tmp_path / "mine.npz", x_train=np.arange(2000) % 7)
    for option in ("mebibytes=1", "tokenizer=chars"):
        with pytest.raises(DataError, match=f"mine.npz holds tokens, not text that becomes some: leave out {option}"):
            open_dataset(f"{tmp_path / 'mine.npz'}?context=16&{option}")


def test_names_without_options_are_the_usual_ones():
    assert parse_text_name("a.txt") == ("a.txt", TextOptions())
    assert TextOptions().of("a.txt") == "a.txt" and TextOptions(context=64).of("a.txt") == "a.txt?context=64"
