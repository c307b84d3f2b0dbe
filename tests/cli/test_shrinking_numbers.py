"""Numbers that ``autogrow shrink`` cannot take: one line, exit code 2, nothing written."""

import pytest

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings

pytestmark = pytest.mark.slow
HUGE = "9" * 30
NUMBERS = {
    "--to-flops": ("0", "-1", "nan", "inf", "1e999", "x"),
    "--to-parameters": ("0", "-1", "nan", "inf", "1e999", "x"),
    "--to-bytes": ("0", "-1", "nan", "inf", "1e999", "x", f"{HUGE}G"),
    "--to-latency-ms": ("0", "-1", "nan", "inf", "1e999", "x"),
    "--to-nonzero": ("0", "-1", "nan", "x"),
    "--keep": ("-1", "nan", "inf", "1e999", "x"),
    "--family": ("0", "1", "nan", "inf", HUGE, "0.5,", "0.25,0.5", "0.5;0.2", "0.5,0.5", "0.50000001,0.5"),
    "--seed": ("-1", HUGE, "x", "0.5"),
    "--cycles": ("0", "-1", HUGE, "x"),
    "--epochs": ("-1", HUGE, "x"),
    "--learning-rate": ("0", "-1", "nan", "inf", "1e5"),
    "--distillation": ("-1", "nan", "inf", "2"),
    "--threads": ("0", "-1", HUGE),
}
SIZES = ("--to-flops", "--to-parameters", "--to-bytes", "--to-latency-ms", "--to-nonzero", "--keep", "--family")


@pytest.fixture(scope="module")
def network(tmp_path_factory, data_dir):
    from autogrow.api import train

    out = tmp_path_factory.mktemp("trained") / "model"
    policy = GrowthPolicy(initial_fraction=0.1, training=TrainingSettings(epochs=1))
    train("mlp", "digits", policy, train_size=60, hold_out_validation=True, out=out, data_dir=data_dir)
    return out


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, values in NUMBERS.items() for value in values])
def test_of_shrinking(flag, value, network, workplace, autogrow):
    size = () if flag in SIZES else ("--to-flops", "0.5")
    before = {path: path.stat().st_mtime_ns for path in network.rglob("*")}
    code, out, err = autogrow("shrink", network, *size, f"{flag}={value}", "--out", "small")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("autogrow: error: ") and len(err) < 1300
    assert (flag if flag in SIZES else flag.strip("-").replace("-", "_")) in (
        err if flag in SIZES else err.replace("-", "_")
    )
    assert not (workplace / "small").exists()
    assert {path: path.stat().st_mtime_ns for path in network.rglob("*")} == before
