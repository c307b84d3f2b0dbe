"""A shrinking that is killed at any moment between two changes of its folder goes on to the same end, and leaves none
of what it needed on the way."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from autogrow.api import shrink
from autogrow.errors import NetworkError, RunFolderError, TrainingDivergedError
from autogrow.export import shrinking as subject
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import load_network
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Latency
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings

pytestmark = pytest.mark.slow
QUICK = Shrinking(score="magnitude", cycles=2, recovery=Recovery(epochs=0))
WANTED = {"size": {"to_flops": 0.4}, "keep": {"keep": 0.5}, "family": {"family": (0.5, 0.3)}}


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    out = tmp_path_factory.mktemp("trained") / "model"
    policy = GrowthPolicy(initial_fraction=1.0)
    settings = TrainingSettings(
        steps=4, batch_size=32, sample_every=10, learning_rate_schedule="constant_then_decay", decay_fraction=0.5
    )
    model = ModelSpec("mlp", {"hidden": [6, 6]})
    # With a trunk, so that what its optimizer has learnt goes through the folder, too, though nothing is trained.
    train_policy(model, digits, policy, settings, hold_out_validation=True, keep_trunk=True, train_size=100, out=out)
    return out


@pytest.fixture(autouse=True)
def without_a_clock(monkeypatch):
    monkeypatch.setattr(subject, "latencies", lambda modules, inputs: [(Latency(1.0, 1, 1),)] * len(modules))
    monkeypatch.setattr(subject.Shrinker, "latencies", lambda shrinker: (Latency(1.0, 1, 1),))


@pytest.fixture
def kills(monkeypatch):
    """Lets the process die before the n-th change of any folder: nothing is changed from then on."""
    state = {"left": None, "seen": 0}

    def counted(change):
        def call(*arguments, **options):
            if Path(str(arguments[0] if arguments else "")).name == "lock":  # the system gives it back
                return change(*arguments, **options)
            state["seen"] += 1
            if state["left"] is not None and state["seen"] > state["left"]:
                raise Killed
            return change(*arguments, **options)

        return call

    for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "rmdir"), (tempfile, "mkstemp")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))

    def set_to(number):
        state.update(left=number, seen=0)
        return state

    return set_to


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def same_weights(network, other):
    weights = other.module.state_dict()
    return all(torch.equal(tensor, weights[name]) for name, tensor in network.module.state_dict().items())


@pytest.mark.parametrize("wanted", WANTED)
def test_between_any_two_changes_of_its_folder(wanted, trained, data_dir, tmp_path, kills):
    def run(name, **options):
        return shrink(trained, "digits", tmp_path / name, shrinking=QUICK, data_dir=data_dir, **options,
                      **WANTED[wanted])  # fmt: skip

    state = kills(None)
    whole = run("whole")
    changes = state["seen"]
    assert changes > 20
    for number in range(0, changes, 1 if wanted == "size" else 4):
        kills(number)
        with suppress(Killed):
            run(f"{number}")
            pytest.fail("it is not killed")
        kills(None)
        folder = tmp_path / f"{number}"
        if not (folder / "request.json").exists() and (folder / "shrink.json").exists():
            with pytest.raises(RunFolderError, match="shrunk to its end"):
                run(f"{number}", resume=True)
        else:
            result = run(f"{number}", resume=(folder / "request.json").exists())
            assert [step.widths for step in result.steps] == [step.widths for step in whole.steps]
            assert result.test_readings >= whole.test_readings
            assert all(same_weights(*pair) for pair in zip(result.networks, whole.networks, strict=True))
        assert listing(folder) == listing(tmp_path / "whole"), number


def test_what_was_read_of_the_test_split_counts_for_a_killed_run_too(trained, data_dir, tmp_path, monkeypatch):
    def run(**options):
        return shrink(trained, "digits", tmp_path / "out", to_flops=0.4, shrinking=QUICK, data_dir=data_dir, **options)

    with monkeypatch.context() as patch:
        patch.setattr(subject.ShrinkFolder, "finish", lambda folder: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run()
    assert run(resume=True).test_readings == 3  # by training, by the run that was killed, and by this one


@pytest.mark.parametrize(
    ("error", "stays"),
    [(RunFolderError("no space left"), True), (NetworkError("no"), False), (TrainingDivergedError("no"), False)],
)
def test_only_what_cannot_be_mended_removes_what_was_written(error, stays, trained, data_dir, tmp_path, monkeypatch):
    def run(**options):
        return shrink(trained, "digits", tmp_path / "out", to_flops=0.4, shrinking=QUICK, data_dir=data_dir, **options)

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(subject.Shrinker, "recover", fails)
        with pytest.raises(type(error)):
            run()
    assert (tmp_path / "out" / "request.json").exists() == stays
    assert run(resume=stays).steps[-1].footprint.flops


def test_what_held_the_score_is_kept_where_the_next_step_diverges(trained, data_dir, tmp_path, monkeypatch):
    def run(name):
        return shrink(trained, "digits", tmp_path / name, keep=1.0, shrinking=QUICK, data_dir=data_dir)

    whole = run("whole")
    recover, taken = subject.Shrinker.recover, []

    def diverges_later(shrinker, *arguments):
        taken.append(shrinker)
        if len(taken) == 3:
            for parameter in shrinker.network.module.parameters():
                parameter.data.fill_(float("nan"))
            raise TrainingDivergedError("the loss is nan")
        return recover(shrinker, *arguments)

    monkeypatch.setattr(subject.Shrinker, "recover", diverges_later)
    result = run("out")
    assert [step.widths for step in result.steps] == [step.widths for step in whole.steps[:3]]
    assert "nothing smaller can be had: the loss is nan" in result.networks[0].step.notes
    assert all(torch.isfinite(parameter).all() for parameter in load_network(tmp_path / "out").module.parameters())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"shrinking": Shrinking(score="random", cycles=2, recovery=Recovery(epochs=0))}, "shrinking"),
        ({"seed": 1}, "seed"),
        ({"to_flops": 0.5}, "goal"),
        ({"network": "other weights"}, "network"),
    ],
)
def test_it_goes_on_with_the_same_network_and_settings_alone(change, name, trained, data_dir, tmp_path, monkeypatch):
    settings = {"network": trained, "to_flops": 0.4, "shrinking": QUICK}
    with monkeypatch.context() as patch:
        patch.setattr(subject.ShrinkFolder, "finish", lambda folder: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            shrink(dataset="digits", out=tmp_path / "out", data_dir=data_dir, **settings)
    if "network" in change:
        other = shrink(dataset="digits", out=tmp_path / "other", data_dir=data_dir, **settings | {"to_flops": 0.9})
        assert other is not None
        change = {"network": tmp_path / "other"}
    with pytest.raises(RunFolderError, match=rf"other settings \({name}(, trunk)?\): give the same ones"):
        shrink(dataset="digits", out=tmp_path / "out", data_dir=data_dir, resume=True, **settings | change)


def test_the_network_that_is_given_stays_as_it_is(trained, data_dir, tmp_path):
    module = load_network(trained).module.train()
    shrink(
        module, "digits", tmp_path / "out", to_flops=0.4, shrinking=QUICK, data_dir=data_dir, held_out_validation=True
    )
    assert all(layer.training for layer in module.modules())


def test_a_link_to_a_folder_is_as_good_as_the_folder(trained, data_dir, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    shrink(trained, "digits", tmp_path / "out", to_flops=0.4, shrinking=QUICK, data_dir=data_dir)
    assert listing(tmp_path / "real") == ["config.json", "model.safetensors", "shrink.json"]
