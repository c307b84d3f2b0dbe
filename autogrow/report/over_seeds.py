"""What several seeds say of a search's policies: means with their errors, and how the best compares with the controls.

Only of searches that trained policies on several seeds: others have nothing of it. How seeds are weighed is
`autogrow.study.racing`'s, the words for a difference are `autogrow.report.judging`'s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial

from autogrow.metrics import numbers
from autogrow.metrics.metric import BITS_PER_BYTE
from autogrow.metrics.objectives import OBJECTIVES, Objective
from autogrow.policy.presets import DEFAULT, STATIC
from autogrow.report.judging import Judgement, Yardstick, judge_by_seed, noise_sentence
from autogrow.report.noise_floor import NoiseFloor
from autogrow.study.candidates import Candidate, Candidates
from autogrow.study.choosing import is_eligible, probability_better
from autogrow.study.racing import SURE_ENOUGH, Estimate
from autogrow.study.trial_record import TrialRecord
from autogrow.tasks.text import bits_per_byte

SURELY = 0.99
"""Probability above which no more is said than that it is."""
_CONTROLS = {DEFAULT: "the default policy", STATIC: "the static control"}


@dataclass(frozen=True)
class PolicyMeans:
    """A policy over the seeds on which it was trained to its end."""

    trial: int
    """Its first."""
    num_seeds: int
    means: dict[str, float]
    """By the names of metrics; of what policies are compared by, as they are compared by it."""
    standard_errors: dict[str, float]
    """Of those."""


@dataclass(frozen=True)
class Against:
    """The best policy compared with a control."""

    role: str
    probability: float
    """That the mean of the best is the better one, its own luck in being chosen apart."""
    paired: Judgement | None
    """By the seeds that both were trained on; None where they share none."""

    @property
    def sentence(self) -> str:
        control = _CONTROLS[self.role]
        if self.paired is not None and self.paired.kind == "level":
            chance = f"that its mean is the better one has a probability of {_likely(self.probability)}"
            return f"Seed by seed it is {self.paired.compared_with(control)}; {chance}."
        known = f"With a probability of {_likely(self.probability)} it is better than {control}"
        if self.paired is None:
            return f"{known}."
        return f"{known}; seed by seed it is {self.paired.compared_with(control)}."


def _likely(probability: float) -> str:
    """In percent, never none and never all."""
    if SURELY < probability:
        return f"over {numbers.percent(SURELY)}"
    return f"under {numbers.percent(1 - SURELY)}" if probability < 1 - SURELY else numbers.percent(probability)


@dataclass(frozen=True)
class OverSeeds:
    """A search whose policies were trained on several seeds."""

    policies: tuple[PolicyMeans, ...]
    """All that were trained to their end on any seed, oldest first."""
    best: str
    """What the seeds say of the best, in a sentence or two; empty where there is none yet."""
    against: tuple[Against, ...]
    """The best, where it is not the default policy itself, compared with that and with the network at full size."""
    floor: NoiseFloor | None = None
    """What chance alone makes between policies, by their replicates; None where none has several seeds."""
    noise: str = ""
    """The same in a sentence."""

    @property
    def sentences(self) -> tuple[str, ...]:
        said = self.best, *(each.sentence for each in self.against), self.noise
        return tuple(each for each in said if each)

    def paired(self, role: str) -> Judgement | None:
        """How the best compares with a control by the seeds of both."""
        return next((each.paired for each in self.against if each.role == role), None)


def read_over_seeds(
    trials: Sequence[FrozenTrial], objectives: Sequence[Objective], best: int | None, yardstick: Yardstick
) -> OverSeeds | None:
    """What the seeds of a study say; None where no replicate has ended. `best` is the number of the best trial."""
    found = Candidates(trials)
    if not found.are_replicated:
        return None
    also = OBJECTIVES["loss"], OBJECTIVES["train_seconds"]
    compared = {each.metric.name: each for each in (*objectives, yardstick.by, *also)}
    policies = tuple(_means(found, each, compared, yardstick.bytes_per_token) for each in found.all if each.finished)
    chosen = next((each for each in found.all if each.first.number == best), None)
    known = None if chosen is None else found.estimate(chosen, yardstick.by)
    if chosen is None or known is None:
        return OverSeeds(policies, "", ())
    roles = {each.role: each for each in found.all if each.role in _CONTROLS and each.finished}
    floor = NoiseFloor.of_replicates([
        _by_seed(each, yardstick.by) for each in found.all if not each.has_failed
    ])  # fmt: skip
    against = [_against(found, chosen, known, roles[role], yardstick, floor) for role in _CONTROLS if role in roles]
    return OverSeeds(
        policies,
        " ".join(filter(None, (_sentence(chosen, known, yardstick), _only_luckier(found, chosen, yardstick.by)))),
        tuple(each for each in against if each is not None),
        floor,
        "" if floor is None else noise_sentence(floor, known.num_seeds, yardstick),
    )


def _means(
    found: Candidates, candidate: Candidate, compared: dict[str, Objective], bytes_per_token: float | None
) -> PolicyMeans:
    read = [TrialRecord(trial).metrics for trial in candidate.finished]
    means = {name: float(np.mean([each[name] for each in read])) for name in read[0] if all(name in m for m in read)}
    errors = {}
    for name, objective in compared.items():
        known = found.estimate(candidate, objective)
        if known is not None:
            means[name] = objective.sign * known.mean
            errors[name] = known.standard_error
    if bytes_per_token is not None and "validation_loss" in means:
        means[BITS_PER_BYTE.name] = bits_per_byte(means["validation_loss"], bytes_per_token)
    return PolicyMeans(candidate.first.number, len(candidate.finished), means, errors)


def _against(
    found: Candidates,
    best: Candidate,
    known: Estimate,
    control: Candidate,
    yardstick: Yardstick,
    floor: NoiseFloor | None,
) -> Against | None:
    other = found.estimate(control, yardstick.by)
    if other is None or control.number == best.number:
        return None
    return Against(control.role, known.probability_above(other), _paired(best, control, yardstick, floor))


def _paired(best: Candidate, control: Candidate, yardstick: Yardstick, floor: NoiseFloor | None) -> Judgement | None:
    """By the seeds that both were trained on to their end."""
    return judge_by_seed(_by_seed(best, yardstick.by), _by_seed(control, yardstick.by), yardstick, floor)


def _by_seed(candidate: Candidate, objective: Objective) -> dict[int | None, float]:
    """What its trials came to, by their seeds; None stands for the run's own in studies that did not say."""
    own = candidate.trials[0].number
    found = {}
    for trial in candidate.finished:
        record = TrialRecord(trial)
        value = objective.value(record.metrics)
        if value is not None:
            found[None if trial.number == own else record.seed] = float(value)
    return found


