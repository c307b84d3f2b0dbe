"""``autogrow reproduce``: what it prints and writes, and what it refuses."""

import json
import re

import pytest

from autogrow.experiments.reproduction import REPRODUCTIONS

pytestmark = pytest.mark.usefixtures("one_thread")

SINE = ("reproduce", "sine", "--quick", "--seeds", 1, "--threads", 1)


def test_help_names_everything(autogrow):
    _, out, _ = autogrow("reproduce", "--help")
    for name in REPRODUCTIONS:
        assert name in out


def test_it_prints_tables_and_where_they_are(autogrow, workplace):
    code, out, err = autogrow(*SINE)
    assert code == 0
    assert "Train loss of the last 10 samples: one seed" in out
    assert len(re.findall(r"^sine, seed 0 \(1 of 1\)", err, re.MULTILINE)) == 6
    assert "written to results/reproduce/sine-quick: reproduce.json" in out
    assert (workplace / "results" / "reproduce" / "sine-quick" / "train-loss.svg").exists()
    _, _, err = autogrow(*SINE)
    assert err.count("was there already") == 6


def test_json_is_one_document(autogrow):
    code, out, err = autogrow(*SINE, "--quiet", "--json", "--out", "mine")
    content = json.loads(out, parse_constant=pytest.fail)
    assert (code, err, out.count("\n"), content["name"], content["out"]) == (0, "", 1, "sine", "mine")
    assert len(content["files"]["reproduce.json"]["runs"]) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sinus"], "did you mean 'sine'?"),
        (["sine", "--seeds", 0], "seeds is 0, not between 1 and 1000"),
        (["cifar100"], "cifar100 takes days without a GPU: use --quick, or insist with --device cpu"),
        (["mnist", "--quick"], "dataset 'mnist' is not in"),
        (["trigger", "--quick"], "dataset 'mnist' is not in"),
        (["all", "--quick"], "dataset 'mnist' is not in"),
        (["sine", "--quick", "--jobs", 0], "0 is not in the range x>=1"),
        (["sine", "--quick", "--device", "cuda"], "PyTorch sees no GPU here"),
        (["sine", "--quick", "--out", "file"], "'file' is a file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(refused, workplace, arguments, message):
    (workplace / "file").write_text("")
    assert message in refused("reproduce", *arguments)
