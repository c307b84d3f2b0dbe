"""Rows of a table from what shrinking came to: paired differences to the better of Torch-Pruning's criteria."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from autogrow.experiments.statistics import PairedDifference, paired_difference
from tests.benchmarks.table import Row

OURS = "autogrow"
SHARES = {0.5: "1/2", 0.25: "1/4", 0.125: "1/8"}
MOST_SECONDS, MOST_MEMORY = 0.4, 0.6
"""Of a pass at `TIMED_SHARE`, relative to the network before."""
TIMED_SHARE = 0.25
STANDARD_ERRORS = 2.0
"""Behind by no more than so many is level."""


@dataclass(frozen=True)
class Outcome:
    """What one method made of one trained network at one size."""

    method: str
    share: float
    """Of the FLOPs of the network before."""
    failure: str | None = None
    """Why there is no network of that size; the numbers are None then."""
    note: str = ""
    flops_share: float | None = None
    """What was kept to."""
    score_bare: float | None = None
    """On the validation examples, before fine-tuning, as the loss."""
    loss_bare: float | None = None
    score: float | None = None
    loss: float | None = None
    removal_seconds: float | None = None
    seconds_ratio: float | None = None
    """Of a pass, relative to the network before; measured for some networks at one size."""
    memory_ratio: float | None = None


@dataclass(frozen=True)
class SeedResult:
    """All methods on one trained network."""

    workload: str
    seed: int
    settings: dict[str, Any]
    score: float
    """Of the trained network, as the loss."""
    loss: float
    flops: float
    outcomes: tuple[Outcome, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(**{**values, "outcomes": tuple(Outcome(**each) for each in values["outcomes"])})


def table_rows(results: Sequence[SeedResult], by_loss: bool, is_timed: bool) -> list[Row]:
    """The rows of one network; `results` are those of its seeds."""
    name, metric = results[0].workload, "loss" if by_loss else "score"
    whole = statistics.fmean(getattr(result, metric) for result in results)
    what = (
        f"{name}, {len(results)} seed{'s' * (len(results) > 1)}: {'loss' if by_loss else 'accuracy'} before shrinking"
    )
    rows = [Row(what, f"{whole:.4f}", "", None)]
    for share, words in SHARES.items():
        rows.append(_comparison(f"{name} at {words} of the FLOPs", results, share, metric))
    return rows + (_costs(name, results) if is_timed else [])


def _comparison(what: str, results: Sequence[SeedResult], share: float, metric: str) -> Row:
    at_share = [{each.method: each for each in result.outcomes if each.share == share} for result in results]
    methods = list(at_share[0])
    told = [_in_words(method, [found[method] for found in at_share], metric) for method in methods]
    complete = [method for method in methods if all(found[method].failure is None for found in at_share)]
    peers = [method for method in complete if method != OURS]
    if not peers or OURS not in complete:
        reached = False if peers else None  # what neither has come to says nothing of either
        return Row(what, "; ".join(told), "level or ahead", reached)
    sign = -1.0 if metric == "loss" else 1.0
    reached, differences = None, []
    for bare in (False, True):
        better = max(peers, key=lambda peer: sign * statistics.fmean(_read(at_share, peer, metric, bare)))
        found = paired_difference(_read(at_share, OURS, metric, bare), _read(at_share, better, metric, bare))
        when = "without fine-tuning" if bare else "after fine-tuning"
        differences.append(f"{OURS} minus {better} {when} {_shown(found)}")
        if not bare and found.standard_error is not None:
            reached = sign * found.mean + STANDARD_ERRORS * found.standard_error >= 0
    return Row(what, "; ".join(told + differences), "level or ahead", reached)


def _in_words(method: str, outcomes: Sequence[Outcome], metric: str) -> str:
    failures = [each.failure for each in outcomes if each.failure is not None]
    if failures:
        some = "" if len(failures) == len(outcomes) else f" for {len(failures)} of {len(outcomes)} seeds"
        return f"{method}: none{some} ({failures[0]})"
    after, bare, flops = (
        statistics.fmean(getattr(each, name) for each in outcomes) for name in (metric, f"{metric}_bare", "flops_share")
    )
    note = f", {outcomes[0].note}" if outcomes[0].note else ""
    return f"{method} {after:.4f} (without fine-tuning {bare:.4f}, FLOPs {flops:.4f}{note})"


def _costs(name: str, results: Sequence[SeedResult]) -> list[Row]:
    """Seconds and memory of a pass; the goals are autogrow's."""
    outcomes = [each for result in results for each in result.outcomes if each.share == TIMED_SHARE]
    rows = []
    for field, title, most in (
        ("seconds_ratio", "seconds of a pass, 64 examples, one thread", MOST_SECONDS),
        ("memory_ratio", "peak memory of a pass, weights included", MOST_MEMORY),
    ):
        found: dict[str, list[float]] = {}
        for each in outcomes:
            if (value := getattr(each, field)) is not None:
                found.setdefault(each.method, []).append(value)
        measured = "; ".join(
            f"{method} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            for method, values in found.items()
        )
        reached = statistics.median(found[OURS]) <= most if OURS in found else None
        what = f"{name} at {SHARES[TIMED_SHARE]} of the FLOPs, relative to before: {title}"
        rows.append(Row(what, measured, f"{OURS} at most {most}", reached))
    return rows


def _read(at_share: Sequence[dict[str, Outcome]], method: str, metric: str, bare: bool) -> list[float]:
    return [float(getattr(found[method], f"{metric}_bare" if bare else metric)) for found in at_share]


def _shown(found: PairedDifference) -> str:
    if found.standard_error is None:
        return f"{found.mean:+.4f} (one seed)"
    return f"{found.mean:+.4f} ({found.standard_error:.4f})"
