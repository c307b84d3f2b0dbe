"""A trained network is shrunk: to a size, as far as its score holds, into a family; and goes on after a kill."""

import json
from contextlib import suppress

import numpy as np
import pytest
import torch

from autogrow.api import load, shrink
from autogrow.data import open_dataset
from autogrow.data.splits import merge_splits
from autogrow.errors import NetworkError, RunFolderError, TrainingDivergedError, UsageError
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import load_network, read_config
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report.shrinking import final_lines
from autogrow.training.ending import Signal
from autogrow.training.shrinking import Shrinker

pytestmark = pytest.mark.slow
MODEL = ModelSpec("mlp", {"hidden": [24, 24]})
BRIEF = Shrinking(recovery=Recovery(epochs=2))


@pytest.fixture(scope="session")
def trained(tmp_path_factory, digits):
    """Folders of a network that has not seen its validation examples, of one that has, and of one with its trunk."""
    place = tmp_path_factory.mktemp("trained")
    policy, settings = GrowthPolicy(initial_fraction=1.0), TrainingSettings(epochs=4, sample_every=10)
    for name, held_out in (("model", True), ("seen", False)):
        train_policy(MODEL, digits, policy, settings, hold_out_validation=held_out, out=place / name)
    falling = settings.model_copy(update={"learning_rate_schedule": "constant_then_decay"})
    train_policy(MODEL, digits, policy, falling, hold_out_validation=True, keep_trunk=True, out=place / "with-trunk")
    return place


@pytest.fixture
def shrunk(trained, digits, data_dir, tmp_path):
    """Shrinks the trained network into `out`."""

    def run(name="small", network="model", shrinking=BRIEF, **options):
        return shrink(trained / network, "digits", tmp_path / name, shrinking=shrinking, data_dir=data_dir, **options)

    return run


@pytest.mark.parametrize(
    ("size", "metric"), [("to_flops", "flops"), ("to_parameters", "parameters"), ("to_bytes", "bytes")]
)
def test_a_size_is_kept_to_and_hardly_fallen_short_of(size, metric, shrunk, tmp_path):
    result = shrunk(shrinking=Shrinking(cycles=2, recovery=Recovery(epochs=1)), **{size: 0.4})
    before, *between, after = (getattr(step.footprint, metric) for step in result.steps)
    assert 0.3 * before < after <= 0.4 * before
    assert before > between[0] > after
    absolute = shrunk("again", shrinking=Shrinking(cycles=2, recovery=Recovery(epochs=1)), **{size: 0.4 * before})
    assert absolute.networks[0].shape == result.networks[0].shape


