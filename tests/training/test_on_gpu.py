"""The whole fast path on a real GPU: captured steps beside plain ones, precision, and what an event costs."""

import statistics

import pytest
import torch

from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.execution import Execution
from autogrow.training.captured_step import WARM_UP_STEPS
from autogrow.training.ending import Signal
from autogrow.training.example_input import example_input
from autogrow.training.records import TrialFolder
from autogrow.training.trainer import Trainer
from tests.training.runs import CLASSES, RESNET, SHAPE, data, policy, settings
from tests.training.test_captured_steps import CASES, LONG

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
GPU = torch.device("cuda")


def trainer_on_gpu(
    *, the_policy=None, the_settings=None, the_data=None, model="mlp", options=None, seed=0, execution=Execution()
):
    options = {"hidden": (16, 12)} if model == "mlp" else options or {}
    network = ExpandableNetwork(
        build_model(ModelSpec(model, options), SHAPE, CLASSES, seed).to(GPU), example_input(SHAPE, GPU), verify=False
    )
    return Trainer(
        network, the_data or data(), the_policy or policy(), the_settings or settings(**LONG),
        seed=seed, device=GPU, execution=execution,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_near_plain_ones(case):
    """To rounding: a GPU adds in another order, and its captured learning rate is a float32."""
    runs = {}
    for graphs in (True, False):
        execution = Execution(precision="float32", cuda_graphs=graphs)
        runs[graphs] = trainer_on_gpu(**CASES[case], execution=execution)
        runs[graphs].run()
    captured, plain = runs[True], runs[False]
    assert captured.steps.captured.why_not is None
    # Rates by cohort are measured at every sample, which is every step here: nothing captured is used twice.
    assert captured.steps.captured.replay is not None or case == "rates by cohort"
    assert len(captured.events) == len(plain.events) > 0
    assert captured.network.widths == plain.network.widths
    assert captured.samples[-1].train_loss == pytest.approx(plain.samples[-1].train_loss, abs=0.1)
    assert captured.samples[2].train_loss == pytest.approx(plain.samples[2].train_loss, abs=1e-4)


def test_frozen_weights_are_bit_identical_in_replays():
    run = trainer_on_gpu(**RESNET, the_policy=policy(freeze={"kind": "old"}, trigger={"kind": "schedule", "every": 40}))
    kept = {}

    def look(sample):
        if len(run.events) == 1 and not kept:
            kept.update({name: value.clone() for name, value in run.model.named_parameters()})
        return Signal.CONTINUE

    run.on_sample = look
    run.run()
    assert run.steps.captured.replay is not None
    control = run.network.attach(run.optimizer)._control
    frozen = [each for each in control._parameters if each.held is not None]
    assert frozen
    names = {parameter: name for name, parameter in run.model.named_parameters()}
    for each in frozen:
        held = each.held.expand_as(each.tensor)
        assert torch.equal(each.tensor[held], kept[names[each.tensor]][held])


def test_bfloat16_is_chosen_where_the_gpu_computes_with_it():
    run = trainer_on_gpu(**RESNET)
    run.run()
    assert {parameter.dtype for parameter in run.model.parameters()} == {torch.float32}
    if torch.cuda.get_device_capability() >= (8, 0):
        exact = trainer_on_gpu(**RESNET, execution=Execution(precision="float32"))
        exact.run()
        assert exact.samples[-1].train_loss != run.samples[-1].train_loss


def test_bfloat16_ends_within_noise_of_float32():
    ends = {
        precision: [_accuracy(seed, Execution(precision=precision)) for seed in range(5)]
        for precision in ("float32", "bfloat16")
    }
    error = (sum(statistics.variance(values) for values in ends.values()) / 5) ** 0.5
    assert abs(statistics.mean(ends["float32"]) - statistics.mean(ends["bfloat16"])) <= 2 * error + 0.03


def _accuracy(seed, execution):
    run = trainer_on_gpu(**RESNET, seed=seed, execution=execution)
    run.run()
    return run.samples[-1].validation_score


def test_steps_are_captured_again_after_an_event():
    """What that takes is a benchmark: `python -m tests.benchmarks --gpu event`."""
    run = trainer_on_gpu(**RESNET)
    captured = []
    for _ in range(3):
        for step in range(WARM_UP_STEPS + 2):
            run.steps.take(run.network, run.optimizer, step)
        captured.append(run.steps.captured.replay)
        run.network.widen_groups({run.network.groups[0].name: 1}, optimizer=run.optimizer)
    assert None not in captured
    assert len(set(map(id, captured))) == 3


def test_a_captured_run_resumes_from_its_checkpoint(tmp_path):
    runs = []
    for interrupts in (True, False):
        run = trainer_on_gpu(**RESNET, the_data=data(augmentation="pad_crop_flip"))
        run.folder = TrialFolder(tmp_path)
        run.on_sample = lambda sample, stops=interrupts: (
            Signal.INTERRUPT if stops and sample.step == 30 else Signal.CONTINUE
        )
        runs.append(run.run())
    assert runs[0].steps == 30
    assert runs[1].steps == 60
    assert torch.isfinite(torch.tensor(runs[1].train.loss))
