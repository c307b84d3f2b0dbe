"""The trunk: what a network and its optimizer were before the rate fell, kept by `train` and taken up by `shrink`."""

import json
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file

from autogrow.api import evaluate, shrink, train
from autogrow.errors import NetworkError, UsageError
from autogrow.export.optimizer_state import OPTIMIZER
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import TRUNK, WEIGHTS, load_network, read_config
from autogrow.export.trunk import has_trunk, load_trunk
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.ending import Signal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
MODEL = ModelSpec("mlp", {"hidden": [8, 8]})
FULL = GrowthPolicy(initial_fraction=1.0)


def settings(schedule="constant_then_decay", steps=20, **others):
    return TrainingSettings(
        steps=steps, learning_rate_schedule=schedule, decay_fraction=0.4, sample_every=5, warmup_steps=4, **others
    )


@pytest.fixture
def trained(digits, tmp_path):
    def run(name="model", the_settings=None, policy=FULL, **options):
        options = {"keep_trunk": True, "hold_out_validation": True, "reads_test": False, **options}
        return train_policy(MODEL, digits, policy, the_settings or settings(), out=tmp_path / name, **options)

    return run


def same(folder, other, name=WEIGHTS):
    one, two = load_file(folder / name), load_file(other / name)
    return one.keys() == two.keys() and all(torch.equal(value, two[key]) for key, value in one.items())


@pytest.mark.parametrize("schedule", ["constant_then_decay", "constant_then_cosine"])
def test_it_is_what_a_run_at_the_constant_rate_is_by_then(schedule, trained, tmp_path):
    given = settings(schedule, constant_share=0.6)
    trained(the_settings=given)
    trained("constant", settings("constant", steps=12), keep_trunk=False)
    assert same(tmp_path / "model" / TRUNK, tmp_path / "constant")
    assert not same(tmp_path / "model", tmp_path / "constant")
    taken = load_file(tmp_path / "model" / TRUNK / OPTIMIZER)
    assert taken["1.weight/step"] == 12 and taken["1.weight/exp_avg"].abs().sum() > 0
    assert not has_trunk(tmp_path / "constant")


def test_keeping_it_changes_nothing_else(trained, tmp_path):
    trained()
    trained("without", keep_trunk=False)
    assert same(tmp_path / "model", tmp_path / "without")
    beside = {path.name for path in (tmp_path / "without").iterdir()}
    assert {path.name for path in (tmp_path / "model").iterdir()} == beside | {"trunk"}
    kept = {path.name for path in (tmp_path / "model" / TRUNK).iterdir()}
    assert kept == {"model.safetensors", "config.json", "optimizer.safetensors"}
    config, own = read_config(tmp_path / "model" / TRUNK), read_config(tmp_path / "model")
    assert config == {name: value for name, value in own.items() if name != "metrics"}
    assert load_network(tmp_path / "model" / TRUNK).module is not None


def test_a_run_that_goes_by_compute_has_one_too(trained, tmp_path):
    policy = GrowthPolicy(initial_fraction=0.5, max_fraction=0.5)
    trained(the_settings=settings(length="compute"), policy=policy)
    steps = load_file(tmp_path / "model" / TRUNK / OPTIMIZER)["1.weight/step"]
    assert steps > 12  # a smaller network takes more steps for the compute of twelve
    trained("constant", settings("constant", steps=int(steps)), policy, keep_trunk=False)
    assert same(tmp_path / "model" / TRUNK, tmp_path / "constant")


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("sample", [1, 2, 3])
def test_a_killed_run_comes_to_the_same_one(sample, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("autogrow.training.trainer.SHORTEST_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("autogrow.training.trainer.CHECKPOINT_SHARE", 1e9)

    def dies(taken):
        if taken.step == 5 * sample:
            raise Killed
        return Signal.CONTINUE

    trained("whole")
    with suppress(Killed):
        trained(on_sample=dies)
        pytest.fail("it is not killed")
    assert has_trunk(tmp_path / "model") == (sample == 3)
    with pytest.raises(NetworkError, match="no network at"):  # a trunk alone is none
        load_network(tmp_path / "model")
    trained()
    for name in (WEIGHTS, OPTIMIZER):
        assert same(tmp_path / "model" / TRUNK, tmp_path / "whole" / TRUNK, name)
    assert same(tmp_path / "model", tmp_path / "whole")


def test_none_is_kept_of_a_network_that_grows_later(trained, tmp_path, caplog):
    trained(policy=GrowthPolicy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 3}))
    assert "no trunk is kept: the network has grown" in caplog.text
    assert not (tmp_path / "model" / TRUNK).exists()


