"""What a good user would write without autogrow: Ray Tune and Optuna search for the size of a static network.

Meant to be a strong opponent. Every channel group of the same built-in network has a width of its own, from an eighth
of autogrow's full width to all of it; of a transformer it is the depth, in powers of two up to the full one, that is
searched. Learning rates and schedules are those of autogrow's own space, and so are the TPE sampler's settings, the
data split, epochs or compute, batches, optimizer and initial weights. ASHA stops trials early by their progress. The
training loop is a bare one over examples in memory: no statistics, no records, no checkpoints.

Run as ``python -m tests.benchmarks.static_search``; see `versus_static` for what it is compared with.
"""

import argparse
import json
import logging
import math
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.update(RAY_AIR_NEW_OUTPUT="0", RAY_USAGE_STATS_ENABLED="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1")

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from torch import nn

from autogrow.data.opening import open_dataset
from autogrow.inputs import resolve_data_dir, resolve_model, training_settings
from autogrow.models.building import ModelSpec
from autogrow.policy.policy_file import read_yaml_mapping
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.sampling import SAMPLERS, Sampling
from autogrow.study.search_space import find_space
from autogrow.study.settings import SPLIT_SEED
from autogrow.tasks import Task
from autogrow.training.evaluation import Metrics, evaluate
from autogrow.training.training_data import TrainingData
from tests.benchmarks.static_networks import CPU, DEPTH_OPTIONS, full_depth, full_widths, train_network

METRIC = "score"
"""More is better: validation accuracy, or minus the validation loss of regression, where R² says little near 1, and of
text."""
SMALLEST_SHARE = 8
"""Widths begin at one eighth of the full width."""
NUM_REPORTS = 12
"""Of a trial, the last one at its end: as often as autogrow's trials report."""
GRACE_REPORTS = 2
"""Reports before ASHA may stop a trial: about a fifth of it, which is autogrow's first rung."""
VALIDATION_SAMPLE = 500
"""Examples that the reports before the last are read on. The last one is read on all of them."""
NUM_STARTUP = 10
"""Random trials before TPE models anything: what autogrow takes where time ends the search."""


def search_space(spec: ModelSpec) -> dict[str, Any]:
    """A width for every channel group, or the depth, and what autogrow's own space searches of the training."""
    in_depth = spec.name in DEPTH_OPTIONS
    training = read_yaml_mapping(find_space("depth" if in_depth else "default"), "search space")["training"]
    searched = {name: _parameter(value) for name, value in training.items()}
    if in_depth:
        powers = range(int(math.log2(full_depth(spec))) + 1)
        return {"depth": tune.choice([2**power for power in powers]), **searched}
    widths = {
        f"{option}.{place}": tune.lograndint(max(1, width // SMALLEST_SHARE), width + 1)
        for option, full in full_widths(spec).items()
        for place, width in enumerate(full)
    }
    return {**widths, **searched}


def _parameter(value: Any) -> Any:
    """Of Ray Tune, as the file of a space says it."""
    if isinstance(value, list):
        return tune.choice(value)
    draw = tune.loguniform if value.get("log") else tune.uniform
    return draw(value["low"], value["high"])


def run_trial(
    config: dict[str, Any], data: TrainingData, shape: tuple[tuple[int, ...], int], spec: ModelSpec,
    settings: TrainingSettings, seed: int,
) -> None:  # fmt: skip
    """One trial, which reports along the way."""
    torch.set_num_threads(1)
    validation = data.on(data.validation, CPU)
    sample = torch.arange(min(VALIDATION_SAMPLE, len(validation)))

    def report(step: int, num_steps: int, model: nn.Module) -> None:
        if step * NUM_REPORTS // num_steps > (step - 1) * NUM_REPORTS // num_steps:
            indices = None if step == num_steps else sample
            tune.report({METRIC: score(data.task, evaluate(data.task, model, validation, indices))})

    train_network(config, data, shape, spec, settings, seed, report)


def score(task: Task, metrics: Metrics) -> float:
    by_loss = task.standardizes_targets or task.preference == "loss"
    return -metrics.loss if by_loss else metrics.score


class Recorder(tune.Callback):
    """Writes when the search was ready for its first trial, and when each trial ended and how, as lines of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def setup(self, *arguments: Any, **options: Any) -> None:
        self._write(event="ready")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        is_complete = last.get("training_iteration", 0) >= NUM_REPORTS
        state = "complete" if is_complete else "stopped"
        taken = {"score": last.get(METRIC), "trial_seconds": last.get("time_total_s")}
        self._write(event="trial", state=state, parameters=trial.config, **taken)

    def _write(self, **entry: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), **entry}) + "\n")


def search(
    dataset: str, data_dir: str | None, train_size: int | None, slots: int, seconds: float, seed: int, out: Path,
    model_options: dict[str, Any], epochs: int | None,
) -> None:  # fmt: skip
    """Search until the time is over."""
    opened = open_dataset(dataset, resolve_data_dir(data_dir))
    train, validation = opened.split(seed=SPLIT_SEED, train_size=train_size)
    data = TrainingData.of(opened, train, validation)
    spec = resolve_model("auto", opened, model_options)
    settings = training_settings(opened, None, epochs)
    shape = opened.input_shape, opened.num_outputs
    # Otherwise Ray Tune starts one worker at a time, each importing torch for seconds before the next one begins.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    ray.init("local", num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    sampling = Sampling(seed=seed, num_startup=NUM_STARTUP, num_trials=100_000, num_objectives=1)
    trainable = tune.with_parameters(
        partial(run_trial, shape=shape, spec=spec, settings=settings, seed=seed), data=data
    )
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=search_space(spec),
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="max",
                num_samples=-1,
                time_budget_s=seconds,
                max_concurrent_trials=slots,
                search_alg=OptunaSearch(sampler=SAMPLERS["tpe"](sampling)),
                scheduler=ASHAScheduler(max_t=NUM_REPORTS, grace_period=GRACE_REPORTS, reduction_factor=2),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Recorder(out)]),
        ).fit()
    ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--model-options", type=json.loads, default={}, help="A JSON object.")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, required=True, help="File of one line of JSON per trial.")
    search(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
