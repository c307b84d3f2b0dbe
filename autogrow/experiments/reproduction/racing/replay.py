"""Searches replayed on a table of seeds: what a rule would have chosen, at the same compute as any other.

A search tries policies in a random order, the default policy first, and reads of each as many seeds as its rule asks
for; every run takes the training FLOPs that it took. What it may read are the table's first seeds; what it has chosen
is judged by the others.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Literal, TypeVar

import numpy as np

from autogrow.experiments.reproduction.racing.seed_table import NUM_POINTS, SeedTable
from autogrow.study.racing import Candidate, estimates
from autogrow.study.successive_halving import FEWEST_COMPARED, FIRST_PROGRESS, KEPT, RUNG_ZERO, Ladders

DEFAULT, FULL = 0, 1
"""Rows of a table."""
SURE = 0.95
"""Probability from which a search claims that its choice is better than the default policy."""


@dataclass(frozen=True)
class Stopping:
    """How runs are stopped early: behind on both ladders of `autogrow.study.successive_halving`."""

    metric: str
    """That is compared: "loss" or "score"."""
    kept: float
    """Share of what was compared at a rung before that a run has to be among the best of."""
    fewest: int
    """Others that have to be compared before."""


STOPPING = {
    "none": None,
    "half of any, by score": Stopping("score", 0.5, 1),
    "half of any, by loss": Stopping("loss", 0.5, 1),
    "half of eight, by loss": Stopping("loss", 0.5, 8),
    "worst third of eight, by loss": Stopping("loss", KEPT, FEWEST_COMPARED),
    "worst quarter of four, by loss": Stopping("loss", 0.75, 4),
}
"""Compared with each other: the first that stops anything is what searches did, the last but one what they do."""


@dataclass(frozen=True)
class Drawn:
    """A table as searches read it."""

    metric: Literal["loss", "score"]
    """What searches prefer."""
    values: np.ndarray
    """Of that, (policies, drawn seeds); larger is better."""
    losses: np.ndarray
    """(policies, drawn seeds); larger is better, too."""
    truth: np.ndarray
    """Mean of every policy over the seeds that only judge; larger is better. Where one failed, as bad as the worst."""
    flops: np.ndarray
    """(policies, drawn seeds)."""
    along: Mapping[str, np.ndarray]
    """By metric, "loss" and "score": (policies, drawn seeds, points); larger is better."""
    flops_along: np.ndarray
    may_be_judged: np.ndarray
    points: tuple[dict[str, object], ...]

    @property
    def full_flops(self) -> float:
        """Training FLOPs of a run at full size."""
        return float(self.flops[FULL].mean())

    @classmethod
    def of(cls, table: SeedTable, metric: Literal["loss", "score"], judged_by: str, num_drawn: int) -> "Drawn":
        """The first `num_drawn` seeds to read by a metric, the others to judge by.

        Args:
            judged_by: Column of the table whose mean is the truth.
        """
        sign, truth_sign = (-1.0 if "loss" in name else 1.0 for name in (metric, judged_by))
        judges = truth_sign * table.ends[judged_by][:, num_drawn:]
        truth = judges.mean(axis=1)
        truth = np.where(np.isfinite(truth), truth, np.nanmin(truth))
        read = {key: values[:, :num_drawn] for key, values in table.ends.items()}
        losses, flops = -read["validation_loss"], read["training_flops"]
        return cls(
            metric,
            np.where(np.isfinite(losses), sign * read[f"validation_{metric}"], math.nan),
            losses,
            truth,
            np.where(np.isfinite(flops), flops, np.nanmean(flops)),
            {
                "loss": -table.along["validation_loss"][:, :num_drawn],
                "score": table.along["validation_score"][:, :num_drawn],
            },
            table.along["training_flops"][:, :num_drawn],
            table.may_be_judged[:, :num_drawn],
            tuple(dict(point) for point in table.points),
        )


@dataclass
class Search:
    """A search under way."""

    table: Drawn
    order: Sequence[int]
    """Policies, in the order in which they are tried."""
    seeds: Sequence[int]
    """Columns, in the order in which they are used: the same for all policies."""
    budget: float
    """Training FLOPs."""
    stopping: str = "none"
    used: float = 0.0
    read: dict[int, list[float]] = field(default_factory=dict)
    """By policy, what its seeds came to."""
    failed: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    _ladders: Ladders = field(init=False)

    def __post_init__(self) -> None:
        how = STOPPING[self.stopping]
        self._ladders = Ladders() if how is None else Ladders(how.kept, how.fewest)

    @property
    def share_used(self) -> float:
        return self.used / self.budget

    @property
    def is_over(self) -> bool:
        return self.used >= self.budget

    def candidates(self) -> list[Candidate]:
        """What has been read, as the rule of a search sees it."""
        return [
            Candidate(policy, tuple(values), has_failed=policy in self.failed) for policy, values in self.read.items()
        ]

    def read_losses(self) -> list[Candidate]:
        """The same, by loss."""
        return [
            replace(each, values=tuple(map(float, self.table.losses[each.number, self.seeds[: len(each.values)]])))
            for each in self.candidates()
        ]

    @property
    def is_replicated(self) -> bool:
        """Whether any policy was trained on a second seed."""
        return any(len(values) > 1 or policy in self.failed for policy, values in self.read.items())

    def next_policy(self) -> int | None:
        """The next that was not tried."""
        tried = self.read.keys() | self.failed | self.stopped
        return next((policy for policy in self.order if policy not in tried), None)

    def num_read(self, policy: int) -> int:
        return len(self.read.get(policy, ()))

    def can_train(self, policy: int) -> bool:
        """Whether there is a seed left for it."""
        return self.num_read(policy) < len(self.seeds) and policy not in self.failed | self.stopped

    def train(self, policy: int) -> None:
        """One more seed of a policy. The first may be stopped early; the default policy and any other seed are not."""
        seed = self.seeds[self.num_read(policy)]
        value = self.table.values[policy, seed]
        if policy not in self.read:
            point = self._stops_at(policy, seed)
            if point is not None:
                self.used += float(self.table.flops_along[policy, seed, point])
                self.stopped.add(policy)
                return
        self.used += float(self.table.flops[policy, seed])
        if not np.isfinite(value):
            self.failed.add(policy)
            return
        self.read.setdefault(policy, []).append(float(value))

    def _stops_at(self, policy: int, seed: int) -> int | None:
        """The point at which a run is stopped, as `autogrow.study.successive_halving` stops it."""
        how = STOPPING[self.stopping]
        if how is None:
            return None
        table = self.table
        for point in range(NUM_POINTS - 1):
            progress = (point + 1) / NUM_POINTS
            value = float(table.along[how.metric][policy, seed, point])
            if not table.may_be_judged[policy, seed, point] or progress < FIRST_PROGRESS or not math.isfinite(value):
                continue
            used = float(table.flops_along[policy, seed, point]) / table.full_flops / RUNG_ZERO["flops"]
            self._ladders.compare(policy, value, used, progress, is_control=policy == DEFAULT)
            if self._ladders.has_stopped(policy):
                return point
        return None


Rule = Callable[[Search], int | None]
"""Trains what it wants within the search's budget and says which policy it has chosen; None where none came through."""


