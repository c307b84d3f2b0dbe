"""A run that is cut and continued is bit for bit the run that was not: weights, optimizer, records, random state."""

import pytest
import torch

from autogrow.training.checkpoint import save_checkpoint
from autogrow.training.ending import Signal
from autogrow.training.records import TrialFolder
from tests.training.runs import (
    RESNET,
    STAGED,
    data,
    differences,
    ending,
    policy,
    same,
    settings,
    state_of,
    trained,
    trainer,
    weights,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(Exception):
    """The process has gone."""


class Whole:
    """A run from start to end, its state at the last sample, and checkpoints of it at the steps of some cuts."""

    def __init__(self, folder, cuts, options, is_under_way=lambda run: True):
        self.final = None
        self.under_way = {}
        self.run = trainer(**options)
        self.run.on_sample = lambda sample: self._look(folder, cuts, is_under_way, sample)
        self.run.run()

    def _look(self, folder, cuts, is_under_way, sample):
        if sample.step in cuts:
            self.under_way[sample.step] = is_under_way(self.run)
            save_checkpoint(at(folder, sample.step).checkpoints, sample.step, self.run.state())
        if sample.step == self.run.num_steps:
            self.final = state_of(self.run)
        return Signal.CONTINUE


def at(folder, cut):
    return TrialFolder(folder / f"cut at {cut}")


def control(run):
    return run.network.attach(run.optimizer)


def is_thawing(run):
    return 0 < control(run).released < 1 and control(run).first_trained_cohort > 0


def is_held(run):
    return control(run).released == 0 and control(run).first_trained_cohort > 0


def is_ramping(run):
    return bool(control(run).state_dict()["ramps"])


def has_rates(run):
    rates = control(run).state_dict()["rates"].values()
    return any(rate not in (0.1, 1.0) for of_parameter in rates for rate in of_parameter)


def has_eps_of_its_own(run):
    return any(eps != 1e-5 for eps in run.shape.norm_eps.values())


def is_in_the_aftermath(run):
    return 0 in run.events[-1].losses_after and 50 not in run.events[-1].losses_after


def has_ended_growing(run):
    return run.growth.ended_step is not None


def is_deeper(run):
    return sum(run.network.blocks.values()) > 3


def has_probed(run):
    return run.events[-1].selection_flops > 0


def has_shrunk(run):
    return bool(run.events) and bool(run.events[-1].removed_units)


def is_limited(run):
    return run.events[-1].limited_by is not None


SHORT = {"epochs": 2}
CASES = {
    "thaw": (
        {"the_policy": policy(freeze={"kind": "thaw", "hold_samples": 1, "release_samples": 4}, chunk_fraction=0.4,
                              trigger={"kind": "schedule", "every": 7}, initialization="xavier"),
         "the_settings": settings(weight_decay=0.01, epochs=3)},
        (9, 17), is_thawing,
    ),
    "thaw with momentum": (
        {"the_policy": policy(freeze={"kind": "thaw", "hold_samples": 2, "release_samples": 8}, initialization="split"),
         "the_settings": settings(optimizer="sgd", weight_decay=0.01, learning_rate=0.05, **SHORT)},
        (7,), is_thawing,
    ),
    "freeze old": (
        {"the_policy": policy(freeze="old", initialization="xavier"),
         "the_settings": settings(optimizer="adamw", **SHORT)},
        (4, 9), is_held,
    ),
    "ramp": (
        {"the_policy": policy(connection_ramp_steps=6, initialization="xavier"),
         "the_settings": settings(optimizer="adamw", weight_decay=0.01, **SHORT)},
        (4, 7), is_ramping,
    ),
    "ramp and thaw": (
        {"the_policy": policy(connection_ramp_steps=5, initialization="paired",
                              freeze={"kind": "thaw", "hold_samples": 1, "release_samples": 2}),
         "the_settings": settings(optimizer="sgd", **SHORT)},
        (6,), is_ramping,
    ),
    "rates by cohort": (
        {"the_policy": policy(new_unit_lr="cohort", initialization="split", optimizer_state="reset"),
         "the_settings": settings(**SHORT)},
        (5, 9), has_rates,
    ),
    "rescaled norms": (
        {"the_policy": policy(initialization={"kind": "paired", "variance_rescaling": True}, new_unit_lr=0.5,
                              initial_fraction=0.5, chunk_fraction=0.5),
         "the_settings": settings(**SHORT), **RESNET},
        (5,), has_eps_of_its_own,
    ),
    "split": (
        {"the_policy": policy(initialization={"kind": "split", "noise": 0.3}), "the_settings": settings(**SHORT)},
        (4, 9), is_in_the_aftermath,
    ),
    "gradient_max": (
        {"the_policy": policy(initialization="gradient_max", layer_selection="gradient_gain"),
         "the_settings": settings(**SHORT)},
        (3,), lambda run: not run.events,
    ),
    "tiny": (
        {"the_policy": policy(initialization="tiny", layer_selection="sensitivity"), "the_settings": settings(**SHORT)},
        (5,), is_in_the_aftermath,
    ),
    "probe": (
        {"the_policy": policy(layer_selection={"kind": "probe", "steps": 2, "candidates": 2}),
         "the_data": data(augmentation="pad_crop_flip"), "the_settings": settings(**SHORT)},
        (4, 6), has_probed,
    ),
    "depth": (
        {"the_policy": policy(initial_fraction=0.5, chunk_fraction=0.5, depth={
            "initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 3}}),
         "the_settings": settings(**SHORT), **STAGED},
        (5,), is_deeper,
    ),
    "random depth and rescaled norms": (
        {"the_policy": policy(initialization={"kind": "paired", "variance_rescaling": True}, initial_fraction=0.5,
                              depth={"initial_fraction": 0.5, "initialization": "random", "stage_selection": "all",
                                     "trigger": {"kind": "plateau", "window": 1, "patience": 1, "max_wait": 3}}),
         "the_settings": settings(learning_rate_schedule="constant_then_cosine", optimizer="sgd", **SHORT), **STAGED},
        (6,), lambda run: is_deeper(run) and has_eps_of_its_own(run),
    ),
    "constant_then_cosine": (
        {"the_policy": policy(grow_until=0.4, optimizer_state="reset"),
         "the_settings": settings(learning_rate_schedule="constant_then_cosine", learning_rate=0.01)},
        (9, 14), has_ended_growing,
    ),
    "min_gain": ({"the_policy": policy(min_gain=0.9), "the_settings": settings(**SHORT)}, (9,), has_ended_growing),
    "aftermath": (
        {"the_policy": policy(chunk_fraction=0.75), "the_settings": settings(epochs=10)}, (30,), is_in_the_aftermath,
    ),
    "size limits": (
        {"the_policy": policy(limits={"max_parameters": 2300}), "the_settings": settings(**SHORT)}, (7, 9), is_limited,
    ),
    "geometric schedule": (
        {"the_policy": policy(trigger={"kind": "schedule", "every": 2, "growth": 1.5}, chunk_growth=1.5,
                              chunk_fraction=0.1, layer_selection="random"),
         "the_settings": settings(optimizer="sgd", epochs=3)},
        (3, 12), is_in_the_aftermath,
    ),
    "a length in steps": (
        {"the_policy": policy(), "the_settings": settings(steps=10, learning_rate=0.01)}, (5, 8), is_in_the_aftermath,
    ),
    "shrinking": (
        {"the_policy": policy(chunk_fraction=0.75, trigger={"kind": "schedule", "every": 2}, shrink={
            "trigger": {"kind": "schedule", "every": 3}, "fraction": 0.2, "final_fraction": 0.3}),
         "the_settings": settings(epochs=5)},
        (2, 6, 11), has_shrunk,
    ),
    "shrinking what is held": (
        {"the_policy": policy(chunk_fraction=0.75, trigger={"kind": "schedule", "every": 2}, freeze="old",
                              initialization="xavier", shrink={"score": "random", "fraction": 0.4,
                              "trigger": {"kind": "schedule", "every": 3}}),
         "the_settings": settings(optimizer="sgd", **SHORT)},
        (6,), lambda run: has_shrunk(run) and is_held(run),
    ),
    "shrinking without growing": (
        {"the_policy": policy(initial_fraction=1.0, shrink={"score": "fisher", "compensation": "none",
                              "trigger": {"kind": "schedule", "every": 2}, "final_fraction": 0.2}),
         "the_settings": settings(optimizer="adamw", weight_decay=0.01, **SHORT), **RESNET},
        (3, 7), has_shrunk,
    ),
    "rank": (
        {"the_policy": policy(layer_selection="rank", freeze="old", initialization="paired"),
         "the_settings": settings(**SHORT)},
        (6,), is_held,
    ),
}  # fmt: skip
"""By name: what is trained, the steps after which it is cut, and what must be under way at one of them."""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_goes_on_bit_for_bit(case, tmp_path):
    options, cuts, is_under_way = CASES[case]
    whole = Whole(tmp_path, cuts, options, is_under_way)
    assert any(whole.under_way.values()), "no cut is where it should be"
    assert whole.run.events
    for cut in cuts:
        resumed = ending(trainer(folder=at(tmp_path, cut), **options))
        assert not differences(whole.final, resumed), f"cut at {cut}"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_across_growth_events(optimizer, tmp_path):
    options = {
        "the_settings": settings(optimizer=optimizer, weight_decay=0.01, epochs=3, brightness=0.2, contrast=0.5),
        "the_data": data(augmentation="pad_crop_flip"),
        "the_policy": policy(layer_selection="activation_std"),
    }
    cuts = (4, 11)
    whole = Whole(tmp_path, cuts, options)
    assert len(whole.run.events) >= 3
    for cut in cuts:
        assert not differences(whole.final, ending(trainer(folder=at(tmp_path, cut), **options))), f"cut at {cut}"


@pytest.mark.slow
@pytest.mark.parametrize("cut", [3, 13])
def test_an_interrupt_is_kept_and_the_random_state_with_it(cut, tmp_path, monkeypatch):
    """Dropout draws from the random state, which goes on where it was."""
    (tmp_path / "with_dropout.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 4))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = {"model": "with_dropout:make", "the_policy": policy(layer_selection="probe")}
    whole = ending(trainer(**options))
    first = trainer(
        folder=TrialFolder(tmp_path / "run"),
        on_sample=lambda sample: Signal.INTERRUPT if sample.step == cut else Signal.CONTINUE,
        **options,
    )
    assert first.run().signal is Signal.INTERRUPT
    resumed = ending(trainer(folder=TrialFolder(tmp_path / "run"), **options))
    assert not differences(whole, resumed)


def kill(folder, *, saved, at_step, **options):
    """A run whose last checkpoint is that of step `saved`, and which is gone after step `at_step`."""
    run = trainer(folder=folder, **options)
    run.checkpoint_if_due = lambda: None

    def look(sample):
        if sample.step == saved:
            run.save_checkpoint()
        if sample.step == at_step:
            raise Killed
        return Signal.CONTINUE

    run.on_sample = look
    with pytest.raises(Killed):
        run.run()


@pytest.mark.slow
@pytest.mark.parametrize(("saved", "at_step"), [(None, 7), (4, 5), (6, 10)])
def test_records_after_the_checkpoint_of_a_killed_run_are_dropped(saved, at_step, tmp_path):
    """With the events that happened since, and what was seen of those that stay."""
    whole = trained()
    folder = TrialFolder(tmp_path)
    kill(folder, saved=saved, at_step=at_step)
    assert len(folder.samples()) == at_step
    resumed = trained(folder=folder)
    assert same(weights(whole), weights(resumed))
    assert [sample.index for sample in folder.samples()] == list(range(len(whole.samples)))
    assert folder.events() == resumed.events
    assert [event.losses_after for event in folder.events()] == [event.losses_after for event in whole.events]


@pytest.mark.slow
def test_killed_twice(tmp_path):
    whole = trained()
    kill(TrialFolder(tmp_path), saved=4, at_step=9)
    kill(TrialFolder(tmp_path), saved=10, at_step=14)
    assert same(weights(whole), weights(trained(folder=TrialFolder(tmp_path))))


@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog):
    whole = trained()
    folder = TrialFolder(tmp_path)
    run = trainer(folder=folder)
    run.on_sample = lambda sample: run.save_checkpoint() or (Signal.INTERRUPT if sample.step == 9 else Signal.CONTINUE)
    run.run()
    paths = sorted(folder.checkpoints.iterdir())
    assert [path.name for path in paths] == ["step-0000000008.pt", "step-0000000009.pt"]
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2] ^= 1
    paths[1].write_bytes(content)
    resumed = trained(folder=folder)
    assert "step-0000000009.pt is damaged" in caplog.text
    assert same(weights(whole), weights(resumed))


@pytest.mark.slow
@pytest.mark.parametrize("cut", [3, 12, 14, 15])
def test_an_interrupt_is_noticed_between_samples_and_readings_of_an_event(cut, tmp_path, monkeypatch):
    """An event after step 10 is looked at after 11, 12 and 15: a cut there loses no reading and repeats none."""
    monkeypatch.setattr("autogrow.training.ending.INTERRUPT_POLL_SECONDS", 0.0)
    asked = iter([False] * (cut - 1) + [True] + [False] * 100)
    options = {
        "the_settings": settings(sample_every=10),
        "the_policy": policy(trigger={"kind": "schedule", "every": 1}, freeze={"kind": "thaw", "hold_samples": 0}),
    }
    whole = trained(**options)
    interrupted = trainer(folder=TrialFolder(tmp_path), interrupted=lambda: next(asked), **options).run()
    assert (interrupted.signal, interrupted.steps) == (Signal.INTERRUPT, cut)
    resumed = trained(folder=TrialFolder(tmp_path), **options)
    assert same(weights(whole), weights(resumed))
    assert [sorted(event.losses_after) for event in whole.events] == [[0, 1, 2, 5, 10], [0, 1, 2]]
    for before, after in zip(whole.events, resumed.events, strict=True):
        assert (before.losses_after, before.gradient_ratio) == (after.losses_after, after.gradient_ratio)


def test_a_checkpoint_is_plain_data(tmp_path):
    """Tensors and containers, which PyTorch reads without running code."""
    kill(TrialFolder(tmp_path), saved=6, at_step=6)
    (path,) = TrialFolder(tmp_path).checkpoints.iterdir()
    (tmp_path / "payload.pt").write_bytes(path.read_bytes()[32:])
    assert torch.load(tmp_path / "payload.pt", weights_only=True)["step"] == 6
