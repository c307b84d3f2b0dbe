"""Training steps against a plain loop written here: same batches, stock modules, nothing fast."""

import statistics

import pytest
import torch
import torch.nn.functional as F

from autogrow.errors import PolicyError
from autogrow.models.building import ModelSpec, build_model
from autogrow.policy.changes import Freeze
from autogrow.policy.execution import Execution
from autogrow.policy.part import validated
from autogrow.tasks.classification import Classification
from autogrow.training.optimizers import learning_rate_at
from tests.training.recorder import WAITS, RecorderOnCpu
from tests.training.runs import CLASSES, MLP, RESNET, SHAPE, STAGED, data, policy, settings, trained, trainer

FULL = policy(initial_fraction=1.0)


class NotingTask(Classification):
    """Keeps the loss of every training step, as a tensor."""

    def __init__(self):
        self.losses = []

    def loss(self, outputs, targets):
        loss = super().loss(outputs, targets)
        if loss.requires_grad:
            self.losses.append(loss.detach())
        return loss


def losses_of(the_data, **arguments):
    task = NotingTask()
    noted = type(the_data)(task, the_data.train, the_data.validation, the_data.normalization, the_data.augmentation)
    run = trained(the_data=noted, the_policy=FULL, **arguments)
    return [float(loss) for loss in task.losses], run


def plain_losses(run, model, the_settings):
    """The same training as anybody would write it: NCHW, unfused, one tensor operation after the other."""
    train, normalization = run.metrics.data.train, run.metrics.data.normalization
    inputs = torch.from_numpy(train.inputs).float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (normalization.mean, normalization.std))
    inputs, targets = (inputs - mean) / std, torch.from_numpy(train.targets)
    if the_settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, weight_decay=the_settings.weight_decay)
    else:
        optimizer = torch.optim.Adam(model.parameters(), foreach=False, fused=False)
    losses = []
    for step in range(run.num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, step, run.num_steps, the_settings, 0)
        batch = run.steps.batch(step)[0]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs[batch]), targets[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("spec", [MLP, RESNET], ids=["mlp", "resnet"])
@pytest.mark.parametrize("recorder", [None, RecorderOnCpu()], ids=["plain", "captured"])
def test_losses_of_50_steps_are_those_of_a_plain_loop(spec, optimizer, recorder, monkeypatch):
    monkeypatch.setattr("autogrow.training.steps.recorder_for", lambda device: recorder)
    the_settings = settings(epochs=9, optimizer=optimizer, weight_decay=1e-3 * (optimizer == "sgd"), learning_rate=1e-3)
    losses, run = losses_of(data(), the_settings=the_settings, **spec)
    model = build_model(ModelSpec(spec["model"], spec["options"]), SHAPE, CLASSES, 0)
    expected = plain_losses(run, model, the_settings)
    assert len(expected) == 54
    if recorder is None:
        assert losses[:54] == pytest.approx(expected, abs=1e-4)
    # What was captured keeps no losses of its own, but its end is that of the plain loop.
    outputs = run.model.eval()(torch.ones(2, *SHAPE))
    assert torch.allclose(outputs, model.eval()(torch.ones(2, *SHAPE)), atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [RESNET, STAGED], ids=["wider", "deeper"])
def test_weights_stay_channels_last_when_a_network_grows(spec):
    depth = {"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 9}} if spec is STAGED else None
    run = trained(**spec, the_policy=policy(initial_fraction=0.1, depth=depth))
    assert run.events
    kernels = [each for each in run.model.parameters() if each.dim() == 4]
    assert kernels
    for kernel in kernels:
        assert kernel.is_contiguous(memory_format=torch.channels_last)
        assert run.optimizer.state[kernel]["exp_avg"].stride() == kernel.stride()


class _NoWaiting(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        assert operation not in WAITS, f"{operation} waits for the device"
        return operation(*arguments, **(options or {}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"the_policy": policy(connection_ramp_steps=50, freeze={"kind": "old"})},
        {"the_policy": policy(new_unit_lr=0.5)},
    ],
    ids=["adam", "ramps and freezing", "slow new units"],
)
def test_steps_do_not_wait_for_the_device(arguments):
    run = trainer(**arguments, **RESNET, the_data=data(augmentation="pad_crop_flip"))
    run.growth.prepare_optimizer(run.optimizer)
    for step in range(3):
        run.steps.take(run.network, run.optimizer, step)
    run.network.widen_groups({group.name: 2 for group in run.network.groups[:2]}, optimizer=run.optimizer)
    if run.growth.policy.freeze.kind == "old":
        run.network.apply([Freeze(1)], run.optimizer)
    with _NoWaiting():
        for step in range(3, 20):
            run.steps.take(run.network, run.optimizer, step)


def test_layers_that_are_frozen_as_a_whole_cost_no_gradients():
    """Only the first event's new units train, and layers that it left alone are held from the first entry on."""
    one_layer = policy(
        freeze={"kind": "old"}, initial_fraction=0.5, layer_selection={"kind": "round_robin", "fraction": 0.1},
        trigger={"kind": "schedule", "every": 12},
    )  # fmt: skip
    run = trainer(the_policy=one_layer, options={"hidden": (16, 16, 16)})
    run.run()
    assert len(run.events) == 1
    held = run.network.attach(run.optimizer).held_parameters()
    assert held
    assert run.growth.step_flops < run.growth.training_flops
    first, second = (sample for sample in run.samples if sample.step in (13, 14))
    assert second.training_flops - first.training_flops == run.growth.step_flops * 16
    for parameter in held:
        assert parameter.grad is None
        assert parameter.requires_grad
    assert any(parameter.grad is not None for parameter in run.model.parameters())


@pytest.mark.slow
def test_bfloat16_ends_within_noise_of_float32():
    """Accuracy at the end over 5 seeds; on the CPU bfloat16 is only used when asked for."""
    ends, losses = {}, {}
    for precision in ("float32", "bfloat16"):
        runs = [
            trained(seed=seed, the_settings=settings(epochs=8), execution=Execution(precision=precision))
            for seed in range(5)
        ]
        ends[precision] = [run.samples[-1].validation_score for run in runs]
        losses[precision] = [run.samples[-1].train_loss for run in runs]
        assert {parameter.dtype for run in runs for parameter in run.model.parameters()} == {torch.float32}
    error = (sum(statistics.variance(values) for values in ends.values()) / 5) ** 0.5
    difference = statistics.mean(ends["float32"]) - statistics.mean(ends["bfloat16"])
    assert abs(difference) <= 2 * error + 0.03
    assert losses["float32"] != losses["bfloat16"]


@pytest.mark.slow
def test_auto_is_float32_on_the_cpu():
    automatic, float32 = (trained(execution=Execution(precision=name)) for name in ("auto", "float32"))
    assert [s.train_loss for s in automatic.samples] == [s.train_loss for s in float32.samples]


def test_an_unknown_precision_is_named():
    with pytest.raises(PolicyError, match="precision is 'bfloat61'.*bfloat16"):
        validated(Execution, {"precision": "bfloat61"}, "execution")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, from its compiler
def test_compiled_training_is_the_same_up_to_rounding():
    once = policy(initial_fraction=0.5, chunk_fraction=0.5)  # every event has the network compiled again
    usual, compiled = (
        trained(the_policy=once, the_settings=settings(epochs=3), execution=Execution(compile=compile))
        for compile in (False, True)
    )
    assert len(compiled.events) == len(usual.events) > 0
    assert compiled.samples[-1].train_loss == pytest.approx(usual.samples[-1].train_loss, abs=0.05)
