"""Shrinking against Torch-Pruning: the same trained networks at 1/2, 1/4 and 1/8 of their FLOPs, fine-tuned alike.

Every network is trained once per seed; then autogrow (Taylor scores of activations, what reads units fitted anew by
least squares) and Torch-Pruning (`shrink_peer`) make it smaller. The target is the same, in FLOPs that autogrow counts,
and each side keeps to it. All results are fine-tuned by one and the same loop (`train`), on the same batches: Adam, a
rate that rises over a twentieth of the steps and falls linearly to zero. Scores are of validation examples that no side
has looked at; each looks at 512 training examples to tell units apart.

``python -m tests.benchmarks.shrink [--networks NAME ...] [--seeds N]``: what is done is written to
results/benchmarks/shrink-runs.json after every network and seed, and gone on with; the table is of all that is there.
Torch-Pruning and transformers go into an environment of their own:

    python3 -m venv peers
    peers/bin/pip install -c constraints.txt -e . -r tests/benchmarks/shrink-requirements.txt
    peers/bin/python -m tests.benchmarks.shrink
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile

from autogrow.errors import AutogrowError
from autogrow.files import write_text_atomically
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.flops import forward_flops_per_example
from autogrow.network.measuring.footprint import footprint, paired_milliseconds
from autogrow.network.running.copying import copied
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import Taylor
from autogrow.training.batches import BatchSource
from autogrow.training.evaluation import Metrics, evaluate
from autogrow.training.fixed_batch import FixedBatch
from autogrow.training.removing import CALIBRATION_BATCH
from autogrow.training.shrinking import Shrinker
from autogrow.training.training_data import TrainingData
from tests.benchmarks.setting import data_dir_of_user
from tests.benchmarks.shrink_peer import (
    CRITERIA,
    LIMIT_SECONDS,
    Peer,
    PeerFailedError,
    TooLargeError,
    TooSlowError,
    attention_layers,
    fault_of,
    time_limit,
)
from tests.benchmarks.shrink_rows import OURS, SHARES, TIMED_SHARE, Outcome, SeedResult, table_rows
from tests.benchmarks.shrink_workloads import WORKLOADS, Workload
from tests.benchmarks.table import Row, print_rows, write_rows

RUNS = Path("results/benchmarks/shrink-runs.json")
ROWS = Path("results/benchmarks/shrink.json")
SEEDS = 5
CPU = torch.device("cpu")
SHRINKING = Shrinking(score=Taylor(), compensation="least_squares")
"""Named in full, so that results of several days are of one method whatever the defaults are."""
WARM_UP = 0.05
TIMED_EXAMPLES = 64
_Result = tuple[Outcome, nn.Module | None]
INSTALLING = "see tests/benchmarks/shrink.py for the environment that it takes"


def rows() -> Iterator[Row]:
    """All networks with all seeds: about three hours on two cores."""
    return run(list(WORKLOADS.values()), SEEDS)


def run(workloads: Sequence[Workload], num_seeds: int) -> Iterator[Row]:
    """The rows of these networks, of which those seeds are run that are not there yet."""
    if importlib.util.find_spec("torch_pruning") is None:
        yield Row("comparison with Torch-Pruning", f"skipped: it is not installed; {INSTALLING}", "", None)
        return
    results = read_runs(RUNS)
    for workload in workloads:
        if workload.needs is not None and importlib.util.find_spec(workload.needs) is None:
            yield Row(workload.name, f"skipped: {workload.needs} is not installed; {INSTALLING}", "", None)
            continue
        for seed in range(num_seeds):
            done = next((each for each in results if (each.workload, each.seed) == (workload.name, seed)), None)
            if done is None or done.settings != workload.settings():
                results = [each for each in results if each is not done]
                results.append(_Seed(workload, seed, _failures(results, workload)).run())
                write_text_atomically(RUNS, json.dumps([each.to_dict() for each in results], indent=1) + "\n")
        yield from rows_of(workload, results)


def rows_of(workload: Workload, results: Sequence[SeedResult]) -> list[Row]:
    """The rows of one network; none where none of its seeds was run."""
    own = [each for each in results if each.workload == workload.name and each.settings == workload.settings()]
    return table_rows(own, workload.by_loss, workload.is_convolutional) if own else []


def read_runs(path: Path) -> list[SeedResult]:
    if not path.exists():
        return []
    return [SeedResult.from_dict(each) for each in json.loads(path.read_text(encoding="utf-8"))]


def _failures(results: Sequence[SeedResult], workload: Workload) -> dict[str, str]:
    """By method: why Torch-Pruning could not prune an attention that it was told of. It is not asked again."""
    found = {}
    for result in results:
        if result.workload == workload.name and result.settings == workload.settings():
            found |= {each.method: each.note for each in result.outcomes if each.note}
    return found


class _Seed:
    """One trained network, and what all methods make of it."""

    def __init__(self, workload: Workload, seed: int, left_alone: dict[str, str]) -> None:
        self._workload, self._seed, self._left_alone = workload, seed, left_alone
        dataset = workload.open(data_dir_of_user())
        self._data = workload.data(dataset, seed)
        assert self._data.validation is not None
        self._train = self._data.on(self._data.train, CPU)
        self._validation = self._data.on(self._data.validation, CPU)
        self._example = self._train.batch(torch.arange(2))[0]
        self._trained = workload.build(dataset, seed)
        self._peers_of: dict[tuple[str, bool], Peer] = {}
        self._too_slow: dict[tuple[str, bool], str] = {}
        self._flops = forward_flops_per_example(self._trained, self._example)

    def run(self) -> SeedResult:
        workload = self._workload
        self._say("training")
        train(self._trained, self._train, self._data, workload, workload.steps, self._seed)
        before = self._metrics(self._trained)
        self._say(
            f"{'loss' if workload.by_loss else 'accuracy'} {before.loss if workload.by_loss else before.score:.4f}"
        )
        outcomes: list[Outcome] = []
        for share in SHARES:
            found = {method: self._outcome(method, share) for method in (OURS, *CRITERIA)}
            if workload.is_convolutional and share == TIMED_SHARE:
                found = self._with_costs(found)
            outcomes += [outcome for outcome, _ in found.values()]
        return SeedResult(
            workload.name, self._seed, workload.settings(), before.score, before.loss, self._flops, tuple(outcomes)
        )

    def _outcome(self, method: str, share: float) -> _Result:
        started = time.perf_counter()
        try:
            module = self._ours(share) if method == OURS else self._peers(method, share)
        except (AutogrowError, PeerFailedError) as error:
            self._say(f"{method} at {SHARES[share]}: {error}")
            return Outcome(method, share, failure=str(error), note=self._left_alone.get(method, "")), None
        seconds = time.perf_counter() - started
        flops, bare = forward_flops_per_example(module, self._example), self._metrics(module)
        train(module, self._train, self._data, self._workload, self._workload.fine_tuning_steps, self._seed + 1000)
        after = self._metrics(module)
        self._say(
            f"{method} at {SHARES[share]}: FLOPs {flops / self._flops:.4f}, "
            f"loss {bare.loss:.4f} then {after.loss:.4f}, score {bare.score:.4f} then {after.score:.4f}"
        )
        outcome = Outcome(
            method, share, note=self._left_alone.get(method, ""), flops_share=flops / self._flops,
            score_bare=bare.score, loss_bare=bare.loss, score=after.score, loss=after.loss, removal_seconds=seconds,
        )  # fmt: skip
        return outcome, module

    def _ours(self, share: float) -> nn.Module:
        """Raises `AutogrowError`, or `PeerFailedError` for what comes out wrong: both sides are looked at alike."""
        with time_limit(LIMIT_SECONDS):
            network = ExpandableNetwork(copied(self._trained).eval(), self._example)
            settings = TrainingSettings(batch_size=self._workload.batch_size)
            shrinker = Shrinker(network, self._data, SHRINKING, settings, seed=self._seed, device=CPU)
            shrinker.remove(Target("flops", share * self._flops))
            network.settle()
        return self._checked(network.module)

    def _peers(self, method: str, share: float) -> nn.Module:
        """With attentions pruned by heads where that can be done, otherwise with attentions left alone."""
        if method not in self._left_alone:
            try:
                return self._pruned(method, share, prunes_attention=True)
            except TooLargeError:
                raise
            except PeerFailedError as error:
                if not attention_layers(self._trained):
                    raise
                self._left_alone[method] = f"attention left alone, for with its heads told: {error}"
        return self._pruned(method, share, prunes_attention=False)

    def _pruned(self, method: str, share: float, prunes_attention: bool) -> nn.Module:
        key = method, prunes_attention
        if key not in self._peers_of:
            generator = torch.Generator().manual_seed(self._seed)
            chosen = torch.randperm(len(self._train), generator=generator)[: SHRINKING.calibration_examples]
            batches = [
                FixedBatch(*self._train.batch(part), self._data.task) for part in chosen.split(CALIBRATION_BATCH)
            ]
            self._peers_of[key] = Peer(
                self._trained, self._workload.output_layer, method, batches, self._example, prunes_attention
            )
        if key in self._too_slow:  # it would be at any other size, too
            raise PeerFailedError(self._too_slow[key])
        try:
            return self._checked(self._peers_of[key].to_flops(share * self._flops))
        except TooSlowError as error:
            self._too_slow[key] = str(error)
            raise

    def _checked(self, module: nn.Module) -> nn.Module:
        fault = fault_of(module, self._trained, self._train.batch(torch.arange(4))[0])
        if fault is not None:
            raise PeerFailedError(f"the result is wrong: {fault}")
        return module

    def _with_costs(self, found: dict[str, _Result]) -> dict[str, _Result]:
        """Seconds and memory of passes, measured by turns with the network before."""
        inputs = self._train.batch(torch.arange(TIMED_EXAMPLES))[0]
        modules = {method: module for method, (_, module) in found.items() if module is not None}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        whole, *milliseconds = paired_milliseconds([self._trained, *modules.values()], inputs)
        torch.set_num_threads(threads)
        memory = peak_bytes(self._trained, inputs)
        for (method, module), each in zip(modules.items(), milliseconds, strict=True):
            outcome = replace(
                found[method][0], seconds_ratio=each / whole, memory_ratio=peak_bytes(module, inputs) / memory
            )
            self._say(f"{method}: {outcome.seconds_ratio:.3f} of the seconds, {outcome.memory_ratio:.3f} of the memory")
            found[method] = outcome, module
        return found

    def _metrics(self, module: nn.Module) -> Metrics:
        return evaluate(self._data.task, module, self._validation)

    def _say(self, what: str) -> None:
        print(f"{self._workload.name}, seed {self._seed}: {what}", file=sys.stderr, flush=True)


def train(
    module: nn.Module, examples: BatchSource, data: TrainingData, workload: Workload, num_steps: int, seed: int
) -> None:
    """The loop that trains every network, and fine-tunes every one that is left of it."""
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=workload.learning_rate)
    warm_up = max(1, round(WARM_UP * num_steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (num_steps - step) / max(1, num_steps - warm_up))
    )
    generator = torch.Generator().manual_seed(seed)
    order: list[Tensor] = []
    torch.manual_seed(seed)  # of dropout
    for _ in range(num_steps):
        if not order:
            shuffled = torch.randperm(len(examples), generator=generator)
            order = list(
                shuffled[: len(shuffled) // workload.batch_size * workload.batch_size].split(workload.batch_size)
            )
        inputs, targets = examples.batch(order.pop())
        optimizer.zero_grad(set_to_none=True)
        data.task.loss(module(inputs), targets).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def peak_bytes(module: nn.Module, inputs: Tensor) -> int:
    """What a pass allocates at its peak, workspaces of operations included, and the weights."""
    module.eval()
    with torch.no_grad():
        module(inputs)
        with profile(profile_memory=True) as profiled:
            module(inputs)
    held = peak = 0
    events = [each for each in profiled.kineto_results.events() if each.name() == "[memory]"]
    for each in sorted(events, key=lambda event: event.start_ns()):
        held += each.nbytes()
        peak = max(peak, held)
    return peak + footprint(module, inputs[:2]).bytes


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.shrink", description="Shrinking, against Torch-Pruning."
    )
    parser.add_argument(
        "--networks", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS), metavar="NAME",
        help=f"of {', '.join(WORKLOADS)} [all]",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of each network [{SEEDS}]")
    arguments = parser.parse_args()
    print_rows(list(run([WORKLOADS[name] for name in arguments.networks], arguments.seeds)))
    write_table()


def write_table() -> None:
    """The rows of all that is in `RUNS`, with the versions of what it was compared with."""
    results = read_runs(RUNS)
    packages = [name for name in ("torch-pruning", "transformers") if importlib.util.find_spec(name.replace("-", "_"))]
    found = [Row("compared with", ", ".join(f"{name} {metadata.version(name)}" for name in packages), "", None)]
    write_rows(found + [row for each in WORKLOADS.values() for row in rows_of(each, results)], ROWS, CPU)


if __name__ == "__main__":
    main()
