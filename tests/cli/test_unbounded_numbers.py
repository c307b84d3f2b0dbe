"""A number that no machine has, on the command line or in Python, is one line before anything is started."""

import numpy as np
import pytest

from autogrow.errors import AutogrowError
from autogrow.models.building import ModelSpec, build_model
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.settings import parse_duration

NINES = "9" * 5000
HUGE = "9" * 30
SEARCH = (
    *("--trials", "--epochs", "--batch-size", "--train-size", "--max-concurrent", "--cpus-per-trial", "--seed"),
    *("--max-consecutive-failures", "--gpus-per-trial", "--max-params", "--memory-per-trial", "--max-memory"),
    *("--time-budget", "--compute-budget", "--learning-rate"),
)
INSPECT = {
    "--outputs": (HUGE, "10000000"),
    "--tokens": (HUGE, "2147483648"),
    "--input-shape": ("3,100000,100000", "more than 134217728 numbers or 8 dimensions"),
    "--model-option": ("hidden=[900000, 900000]", "would have 812,779"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", [HUGE, NINES, f"-{HUGE}", "1e999", "nan"], ids=["huge", "endless", "negative", "e", "nan"]
)
@pytest.mark.parametrize("flag", SEARCH)
def test_of_a_search(flag, value, workplace, autogrow):
    code, out, err = autogrow("search", "--dry-run", f"{flag}={value}")
    assert (code, out) == (2, ""), err
    (err,) = [line for line in err.splitlines() if not line.endswith(" ...")]  # the phases of a search are said before
    assert err.startswith("autogrow: error: ")
    assert len(err) < 1300
    assert flag.strip("-").split("-")[0] in err.replace("_", "-") or "duration" in err or "GPU" in err
    assert not (workplace / "results").exists()


@pytest.mark.parametrize("flag", INSPECT)
def test_of_a_network(flag, autogrow):
    value, message = INSPECT[flag]
    code, _, err = autogrow("inspect", "mlp", flag, value)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "flag", "message"),
    [
        ("train", "--threads", f"--threads {HUGE} is above 4096"),
        ("train", "--epochs", f"epochs is {HUGE}"),
        ("train", "--seed", f"seed {HUGE} is not between 0 and 4294967295"),
        ("train", "--train-size", f"train_size {HUGE} is not between"),
        ("compare", "--seeds", f"seeds is {HUGE}, not between 1 and 1000"),
        ("compare", "--jobs", "is not in the range 1<=x<=1024"),
    ],
)
def test_of_a_training(command, flag, message, workplace, autogrow):
    GrowthPolicy().save(workplace / "policy.yaml")
    code, _, err = autogrow(command, "policy.yaml", "--dataset", "digits", flag, HUGE)
    assert code == 2
    assert message in err
    assert sorted(path.name for path in workplace.iterdir() if path.name != "cache") == ["policy.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"hidden": (10**7,)}, {"hidden": (10**6,) * 3}, {"hidden": (4,) * 2000}, {"hidden": (10**30,)}, {"hidden": (-1,)}],
)
def test_a_built_in_network_is_measured_before_it_is_made(options):
    with pytest.raises(AutogrowError) as caught:
        build_model(ModelSpec("mlp", options), (4,), 2, 0)
    assert len(str(caught.value)) < 1300


def test_a_networks_bound_is_no_lower_than_what_people_build():
    model = build_model(ModelSpec("mlp", {"hidden": (5000, 5000)}), (3, 32, 32), 1000, 0)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(45.4e6, rel=0.01)
    assert np.isclose(parse_duration("87600h"), 87600 * 3600)
