"""How a step is executed: each way against the default one, on the same static training.

Every run is a trainer of its own, by turns; the stretch up to its first sample, in which it compiles and captures, is
reported apart.
"""

import statistics
from collections.abc import Iterator

import torch

from autogrow.policy.execution import Execution
from autogrow.policy.presets import static_policy
from autogrow.policy.records import Sample
from autogrow.training.ending import Signal
from tests.benchmarks.setting import Setting
from tests.benchmarks.table import Row
from tests.benchmarks.timing import in_words
from tests.benchmarks.training import Rounds, Turn
from tests.benchmarks.training_runs import BATCH, Run, epochs_for, image_data, networks, training

DEFAULT = "default"


def executions(setting: Setting) -> dict[str, Execution]:
    """What is compared with the default: one change each."""
    found = {}
    if setting.is_gpu:
        found["no CUDA graphs"] = Execution(cuda_graphs=False)
        found["float32"] = Execution(precision="float32")
    else:
        found["bfloat16"] = Execution(precision="bfloat16")
    found["compiled"] = Execution(compile=True)  # last: compiling may take longer than there is time
    return found


def rows(setting: Setting) -> Iterator[Row]:
    data = image_data(setting, "cifar100", setting.choose(cpu=5000, gpu=None, quick=256))
    steps = setting.choose(cpu=4, gpu=200, quick=1)
    rounds = setting.choose(cpu=3, gpu=3, quick=1)
    for name, spec in networks(setting).items():
        run = Run(spec, data, setting.device)
        for how, execution in executions(setting).items():
            found, first = Rounds(), []
            for _ in range(rounds + 1):
                found.add(DEFAULT, _turn(run, Execution(), steps)[1])
                started, turn = _turn(run, execution, steps)
                found.add(how, turn)
                first.append(started)
            text = (
                f"{in_words(found.ratios(how, DEFAULT))} times the default's speed; its first {steps} steps "
                f"{statistics.median(first):.3g} s, later ones {found.counted(how)[-1].seconds:.3g} s"
            )
            yield Row(f"{name}: {how} against default", text, "", None)
            torch.compiler.reset()


def _turn(run: Run, execution: Execution, steps: int) -> tuple[float, Turn]:
    """Seconds of the first steps of a fresh trainer, and as many steps after them."""
    samples: list[Sample] = []

    def watch(sample: Sample) -> Signal:
        samples.append(sample)
        return Signal.STOP if len(samples) == 2 else Signal.CONTINUE

    settings = training(epochs_for(3 * steps, run.data), steps, read_examples=1)
    run.trainer(static_policy(), settings, watch, execution=execution).run()
    first, second = samples
    return first.train_seconds, Turn((second.step - first.step) * BATCH, second.train_seconds - first.train_seconds)
