"""``autogrow confirm`` as a command: what it prints, writes and refuses; a real search is confirmed among the slow."""

import json
import re

import pytest

from autogrow.api import Study
from autogrow.policy.growth_policy import GrowthPolicy

from ..study.finished_run import make_finished_run
from .conftest import contents

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def small_run(workplace, data_dir):
    small = {"model": "mlp", "model_options": {"hidden": (16,)}}
    return make_finished_run(workplace / "results" / "small", data_dir, train_size=60, **small)


def test_it_prints_a_line_per_run_the_table_and_what_it_says(autogrow, small_run):
    code, out, err = autogrow("confirm", "small", "--top", 1, "--seeds", 2, "--threads", 1)
    assert code == 0
    titles = ("full", "full as trial 3", "default", "trial 3")
    told = re.findall(r"seed (\d) \((\d) of 2\)  (\w+(?: \w+)*)", err)
    assert told == [(str(seed), str(seed), title) for seed in (1, 2) for title in titles]
    assert err.startswith("8 training runs\n")
    assert "mean ± standard deviation of 2 seeds" in out
    assert max(len(line) for line in out.splitlines()[:8]) <= 80
    assert re.search(r"[Tt]he default policy.* learned nothing over 2 other seeds", " ".join(out.split()))
    place, shown = small_run.path / "confirmation", "results/small/confirmation"
    assert f"best policy  {shown}/policy.yaml" in out
    assert f"written to {shown}: confirmation.json, table.md, policy.yaml, figure.svg" in out
    assert GrowthPolicy.load(place / "policy.yaml").found_by["confirmed"]["seeds"] == [1, 2]


def test_json_is_one_document(autogrow, small_run, workplace):
    arguments = ("confirm", "small", "--top", 1, "--seeds", 1, "--threads", 1, "--json", "--out", "mine")
    code, out, err = autogrow(*arguments, "--quiet")
    content = json.loads(out)
    assert (code, err, out.count("\n"), content["out"]) == (0, "", 1, "mine")
    assert content["best"].partition("@")[0] in ("default", "trial_3")
    assert len(content["runs"]) == 4
    again = autogrow(*arguments)
    assert (json.loads(again[1]), again[2].count("was there already")) == (content, 4)
    assert not (small_run.path / "confirmation").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "0"], "top is 0, not between 1 and 20"),
        (["--seeds", "0"], "seeds is 0, not between 1"),
        (["--prefer", "knee"], "unknown preference 'knee': known are accuracy, gap, loss, score"),
        (["--threads", "0"], "--threads 0"),
        (["--out", "results/small/config.yaml"], "is a file"),
        (["--out", "results/small"], "is not empty"),
    ],
)
def test_a_bad_value(arguments, message, refused, small_run):
    assert message in refused("confirm", "small", *arguments)


def test_a_run_that_is_not_there(refused):
    assert "no run at" in refused("confirm", "absent")


def test_of_a_run_at_a_url_the_study_and_the_best_policy_are_published(autogrow, small_run, workplace):
    before = contents(small_run.path)
    url = f"file://{small_run.path}"
    code, out, _ = autogrow("confirm", url, "--top", 1, "--seeds", 1, "--threads", 1, "--quiet")
    assert code == 0
    assert "written to results/confirmation/small: confirmation.json" in out
    assert (workplace / "results" / "confirmation" / "small" / "policy.yaml").exists()
    _, _, err = autogrow("confirm", url, "--top", 1, "--seeds", 1, "--threads", 1)
    assert err.count("was there already") == 4
    after = contents(small_run.path)
    changed = {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)}
    assert {path.name for path in changed} == {"study.db", "policy.yaml"}
    assert "3 runs count in the study of small, as other seeds of its policies" in out


def test_in_python(small_run):
    confirmation = Study.load(small_run.path).confirm(top=1, seeds=1, device="cpu")
    assert confirmation.policy == GrowthPolicy.load(small_run.path / "confirmation" / "policy.yaml")
    assert confirmation.confirmed.results.seeds == [1]


def test_a_real_search_confirmed_and_retrained(search_here, autogrow, workplace):
    assert search_here("--trials", 4, "--epochs", 5, "--quiet")[0] == 0
    code, out, err = autogrow("confirm", "run", "--top", 2, "--seeds", 2, "--jobs", 2, "--quiet")
    assert (code, err) == (0, "")
    policy = workplace / "results" / "run" / "confirmation" / "policy.yaml"
    code, *_ = autogrow("train", policy, "--dataset", "digits", "--out", "network", "--quiet", "--threads", 1)
    assert code == 0
    for command in (["status", "run"], ["report", "run"]):
        assert autogrow(*command)[0] == 0
