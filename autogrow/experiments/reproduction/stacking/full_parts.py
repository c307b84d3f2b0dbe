"""What ``--full`` adds to stacking: a second text, other ways to begin blocks, equal seconds, a ResNet, shorter runs.

Hours on two cores; each part has a folder of its own, and what is finished is not trained again. Rates are those that
were chosen on the first text: nothing is chosen on the second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from autogrow.data.opening import open_dataset
from autogrow.experiments.conditions import Condition, Experiment, Finished, TrainingPlan
from autogrow.experiments.reproduction.base import Request
from autogrow.experiments.reproduction.stacking.comparing import COMPARED, MAIN, Setting, choose_rates, compare, design
from autogrow.experiments.reproduction.stacking.contestants import (
    CONTESTANTS,
    FULL,
    METHODS,
    STACKED,
    STATICS,
    Contestant,
    stacked,
    static,
    with_rate,
)
from autogrow.experiments.reproduction.stacking.findings import best_static, compared, findings
from autogrow.experiments.reproduction.stacking.rates import Rates
from autogrow.experiments.results import Results
from autogrow.experiments.tables import columns_of, loss_cell, results_tables
from autogrow.models.building import ModelSpec
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report.tables import Table

BRANCHES = 0.25, 0.5, 0.75
"""Shares of the compute at which runs end, besides all of it."""
BLOCKS = 4
"""Of every stage of the residual network."""
RESIDUAL = Setting(
    "cifar100",
    ModelSpec("resnet", {"depth": 6 * BLOCKS + 2, "width": 8}),
    TrainingSettings(
        steps=600,
        length="compute",
        batch_size=32,
        optimizer="sgd",
        learning_rate_schedule="constant_then_decay",
        warmup_steps=20,
        weight_decay=5e-4,
        sample_size=500,
    ),
    train_size=4000,
    num_samples=20,
)
RESIDUAL_RATES = 0.03, 0.1, 0.3
RESIDUAL_STATICS = tuple(static(blocks, BLOCKS, f"{6 * blocks + 2} layers") for blocks in (1, 2, BLOCKS))
RESIDUAL_CONTESTANTS = (
    *RESIDUAL_STATICS,
    Contestant("stacked_once", "2-4 blocks", "one jump at 40 % of the compute", stacked(2, 0.4)),
    Contestant(STACKED, "1-2-4 blocks", "jumps at 20 and 50 %, where there is a block to copy", stacked(1, 0.2, 0.5)),
)


@dataclass(frozen=True)
class Part:
    """What one part came to."""

    tables: tuple[Table, ...]
    findings: tuple[str, ...]


def second_text() -> str:
    """C++ instead of Python: the headers of PyTorch's core library, which come with it."""
    return f"{Path(torch.__file__).parent / 'include' / 'c10'}?mebibytes=2"


def run_parts(request: Request, rates: Rates, main: Results) -> tuple[Part, ...] | None:
    """All parts; None when interrupted."""
    parts: Sequence[Callable[[Request, Rates, Results], Part | None]] = (
        _second_text, _methods, _equal_seconds, _residual, _branches,
    )  # fmt: skip
    found = []
    for run in parts:
        part = run(request, rates, main)
        if part is None:
            return None
        found.append(part)
    return tuple(found)


def _titled(what: str, results: Results, said: Sequence[str]) -> Part:
    tables = tuple(replace(table, caption=f"{what}: {table.caption}") for table in results_tables(results))
    return Part(tables, tuple(f"{what}. {each}" for each in said))


def _methods(request: Request, rates: Rates, main: Results) -> Part | None:
    """Blocks that begin in other ways, at the default's times."""
    subject = next(each for each in CONTESTANTS if each.name == STACKED)
    contestants = (subject, *METHODS)
    known = rates | dict.fromkeys((each.name for each in METHODS), rates[STACKED])
    wanted = replace(design(known, MAIN, contestants), unit=STACKED)
    results = compare(MAIN, open_dataset(MAIN.dataset, request.data_dir), request, "methods", wanted, earlier=COMPARED)
    if results is None:
        return None
    said = [compared(results, STACKED, each.name, each.title) for each in METHODS]
    return _titled("How new blocks begin", results, said)


def _second_text(request: Request, rates: Rates, main: Results) -> Part | None:
    """The same contestants on a text that nothing was chosen on."""
    setting = replace(MAIN, dataset=second_text())
    dataset = open_dataset(setting.dataset, request.data_dir)
    results = compare(setting, dataset, request, "second-text", design(rates, setting))
    return None if results is None else _titled("C++", results, findings(results, STATICS))


