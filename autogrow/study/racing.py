"""Racing: which policy is trained on one more seed, and which is best by what several seeds said. Numbers in and out.

The best of many by one seed is in part the luckiest. Policies that look good are therefore trained again on other
seeds, the same ones for all, and means are drawn towards what all policies reach by as much as their seeds leave open
(empirical Bayes: Efron and Morris 1975, doi 10.1080/01621459.1975.10479864, equation 1.4 with unequal variances).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

import numpy as np

FIRST_SHARE = 0.5
"""Share of a search in which new policies are tried; after it, those that look good get more seeds."""
SEEDS_BEFORE_NEW = 4
"""Seeds of the best policy from which, in the second part, a new one is tried where it promises more than a seed: with
fewer, luck is taken for merit (on digits 5 and 3% of answers were truly worse from 2 and 3 seeds on, 2% from 4)."""
FEWEST_SPARE = 3
"""Spare seeds (beyond the first of every policy) from which the noise of one seed is estimated."""
ASSUMED_NOISE = 0.5
"""Share of the variance between first values that is taken for noise until there are so many."""
LEAST_SPREAD = 0.1
"""Share of the variance between first values that is taken for true differences at least."""
TAIL = 3.0
"""Policies that fall behind the median by more than this many times the usual deviation do not widen the spread: a few
that diverge would otherwise make any luck look like merit."""
SURE_ENOUGH = 0.9
"""Probability of being better than the default policy from which another policy is the answer of a search: on tables of
policies by seeds (`autogrow reproduce racing`), at most 4% of answers were truly worse by it, up to half without."""
DIVERGED = 10.0
"""A seed that falls behind the median by more than this many times the usual deviation counts for no more in the noise
of one seed: a loss of a million would otherwise make all policies look alike, and itself one of them."""


@dataclass(frozen=True)
class Candidate:
    """A policy in the race."""

    number: int
    """Of its first trial."""
    values: tuple[float, ...]
    """What its finished seeds came to, the first of them first; larger is better."""
    num_pending: int = 0
    """Seeds that are being trained or wait."""
    has_failed: bool = False
    """Whether a seed of it came to nothing: it gets no others, and is not the best."""


@dataclass(frozen=True)
class Estimate:
    """What is known of a policy's mean over seeds."""

    mean: float
    """Drawn towards the mean of all."""
    standard_error: float
    num_seeds: int

    def probability_above(self, other: "Estimate") -> float:
        """That this policy's mean over seeds is the larger one, seeds being independent."""
        spread = math.hypot(self.standard_error, other.standard_error)
        difference = self.mean - other.mean
        if spread == 0:
            return 0.5 if difference == 0 else float(difference > 0)
        return NormalDist().cdf(difference / spread)


@dataclass(frozen=True)
class Standing:
    """What is known of a policy when the best is chosen; more is better in all of it."""

    number: int
    wanted: Estimate
    """Of what is preferred."""
    loss: Estimate | None
    is_default: bool = False
    """Whether it is the default policy."""
    then: tuple[float, ...] = ()
    """What tells equals apart, the first of it first."""


@dataclass(frozen=True)
class Noise:
    """How much one seed says, from all candidates together."""

    center: float
    """Mean of the first seeds."""
    within: float
    """Variance of one policy's values over seeds."""
    between: float
    """Variance of policies' means."""


def measure_noise(candidates: Sequence[Candidate]) -> Noise | None:
    """Noise and spread of candidates with a value; None where none has one."""
    first = np.array([each.values[0] for each in candidates if each.values])
    if not len(first):
        return None
    kept = _without_tail(first)
    total = float(np.var(kept, ddof=1)) if len(kept) > 1 else 0.0
    lowest = _behind_median(first, DIVERGED)
    replicated = [[max(value, lowest) for value in each.values] for each in candidates if len(each.values) > 1]
    spare = sum(len(values) - 1 for values in replicated)
    within = ASSUMED_NOISE * total
    if spare >= FEWEST_SPARE:
        within = math.fsum((value - fmean(values)) ** 2 for values in replicated for value in values) / spare
    return Noise(float(kept.mean()), within, max(total - within, LEAST_SPREAD * total))


def _without_tail(values: np.ndarray) -> np.ndarray:
    kept: np.ndarray = values[values >= _behind_median(values, TAIL)]
    return kept


def _behind_median(values: np.ndarray, times: float) -> float:
    """So many times the usual deviation below the median; without end where half of the values are the same."""
    middle = float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - middle)))
    return middle - times * deviation if deviation > 0 else -math.inf


def estimates(candidates: Sequence[Candidate]) -> dict[int, Estimate]:
    """What is known of every candidate that has a value, by its number."""
    noise = measure_noise(candidates)
    if noise is None:
        return {}
    return {each.number: _estimate(each.values, noise) for each in candidates if each.values}


def _estimate(values: Sequence[float], noise: Noise) -> Estimate:
    number = len(values)
    mean = values[0] if number == 1 else fmean(values)  # most have one, and fmean takes its time
    if noise.within == 0:
        return Estimate(mean, 0.0, number)
    if noise.between == 0:
        return Estimate(noise.center, 0.0, number)
    error = noise.within / number
    weight = noise.between / (noise.between + error)
    return Estimate(weight * mean + (1 - weight) * noise.center, math.sqrt(weight * error), number)


def leader(candidates: Sequence[Candidate]) -> int | None:
    """The number of the best candidate; None where none has a value."""
    known = estimates(candidates)
    sound = {each.number: known[each.number].mean for each in candidates if each.values and not each.has_failed}
    return max(sound, key=lambda number: sound[number], default=None)


