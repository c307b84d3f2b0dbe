"""A saved network loses whole blocks: the result loads and runs alone, and a killed run goes on to the same end."""

import json
import math
from contextlib import suppress

import pytest
import torch

from autogrow.api import shrink
from autogrow.cli.main import run
from autogrow.data import open_dataset
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import load_network, read_config
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from tests.export.test_shrinking import Killed, killed_after, plain

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
MODELS = {
    "gpt": ModelSpec("gpt", {"layers": 3, "width": 16, "heads": 2}),
    "resnet": ModelSpec("resnet", {"depth": 20, "width": 4}),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
    """Folders of networks that have not seen their validation examples, each with its data."""
    place = tmp_path_factory.mktemp("trained")
    (place / "fox.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60)
    data = {"gpt": f"{place / 'fox.txt'}?context=16", "resnet": "digits"}
    settings = {"gpt": TrainingSettings(epochs=2, batch_size=16), "resnet": TrainingSettings(epochs=1)}
    for name, spec in MODELS.items():
        train_policy(
            spec, open_dataset(data[name], data_dir), GrowthPolicy(initial_fraction=1.0), settings[name],
            hold_out_validation=True, out=place / name,
        )  # fmt: skip
    return {name: (place / name, data[name]) for name in MODELS}


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch):
    monkeypatch.setattr("autogrow.network.measuring.footprint.SECONDS", 0.01)


@pytest.mark.parametrize("remove", ["blocks", "both"])
@pytest.mark.parametrize("name", MODELS)
def test_the_result_loads_and_runs_alone(name, remove, trained, tmp_path, data_dir):
    model, data = trained[name]
    shrinking = Shrinking(remove=remove, cycles=2, recovery=Recovery(epochs=1), calibration_examples=32)
    result = shrink(model, data, tmp_path / "small", to_flops=0.6, shrinking=shrinking, data_dir=data_dir)
    first, last = result.steps[0], result.steps[-1]
    assert last.footprint.flops <= 0.6 * first.footprint.flops
    config = read_config(tmp_path / "small")
    assert config["blocks"] == last.blocks and config["widths"] == last.widths
    assert sum(first.blocks.values()) > sum(last.blocks.values()) or remove == "both"
    if name == "gpt":
        assert config["metrics"]["validation_bits_per_byte"] == pytest.approx(last.loss / math.log(2))
    saved = load_network(tmp_path / "small").module
    inputs = open_dataset(data, data_dir).split(seed=0)[0]
    batch = torch.as_tensor(inputs.inputs[:2]) if name == "resnet" else torch.zeros(2, 16, dtype=torch.long)
    batch = batch.float().reshape(2, 1, 8, 8) if name == "resnet" else batch
    with torch.no_grad():
        assert torch.equal(saved(batch), result.module(batch))
    again = shrink(tmp_path / "small", data, tmp_path / "less", to_flops=0.9, data_dir=data_dir,
                   shrinking=Shrinking(recovery=Recovery(epochs=0), calibration_examples=32))  # fmt: skip
    assert read_config(tmp_path / "less")["blocks"] == last.blocks  # units went, and blocks stay known
    assert again.steps[-1].num_removed > 0


@pytest.mark.parametrize("remove", ["blocks", "both"])
def test_a_killed_run_goes_on_to_the_same_end(remove, trained, tmp_path, data_dir, monkeypatch):
    monkeypatch.setattr("autogrow.training.trainer.SHORTEST_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("autogrow.training.trainer.CHECKPOINT_SHARE", 1e9)
    model, data = trained["gpt"]
    shrinking = Shrinking(remove=remove, cycles=2, recovery=Recovery(epochs=2), calibration_examples=32)

    def to_the_end(name, **options):
        return shrink(model, data, tmp_path / name, to_flops=0.55, shrinking=shrinking, data_dir=data_dir, **options)

    whole = to_the_end("whole")
    for number in (1, 4):
        with suppress(Killed):
            to_the_end(f"killed-{number}", on_sample=killed_after(number))
        result = to_the_end(f"killed-{number}", resume=True)
        assert [plain(step) for step in result.steps] == [plain(step) for step in whole.steps]
        for name, tensor in result.module.state_dict().items():
            assert torch.equal(tensor, whole.module.state_dict()[name])


def test_on_the_command_line(trained, tmp_path, data_dir, capsys):
    model, data = trained["gpt"]
    command = ["shrink", str(model), "--dataset", data, "--remove", "blocks", "--block-score", "similarity",
               "--out", str(tmp_path / "small"), "--epochs", "1"]  # fmt: skip
    assert run([*command, "--to-flops", "0.8"]) == 0
    assert "without block" in capsys.readouterr().err
    step = json.loads((tmp_path / "small" / "shrink.json").read_text())["steps"][1]
    assert step["blocks"] == {"blocks": 2} and len(step["removed_blocks"]["blocks"]) == 1
    command[-3] = str(tmp_path / "other")
    assert run([*command, "--to-flops", "0.1"]) == 2
    assert "cannot be reached: without all that may go" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert run(["shrink", str(model), "--block-score", "loss", "--to-flops", "0.8"]) == 2
    assert "--block-score is for blocks: give --remove blocks or both with it" in capsys.readouterr().err
    assert run(["shrink", str(model), "--remove", "block", "--to-flops", "0.8"]) == 2
    assert "did you mean 'blocks'" in capsys.readouterr().err
