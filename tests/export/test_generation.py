"""A text continued by a saved network: what is drawn, what the folder carries, and what is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import autogrow
from autogrow.cli.main import run
from autogrow.data import Dataset
from autogrow.data.tokenizers import TokenRecord
from autogrow.errors import DataError, NetworkError, UsageError
from autogrow.export.generation import draw_tokens
from autogrow.export.text_prediction import _windows
from autogrow.models.building import ModelSpec
from autogrow.policy.presets import static_policy

pytestmark = pytest.mark.slow

LINES = "".join(f"{number}: the quick brown fox jumps over the lazy dog ü\n" for number in range(80))
OPTIONS = {"layers": 1, "width": 16}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(LINES)
    return path


def trained(book, folder, tokenizer):
    data = Dataset.from_text(book, context=16, tokenizer=tokenizer, data_dir=folder)
    out = folder / "model"
    found = autogrow.train(ModelSpec("gpt", OPTIONS), data, static_policy(), epochs=4, out=out)
    return out, found


@pytest.fixture(scope="module")
def of_bytes(book, tmp_path_factory):
    return trained(book, tmp_path_factory.mktemp("bytes"), "bytes")


@pytest.fixture(scope="module")
def of_characters(book, tmp_path_factory):
    return trained(book, tmp_path_factory.mktemp("chars"), "chars")[0]


def test_the_same_seed_gives_the_same_text(of_bytes):
    folder, _ = of_bytes
    texts = [autogrow.generate(folder, "the qu", num_tokens=40, seed=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("the qu") and len(texts[0].encode(errors="replace")) >= 40


def test_without_temperature_or_with_one_token_to_draw_among_the_likeliest_is_taken(of_bytes):
    folder, found = of_bytes
    text = autogrow.generate(folder, "the qu", num_tokens=3, temperature=0)
    assert text == autogrow.generate(folder, "the qu", num_tokens=3, top_k=1, seed=5)
    with torch.no_grad():
        first = found.module(torch.tensor([list(b"the qu")]))[0, -1].argmax()
    assert text.encode()[6] == first


def test_of_a_long_prompt_the_end_is_read():
    seen = []

    class Counter(torch.nn.Module):
        def forward(self, window):
            seen.append(window[0].tolist())
            return torch.nn.functional.one_hot((window + 1) % 5, 5).float()

    record = TokenRecord(context=3, tokenizer="numbers", num_tokens=5)
    assert list(draw_tokens(Counter(), [0, 1, 2, 3], record, 3, 0.0, None, 0)) == [4, 0, 1]
    assert seen == [[1, 2, 3], [2, 3, 4], [3, 4, 0]]


def test_draws_have_the_networks_shares():
    class Fixed(torch.nn.Module):
        def forward(self, window):
            return torch.tensor([0.6, 0.3, 0.1]).log().expand(1, window.shape[1], 3)

    record = TokenRecord(context=4, tokenizer="numbers", num_tokens=3)
    for temperature, top_k, expected in ((1.0, None, [0.6, 0.3, 0.1]), (1.0, 2, [2 / 3, 1 / 3, 0]),
                                         (0.5, None, [36 / 46, 9 / 46, 1 / 46])):  # fmt: skip
        drawn = list(draw_tokens(Fixed(), [0], record, 3000, temperature, top_k, 0))
        assert np.bincount(drawn, minlength=3) / 3000 == pytest.approx(expected, abs=0.03)


def test_the_folder_carries_the_vocabulary(of_characters):
    text = autogrow.generate(of_characters, "fox ü", num_tokens=20)
    assert set(text) <= set(LINES)
    with pytest.raises(DataError, match="'fox ö' holds 'ö', which is none of the .* characters of the vocabulary"):
        autogrow.generate(of_characters, "fox ö")


def test_evaluation_is_in_the_same_tokens(of_bytes, of_characters, book):
    folder, found = of_bytes
    assert autogrow.evaluate(folder, data_dir=folder).loss == pytest.approx(found.test.loss, rel=1e-5)
    metrics = found.metrics()
    assert metrics["test_bits_per_byte"] == pytest.approx(metrics["test_loss"] / np.log(2))
    with pytest.raises(NetworkError, match="outputs"):
        autogrow.evaluate(folder, f"{book}?context=16&tokenizer=chars")
    other = book.with_name("other.txt")
    other.write_text(LINES.replace("ü", "ö"))
    with pytest.raises(NetworkError, match="reads tokens of the tokenizer chars, .* has another vocabulary"):
        autogrow.evaluate(of_characters, f"{other}?context=16&tokenizer=chars")


def test_predictions_are_the_next_token_at_every_position(of_bytes):
    folder, found = of_bytes
    window = np.array([list(b"the qui")])
    answers = autogrow.predict(folder, window)
    with torch.no_grad():
        assert np.array_equal(answers, found.module(torch.from_numpy(window)).argmax(-1))
    assert autogrow.predict(folder, window, probabilities=True).shape == (1, 7, 256)
    with pytest.raises(DataError, match="inputs hold token 300, the network reads 0 to 255"):
        autogrow.predict(folder, [[300, 1]])
    with pytest.raises(DataError, match=r"inputs have shape \(1, 17\)"):
        autogrow.predict(folder, np.zeros((1, 17), int))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tokens": 0}, "0 new tokens are not between 1 and"),
        ({"temperature": -1.0}, "temperature -1.0 is not between 0 and 100"),
        ({"temperature": float("nan")}, "temperature nan is not between"),
        ({"top_k": 0}, "top-k 0 is below 1"),
        ({"prompt": ""}, "the prompt is empty"),
    ],
)
def test_wrong_numbers_are_one_line(of_bytes, options, message):
    with pytest.raises((UsageError, DataError), match=message):
        autogrow.generate(of_bytes[0], **{"prompt": "a", **options})


def test_the_command_prints_the_text(of_bytes, of_characters, capsys):
    folder, _ = of_bytes
    assert run(["generate", str(folder), "--prompt", "the qu", "--tokens", "20", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["text"] == autogrow.generate(folder, "the qu", num_tokens=20)
    assert run(["generate", str(folder), "--prompt", "the qu", "--tokens", "20"]) == 0
    assert capsys.readouterr().out.startswith("the qu")
    assert run(["generate", str(of_characters), "--prompt", "fox ö"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_network_of_anything_else_goes_on_with_nothing(tmp_path):
    autogrow.train(ModelSpec("mlp", {"hidden": (4,)}), "sine", static_policy(), epochs=1, out=tmp_path / "m")
    with pytest.raises(NetworkError, match="was trained on no text"):
        autogrow.generate(tmp_path / "m", "a")


class TestPredictingText:
    def test_every_token_has_the_log_probability_that_the_network_gives_it(self, of_bytes):
        folder, found = of_bytes
        said = autogrow.predict_text(folder, "the quick")
        with torch.no_grad():
            wanted = found.module(torch.tensor([list(b"the quick")]))[0].double().log_softmax(-1).numpy()
        assert said.log_probabilities == pytest.approx([wanted[place, b"the quick"[place + 1]] for place in range(8)])
        assert said.next_log_probabilities == pytest.approx(wanted[-1])
        assert said.likeliest.tolist() == wanted[:-1].argmax(-1).tolist()
        assert said.loss == pytest.approx(-said.log_probabilities.mean())
        assert said.bits_per_byte == pytest.approx(said.loss / np.log(2))

    def test_beyond_the_context_every_token_has_half_of_one_before_it(self, of_bytes):
        folder, found = of_bytes
        text = LINES[:50]
        said = autogrow.predict_text(folder, text)
        assert len(said.log_probabilities) == len(text.encode()) - 1 and np.isfinite(said.log_probabilities).all()
        window = torch.tensor([list(text.encode()[8:24])])  # the second of 16 tokens: its later half says something new
        with torch.no_grad():
            wanted = found.module(window)[0].double().log_softmax(-1).numpy()
        expected = [wanted[place, text.encode()[8 + place + 1]] for place in range(8, 16)]
        assert said.log_probabilities[16:24] == pytest.approx(expected)

    @pytest.mark.parametrize(("number", "length"), [(1, 1), (5, 1), (16, 16), (17, 16), (23, 16), (24, 16), (100, 7)])
    def test_windows_say_every_place_once_and_stay_within_the_text(self, number, length):
        windows, said = list(_windows(number, length)), []
        for start, first in windows:
            assert 0 <= start <= start + length <= number and start <= first
            assert start == 0 or first - start >= length // 2
            said += range(first, start + length)
        assert said == list(range(number))

    def test_a_file_is_read_as_the_data_were(self, of_characters, book):
        said = autogrow.predict_text(of_characters, book)
        assert len(said.tokens) == len(LINES) and said.num_bytes == len(LINES.encode())
        assert said.bits_per_byte < said.loss / np.log(2) and 0 < said.accuracy < 1
        assert said.piece(said.tokens[0]) == LINES[0]

    def test_of_one_token_there_is_only_what_comes_next(self, of_bytes):
        said = autogrow.predict_text(of_bytes[0], "t")
        assert (said.loss, said.bits_per_byte, said.accuracy) == (None, None, None)
        assert np.exp(said.next_log_probabilities).sum() == pytest.approx(1)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "the text is empty: give one of at least one token"),
            ("fox ö", "'fox ö' holds 'ö', which is none of"),
            (Path("missing.txt"), "missing.txt: cannot read the text file: No such file"),
        ],
    )
    def test_bad_text_is_one_line(self, of_characters, text, message):
        with pytest.raises(DataError, match=message):
            autogrow.predict_text(of_characters, text)

    def test_texts_are_not_taken_for_numbers(self, of_bytes):
        with pytest.raises(DataError, match="inputs hold text: autogrow.predict_text reads it"):
            autogrow.predict(of_bytes[0], ["the"])

    def test_on_the_command_line(self, of_bytes, book, capsys):
        folder = str(of_bytes[0])
        assert run(["predict", folder, str(book), "--text", "the quick"]) == 0
        of_file, of_text = capsys.readouterr().out.splitlines()
        assert "nats per token" in of_file and "bits per byte" in of_file
        assert of_text.startswith("'the quick': 9 tokens, loss ") and "; next " in of_text
        assert run(["predict", folder, "--text", "the", "--tokens", "--json"]) == 0
        (said,) = json.loads(capsys.readouterr().out)
        assert said["pieces"] == ["t", "h", "e"] and len(said["log_probabilities"]) == 2 and len(said["next"]) == 5
        assert run(["predict", folder, "--text", "the", "--tokens"]) == 0
        assert capsys.readouterr().out.count("\n  '") == 2
        assert run(["predict", folder]) == 2
        assert "there is nothing to read: give files of text, or --text" in capsys.readouterr().err
