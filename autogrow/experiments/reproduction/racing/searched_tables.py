"""What replayed searches answer when they choose as they are run, and how often ``confirm`` takes their report back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from autogrow.experiments.reproduction.racing.as_searched import SEARCHES, Answer, Truth, replay_searches
from autogrow.experiments.reproduction.racing.first_line import FreshSeeds
from autogrow.experiments.reproduction.racing.replay import DEFAULT, Drawn, in_processes
from autogrow.experiments.reproduction.racing.seed_table import SeedTable
from autogrow.experiments.tables import columns_of
from autogrow.metrics import numbers
from autogrow.report.judging import Yardstick
from autogrow.report.tables import Column, Table
from autogrow.tasks import TASKS

BUDGETS = 20, 40
"""Runs of a search: the trials of one by default, and those of the other tables here."""
MOST_TAKEN_BACK = 1 / 40
Metric = Literal["loss", "score"]


@dataclass(frozen=True)
class Chosen:
    """Searches of one kind that were replayed on one table."""

    table: str
    metric: Metric
    """What they preferred."""
    task: str
    search: str
    """Of `SEARCHES`."""
    num_runs: int
    truths: Mapping[Metric, Truth]
    answers: tuple[Answer, ...]

    @property
    def is_preferred(self) -> bool:
        """Whether searches of the task prefer it."""
        return self.metric == _preferred(self.task)

    @property
    def prefers(self) -> str:
        """What they preferred, in words."""
        return TASKS[self.task].score.title if self.metric == "score" else "loss"

    @property
    def chosen(self) -> np.ndarray:
        return np.array([each.chosen for each in self.answers])

    def share(self, which: Sequence[bool]) -> str:
        """In percent of all searches; a share that is not zero does not look like it."""
        share = float(np.mean(which))
        return f"{share:.1%}" if 0 < share < 0.095 else f"{share:.0%}"


@dataclass(frozen=True)
class _Case:
    """What is replayed in one go."""

    table: SeedTable
    yardstick: Yardstick
    metric: Metric
    search: str
    num_runs: int

    def replay(self, num_searches: int, seed: int) -> Chosen:
        num_drawn = len(self.table.seeds) // 2
        drawn = Drawn.of(self.table, self.metric, f"test_{self.metric}", num_drawn)
        fresh = FreshSeeds.of(self.table, self.yardstick, self.metric, num_drawn)
        metrics: tuple[Metric, ...] = ("loss", "score")
        truths = {each: Truth(Drawn.of(self.table, each, f"test_{each}", num_drawn).truth) for each in metrics}
        answers = replay_searches(drawn, fresh, self.search, self.num_runs, num_searches, seed)
        return Chosen(self.table.name, self.metric, self.yardstick.task, self.search, self.num_runs, truths, answers)


def replay_as_searched(
    tables: Mapping[str, SeedTable], yardsticks: Mapping[str, Yardstick], num_searches: int, seed: int, jobs: int = 1
) -> tuple[Chosen, ...]:
    """Searches as they were and as they are, by what their task prefers; classifications by their loss, too.

    Args:
        yardsticks: Of every table, by its name, on the validation split.
        jobs: Processes that replay at a time; with one it is this process.
    """
    cases = [case for name, table in tables.items() for case in _cases(table, yardsticks[name])]
    replay = partial(_Case.replay, num_searches=num_searches, seed=seed)
    return tuple(in_processes(replay, cases, jobs))


def _cases(table: SeedTable, yardstick: Yardstick) -> Iterator[_Case]:
    metrics: tuple[Metric, ...] = (_preferred(yardstick.task),)
    if TASKS[yardstick.task].counts_examples:
        metrics = "loss", "score"
    for metric in metrics:
        own = replace(yardstick, objective=metric)
        yield from (_Case(table, own, metric, search, budget) for search in SEARCHES for budget in BUDGETS)


def _preferred(task: str) -> Metric:
    return "score" if TASKS[task].prefers_score else "loss"


def choosing_table(replayed: Sequence[Chosen]) -> Table:
    """What searches choose, judged by the loss and by the score of their task."""
    rows, always = [], {}
    for each in replayed:
        sure = np.array([answer.is_sure for answer in each.answers])
        by_loss, by_score = each.truths["loss"], each.truths["score"]
        rightly = [f"{truth.share_better(each.chosen[sure]):.0%}" for truth in (by_loss, by_score)]
        rows.append(
            (
                each.table,
                each.prefers,
                each.search,
                str(each.num_runs),
                f"{by_loss.share_worse(each.chosen):.0%}",
                f"{by_score.share_worse(each.chosen):.0%}",
                numbers.SIGNIFICANT.text(by_loss.regret(each.chosen)),
                f"{100 * by_score.regret(each.chosen):.3f}",
                each.share([answer.is_another for answer in each.answers]),
                each.share([answer.is_sure for answer in each.answers]),
                " / ".join(rightly) if sure.any() else "-",
            )
        )
        default = np.array([DEFAULT])
        regrets = numbers.SIGNIFICANT.text(by_loss.regret(default)), f"{100 * by_score.regret(default):.3f}"
        always[each.table] = f"{' and '.join(regrets)} on {each.table}"
    titles = (
        "runs", "worse by loss", "worse by score", "regret, loss", "regret, points", "another", "sure", "rightly"
    )  # fmt: skip
    columns = (Column("table"), Column("prefers"), *columns_of("search", *titles))
    note = (
        f"{_how_many(replayed)} Searches that prefer accuracy choose by its means, tell near ties apart by loss, and "
        "ask both whether another policy is better than the default one, as searches of images do. worse: answers that "
        "are truly worse than the default policy; regret: mean distance from the truly best policy, in loss and in "
        "points (of accuracy, or hundredths of R²); always answering the default policy: "
        f"{', '.join(always.values())}. another: answers that are not the default policy; sure: claims, by 95 %, to be "
        "better than it, and how many of these are right by loss / by score (a search of one seed each says no "
        "probability)."
    )
    return Table(
        "Chosen as searches choose: by accuracy with near ties by loss, by R², by loss", columns, tuple(rows), note
    )


def first_line_table(replayed: Sequence[Chosen]) -> Table:
    """How often ``confirm`` would take back what a report says first."""
    rows = []
    for each in replayed:
        if not each.is_preferred:
            continue
        answers = each.answers
        rows.append(
            (
                each.table,
                each.search,
                str(each.num_runs),
                each.share([answer.said > 0 for answer in answers]),
                each.share([answer.said < 0 for answer in answers]),
                each.share([answer.is_taken_back for answer in answers]),
                each.share([answer.is_taken_back and not answer.has_floor for answer in answers]),
                each.share([answer.is_turned_round for answer in answers]),
                each.share([answer.said == 0 and answer.confirmed != 0 for answer in answers]),
                each.share([answer.is_another for answer in answers]),
                each.share([answer.is_another and answer.against_default <= 0 for answer in answers]),
                each.share([answer.is_another and answer.against_default < 0 for answer in answers]),
            )
        )
    titles = (
        "runs", "better", "worse", "taken back", "no floor", "turned round", "level, and is not", "another",
        "not ahead", "behind",
    )  # fmt: skip
    note = (
        f"{_how_many(replayed)} They prefer what searches of their task prefer. better, worse: what the first line of "
        "the report says of the chosen policy beside the full network, which a search trains on one seed (else it is "
        "level, or nothing was learned); taken back: of all searches, those of which it says better or worse, and "
        f"`confirm` on the seeds that no search saw does not (goal: at most {MOST_TAKEN_BACK:.1%}); no floor: those of "
        "them that had no noise floor, for no policy was trained on several seeds; turned round: it "
        "says the opposite; level, and is not: the first line says neither, and `confirm` does. another: the answer is "
        "not the default policy; not ahead: `confirm` does not find it ahead of that; behind: it finds it behind that. "
        "The full network with the chosen policy's training settings, which `confirm` trains, too, is in no table; the "
        "full network's run is not counted here."
    )
    columns = Column("table"), *columns_of("search", *titles)
    return Table("Whether `confirm` on other seeds takes back the report's first line", columns, tuple(rows), note)


def _how_many(replayed: Sequence[Chosen]) -> str:
    """Of which searches a table tells."""
    number = len(replayed[0].answers)
    ways = "; ".join(f"{name}: stopping {stopping}" for name, (_, stopping) in SEARCHES.items())
    return f"{number:,} searches each, at the training FLOPs of so many average runs ({ways})."
