"""Searches replayed as they are run: what they prefer, how they answer, and what their report says first.

The other rules go by one metric alone. A search of a classification prefers accuracy: means of it choose, near ties are
broken by the loss, and whether another policy is better than the default one is asked of both. Whatever decides is the
search's own: `autogrow.study.racing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autogrow.experiments.confirmation import DEFAULT_TOP
from autogrow.experiments.reproduction.racing.first_line import FreshSeeds, first_line, floor_of
from autogrow.experiments.reproduction.racing.replay import DEFAULT, FULL, SURE, Drawn, Rule, Search, searched
from autogrow.experiments.reproduction.racing.rules import one_seed, train_bandit
from autogrow.study.racing import Estimate, Standing, estimates, in_order, probability_better


def standings(search: Search) -> list[Standing]:
    """What is known of the policies that a search may choose. Of equals the one that took less compute is better."""
    candidates = search.candidates()
    if search.is_replicated:
        wanted, losses = estimates(candidates), estimates(search.read_losses())
    else:
        wanted, losses = (
            {each.number: Estimate(each.values[0], 0.0, 1) for each in read}
            for read in (candidates, search.read_losses())
        )
    flops = search.table.flops[:, search.seeds[0]]
    return [
        Standing(each.number, wanted[each.number], losses[each.number], each.number == DEFAULT, (-flops[each.number],))
        for each in candidates
        if not each.has_failed
    ]


def ranked(search: Search) -> list[Standing]:
    """The best first, as `autogrow.study.choosing` ranks them."""
    by_score = search.is_replicated and search.table.metric == "score"
    return in_order(standings(search), by_score=by_score, guards_default=search.is_replicated)


def _once(search: Search) -> int | None:
    one_seed(search)
    return _first(search)


def _race(search: Search) -> int | None:
    train_bandit(search)
    return _first(search)


def _first(search: Search) -> int | None:
    found = ranked(search)
    return found[0].number if found else None


BEFORE, NOW = "one seed", "the race"
SEARCHES: Mapping[str, tuple[Rule, str]] = {
    BEFORE: (_once, "half of any, by score"),
    NOW: (_race, "worst third of eight, by loss"),
}
"""As searches were and as they are by default: the rule, and how it stops runs early."""


@dataclass(frozen=True)
class Answer:
    """What one search answered."""

    chosen: int
    is_sure: bool
    """By 95 %, that it is better than the default policy."""
    said: int
    """By the report's first line, of the chosen policy beside the full network: 1 better, -1 worse, 0 neither."""
    has_floor: bool
    """Whether the search had a noise floor to judge that by."""
    confirmed: int
    """The same by `confirm` on seeds that no search saw."""
    against_default: int
    """The same of the chosen policy compared with the default one; 0 where it is that."""

    @property
    def is_another(self) -> bool:
        """Whether it is not the default policy."""
        return self.chosen != DEFAULT

    @property
    def is_taken_back(self) -> bool:
        """Whether the first line says better or worse, and `confirm` does not."""
        return self.said not in (0, self.confirmed)

    @property
    def is_turned_round(self) -> bool:
        """Whether `confirm` says the opposite."""
        return self.said * self.confirmed < 0


def replay_searches(
    table: Drawn, fresh: FreshSeeds, name: str, num_runs: int, num_searches: int, seed: int
) -> tuple[Answer, ...]:
    """Searches of `SEARCHES`, at the training FLOPs of `num_runs` average runs, with what `confirm` would say."""
    rule, stopping = SEARCHES[name]
    return tuple(
        _answer(search, chosen, fresh)
        for search, chosen in searched(table, rule, num_runs, num_searches, seed, stopping)
    )


def _answer(search: Search, chosen: int, fresh: FreshSeeds) -> Answer:
    known = {each.number: each for each in ranked(search)}
    is_sure = (
        chosen != DEFAULT
        and DEFAULT in known
        and search.is_replicated
        and probability_better(known[chosen], known[DEFAULT]) >= SURE
    )
    others = [number for number in known if number != DEFAULT]
    beside = frozenset((DEFAULT, FULL, *others[:DEFAULT_TOP]))
    floor = floor_of(search, fresh)
    return Answer(
        chosen,
        is_sure,
        first_line(search, chosen, fresh, floor),
        floor is not None,
        fresh.confirm(chosen, FULL, beside),
        0 if chosen == DEFAULT else fresh.confirm(chosen, DEFAULT, beside),
    )


@dataclass(frozen=True)
class Truth:
    """What policies truly reach by one metric, more being better; see `Drawn.truth`."""

    values: np.ndarray

    @property
    def best(self) -> float:
        """Of the policies: the full network is none."""
        return float(np.delete(self.values, FULL).max())

    def regret(self, chosen: np.ndarray) -> float:
        """Mean distance from the best policy."""
        return float((self.best - self.values[chosen]).mean())

    def share_worse(self, chosen: np.ndarray) -> float:
        """Of answers that are truly worse than the default policy."""
        return float((self.values[chosen] < self.values[DEFAULT]).mean())

    def share_better(self, chosen: np.ndarray) -> float:
        """Of answers that are truly better than it; NaN where there are none."""
        return float((self.values[chosen] > self.values[DEFAULT]).mean()) if len(chosen) else float("nan")
