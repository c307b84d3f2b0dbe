"""Which groups can be widened by themselves, by any number, and all at once: a plan of few experiments.

Trying every group alone takes as many passes as there are groups. Trying them all at once takes one, but groups that
are exact only together (the heads of queries, keys and values in some attentions) pass for independent. So every group
takes part in half of a few trials, and no two in the same ones: each is widened without any other in some trial. Of t
trials that many halves can be chosen for t over t / 2 groups, and for no more (Sperner 1928): 33 groups take 7 trials,
120 take 9. A trial that fails is halved until the groups at fault are found.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np

from autogrow.network.resizing.probe import Probe

NUMBERS = (1, 2, 4)
"""Units that groups are widened by when they are tried apart."""

MIN_TRIALS = 6
"""Trials of groups apart from each other, at least: a group takes part in half of them, by each of `NUMBERS`."""

MOST_UNITS = 16
"""Units that a group is widened by, at most, when all are tried together by different numbers."""

MOST_TIED = 8
"""Groups, not exact by themselves, up to which it is looked for which of them are exact together."""

Trial = dict[str, int]
"""Units to add by group."""


def inexact_groups(probe: Probe, names: Sequence[str]) -> dict[str, str]:
    """Groups that change the outputs, or break a pass, when they or some of them are widened; with the reason.

    What is left can be widened group by group or all at once, in eval and in train mode.
    """
    found: dict[str, str] = {}
    while left := [name for name in names if name not in found]:
        fresh = next((faults for trial, in_train_mode in _trials(left)
                      if (faults := _faults(probe, trial, in_train_mode))), {})  # fmt: skip
        if not fresh:
            break
        found |= fresh
    return found | _ties(probe, list(found))


def _trials(names: Sequence[str]) -> Iterator[tuple[Trial, bool]]:
    """All groups together in both modes, then the groups apart; each with whether it is made in train mode."""
    numbers = 1 + np.random.default_rng(0).permutation(len(names)) % MOST_UNITS
    together = {name: int(number) for name, number in zip(names, numbers, strict=True)}
    yield together, False
    yield together, True
    taken = _trials_taken(len(names))
    for number in range(1 + max(map(max, taken))):
        yield (
            {
                name: NUMBERS[mine.index(number) % len(NUMBERS)]
                for name, mine in zip(names, taken, strict=True)
                if number in mine
            },
            False,
        )


def _trials_taken(count: int) -> list[tuple[int, ...]]:
    """For each of `count` groups the trials that it takes part in; no group's are all among another's."""
    trials = MIN_TRIALS
    while comb(trials, trials // 2) < count:
        trials += 1
    halves = list(combinations(range(trials), trials // 2))
    # From both ends in turn, so that few groups share few trials.
    both_ends = [half for pair in zip(halves, reversed(halves), strict=True) for half in pair]
    return list(dict.fromkeys(both_ends))[:count]


def _faults(probe: Probe, trial: Trial, in_train_mode: bool) -> dict[str, str]:
    """The groups of a trial that make it fail; empty where it succeeds."""
    if probe.problem_with(trial, in_train_mode) is None:
        return {}
    return _alone_at_fault(probe, trial, in_train_mode) or _jointly_at_fault(probe, trial, in_train_mode)


def _alone_at_fault(probe: Probe, trial: Trial, in_train_mode: bool) -> dict[str, str]:
    """Those of the groups that cause a problem by themselves, found by halving."""
    problem = probe.problem_with(trial, in_train_mode)
    if problem is None:
        return {}
    names = list(trial)
    if len(names) == 1:
        return {names[0]: problem}
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    first, second = (_alone_at_fault(probe, {name: trial[name] for name in half}, in_train_mode) for half in halves)
    return first | second


def _jointly_at_fault(probe: Probe, trial: Trial, in_train_mode: bool) -> dict[str, str]:
    """The last of the fewest groups that fail together though none does alone: without it the others are exact."""
    needed = dict(trial)
    for name in trial:
        fewer = {other: number for other, number in needed.items() if other != name}
        if probe.problem_with(fewer, in_train_mode) is not None:
            needed = fewer
    *others, last = needed
    return {last: f"outputs change when it is widened together with {_listed(others)}"}


def _ties(probe: Probe, names: Sequence[str]) -> dict[str, str]:
    """Reasons for groups that are exact together, by as many units each, though not alone; they name each other."""
    found: dict[str, str] = {}
    left = _exact_together(probe, names) if len(names) <= MOST_TIED else []
    while len(left) > 1:
        first, *others = left
        # All that are left are exact together, so that the last of these sets is one that is.
        sets = (chosen for size in range(1, len(left)) for chosen in combinations(others, size))
        tied = [
            first,
            *next(chosen for chosen in sets if chosen == tuple(others) or _is_exact(probe, [first, *chosen])),
        ]
        for name in tied:
            partners = _listed([other for other in tied if other != name])
            found[name] = f"it is exact only together with {partners}, by as many units"
        left = [name for name in left if name not in tied]
    return found


def _exact_together(probe: Probe, names: Sequence[str]) -> Sequence[str]:
    """These groups, or all but one of them, if they are exact together."""
    fewer = [[other for other in names if other != name] for name in names]
    return next((each for each in [names, *fewer] if len(each) > 1 and _is_exact(probe, each)), [])


def _is_exact(probe: Probe, names: Sequence[str]) -> bool:
    trial: Mapping[str, int] = dict.fromkeys(names, NUMBERS[1])
    return probe.problem_with(trial) is None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
