"""What a policy holds fixed stays bit-identical through whole runs, and what it lets go of moves."""

import pytest
import torch

from autogrow.training.ending import Signal
from tests.training.runs import RESNET, STAGED, policy, settings, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.05},
    "adam": {"optimizer": "adam", "weight_decay": 0.1, "learning_rate": 0.01},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.5, "learning_rate": 0.01},
}


class Watch:
    """Which entries moved since the last event, sample by sample: (samples since, share of the old, of the new)."""

    def __init__(self, run):
        self.run = run
        self.seen = []
        self.released = {}
        self.at_event = {}
        run.on_sample = self.look
        run.run()

    def look(self, sample):
        run = self.run
        self.released[sample.step] = run.network.attach(run.optimizer).released
        if run.events and sample.step == run.events[-1].step:
            self.at_event = weights(run)
        elif run.events:
            moved = {True: [], False: []}
            for name, tensor in run.model.state_dict().items():
                if tensor.is_floating_point():
                    is_old = run.network.cohorts.of(name, tensor) < run.events[-1].index
                    changed = tensor != self.at_event[name]
                    moved[True].append(changed[is_old])
                    moved[False].append(changed[~is_old])
            since = sample.step - run.events[-1].step
            self.seen.append((since, *(float(torch.cat(moved[which]).float().mean()) for which in (True, False))))
        return Signal.CONTINUE


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", [{}, RESNET], ids=["mlp", "resnet"])
def test_old_entries_are_held_from_their_event_to_the_end(optimizer, network):
    the_policy = policy(freeze="old", initialization="xavier", trigger={"kind": "schedule", "every": 3})
    watch = Watch(trainer(the_policy=the_policy, the_settings=settings(epochs=2, **OPTIMIZERS[optimizer]), **network))
    assert len(watch.run.events) == 3
    assert max(since for since, _, _ in watch.seen) == 3
    assert {old for _, old, _ in watch.seen} == {0.0}
    assert min(new for _, _, new in watch.seen) > 0.5


@pytest.mark.slow
def test_the_whole_network_is_held_under_new_blocks():
    the_policy = policy(initial_fraction=1.0, freeze="old", depth={
        "initial_fraction": 0.5, "initialization": "random", "stage_selection": "all",
        "trigger": {"kind": "schedule", "every": 3}})  # fmt: skip
    watch = Watch(trainer(the_policy=the_policy, the_settings=settings(epochs=1, **OPTIMIZERS["sgd"]), **STAGED))
    assert [event.added_blocks for event in watch.run.events] == [{"stages.0": 1, "stages.1": 1, "stages.2": 1}]
    assert [old for _, old, _ in watch.seen] == [0.0] * 3
    assert min(new for _, _, new in watch.seen) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_thawing_holds_then_releases(optimizer):
    the_policy = policy(
        initialization="xavier", chunk_fraction=0.75, trigger={"kind": "schedule", "every": 4},
        freeze={"kind": "thaw", "hold_samples": 3, "release_samples": 4})  # fmt: skip
    watch = Watch(trainer(the_policy=the_policy, the_settings=settings(epochs=3, **OPTIMIZERS[optimizer])))
    old = {since: share for since, share, _ in watch.seen}
    # The share that a sample sets holds for the step after it: the fourth step moves nothing yet, the fifth does.
    assert [old[since] for since in (1, 2, 3, 4)] == [0.0] * 4
    assert min(old[since] for since in (5, 6, 7, 8, 14)) > 0.5
    assert [watch.released[4 + since] for since in range(8)] == [0, 0, 0, 0, 0.25, 0.5, 0.75, 1]


def test_what_thaws_moves_less_than_what_is_free():
    """A quarter of a step of plain gradient descent is a quarter of what a free entry does."""
    finals = []
    for hold, release in ((1, 4), (2, 0)):
        run = trainer(
            the_policy=policy(chunk_fraction=0.75, trigger={"kind": "schedule", "every": 4}, freeze={
                "kind": "thaw", "hold_samples": hold, "release_samples": release}),
            the_settings=settings(optimizer="sgd", momentum=0.0, learning_rate_schedule="constant"),
        )  # fmt: skip
        states = {}

        def look(sample, run=run, states=states):
            states[sample.step] = weights(run)
            return Signal.STOP if sample.step == 7 else Signal.CONTINUE

        run.on_sample = look
        run.run()
        # Held in steps 5 and 6; of step 7 the one gets a quarter, the other all.
        old = run.network.cohorts.of("4.weight", run.model[4].weight) == 0
        finals.append((states[7]["4.weight"] - states[6]["4.weight"])[old])
    thawing, free = finals
    assert free.abs().max() > 1e-5
    torch.testing.assert_close(thawing, free / 4, rtol=1e-3, atol=3e-8)
