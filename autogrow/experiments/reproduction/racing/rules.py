"""Rules that say which policy gets another seed, and which is chosen: compared here before one is built in."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy.stats import wilcoxon
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from autogrow.experiments.reproduction.racing.replay import DEFAULT, Drawn, Rule, Search
from autogrow.study.racing import (
    SEEDS_BEFORE_NEW,
    SURE_ENOUGH,
    Candidate,
    estimates,
    leader,
    least_loss_first,
    next_seed,
)
from autogrow.study.settings import DEFAULT_SEEDS_PER_POLICY

MOST_SEEDS = DEFAULT_SEEDS_PER_POLICY
SIGNIFICANCE = 0.1
"""Below which Wilcoxon's rule drops a policy, as Optuna's pruner does by default."""
FIRST_COMPARED = 2
"""Seeds before which it drops none, as by default there."""
TAIL = 3.0
"""Deviations below the median from which a policy is as bad as any, for the Gaussian process."""


def one_seed(search: Search) -> int | None:
    """Every policy once; the best is chosen. What searches did so far."""
    return fixed(1)(search)


def fixed(number: int) -> Rule:
    """Every policy on as many seeds; the best mean is chosen."""

    def rule(search: Search) -> int | None:
        while not search.is_over and (policy := search.next_policy()) is not None:
            for _ in range(number):
                if not search.is_over and search.can_train(policy):
                    search.train(policy)
        return _best_mean(search, at_least=number)

    return rule


def halving(search: Search) -> int | None:
    """Successive halving over seeds: half of the budget for new policies, then twice the seeds for the better half.

    Jamieson and Talwalkar 2016, arXiv 1502.07943, with seeds as the resource; the default policy always goes on.
    """
    while search.share_used < 0.5 and (policy := search.next_policy()) is not None:
        search.train(policy)
    kept = [policy for policy in search.read if policy not in search.failed]
    wanted = 1
    while not search.is_over and len(kept) > 1 and wanted < len(search.seeds):
        wanted = min(2 * wanted, len(search.seeds))
        kept = sorted(kept, key=lambda policy: -float(np.mean(search.read[policy])))[: max(1, len(kept) // 2)]
        kept = kept if DEFAULT in kept or DEFAULT not in search.read else [*kept, DEFAULT]
        for policy in kept:
            while search.num_read(policy) < wanted and search.can_train(policy) and not search.is_over:
                search.train(policy)
    most = max((search.num_read(policy) for policy in kept), default=0)
    return _best_mean(search, at_least=most) if kept else None


def bandit(seeds_before_new: int | None) -> Rule:
    """`autogrow.study.racing`, as autogrow builds it in, with other numbers of seeds before new policies, too."""

    def rule(search: Search) -> int | None:
        train_bandit(search, seeds_before_new)
        return leader(search.candidates())

    return rule


def train_bandit(search: Search, seeds_before_new: int | None = SEEDS_BEFORE_NEW) -> None:
    """All that the bandit trains."""
    while not search.is_over:
        new, racers = search.next_policy(), _racers(search)
        least = None if new is None else seeds_before_new
        chosen = next_seed(racers, search.share_used, MOST_SEEDS, {DEFAULT: MOST_SEEDS}, least)
        policy = new if chosen is None else chosen
        if policy is None or not search.can_train(policy):
            policy = next_seed(racers, 1.0, MOST_SEEDS, seeds_before_new=None)
            if policy is None or not search.can_train(policy):
                break
        search.train(policy)


def _racers(search: Search) -> list[Candidate]:
    """As a search hands them to the race."""
    racers = search.candidates()
    return racers if search.table.metric == "loss" else least_loss_first(racers, estimates(search.read_losses()))


def unless_better(rule: Rule, probability: float) -> Rule:
    """A rule whose answer is the default policy unless its choice is better than that with so much probability."""

    def guarded(search: Search) -> int | None:
        chosen = rule(search)
        known = estimates(search.candidates())
        if chosen is None or DEFAULT not in known or DEFAULT in search.failed:
            return chosen
        return chosen if known[chosen].probability_above(known[DEFAULT]) >= probability else DEFAULT

    return guarded


def wilcoxon_pruner(search: Search) -> int | None:
    """Policies one after another, each on up to `MOST_SEEDS` seeds, dropped when it is behind the best so far.

    Paired by seed (Wilcoxon's signed ranks), as Optuna's WilcoxonPruner compares evaluations.
    """
    best: int | None = None
    while not search.is_over and (policy := search.next_policy()) is not None:
        dropped = False
        while search.num_read(policy) < MOST_SEEDS and search.can_train(policy) and not search.is_over and not dropped:
            search.train(policy)
            dropped = best is not None and policy in search.read and _is_behind(search.read[policy], search.read[best])
        is_whole = search.num_read(policy) == MOST_SEEDS and policy not in search.failed and not dropped
        if is_whole and (best is None or np.mean(search.read[policy]) > np.mean(search.read[best])):
            best = policy
    return best


def _is_behind(values: list[float], best: list[float]) -> bool:
    number = min(len(values), len(best))
    differences = np.array(values[:number]) - np.array(best[:number])
    if number < FIRST_COMPARED or not differences.any():
        return False
    p = wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue
    return bool(p < SIGNIFICANCE and differences.mean() < 0)


def gaussian_process(table: Drawn) -> Rule:
    """A Gaussian process over the space with noise, one seed each, then seeds for its highest bound.

    Its lengths and its noise are fitted once, to all that searches may read of the table: more than a search has.
    """
    places = _encoded(table)
    kernel = ConstantKernel() * Matern(np.ones(places.shape[1]), (1e-1, 1e2), nu=2.5) + WhiteKernel()
    rows, columns = np.nonzero(np.isfinite(table.values))
    level, scale = float(np.nanmedian(table.values)), float(np.nanstd(_clipped(table.values)) or 1.0)
    known = np.clip((table.values - level) / scale, -TAIL, None)
    few = columns < 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is a parameter without effect
        process = GaussianProcessRegressor(kernel).fit(places[rows[few]], known[rows[few], columns[few]])
    prior = process.kernel_.k1(places)
    noise = float(process.kernel_.k2.noise_level)

    def rule(search: Search) -> int | None:
        while search.share_used < 0.5 and (policy := search.next_policy()) is not None:
            search.train(policy)
        while not search.is_over:
            mean, deviation = _posterior(search, prior, noise, level, scale)
            bounds = {policy: mean[policy] + deviation[policy] for policy in search.read if search.can_train(policy)}
            if not bounds:
                break
            search.train(max(bounds, key=lambda policy: bounds[policy]))
        mean, _ = _posterior(search, prior, noise, level, scale)
        sound = [policy for policy in search.read if policy not in search.failed]
        return max(sound, key=lambda policy: mean[policy], default=None)

    return rule


def _clipped(values: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.maximum(values, np.nanquantile(values, 0.25))
    return clipped


def _posterior(
    search: Search, prior: np.ndarray, noise: float, level: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every policy, in units of `scale` above `level`."""
    read = list(search.read)
    values = np.array([np.mean(search.read[policy]) for policy in read])
    values = np.clip((values - level) / scale, -TAIL, None)
    errors = noise / np.array([len(search.read[policy]) for policy in read])
    own = prior[np.ix_(read, read)] + np.diag(errors)
    weights = np.linalg.solve(own, prior[read])
    mean = weights.T @ values
    variance = np.clip(np.diag(prior) - np.einsum("ij,ij->j", weights, prior[read]), 0.0, None)
    return mean, np.sqrt(variance)


def _encoded(table: Drawn) -> np.ndarray:
    """Points as numbers from 0 to 1: ranks of what is ordered, a column for each other value, 0 for what is absent."""
    names = sorted({name for point in table.points for name in point})
    columns = []
    for name in names:
        values = [point.get(name) for point in table.points]
        present = sorted({value for value in values if value is not None}, key=lambda value: (str(type(value)), value))
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
            span = max(len(present) - 1, 1)
            columns.append([0.0 if value is None else present.index(value) / span for value in values])
            if None in values:
                columns.append([float(value is not None) for value in values])
        else:
            columns += [[float(value == each) for value in values] for each in present]
    return np.array(columns).T if columns else np.zeros((len(table.points), 1))


def _best_mean(search: Search, at_least: int) -> int | None:
    """The best mean of policies with as many seeds as most have, or of all where none has."""
    sound = {policy: values for policy, values in search.read.items() if policy not in search.failed}
    whole = {policy: values for policy, values in sound.items() if len(values) >= at_least} or sound
    return max(whole, key=lambda policy: float(np.mean(whole[policy])), default=None)


def _guarded_bandit(seeds_before_new: int) -> Callable[[Drawn], Rule]:
    return lambda table: unless_better(bandit(seeds_before_new), SURE_ENOUGH)


RULES: dict[str, Callable[[Drawn], Rule]] = {
    "one seed": lambda table: one_seed,
    "two seeds": lambda table: fixed(2),
    "three seeds": lambda table: fixed(3),
    "halving over seeds": lambda table: halving,
    "bandit by shrunken means": lambda table: bandit(None),
    "bandit, else default, 75 %": lambda table: unless_better(bandit(None), 0.75),
    "bandit, else default, 90 %": lambda table: unless_better(bandit(None), SURE_ENOUGH),
    **{
        f"bandit, new after {number}, else default, 90 %": _guarded_bandit(number)
        for number in (2, 3, SEEDS_BEFORE_NEW)
    },
    "Wilcoxon's pruner": lambda table: wilcoxon_pruner,
    "Gaussian process": gaussian_process,
}
"""Compared in this order: the first is what the others are measured against, the tenth what is built in."""