def _only_luckier(found: Candidates, best: Candidate, objective: Objective) -> str:
    """Of a default policy that is the best though another has the better mean: how sure that one is."""
    others = [each for each in found.all if is_eligible(each) and found.estimate(each, objective) is not None]
    if best.role != DEFAULT or not others:
        return ""
    first = max(others, key=lambda each: _mean(found, each, objective))
    if _mean(found, first, objective) <= _mean(found, best, objective):
        return ""
    probability = _likely(probability_better(found, first, best, objective))
    return (
        f"It is the default policy: trial {first.first.number} has a better mean, and is better than it with a "
        f"probability of {probability}, where {numbers.percent(SURE_ENOUGH)} are asked for."
    )


def _mean(found: Candidates, candidate: Candidate, objective: Objective) -> float:
    known = found.estimate(candidate, objective)
    return -math.inf if known is None else known.mean


def _sentence(best: Candidate, known: Estimate, yardstick: Yardstick) -> str:
    metric, number = yardstick.by.metric, known.num_seeds
    mean, error = metric.with_unit(yardstick.by.sign * known.mean), yardstick.error(known.standard_error)
    seeds = "one seed" if number == 1 else f"{number} seeds"
    return (
        f"Over {seeds}, trial {best.first.number} has {mean} {metric.title} on average (standard error {error}), drawn "
        "towards what all policies reach."
    )