def _equal_seconds(request: Request, rates: Rates, main: Results) -> Part | None:
    """Depths throughout that train as long as the grown run did, on this machine, under the same seed."""
    best = best_static(main, STATICS) or FULL
    controls = [each for each in STATICS if each.name in {best, FULL}]
    subject = next(each for each in CONTESTANTS if each.name == STACKED)
    plain = design(rates, MAIN, (subject, *controls))
    matched = tuple(_as_long(each, rates[each.name], MAIN.training) for each in controls)
    wanted = replace(plain, conditions=(*plain.conditions, *matched))
    results = compare(
        MAIN, open_dataset(MAIN.dataset, request.data_dir), request, "equal-seconds", wanted, earlier=COMPARED
    )
    if results is None:
        return None
    said = [compared(results, STACKED, condition.name, condition.title) for condition in matched]
    return _titled("Equal train seconds", results, said)


def _as_long(contestant: Contestant, rate: float, base: TrainingSettings) -> Condition:
    """A contestant that trains for the seconds of the grown run: its own way, scaled by what it took."""

    def plan(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
        assert base.steps is not None
        share = finished[STACKED].train_seconds / finished[contestant.name].train_seconds
        longer = base.model_copy(update={"steps": max(1, round(share * base.steps))})
        return TrainingPlan(experiment.model, contestant.policy, contestant.training(longer, rate))

    title = f"{contestant.title}, as long"
    summary = f"{contestant.summary}, for as many train seconds as the grown run"
    recipe = {"policy": contestant.policy.recipe(), "rate": rate, "seconds_of": STACKED}
    return Condition(f"{contestant.name}_as_long", title, summary, plan, (STACKED, contestant.name), recipe)


def _branches(request: Request, rates: Rates, main: Results) -> Part | None:
    """Runs that end earlier, as if they left the way of the long ones and decayed: loss over compute, for each."""
    shown = [each for each in CONTESTANTS if each.compute == 1.0 and each.name in {*_names(STATICS[1:]), STACKED}]
    decay = MAIN.training.decay_fraction
    shorter = [each.branched(share, decay) for share in BRANCHES for each in shown]
    known = rates | {each.name: rates[each.rate_of] for each in shorter if each.rate_of is not None}
    longest = with_rate(STACKED, BRANCHES[-1])
    wanted = replace(
        design(known, MAIN, shorter), subject=longest, unit=with_rate(FULL, BRANCHES[-1]), keeps_curves=False
    )
    results = compare(MAIN, open_dataset(MAIN.dataset, request.data_dir), request, "branches", wanted)
    if results is None:
        return None
    said = []
    for share in BRANCHES:
        statics = [each.branched(share, decay) for each in shown if each.name != STACKED]
        best = best_static(results, statics)
        if best is not None:
            said.append(compared(results, with_rate(STACKED, share), best, f"With {share:g} of the compute"))
    return Part((_branches_table(shown, results, main),), tuple(said))


def _names(contestants: Sequence[Contestant]) -> set[str]:
    return {each.name for each in contestants}


def _branches_table(shown: Sequence[Contestant], results: Results, main: Results) -> Table:
    rows = []
    for each in shown:
        cells = [loss_cell(results.spread(with_rate(each.name, share), "test_loss")) for share in BRANCHES]
        rows.append((each.title, *cells, loss_cell(main.spread(each.name, "test_loss"))))
    columns = columns_of("condition", *(f"{share:g} of the compute" for share in (*BRANCHES, 1.0)))
    note = "Test loss of runs that end there, their rate decayed; jumps come when they come in the longest run."
    return Table("Loss over compute", columns, tuple(rows), note)


def _residual(request: Request, rates: Rates, main: Results) -> Part | None:
    """A residual network on few images, by blocks of its stages."""
    dataset = open_dataset(RESIDUAL.dataset, request.data_dir)
    full = RESIDUAL_STATICS[-1].name
    chosen = choose_rates(RESIDUAL, RESIDUAL_CONTESTANTS, RESIDUAL_RATES, dataset, request, "resnet-rates", full)
    if chosen is None:
        return None
    wanted = replace(design(chosen[0], RESIDUAL, RESIDUAL_CONTESTANTS), unit=full)
    results = compare(RESIDUAL, dataset, request, "resnet", wanted)
    if results is None:
        return None
    part = _titled("ResNet on CIFAR-100", results, findings(results, RESIDUAL_STATICS, full))
    return replace(part, tables=(*chosen[1], *part.tables))