@pytest.mark.parametrize(("schedule", "why"), [("constant", "never falls"), ("cosine", "falls from the first step")])
def test_without_a_fall_or_a_folder_there_is_none(schedule, why, trained, tmp_path, digits, data_dir):
    with pytest.raises(UsageError, match=f"no trunk to keep: the rate of learning_rate_schedule '{schedule}' {why}"):
        trained(the_settings=settings(schedule))
    assert not (tmp_path / "model").exists() or list((tmp_path / "model").iterdir()) == []
    with pytest.raises(UsageError, match="give out, the folder"):
        train("mlp", "digits", FULL, epochs=1, keep_trunk=True, data_dir=data_dir)


class TestShrinking:
    """`shrink` begins with the trunk."""

    BARE = Shrinking(score="magnitude", compensation="none", recovery=Recovery(epochs=0))

    @pytest.fixture
    def shrunk(self, tmp_path, data_dir):
        def run(shrinking=self.BARE, **options):
            return shrink(tmp_path / "model", "digits", tmp_path / "out", shrinking=shrinking, data_dir=data_dir,
                          **options)  # fmt: skip

        return run

    @pytest.mark.parametrize(
        ("wanted", "is_off_trunk"), [({"to_flops": 0.6}, True), ({"family": (0.6,)}, True), ({"keep": 1.0}, False)]
    )
    def test_a_size_and_a_family_come_off_it(self, wanted, is_off_trunk, trained, shrunk, tmp_path):
        trained()
        rows = shrunk(**wanted).module.state_dict()["1.weight"].tolist()
        of = {place: load_file(tmp_path / "model" / place / WEIGHTS)["1.weight"].tolist() for place in (TRUNK, ".")}
        assert all(row in of[TRUNK if is_off_trunk else "."] for row in rows)
        assert not any(row in of["." if is_off_trunk else TRUNK] for row in rows)

    def test_it_is_compared_with_the_network_itself(self, trained, shrunk, digits):
        result = trained()
        assert shrunk(to_flops=0.6).steps[0].loss == pytest.approx(result.validation.loss, rel=1e-5)

    def test_recoveries_go_on_with_its_optimizer(self, trained, shrunk, tmp_path, monkeypatch):
        trained()
        begun = []
        monkeypatch.setattr(
            "autogrow.training.trainer.give_state", lambda optimizer, module, states: begun.append(states)
        )
        shrunk(Shrinking(recovery=Recovery(epochs=1)), to_flops=0.6)
        assert [states["1.weight"]["step"] for states in begun] == [12]

    def test_the_rate_falls_after_the_last_cycle_alone(self, trained, shrunk):
        trained()
        rates = []
        shrinking = Shrinking(cycles=2, recovery=Recovery(epochs=1))
        shrunk(shrinking, to_flops=0.4, on_sample=lambda sample: rates.append(sample.learning_rate) or Signal.CONTINUE)
        falls = [after < before for before, after in zip(rates, rates[1:], strict=False)]
        assert falls == sorted(falls) and any(falls) and not all(falls)

    def test_a_trunk_of_another_network_is_refused(self, trained, shrunk, tmp_path):
        trained()
        config = tmp_path / "model" / TRUNK / "config.json"
        content = json.loads(config.read_text())
        content["norm_eps"] = {name: 2 * eps for name, eps in content["norm_eps"].items()}
        config.write_text(json.dumps(content))
        with pytest.raises(NetworkError, match="trunk is of another network than .*model: remove it"):
            shrunk(to_flops=0.6)

    @pytest.mark.parametrize("damage", ["cut", "shape", "name", "missing"])
    def test_a_damaged_state_is_named(self, damage, trained, shrunk, tmp_path):
        trained()
        path = tmp_path / "model" / TRUNK / OPTIMIZER
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:100])
        elif damage == "missing":
            path.unlink()
        else:
            save_file({"1.weight/exp_avg" if damage == "shape" else "no.weight/exp_avg": torch.zeros(3, 3)}, path)
        with pytest.raises(NetworkError, match=r"optimizer\.safetensors: "):
            shrunk(to_flops=0.6)
        assert not (tmp_path / "out").exists()

    def test_it_is_a_network_that_can_be_evaluated(self, trained, tmp_path, data_dir):
        trained()
        config = read_config(tmp_path / "model")
        assert load_trunk(tmp_path / "model", config) is not None
        assert 0 <= evaluate(tmp_path / "model" / TRUNK, "digits", data_dir=data_dir).score <= 1
