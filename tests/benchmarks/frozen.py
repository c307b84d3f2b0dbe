"""What frozen layers save: a step that leaves out the gradients of layers held as a whole, against one that does not.

Only the units that the last group has just been given train, with whatever reads or feeds them: the layers before are
held. Both kinds of step give the same weights.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

from autogrow.policy.presets import static_policy
from autogrow.training.trainer import Trainer
from tests.benchmarks.setting import Setting
from tests.benchmarks.table import Row
from tests.benchmarks.timing import paired_ratio
from tests.benchmarks.training_runs import Run, image_data, networks, training

ADDED_UNITS = 8


def rows(setting: Setting) -> Iterator[Row]:
    batch = setting.choose(cpu=32, gpu=128, quick=4)
    data = image_data(setting, "cifar100", 1024)
    for name, spec in networks(setting).items():
        run = Run(spec, data, setting.device)
        sparing, plain = (run.trainer(static_policy(), training(50, 1000, batch)) for _ in range(2))
        for trainer in (sparing, plain):
            _freeze_all_but_the_last(trainer)
        control = sparing.network.attach(sparing.optimizer)
        with control.without_held_gradients() as held:
            share = sum(parameter.numel() for parameter in held) / sparing.network.num_parameters
        plain.network.attach(plain.optimizer).without_held_gradients = lambda: nullcontext([])
        steps = [partial(_steps, trainer, setting) for trainer in (sparing, plain)]
        ratio = paired_ratio(*steps, setting.choose(cpu=12, gpu=12, quick=1))
        flops = sparing.growth.step_flops / sparing.growth.training_flops
        text = f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f}) of the seconds, {flops:.3f} of the FLOPs"
        yield Row(f"step of {name}, {share:.0%} of weights in frozen layers / all gradients", text, "", None)


def _freeze_all_but_the_last(trainer: Trainer) -> None:
    network, optimizer = trainer.network, trainer.optimizer
    network.widen_groups({network.groups[-1].name: ADDED_UNITS}, optimizer=optimizer)
    network.attach(optimizer).freeze_before(1)
    trainer.growth.recount(optimizer)
    trainer.model.train()


def _steps(trainer: Trainer, setting: Setting) -> None:
    """Some steps as the trainer takes them, captured on a GPU."""
    for step in range(setting.choose(cpu=1, gpu=100, quick=1)):
        trainer.steps.take(trainer.network, trainer.optimizer, step)
    setting.synchronize()
