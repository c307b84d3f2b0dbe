"""``autogrow reproduce``: what it prints and writes, and what it refuses."""

import json
import math
import os
import re
from dataclasses import replace

import pytest

from autogrow.cli.main import run
from autogrow.experiments.reproduction import REPRODUCTIONS
from autogrow.experiments.reproduction.ablation import Ablation
from autogrow.experiments.reproduction.racing.racing import WORKLOADS
from autogrow.experiments.reproduction.racing.seed_table import SeedTable
from autogrow.experiments.reproduction.stacking.contestants import CONTESTANTS, SHORTER
from autogrow.experiments.reproduction.thesis_experiment import ThesisExperiment

DATA = os.environ.get("AUTOGROW_DATA")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SINE = ("reproduce", "sine", "--quick", "--seeds", 1, "--threads", 1)


def test_help_names_everything(autogrow):
    _, out, _ = autogrow("reproduce", "--help")
    for name in REPRODUCTIONS:
        assert name in out


def test_it_prints_tables_and_where_they_are(autogrow, workplace):
    code, out, err = autogrow(*SINE)
    assert code == 0
    assert "Train loss of the last 10 measurements: one seed" in out
    assert len(re.findall(r"^sine, seed 0 \(1 of 1\)", err, re.MULTILINE)) == 8
    assert "written to results/reproduce/sine-quick: reproduce.json" in out
    assert (workplace / "results" / "reproduce" / "sine-quick" / "train-loss.svg").exists()
    _, _, err = autogrow(*SINE)
    assert err.count("was there already") == 8


@pytest.mark.parametrize("where", [(), ("--out", "mine")])
def test_a_study_says_where_its_files_are(autogrow, workplace, monkeypatch, where):
    """Its folder is given from the current one, and what it has written lies in folders of that."""
    sine = next(each for each in REPRODUCTIONS["trigger"].workloads if each.dataset == "sine")
    tiny = replace(REPRODUCTIONS["trigger"], name="tiny", workloads=(sine,))
    monkeypatch.setitem(REPRODUCTIONS._entries, "tiny", tiny)
    code, out, _ = autogrow("reproduce", "tiny", "--quick", "--threads", 1, *where)
    assert code == 0
    folder = "mine" if where else "results/studies/tiny-quick"
    assert f"written to {folder}: table.md, sine/study.json" in out
    assert (workplace / folder / "sine" / "study.json").exists()


def test_json_is_one_document(autogrow):
    code, out, err = autogrow(*SINE, "--quiet", "--json", "--out", "mine")
    content = json.loads(out, parse_constant=pytest.fail)
    assert (code, err, out.count("\n"), content["name"], content["out"]) == (0, "", 1, "sine", "mine")
    assert len(content["files"]["reproduce.json"]["runs"]) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sinus"], "did you mean 'sine'?"),
        (["sine", "--seeds", 0], "seeds is 0, not between 1 and 1000"),
        (["cifar100"], "cifar100 takes days without a GPU: use --quick, or insist with --device cpu"),
        (["mnist", "--quick"], "dataset 'mnist' is not in"),
        (["trigger", "--quick"], "dataset 'mnist' is not in"),
        (["all", "--quick"], "dataset 'mnist' is not in"),
        (["sine", "--quick", "--jobs", 0], "0 is not in the range 1<=x<=1024"),
        (["sine", "--quick", "--device", "cuda"], "PyTorch sees no GPU here"),
        (["sine", "--quick", "--out", "file"], "/file' is a file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(refused, workplace, arguments, message):
    (workplace / "file").write_text("")
    assert message in refused("reproduce", *arguments)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """The folder of everything that can be reproduced, run quickly on real data."""
    out = tmp_path_factory.mktemp("all")
    arguments = ["all", "--quick", "--threads", "1", "--data-dir", DATA, "--out", str(out)]
    assert run(["reproduce", *arguments]) == 0
    return out


@pytest.mark.skipif(DATA is None, reason="needs the official files in AUTOGROW_DATA")
class TestAll:
    """The command that runs everything, quickly, on real data."""

    def result(self, everything, place, name):
        return json.loads((everything / place / f"{name}-quick" / "reproduce.json").read_text())

    def test_everything_has_its_table(self, everything):
        for name, each in REPRODUCTIONS.items():
            table = (everything / each.place / f"{name}-quick" / "table.md").read_text()
            assert table.count("\n| ") > 4

    @pytest.mark.parametrize(
        "name", [name for name, each in REPRODUCTIONS.items() if isinstance(each, ThesisExperiment)]
    )
    def test_networks_of_the_thesis_experiments_grow(self, everything, name):
        content = self.result(everything, "reproduce", name)
        assert "failed" not in content
        grown = next(run for run in content["runs"] if run["condition"] in ("grown", "best"))
        assert grown["num_events"] > 0
        assert math.isfinite(grown["test_loss"])
        folder = everything / "reproduce" / f"{name}-quick"
        assert {path.stem for path in folder.glob("*.svg")} == {"figure", *REPRODUCTIONS[name].pictures}

    def test_cost_is_that_of_a_run_that_reaches_full_size(self, everything):
        (only,) = self.result(everything, "reproduce", "cost")["rounds"]
        assert only["on_schedule"]["num_events"] == 9
        assert only["on_schedule"]["width_share"] == 1.0
        assert 0 < only["on_stall"]["flops_ratio"] < only["on_schedule"]["flops_ratio"] < 1

    def test_stacking_grows_to_full_depth_at_equal_compute(self, everything):
        folder = everything / "reproduce" / "stacking-quick" / "compared"
        content = json.loads((folder / "reproduce.json").read_text())
        assert "failed" not in content
        events = {each["condition"]: each["num_events"] for each in content["runs"]}
        assert events == {each.name: len(getattr(each.policy.depth.trigger, "shares", ())) for each in CONTESTANTS}
        for each in content["runs"]:
            wanted = SHORTER if each["condition"] == "stacked_shorter" else 1.0
            assert each["compute"] == pytest.approx(wanted, abs=0.06)
        assert (folder / "validation-loss.svg").exists()

    def test_racing_has_a_table_of_every_workload(self, everything):
        folder = everything / "studies" / "racing-quick"
        for workload in WORKLOADS:
            table = SeedTable.read(folder / f"{workload.name}.json")
            assert table.policies[:2] == ("default", "full")
            assert math.isfinite(table.ends["test_loss"].sum())
        assert "Chosen without the table that judges" in (folder / "table.md").read_text()

    def test_studies_have_every_alternative_on_every_data_set(self, everything):
        for name, study in REPRODUCTIONS.items():
            if not isinstance(study, Ablation):
                continue
            for dataset in study.needed_data("cpu"):
                path = everything / "studies" / f"{name}-quick" / dataset / "study.json"
                runs = json.loads(path.read_text())["runs"]
                alternatives = (alternative.name for alternative in study.alternatives)
                assert [run["condition"] for run in runs] == ["static", *alternatives, "placebo"]
                assert all(run["test_score"] is None for run in runs)
