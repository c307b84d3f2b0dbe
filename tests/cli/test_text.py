"""Text on the command line: from a file to a network that goes on with it, and what is refused in one line."""

import json

import pytest

pytestmark = pytest.mark.slow

LINES = "".join(f"def function_{number}(argument):\n    return argument + {number}\n" for number in range(60))
SMALL = ("--context", "16", "--model-option", "layers=1", "--model-option", "width=16", "--epochs", "1")


@pytest.fixture
def book(workplace):
    (workplace / "book.txt").write_text(LINES)
    return "book.txt"


def test_a_text_is_trained_on_evaluated_and_gone_on_with(autogrow, book, policy_file, workplace):
    code, out, err = autogrow("train", policy_file, "--dataset", book, *SMALL, "--out", "model", "--json")
    assert code == 0, err
    trained = json.loads(out)
    assert trained["test_bits_per_byte"] == pytest.approx(trained["test_loss"] / 0.6931, rel=1e-3)
    assert json.loads((workplace / "model" / "config.json").read_text())["tokens"]["tokenizer"] == "bytes"
    code, out, err = autogrow("evaluate", "model")
    assert code == 0 and "nats per token" in out and "bits per byte" in out, err
    code, out, err = autogrow("generate", "model", "--prompt", "def ", "--tokens", "30", "--seed", "3")
    assert code == 0 and out.startswith("def "), err
    assert autogrow("generate", "model", "--prompt", "def ", "--tokens", "30", "--seed", "3")[1] == out


def test_inspecting_a_transformer_needs_no_data(autogrow):
    code, out, _ = autogrow("inspect", "gpt", "--model-option", "layers=2", "--model-option", "width=16")
    assert code == 0 and "input 128" in out and "blocks.0.up" in out and "2 blocks" in out


def test_a_search_of_text_goes_by_the_loss(autogrow, book):
    code, out, err = autogrow("search", "--dataset", book, *SMALL, "--dry-run", "--json", "--max-concurrent", "1")
    assert code == 0, err
    assert "loss" in out and "gpt" in out


BAD = {
    "empty": (b"", [], "there is no text in it: give a file that holds some"),
    "shorter than two windows": (b"abc" * 10, [], "30 tokens are too few for windows of 128"),
    "a context longer than a split": (b"abc" * 300, ["--context", "512"], "900 tokens are too few for windows of 512"),
    "no context": (LINES.encode(), ["--context", "0"], "context 0 is not between 2 and 65536"),
    "no UTF-8": (b"\xff\xff" * 900, ["--tokenizer", "chars"], "is not UTF-8 text"),
    "no tokenizer": (LINES.encode(), ["--tokenizer", "char"], "tokenizer '"),
    "another task": (LINES.encode(), ["--task", "regression"], "has the task text, not regression"),
}


@pytest.mark.parametrize(("content", "arguments", "message"), BAD.values(), ids=BAD)
def test_bad_text(refused, workplace, policy_file, content, arguments, message):
    (workplace / "book.txt").write_bytes(content)
    assert message in refused("train", policy_file, "--dataset", "book.txt", *arguments)


@pytest.mark.parametrize("model", ["resnet", "mlp"])
def test_models_of_anything_else_read_no_text(autogrow, book, policy_file, workplace, model):
    code, out, err = autogrow("train", policy_file, "--dataset", book, "--model", model)
    assert (code, out, err.count("\n")) == (2, "", 1) and f"model '{model}' reads no text" in err
    assert not (workplace / "model").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--dataset", "digits", "--model", "gpt"],
            "model 'gpt' reads text, and data set 'digits' is none: use 'auto'",
        ),
        (["--dataset", "sine", "--model", "gpt"], "model 'gpt' reads text, and data set 'sine' is none"),
        (["--dataset", "digits", "--context", "64"], "dataset 'digits' is no text, so there is no context"),
        (["--context", "64"], "--context and --tokenizer say how a text is read: name the text with --dataset"),
        (["--dataset", "missing/book.txt"], "no file or folder"),
    ],
)
def test_text_where_there_is_none(refused, policy_file, arguments, message):
    assert message in refused("train", policy_file, *arguments)


def test_a_folder_without_a_network_goes_on_with_nothing(refused):
    assert "no network at" in refused("generate", "model", "--prompt", "a")