def test_the_result_is_a_plain_network_that_loads_alone(shrunk, tmp_path, digits):
    result = shrunk(to_flops=0.3)
    saved = load_network(tmp_path / "small")
    inputs = torch.randn(5, *digits.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(saved.module(inputs), result.module(inputs), rtol=0, atol=0)
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == [
        "config.json", "model.safetensors", "shrink.json",
    ]  # fmt: skip
    assert {type(layer).__module__.partition(".")[0] for layer in saved.module.modules()} <= {"torch", "autogrow"}
    assert sum(parameter.numel() for parameter in saved.module.parameters()) == result.steps[-1].footprint.parameters


def test_what_is_recorded(shrunk, trained, tmp_path):
    before = {path.name: path.read_bytes() for path in (trained / "model").iterdir()}
    told = []
    result = shrunk(to_flops=0.3, on_step=told.append)
    record = json.loads((tmp_path / "small" / "shrink.json").read_text())
    assert record["steps"] == json.loads(json.dumps([step.to_dict() for step in told]))
    config = read_config(tmp_path / "small")
    assert config["metrics"]["validation_score"] == result.steps[-1].score
    assert config["lineage"]["test_readings"] == result.test_readings == 2  # the network before has read it, too
    assert result.fixed == {"7": "it is the network's output"}
    assert result.steps[-1].loss < result.steps[-1].loss_before_recovery
    assert {path.name: path.read_bytes() for path in (trained / "model").iterdir()} == before
    again = shrink(tmp_path / "small", "digits", tmp_path / "smaller", to_flops=0.5, shrinking=BRIEF)
    assert again.test_readings == 3


def test_as_small_as_the_score_holds(shrunk):
    result = shrunk(keep=0.03, shrinking=Shrinking(recovery=Recovery(epochs=1)))
    kept = [step for step in result.steps if step.is_kept]
    assert all(step.score >= result.steps[0].score - 0.03 for step in kept)
    assert all(step.score < result.steps[0].score - 0.03 for step in result.steps if not step.is_kept)
    assert len(kept) > 1 and result.networks[0].step == kept[-1]
    assert sum(parameter.numel() for parameter in result.module.parameters()) == kept[-1].footprint.parameters


@pytest.mark.parametrize(
    ("wanted", "fails_at", "left"),
    [
        ({"to_flops": 0.3}, 2, ["shrunk"]),
        ({"keep": 1.0}, 1, ["shrunk"]),
        ({"family": (0.6, 0.3)}, 3, ["0.6"]),
        ({"family": (0.6, 0.3)}, 4, ["0.6"]),
    ],
    ids=["size", "keep", "a trunk", "a member"],
)
def test_a_later_step_that_diverges_leaves_what_was_good_before(wanted, fails_at, left, shrunk, tmp_path, monkeypatch):
    taken, step = [], Shrinker.step

    def diverging(shrinker, *arguments, **options):
        taken.append(1)
        if len(taken) == fails_at:
            raise TrainingDivergedError("the loss is nan; lower the learning rate")
        return step(shrinker, *arguments, **options)

    monkeypatch.setattr(Shrinker, "step", diverging)
    shrinking = Shrinking(cycles=2, recovery=Recovery(epochs=1))
    result = shrunk(shrinking=shrinking, **wanted)
    assert [network.name for network in result.networks] == left
    folder = tmp_path / "small" / ("0.6" if "family" in wanted else "")
    parameters = sum(parameter.numel() for parameter in load_network(folder).module.parameters())
    assert parameters == result.networks[0].step.footprint.parameters
    lines = list(final_lines(result.to_dict()))
    assert any("nothing smaller can be had: the loss is nan; lower the learning rate" in line for line in lines)
    with pytest.raises(RunFolderError, match="holds what was shrunk to its end"):
        shrunk(shrinking=shrinking, resume=True, **wanted)


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_family_that_diverges_before_its_first_member_leaves_nothing(fails_at, shrunk, tmp_path, monkeypatch):
    taken, step = [], Shrinker.step

    def diverging(shrinker, *arguments, **options):
        taken.append(1)
        if len(taken) == fails_at:
            raise TrainingDivergedError("the loss is nan")
        return step(shrinker, *arguments, **options)

    monkeypatch.setattr(Shrinker, "step", diverging)
    with pytest.raises(TrainingDivergedError):
        shrunk(family=(0.6, 0.3), shrinking=Shrinking(recovery=Recovery(epochs=1)))
    assert not (tmp_path / "small").exists()


def test_what_cannot_be_had_is_named_at_the_end(shrunk):
    result = shrunk(keep=1.0, shrinking=Shrinking(score="magnitude", recovery=Recovery(epochs=0)))
    lines = list(final_lines(result.to_dict()))
    assert any("nothing smaller can be had" in line for line in lines)


def test_a_family(shrunk, tmp_path):
    result = shrunk(family=(0.5, 0.2))
    assert [network.name for network in result.networks] == ["0.5", "0.2"]
    before = result.steps[0].footprint.flops
    for network, share in zip(result.networks, (0.5, 0.2), strict=True):
        assert network.step.footprint.flops <= share * before
        module = load_network(tmp_path / "small" / network.name).module
        assert sum(parameter.numel() for parameter in module.parameters()) == network.step.footprint.parameters
        assert read_config(tmp_path / "small" / network.name)["metrics"]["test_score"] == network.test.score
    with pytest.raises(NetworkError, match="holds several networks: name one of them, such as .*/small/0"):
        load_network(tmp_path / "small")
    assert result.test_readings == 2


class Killed(BaseException):
    """The process is gone."""


def killed_after(number):
    """Dies at the n-th sample of the recoveries; saves what it has at every sample before."""
    seen = []

    def on_sample(sample):
        seen.append(sample)
        if len(seen) == number:
            raise Killed
        return Signal.CONTINUE

    return on_sample


@pytest.mark.parametrize(
    "wanted",
    [
        {"to_flops": 0.3},
        {"keep": 0.03},
        {"family": (0.5, 0.2)},
        {"to_flops": 0.3, "network": "with-trunk"},
        {"family": (0.5, 0.2), "network": "with-trunk"},
    ],
    ids=["size", "keep", "family", "size off a trunk", "family off a trunk"],
)
def test_a_killed_run_goes_on_to_the_same_end(wanted, shrunk, tmp_path, monkeypatch):
    shrinking = Shrinking(cycles=2, recovery=Recovery(epochs=4, distillation=0.5, distortion=0.1))
    monkeypatch.setattr("autogrow.training.trainer.SHORTEST_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("autogrow.training.trainer.CHECKPOINT_SHARE", 1e9)
    undisturbed = shrunk("whole", shrinking=shrinking, **wanted)
    for number in (1, 3, 5):
        with suppress(Killed):
            shrunk(f"killed-{number}", shrinking=shrinking, on_sample=killed_after(number), **wanted)
        with suppress(Killed):
            shrunk(f"killed-{number}", shrinking=shrinking, on_sample=killed_after(2), resume=True, **wanted)
        result = shrunk(f"killed-{number}", shrinking=shrinking, resume=True, **wanted)
        assert [plain(step) for step in result.steps] == [plain(step) for step in undisturbed.steps]
        for network, other in zip(result.networks, undisturbed.networks, strict=True):
            for name, tensor in network.module.state_dict().items():
                assert torch.equal(tensor, other.module.state_dict()[name])
        left = {path.name for path in (tmp_path / f"killed-{number}").iterdir()}
        assert left == {path.name for path in (tmp_path / "whole").iterdir()}


def plain(step):
    """Without what the clock says."""
    return {
        name: value
        for name, value in step.to_dict().items()
        if name not in ("latencies", "removal_seconds", "train_seconds", "notes")
    }


def test_a_run_is_only_gone_on_with_as_it_was_begun(shrunk, tmp_path):
    with pytest.raises(Killed):
        shrunk(to_flops=0.3, on_sample=killed_after(1))
    with pytest.raises(RunFolderError, match="not shrunk to its end: go on with --resume"):
        shrunk(to_flops=0.3)
    with pytest.raises(RunFolderError, match="begun with other settings"):
        shrunk(to_flops=0.2, resume=True)
    with pytest.raises(RunFolderError, match="nothing to resume"):
        shrunk("elsewhere", to_flops=0.3, resume=True)
    assert shrunk(to_flops=0.3, resume=True).steps[-1].footprint.flops


def test_an_interrupted_run_says_so(shrunk, monkeypatch):
    monkeypatch.setattr("autogrow.training.ending.INTERRUPT_POLL_SECONDS", 0.0)
    assert shrunk(to_flops=0.3, interrupted=lambda: True) is None
    assert shrunk(to_flops=0.3, resume=True) is not None


def test_one_that_trains_nothing_is_interrupted_between_its_steps(shrunk):
    bare = Shrinking(cycles=3, recovery=Recovery(epochs=0))
    told = []
    options = {"to_flops": 0.3, "shrinking": bare, "on_step": told.append}
    assert shrunk(interrupted=lambda: len(told) > 1, **options) is None
    assert [step.name for step in told] == ["before", "cycle 1"]
    assert [step.name for step in shrunk(resume=True, **options).steps] == ["before", "cycle 1", "cycle 2", "cycle 3"]


class TestWhatIsRefused:
    @pytest.fixture(autouse=True)
    def nothing_is_left(self, tmp_path):
        yield
        assert not (tmp_path / "small").exists() or list((tmp_path / "small").iterdir()) == []

    def test_a_network_that_has_learnt_from_its_validation_examples(self, shrunk):
        with pytest.raises(UsageError, match="--hold-out-validation, or give --holdout"):
            shrunk(network="seen", to_flops=0.3)

    def test_a_size_that_cannot_be_reached_says_what_can(self, shrunk):
        with pytest.raises(NetworkError, match="FLOPs cannot be reached: .* the network has 150; ask for that or more"):
            shrunk(to_flops=1e-6)
        with pytest.raises(NetworkError, match="cannot be reached"):
            shrunk(family=(0.5, 1e-6))

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({}, "give one of"),
            ({"to_flops": 0.5, "keep": 0.1}, "give one of"),
            ({"to_flops": 0.5, "to_parameters": 0.1}, "one size at a time"),
            ({"to_flops": 0.0}, "above 0"),
            ({"to_flops": float("nan")}, "above 0"),
            ({"keep": -0.1}, "give 0 or more"),
            ({"family": (0.2, 0.5)}, "each smaller than the one before"),
            ({"family": (1.5,)}, "shares between 0 and 1"),
            ({"to_bytes": "much"}, "not a size"),
        ],
    )
    def test_what_makes_no_sense(self, wanted, message, shrunk):
        with pytest.raises(UsageError, match=message):
            shrunk(**wanted)

    def test_the_data_it_was_trained_on_hold_nothing_out(self, shrunk):
        with pytest.raises(UsageError, match="are the data that the network was trained on"):
            shrunk(network="seen", to_flops=0.3, holdout="digits")

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"network": None}, "network is a NoneType: give the folder"),
            ({"network": torch.nn.Linear}, "network is a type: give the folder"),
            ({"to_flops": torch.tensor(0.5)}, r"to_flops is tensor\(0.5000\), a Tensor: give float"),
            ({"to_flops": None, "family": 0.5}, "family is 0.5, a float"),
            ({"shrinking": {"cycles": 2}}, "shrinking is {'cycles': 2}, a dict: give Shrinking"),
            ({"training": {"epochs": 2}}, "training is {'epochs': 2}, a dict: give TrainingSettings"),
            ({"training": TrainingSettings()}, "training is for a module: .* says it itself"),
            ({"held_out_validation": True}, "held_out_validation is for a module: .* says it itself"),
            ({"device": "gpu"}, "device 'gpu' is none"),
            ({"seed": -1}, "seed -1 is not between"),
        ],
    )
    def test_what_is_of_another_kind(self, wrong, message, trained, data_dir, tmp_path):
        given = {"network": trained / "model", "dataset": "digits", "out": tmp_path / "small", "to_flops": 0.5}
        with pytest.raises(UsageError, match=message):
            shrink(**{**given, **wrong}, data_dir=data_dir)

    def test_what_takes_inputs_that_are_not_standardized(self, trained, data_dir, tmp_path):
        with pytest.raises(UsageError, match="has its preprocessing in it: give the folder"):
            shrink(load(trained / "model"), "digits", tmp_path / "small", to_flops=0.5, data_dir=data_dir,
                   held_out_validation=True)  # fmt: skip

    def test_a_network_that_does_not_fit_the_data(self, digits, data_dir, tmp_path):
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 9), torch.nn.Linear(9, 7))
        with pytest.raises(NetworkError, match="give its last layer 10 outputs"):
            shrink(module, digits, tmp_path / "small", to_flops=0.5, held_out_validation=True, data_dir=data_dir)

    def test_a_network_that_validation_says_nothing_of(self, digits, data_dir, tmp_path):
        module = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 9), torch.nn.ReLU(), torch.nn.Linear(9, 10)
        )
        with torch.no_grad():
            module[3].weight.mul_(1e38)
        with pytest.raises(
            NetworkError, match="validation score .*, loss inf .*: the network cannot be judged by these"
        ):
            shrink(module, digits, tmp_path / "small", to_flops=0.5, held_out_validation=True, data_dir=data_dir,
                   shrinking=Shrinking(score="magnitude", recovery=Recovery(epochs=0)))  # fmt: skip

    @pytest.mark.parametrize("which", [slice(0, 40), slice(1000, 1100)])
    def test_examples_that_it_was_trained_on_under_another_name(self, which, shrunk, digits, tmp_path):
        learnt = merge_splits(*digits.split(seed=0))
        path = tmp_path / "part.npz"
        np.savez(path, x_train=learnt.inputs[which], y_train=learnt.targets[which] % 10)
        number = len(learnt.inputs[which])
        with pytest.raises(UsageError, match=f"{number} of its {number} examples are among those"):
            shrunk(network="seen", to_flops=0.3, holdout=str(path), task="classification")

    def test_a_recovery_that_diverges(self, trained, data_dir, tmp_path):
        wild = TrainingSettings(optimizer="sgd", learning_rate=100.0, weight_decay=10.0, epochs=40)
        module = load_network(trained / "model").module
        with pytest.raises(TrainingDivergedError):
            shrink(
                module, "digits", tmp_path / "small", to_flops=0.3, training=wild, held_out_validation=True,
                data_dir=data_dir,
            )  # fmt: skip


