"""Every built-in network that has stages loses blocks of them, or blocks and units, to the size that was asked for."""

import pytest
import torch

from autogrow.data import open_dataset
from autogrow.errors import NetworkError
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint
from autogrow.network.shape import NetworkShape
from autogrow.policy.changes import Shorten
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.example_input import example_of
from autogrow.training.shrink_targets import UnreachableError
from autogrow.training.shrinking import Shrinker
from autogrow.training.training_data import TrainingData

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
STAGED = {
    "resnet": ModelSpec("resnet", {"depth": 20, "width": 4}),
    "resnet18": ModelSpec("resnet18", {"width": 4}),
    "gpt": ModelSpec("gpt", {"layers": 3, "width": 16, "heads": 2}),
    "gpt with tied weights": ModelSpec(
        "gpt", {"layers": 3, "width": 16, "heads": 2, "tied": True, "norm": "rms"}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def opened(data_dir, tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "fox.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 60)
    return {"digits": open_dataset("digits", data_dir), "text": open_dataset(f"{text}?context=16", data_dir)}


@pytest.fixture
def shrinker(opened, monkeypatch):
    """Of a fresh network; times are not measured."""
    monkeypatch.setattr(Shrinker, "latencies", lambda shrinker: ())

    def make(spec, epochs=0, **shrinking):
        dataset = opened["text" if spec.name == "gpt" else "digits"]
        module = build_model(spec, dataset.input_shape, dataset.num_outputs, seed=0)
        network = ExpandableNetwork(module, example_of(dataset, torch.device("cpu")))
        train, validation = dataset.split(seed=0, train_size=None if spec.name == "gpt" else 64)
        return Shrinker(
            network,
            TrainingData.of(dataset, train, validation),
            Shrinking(recovery=Recovery(epochs=epochs), calibration_examples=16, **shrinking),
            TrainingSettings(batch_size=32),
            device=torch.device("cpu"),
        )

    return make


def step_to(share, shrinker):
    before = shrinker.before()
    return before, shrinker.step("step", Target("flops", share * before.footprint.flops))


@pytest.mark.parametrize("score", ["loss", "similarity"])
@pytest.mark.parametrize("name", STAGED)
def test_blocks_of_every_network(name, score, shrinker):
    made = shrinker(STAGED[name], remove={"kind": "blocks", "score": score})
    before, after = step_to(0.75, made)
    assert after.footprint.flops <= 0.75 * before.footprint.flops
    assert after.removed_units == {} and after.num_removed > 0
    left = {stage: number - len(after.removed_blocks.get(stage, ())) for stage, number in before.blocks.items()}
    assert after.blocks == made.network.blocks == left and min(left.values()) >= 1
    kept = set(after.widths)
    assert all(before.widths[group] == width for group, width in after.widths.items()) and kept < set(before.widths)


@pytest.mark.parametrize("name", STAGED)
def test_both_of_every_network(name, shrinker):
    made = shrinker(STAGED[name], remove="both")
    before, after = step_to(0.6, made)
    assert after.footprint.flops <= 0.6 * before.footprint.flops
    assert after.num_removed > 0
    shape = NetworkShape.of(made.network, with_blocks=True)
    assert (dict(shape.widths), dict(shape.blocks)) == (after.widths, after.blocks)


def test_a_shortened_network_trains_on_and_is_shortened_again(shrinker):
    made = shrinker(STAGED["gpt"], epochs=1, remove="blocks")
    before, after = step_to(0.8, made)
    assert after.blocks == {"blocks": 2} and after.loss < after.loss_before_recovery
    again = made.step("again", Target("flops", 0.55 * before.footprint.flops))
    assert again.blocks == {"blocks": 1}


def test_as_many_blocks_go_as_leave_the_least_loss(shrinker):
    made = shrinker(STAGED["gpt"], remove="both")
    made.recover(Recovery(epochs=4, learning_rate=0.01))
    with torch.no_grad():  # a block that does nothing costs nothing, and units of others cost something
        for name, parameter in made.network.module.named_parameters():
            if name.startswith("blocks.1."):
                parameter.zero_()
    loss, shorter = made.metrics().loss, made.network.twin()
    shorter.apply([Shorten({"blocks": [1]})])
    made.remove(Target("flops", footprint(shorter.module, made.inputs[:2]).flops))
    assert made.network.blocks == {"blocks": 2}
    assert made.metrics().loss == pytest.approx(loss, rel=1e-5)


def test_units_go_alone_where_blocks_are_worth_more(shrinker):
    made = shrinker(STAGED["gpt"], remove="both")
    made.recover(Recovery(epochs=4, learning_rate=0.01))
    target = Target("flops", 0.98 * made.footprint().flops)
    made.remove(target)
    assert made.network.blocks == {"blocks": 3} and made.footprint().flops <= target.value


def test_a_group_that_cannot_shrink_is_listed_once(shrinker):
    with pytest.raises(NetworkError) as caught:
        shrinker(ModelSpec("mlp", {"hidden": [8, 8]}), only=("layr",))
    known = str(caught.value).partition("known are ")[2].partition(";")[0].split(", ")
    assert len(known) == len(set(known)) > 1


def test_what_no_blocks_can_do_is_one_line(shrinker):
    with pytest.raises(NetworkError, match=r"has no stage, a row of alike blocks, .* \(--remove units\)"):
        shrinker(ModelSpec("mlp", {"hidden": [8, 8]}), remove="blocks")
    made = shrinker(STAGED["gpt"], remove="blocks")
    target = Target("flops", 0.1 * made.footprint().flops)
    with pytest.raises(UnreachableError, match="cannot be reached: without all that may go the network has"):
        made.check_reachable(target)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        made.remove(target)
    assert made.network.blocks == {"blocks": 3}
    made.network.apply([Shorten({"blocks": 2})])
    with pytest.raises(NetworkError, match=r"no block of the stages blocks can go: each is the only one"):
        Shrinker(made.network, made.data, made.shrinking, TrainingSettings(), device=torch.device("cpu"))


def test_only_what_is_named_loses_units(shrinker):
    made = shrinker(STAGED["resnet"], only=["stages.2.*.conv1", "stages.1"])
    before, after = step_to(0.9, made)
    assert set(after.removed_units) <= {name for name in before.widths if name.startswith(("stages.1.", "stages.2."))}
    assert after.num_removed > 0 and after.footprint.flops <= 0.9 * before.footprint.flops
    assert made.fixed["stages.0.0.conv1"] == "only others were to lose units"
    with pytest.raises(UnreachableError, match="cannot be reached"):
        made.check_reachable(Target("flops", 0.3 * before.footprint.flops))


def test_only_stages_that_are_named_lose_blocks(shrinker):
    made = shrinker(STAGED["resnet"], remove="blocks", only=["stages.1"])
    before, after = step_to(0.85, made)
    assert set(after.removed_blocks) == {"stages.1"}


@pytest.mark.parametrize(
    ("shrinking", "message"),
    [
        ({"only": ["stages.3"]}, "unknown group 'stages.3'"),
        ({"only": ["stages.1", "bloks"], "remove": "blocks"}, "unknown stage 'bloks'"),
        ({"only": ["stages.1.2"], "remove": "both"}, r"tells blocks of the stage 'stages.1' apart.*stages.1.\*.conv1"),
    ],
)
def test_names_that_mean_nothing_or_change_are_one_line(shrinking, message, shrinker):
    with pytest.raises(NetworkError, match=message) as raised:
        shrinker(STAGED["resnet"], **shrinking)
    assert "\n" not in str(raised.value)


def test_all_blocks_of_a_stage_may_be_named_where_both_go(shrinker):
    made = shrinker(STAGED["resnet"], remove="both", only=["stages.1", "stages.2.*.conv1"])
    before, after = step_to(0.8, made)
    assert {name.split(".")[1] for name in after.removed_units} <= {"1", "2"}
    assert after.footprint.flops <= 0.8 * before.footprint.flops
