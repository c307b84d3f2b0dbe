"""What a report's first line says of a replayed search, and what ``confirm`` would say of it on other seeds.

Both are decided by `autogrow.report.judging` and `autogrow.report.verdict`, as in reports, noise floors included.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from autogrow.experiments.reproduction.racing.replay import FULL, Search
from autogrow.experiments.reproduction.racing.seed_table import SeedTable
from autogrow.experiments.statistics import paired_difference
from autogrow.report.judging import Kind, Yardstick, judge_by_seed
from autogrow.report.noise_floor import NoiseFloor
from autogrow.report.verdict import Paired, judge_confirmation


@dataclass(frozen=True, eq=False)
class FreshSeeds:
    """A table as reports and ``confirm`` read it: on validation data, in its own units."""

    yardstick: Yardstick
    drawn: np.ndarray
    """What is judged by, on seeds that searches may draw: (policies, drawn seeds)."""
    drawn_against_chance: np.ndarray
    """What says whether anything was learned; as `drawn`."""
    fresh: np.ndarray
    """The same two on the seeds that no search sees, which stand for those of ``confirm``."""
    fresh_against_chance: np.ndarray
    _floors: dict[frozenset[int], NoiseFloor | None] = field(default_factory=dict)
    _confirmed: dict[tuple[int, int, frozenset[int]], int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, table: SeedTable, yardstick: Yardstick, metric: Literal["loss", "score"], num_drawn: int
    ) -> "FreshSeeds":
        """The first `num_drawn` seeds for searches, the others to confirm on."""
        by, chance = (table.ends[f"validation_{each}"] for each in (metric, yardstick.judges_chance_by))
        return cls(yardstick, by[:, :num_drawn], chance[:, :num_drawn], by[:, num_drawn:], chance[:, num_drawn:])

    def direction(self, kind: Kind | Literal["undecided"]) -> int:
        """What a judgement claims: 1 better, -1 worse, 0 neither. Higher and lower are said of values as they are."""
        higher = self.yardstick.by.sign
        return {"ahead": 1, "behind": -1, "higher": higher, "lower": -higher}.get(kind, 0)

    def confirm(self, best: int, other: int, beside: frozenset[int]) -> int:
        """Whether a policy is better than another by the fresh seeds, judged as ``confirm`` does.

        Args:
            beside: All that are trained on these seeds: how they vary gives the noise floor.
        """
        key = best, other, beside
        if key not in self._confirmed:
            self._confirmed[key] = self.direction(self._judge(best, other, beside))
        return self._confirmed[key]

    def _judge(self, best: int, other: int, beside: frozenset[int]) -> Kind | Literal["undecided"]:
        ours, theirs = self.fresh[best], self.fresh[other]
        sound = np.isfinite(ours) & np.isfinite(theirs)
        if not sound.any():
            return "undecided"
        if beside not in self._floors:
            self._floors[beside] = NoiseFloor.of_replicates([_by_seed(self.fresh[each]) for each in sorted(beside)])
        difference = paired_difference(list(ours[sound]), list(theirs[sound]))
        paired = Paired(
            title="the best",
            trial=None,
            subject="growing",  # decides words only
            other="the other",
            task=self.yardstick.task,
            objective=self.yardstick.by.name,
            mean=float(np.nanmean(ours)),
            other_mean=float(np.nanmean(theirs)),
            value_against_chance=float(np.nanmean(self.fresh_against_chance[best])),
            other_value_against_chance=float(np.nanmean(self.fresh_against_chance[other])),
            difference=difference.mean,
            standard_error=difference.standard_error,
            num_seeds=difference.num_seeds,
            best_of=1,
            num_examples=self.yardstick.num_examples,
            chance_level=self.yardstick.chance_level,
            floor=self._floors[beside],
        )
        return judge_confirmation(paired).kind


def floor_of(search: Search, fresh: FreshSeeds) -> NoiseFloor | None:
    """A search's noise floor; None where it trained no policy on several seeds."""
    return NoiseFloor.of_replicates(list(_read_by_seed(search, fresh).values())) if search.is_replicated else None


def first_line(search: Search, chosen: int, fresh: FreshSeeds, floor: NoiseFloor | None) -> int:
    """What the report's first line claims of the chosen policy compared with the full network: 1 better, -1 worse.

    The full network is trained once, on the search's first seed. 0 where the line says that they are level, or that
    nothing can be said.
    """
    first = search.seeds[0]
    for policy in (chosen, FULL):
        against_chance = fresh.drawn_against_chance[policy, first]
        if not np.isfinite(against_chance) or not fresh.yardstick.has_learned(float(against_chance)):
            return 0
    full = {first: float(fresh.drawn[FULL, first])}
    judgement = judge_by_seed(_read_by_seed(search, fresh).get(chosen, {}), full, fresh.yardstick, floor)
    return 0 if judgement is None else fresh.direction(judgement.kind)


def _read_by_seed(search: Search, fresh: FreshSeeds) -> dict[int, dict[int, float]]:
    """What the policies that did not fail came to, as measured, by their seeds."""
    return {
        policy: _by_seed(fresh.drawn[policy], search.seeds[: len(values)])
        for policy, values in search.read.items()
        if policy not in search.failed
    }


def _by_seed(values: np.ndarray, seeds: Iterable[int] | None = None) -> dict[int, float]:
    chosen = range(len(values)) if seeds is None else seeds
    return {seed: float(values[seed]) for seed in chosen if np.isfinite(values[seed])}