def test_examples_of_its_own_judge_a_network_that_has_learnt_from_validation(shrunk, tmp_path, digits):
    train, _ = digits.split(seed=5)
    inputs = np.asarray(train.inputs[:200])
    np.savez(tmp_path / "fresh.npz", x_train=255 - inputs, y_train=train.targets[:200])
    result = shrunk(network="seen", to_flops=0.5, holdout=str(tmp_path / "fresh.npz"))
    # On inverted images it is no better than chance; on its own validation examples it would be.
    assert result.steps[0].score < 0.5


def test_ten_held_out_examples_are_enough(shrunk, digits):
    train, _ = digits.split(seed=5)
    first = np.array([np.flatnonzero(train.targets == label)[0] for label in range(10)])
    result = shrunk(network="seen", to_flops=0.5, holdout=(255 - np.asarray(train.inputs[first]), train.targets[first]))
    correct = 10 * result.steps[0].score
    assert correct == pytest.approx(round(correct))


def test_training_on_that_makes_it_worse_is_left_out(shrunk, tmp_path):
    spoilt = Shrinking(recovery=Recovery(epochs=1, learning_rate=1.0))
    result = shrunk(to_flops=0.7, shrinking=spoilt)
    step = result.steps[-1]
    assert "training on made validation worse: left out" in step.notes
    assert (step.score, step.loss) == (step.score_before_recovery, step.loss_before_recovery)
    assert shrunk("bare", to_flops=0.7, shrinking=Shrinking(recovery=Recovery(epochs=0))).steps[-1].loss == step.loss
    saved = load_network(tmp_path / "small").module.state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in result.module.state_dict().items())