@dataclass(frozen=True)
class Outcomes:
    """What many searches of one rule chose."""

    worse_than_default: float
    """Share of searches whose choice is truly worse than the default policy."""
    regret: float
    """Mean distance of the choice's true value from the best policy's, the full network apart, which is none."""
    default_regret: float
    """The same of a search that always answers "the default policy"."""
    claimed: float
    """Share of searches that are sure, by 95 %, that their choice is better than the default policy."""
    claimed_rightly: float
    """Of those, the share in which it is; NaN where there are none."""
    num_runs: float
    """Training runs of a search, on average."""
    stopped_good: float
    """Of the policies that are truly among the best `FEW` and were tried, the share that was stopped early; NaN where
    there are none."""


FEW = 3
Case = TypeVar("Case")
Found = TypeVar("Found")


def replay(table: Drawn, rule: Rule, num_runs: int, num_searches: int, seed: int, stopping: str = "none") -> Outcomes:
    """Search `num_searches` times at the training FLOPs of `num_runs` average runs."""
    truth = table.truth
    worse, regret, claims, right, runs, stopped = [], [], [], [], [], []
    policies = [policy for policy in range(len(truth)) if policy != FULL]
    best = float(truth[policies].max())
    good = [policy for policy in sorted(policies, key=lambda each: -truth[each])[:FEW] if policy != DEFAULT]
    for search, chosen in searched(table, rule, num_runs, num_searches, seed, stopping):
        worse.append(truth[chosen] < truth[DEFAULT])
        regret.append(best - truth[chosen])
        claims.append(_is_sure(search, chosen))
        right.append(truth[chosen] > truth[DEFAULT])
        runs.append(sum(map(len, search.read.values())) + len(search.stopped) + len(search.failed))
        stopped += [policy in search.stopped for policy in good if policy in search.read or policy in search.stopped]
    claimed = np.array(claims)
    return Outcomes(
        float(np.mean(worse)),
        float(np.mean(regret)),
        float(best - truth[DEFAULT]),
        float(claimed.mean()),
        float(np.mean(np.array(right)[claimed])) if claimed.any() else float("nan"),
        float(np.mean(runs)),
        float(np.mean(stopped)) if stopped else float("nan"),
    )


def searched(
    table: Drawn, rule: Rule, num_runs: int, num_searches: int, seed: int, stopping: str
) -> Iterator[tuple[Search, int]]:
    """Searches that have ended, each with the policy that it chose: the default policy where none came through."""
    generator = np.random.default_rng(seed)
    budget = num_runs * float(table.flops.mean())
    for _ in range(num_searches):
        others = generator.permutation(np.arange(FULL + 1, len(table.truth)))
        search = Search(
            table, [DEFAULT, *map(int, others)], [int(s) for s in generator.permutation(table.values.shape[1])],
            budget, stopping,
        )  # fmt: skip
        chosen = rule(search)
        yield search, DEFAULT if chosen is None else chosen


def in_processes(work: Callable[[Case], Found], cases: Sequence[Case], jobs: int) -> list[Found]:
    """What comes of every case; `jobs` processes work at a time, with one it is this process."""
    if jobs == 1:
        return list(map(work, cases))
    # Not forked: PyTorch's threads do not survive that.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as processes:
        return list(processes.map(work, cases))


def _is_sure(search: Search, chosen: int) -> bool:
    known = estimates(search.candidates())
    return (
        chosen != DEFAULT
        and {chosen, DEFAULT} <= known.keys()
        and known[chosen].probability_above(known[DEFAULT]) >= SURE
    )
