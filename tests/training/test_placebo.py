"""An event that adds nothing: the same run up to it, another one after it, of the same size and cost."""

import pytest

from autogrow.policy.presets import static_policy
from autogrow.training.ending import Signal
from autogrow.training.placebo import Placebo
from autogrow.training.records import TrialFolder
from tests.training.runs import same, state_of, trained, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")

STEP = 9
"""In the second of four epochs of six steps."""


def static(**arguments):
    return trained(the_policy=static_policy(), **arguments)


def along(placebo, **arguments):
    """The weights after every step of a run at full size, the first after step 1."""
    seen = []

    def look(sample):
        seen.append(weights(run))
        return Signal.CONTINUE

    run = trainer(the_policy=static_policy(), placebo=placebo, on_sample=look, **arguments)
    run.run()
    return seen


@pytest.mark.parametrize("resets", [False, True])
def test_bit_for_bit_the_run_that_it_copies_before_and_another_after(resets):
    plain, disturbed = along(None), along(Placebo(STEP, resets))
    equal = [same(one, other) for one, other in zip(plain, disturbed, strict=True)]
    assert equal == [step <= STEP for step in range(1, 25)]


def test_it_has_the_parameters_and_the_compute_of_the_run_that_it_copies():
    plain, disturbed = static(), static(placebo=Placebo(STEP))
    assert [each.parameters for each in disturbed.samples] == [each.parameters for each in plain.samples]
    assert [each.training_flops for each in disturbed.samples] == [each.training_flops for each in plain.samples]
    assert [each.learning_rate for each in disturbed.samples] == [each.learning_rate for each in plain.samples]
    assert not disturbed.events
    assert disturbed.samples[-1].train_loss != plain.samples[-1].train_loss


def test_the_optimizer_starts_afresh_where_it_is_to():
    updates = []

    def look(sample):
        updates.append(max((int(each["step"]) for each in run.optimizer.state.values()), default=0))
        return Signal.CONTINUE

    run = trainer(the_policy=static_policy(), placebo=Placebo(STEP, resets_optimizer=True), on_sample=look)
    run.run()
    assert updates == [*range(1, STEP), *range(25 - STEP)]


@pytest.mark.slow
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("cut", [4, STEP, STEP + 1, 20])
def test_one_that_is_interrupted_and_goes_on_is_the_one_that_is_not(cut, resets, tmp_path):
    options = {"the_policy": static_policy(), "placebo": Placebo(STEP, resets)}
    whole = trained(**options)
    first = trainer(**options, folder=TrialFolder(tmp_path), on_sample=lambda sample: interrupt_at(sample, cut))
    assert first.run().signal is Signal.INTERRUPT
    second = trained(**options, folder=TrialFolder(tmp_path))
    assert same(state_of(second), state_of(whole))


def interrupt_at(sample, step):
    return Signal.INTERRUPT if sample.step == step else Signal.CONTINUE