def in_order(standings: Sequence[Standing], *, by_score: bool, guards_default: bool) -> list[Standing]:
    """The best first: how a search of several seeds answers.

    Args:
        by_score: Whether a score is preferred: those that are closer than their standard error are told apart by the
            loss, which is not as coarse.
        guards_default: Whether the default policy comes before all others unless the first is better than it with a
            probability of `SURE_ENOUGH`.
    """
    found = sorted(standings, key=lambda each: (each.wanted.mean, *each.then), reverse=True)
    if by_score:
        found = _level_by_loss(found)
    default = next((each for each in found if each.is_default), None)
    if not guards_default or default is None or probability_better(found[0], default) >= SURE_ENOUGH:
        return found
    return [default, *(each for each in found if each is not default)]


def probability_better(first: Standing, other: Standing) -> float:
    """That the first policy's mean over seeds is better, in what is wanted or in the loss: the higher of both."""
    probability = first.wanted.probability_above(other.wanted)
    if first.loss is None or other.loss is None:
        return probability
    return max(probability, first.loss.probability_above(other.loss))


def _level_by_loss(in_order: Sequence[Standing]) -> list[Standing]:
    """The best first, by loss among those whose score is closer to the best of them than its standard error."""
    groups: list[list[Standing]] = []
    least = math.inf
    for each in in_order:
        if groups and each.wanted.mean >= least:
            groups[-1].append(each)
        else:
            groups.append([each])
            least = each.wanted.mean - each.wanted.standard_error
    return [each for group in groups for each in sorted(group, key=lambda one: -_mean(one.loss))]


def least_loss_first(candidates: Sequence[Candidate], losses: Mapping[int, Estimate]) -> list[Candidate]:
    """For `next_seed`, which takes the first of equals: where scores are level, that is to be the one with less loss.

    Args:
        losses: What is known of every candidate's loss, by its number, more being better.
    """
    return sorted(candidates, key=lambda each: -_mean(losses.get(each.number)))


def _mean(known: Estimate | None) -> float:
    return -math.inf if known is None else known.mean


def next_seed(
    candidates: Sequence[Candidate],
    share_used: float,
    most_seeds: int,
    always: Mapping[int, int] | None = None,
    seeds_before_new: int | None = SEEDS_BEFORE_NEW,
) -> int | None:
    """Which candidate is trained on one more seed; None where a new policy is tried.

    In the second part of a search it is the one that may be best: the highest mean plus standard error, seeds that are
    still being trained counted as if they had said the same (upper confidence bound, Srinivas et al. 2010, arXiv
    0912.3995). Where one seed says nearly all, a new policy promises more, and is tried.

    Args:
        share_used: Of the search's budget, from 0 to 1.
        most_seeds: Of one policy.
        always: Candidates that get as many seeds as the leader, whatever they reach, and up to how many: what others
            are compared with.
        seeds_before_new: Finished seeds of the best candidate from which a new one may be tried in the second part;
            None tries none there.
    """
    if share_used < FIRST_SHARE or (noise := measure_noise(candidates)) is None:
        return None
    known, by_number = estimates(candidates), {each.number: each for each in candidates}
    open_ = [e for e in candidates if e.values and not e.has_failed and _num_seeds(e) < most_seeds]
    if (best := leader(candidates)) is not None:
        behind = _behind_in_seeds(by_number, best, most_seeds, always or {})
        if behind is not None:
            return behind
        if seeds_before_new is not None and len(by_number[best].values) >= seeds_before_new:
            sound = (known[each.number].mean for each in candidates if each.values and not each.has_failed)
            first, second = (*sorted(sound, reverse=True)[:2], noise.center)[:2]
            gains = (_gain(known[e.number], second if e.number == best else first, noise) for e in open_)
            if _expected_gain(noise.center - first, noise.between, noise.within) > max(gains, default=0.0):
                return None

    def bound(each: Candidate) -> float:
        pending = (known[each.number].mean,) * each.num_pending
        found = _estimate((*each.values, *pending), noise)
        return known[each.number].mean + found.standard_error

    return max(open_, key=bound).number if open_ else None


def _behind_in_seeds(
    by_number: Mapping[int, Candidate], best: int, most_seeds: int, always: Mapping[int, int]
) -> int | None:
    """The first of those that get as many seeds as the leader and have fewer; None where none has."""
    for number, most in always.items():
        control = by_number.get(number)
        if control is not None and control.values and not control.has_failed and number != best:
            if _num_seeds(control) < min(most, most_seeds, _num_seeds(by_number[best])):
                return number
    return None


def _gain(of: Estimate, best_other: float, noise: Noise) -> float:
    """By how much one more seed of a policy is expected to raise the best mean; of the best one, to change it."""
    return _expected_gain(-abs(of.mean - best_other), of.standard_error**2, noise.within)


def _expected_gain(behind: float, variance: float, within: float) -> float:
    """Knowledge gradient of one seed (Frazier, Powell and Dayanik 2008, doi 10.1137/070693424, section 4.1).

    Args:
        behind: How far the mean lies from what it would have to pass; negative, or positive where it is ahead.
        variance: Of what is known of the policy's mean.
        within: Variance of one policy's values over seeds.
    """
    if variance == 0:
        return max(behind, 0.0)
    change = variance / math.sqrt(variance + within)
    normal = NormalDist()
    return change * normal.pdf(behind / change) + behind * normal.cdf(behind / change)


def _num_seeds(candidate: Candidate) -> int:
    return len(candidate.values) + candidate.num_pending