def test_a_module_of_the_callers_own(digits, data_dir, tmp_path, trained):
    module = load_network(trained / "model").module
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(UsageError, match="held_out_validation"):
        shrink(module, "digits", tmp_path / "own", to_flops=0.3, data_dir=data_dir)
    result = shrink(
        module, "digits", tmp_path / "own", to_flops=0.3, data_dir=data_dir, held_out_validation=True, shrinking=BRIEF
    )
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
    assert result.steps[0].score > 0.5
    saved = load_network(tmp_path / "own", model=module)
    prepared, examples = load(tmp_path / "own", module), digits.split(seed=0)[1]
    assert prepared.takes_bytes  # whole numbers of any type are read as the bytes that it was trained on
    assert (prepared.predict(examples.inputs.astype(int)) == examples.targets).mean() == result.steps[-1].score
    assert sum(parameter.numel() for parameter in saved.module.parameters()) < 0.5 * sum(
        map(torch.numel, weights.values())
    )


def test_other_data_than_it_was_trained_on(shrunk, trained, tmp_path, data_dir):
    with pytest.raises(NetworkError, match="takes classification inputs of shape"):
        shrink(trained / "model", "sine", tmp_path / "other", to_flops=0.3, data_dir=data_dir)
    train, _ = open_dataset("digits", data_dir).split(seed=0)
    np.savez(tmp_path / "part.npz", x_train=train.inputs[:400], y_train=train.targets[:400])
    with pytest.raises(UsageError, match="was trained on other data"):
        shrink(trained / "model", str(tmp_path / "part.npz"), tmp_path / "other", to_flops=0.3, data_dir=data_dir)
