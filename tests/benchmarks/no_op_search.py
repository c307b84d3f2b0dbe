"""``no_op_search.py OUT TRIALS SAMPLER [--slots N] [--resume]``: trials that train nothing: the search is all.

All else is real: the driver, the study database, the sampler, Ray Tune and its processes. Prints when it was started,
and by how much its memory grew after the first trials.
"""

import argparse
import json
import random
import time

import psutil

from autogrow.api import search
from autogrow.study import ray_executor
from autogrow.study.monitor import SearchMonitor
from autogrow.study.settings import available_cores
from autogrow.study.trial_config import TrialConfig

WARM = 20
"""Trials after which everything is imported."""


def end_at_once(config):
    """What `ray_process` has Ray run, without the training. Seconds are other ones every time; the rest is chance."""
    from ray import tune

    from autogrow.study.ray_process import METRIC
    from autogrow.study.trial_result import CompleteTrial, TrialMetrics

    trial = TrialConfig.model_validate_json(config["trial"])
    chance = random.Random(json.dumps(trial.policy.recipe(), sort_keys=True))
    accuracy, train_seconds = chance.random(), chance.random()
    metrics = TrialMetrics(
        validation_score=accuracy, validation_loss=1 - accuracy, train_score=1.0, train_loss=0.0,
        generalization_gap=1 - accuracy, train_seconds=train_seconds, training_flops=1e9, compute=0.5,
        parameters=1000, flops=1000.0, num_events=3, steps=100,
    )  # fmt: skip
    result = CompleteTrial(metrics=metrics, trial_seconds=train_seconds)
    tune.report({METRIC: accuracy, "result": result.model_dump_json()})


PROGRAM = ray_executor.PROGRAM.replace(
    "from autogrow.study.ray_process import main",
    "import no_op_search; from autogrow.study import ray_process; from ray import cloudpickle; "
    "cloudpickle.register_pickle_by_value(no_op_search); "
    "ray_process.RayTrial = ray_process.wrap_function(no_op_search.end_at_once); main = ray_process.main",
)
"""The actors get the function itself: they do not find this file."""


class Memory(SearchMonitor):
    """Resident memory of this process after each trial, in bytes."""

    def __init__(self):
        self.bytes = []

    def trial_ended(self, number, result):
        self.bytes.append(psutil.Process().memory_info().rss)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("trials", type=int)
    parser.add_argument("sampler")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    ray_executor.PROGRAM = PROGRAM
    # Trials that do nothing can share the cores that there are.
    ray_executor.available_cores = lambda: max(available_cores(), given.slots)
    memory = Memory()
    started = time.time()
    if given.resume:
        search(name="run", out=given.out, resume=True, trials=given.trials, monitor=memory)
    else:
        options = {"max_concurrent": given.slots, "sampler": given.sampler, "monitor": memory}
        search("digits", "mlp", trials=given.trials, name="run", out=given.out, **options)
    grown = memory.bytes[-1] - memory.bytes[min(WARM, len(memory.bytes) - 1)]
    print(json.dumps({"started": started, "seconds": time.time() - started, "grown_bytes": grown}))


if __name__ == "__main__":
    main()
