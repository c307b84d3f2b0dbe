"""A saved network whose smallest weights become zeros: a plain one with zeros, of which the report claims no speed."""

import json
from contextlib import suppress

import pytest
import torch

from autogrow.api import shrink
from autogrow.cli.main import run
from autogrow.errors import UsageError
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import load_network
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from tests.export.test_shrinking import Killed, killed_after, plain

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch):
    monkeypatch.setattr("autogrow.network.measuring.footprint.SECONDS", 0.01)


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("trained") / "model"
    train_policy(
        ModelSpec("mlp", {"hidden": [24, 24]}), digits, GrowthPolicy(initial_fraction=1.0),
        TrainingSettings(epochs=4, sample_every=10), hold_out_validation=True, out=folder,
    )  # fmt: skip
    return folder


def zeroed(model, out, data_dir, **options):
    shrinking = Shrinking(remove="weights", cycles=2, recovery=Recovery(epochs=2))
    return shrink(model, "digits", out, **{"to_nonzero": 0.2, **options}, shrinking=shrinking, data_dir=data_dir)


def test_the_result_is_a_plain_network_with_zeros(model, tmp_path, data_dir):
    result = zeroed(model, tmp_path / "sparse", data_dir)
    before, _, after = (step.footprint for step in result.steps)
    assert after.nonzero <= 0.2 * before.nonzero
    assert (after.parameters, after.bytes, after.flops) == (before.parameters, before.bytes, before.flops)
    saved = load_network(tmp_path / "sparse").module
    zeros = sum(int((parameter == 0).sum()) for parameter in saved.parameters() if parameter.dim() > 1)
    assert zeros == after.parameters - after.nonzero
    assert not any("mask" in name for name in saved.state_dict())
    again = zeroed(tmp_path / "sparse", tmp_path / "sparser", data_dir, to_nonzero=0.5)
    zero = load_network(tmp_path / "sparser").module.state_dict()
    assert all((zero[name][tensor == 0] == 0).all() for name, tensor in saved.state_dict().items() if tensor.dim() > 1)
    assert again.steps[-1].footprint.nonzero <= 0.5 * after.nonzero


def test_the_report_claims_nothing_but_zeros(model, tmp_path, data_dir, capsys):
    command = ["shrink", str(model), "--dataset", "digits", "--data-dir", str(data_dir), "--remove", "weights",
               "--epochs", "1", "--out", str(tmp_path / "sparse")]  # fmt: skip
    assert run([*command, "--to-nonzero", "0.3"]) == 0
    told = capsys.readouterr()
    assert "weights set to zero" in told.err and "as many bytes and FLOPs as before" in told.err
    assert "parameters that are not zero (0." in told.out and "as many bytes and FLOPs as before" in told.out
    assert "(1.000 of before)" in told.out  # FLOPs, parameters and bytes
    steps = json.loads((tmp_path / "sparse" / "shrink.json").read_text())["steps"]
    assert steps[1]["removed_weights"] > 0 and steps[1]["removed_units"] == {}
    for more, message in (
        (["--to-flops", "0.5"], "--to-flops with weights removed"),
        (["--to-nonzero", "0.5", "--score", "taylor"], "--score is for units"),
        (["--to-nonzero", "0.001"], "cannot be reached: with all weights zero that may be"),
    ):
        assert run([*command[:-1], str(tmp_path / "other"), *more]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())


def test_units_have_no_such_size(model, tmp_path, data_dir):
    with pytest.raises(UsageError, match="to_nonzero with units removed"):
        shrink(model, "digits", tmp_path / "small", to_nonzero=0.5, data_dir=data_dir)


@pytest.mark.parametrize("wanted", [{}, {"to_nonzero": None, "keep": 0.05}, {"to_nonzero": None, "family": (0.5, 0.2)}],
                         ids=["size", "keep", "family"])  # fmt: skip
def test_a_killed_run_goes_on_to_the_same_end(wanted, model, tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr("autogrow.training.trainer.SHORTEST_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("autogrow.training.trainer.CHECKPOINT_SHARE", 1e9)
    whole = zeroed(model, tmp_path / "whole", data_dir, **wanted)
    assert whole.networks[-1].step.footprint.nonzero < whole.steps[0].footprint.nonzero
    for number in (1, 4):
        with suppress(Killed):
            zeroed(model, tmp_path / f"cut-{number}", data_dir, on_sample=killed_after(number), **wanted)
        result = zeroed(model, tmp_path / f"cut-{number}", data_dir, resume=True, **wanted)
        assert [plain(step) for step in result.steps] == [plain(step) for step in whole.steps]
        for network, other in zip(result.networks, whole.networks, strict=True):
            others = other.module.state_dict()
            assert all(torch.equal(tensor, others[name]) for name, tensor in network.module.state_dict().items())
