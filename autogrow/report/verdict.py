"""The verdict: how the best of a search compares with the network at full size, and how sure that is.

What the search itself says rests on one seed; where its best was confirmed on others, those seeds say it. The words
for how one compares with the other are `autogrow.report.judging`'s.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from autogrow.metrics import numbers
from autogrow.metrics.scores import Score
from autogrow.policy.presets import STATIC
from autogrow.report import formats
from autogrow.report.judging import Judgement, Kind, Yardstick, judge_seeds, judge_values, noise_sentence
from autogrow.report.noise_floor import NoiseFloor
from autogrow.report.over_seeds import OverSeeds

Subject = Literal["growing", "smaller_network", "full_size"]
"""What the best is: a network that grew; one that is smaller from the start; one at full size, trained otherwise."""
_SUBJECTS: dict[Subject, str] = {
    "growing": "growing ({})",
    "smaller_network": "a smaller network from the start ({}, which never grew)",
    "full_size": "a network at full size from the start ({}, which never grew)",
}
_NO_DIFFERENCE = 1e-9


@dataclass(frozen=True)
class Verdict:
    """The best compared with the network at full size. Numbers are None where one of the two is missing."""

    kind: Kind | Literal["undecided"]
    """How the best compares with the other, by what it was chosen by."""
    source: Literal["search", "confirmation"]
    """Whether it rests on the search's one seed, or on the seeds of its confirmation."""
    headline: str
    details: tuple[str, ...]
    caveat: str
    subject: Subject | None = None
    grown: int | None = None
    """The best trial; None where that is a policy which the search did not try."""
    static: int | None = None
    score_difference: float | None = None
    """Best minus static, in percentage points; for regression in R². The same units in `gap_difference`."""
    gap_difference: float | None = None
    train_seconds_ratio: float | None = None
    """Best over static, as the other ratios; below 1 the best took less."""
    compute_ratio: float | None = None
    parameters_ratio: float | None = None
    num_seeds: int | None = None
    standard_error: float | None = None
    """Of the mean difference over seeds, in its units."""

    @property
    def reached(self) -> str:
        """What was read of both, or why there is nothing to compare."""
        return self.details[0] if self.details else self.headline


@dataclass(frozen=True)
class Paired:
    """What a confirmation says of the best policy compared with the network at full size: means over the same seeds."""

    title: str
    """Of the best."""
    trial: int | None
    subject: Subject
    other: str
    """The network at full size that it is compared with."""
    task: str
    objective: str
    """What it is judged by, by name."""
    mean: float
    other_mean: float
    value_against_chance: float | None
    """The mean of what says whether anything was learned: the score, of text the loss."""
    other_value_against_chance: float | None
    difference: float
    standard_error: float | None
    num_seeds: int
    best_of: int
    num_examples: int | None = None
    chance_level: float | None = None
    floor: NoiseFloor | None = None
    """What chance alone makes; None in files of before."""

    @property
    def yardstick(self) -> Yardstick:
        return Yardstick(self.task, self.objective, self.num_examples, self.chance_level)


class _Row(Protocol):
    """The part of a `TrialRow` that is judged."""

    @property
    def number(self) -> int: ...
    @property
    def role(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def metrics(self) -> dict[str, Any]: ...
    @property
    def training_differences(self) -> dict[str, Any]: ...
    @property
    def has_finished(self) -> bool: ...


def subject_of(num_events: float, parameters: float, full_parameters: float) -> Subject:
    """What a network is called, by how often it grew and its parameters at the end."""
    if num_events > 0:
        return "growing"
    return "smaller_network" if parameters < full_parameters else "full_size"


def judge(
    finished: Sequence[_Row],
    best: _Row | None,
    static: _Row | None,
    yardstick: Yardstick,
    seed: int,
    place: str,
    over_seeds: OverSeeds | None = None,
) -> Verdict:
    """Compare the best trial of a search with the static control.

    finished: all complete, feasible trials; best: the best of them by the yardstick that is not static; static: the
    static control, in whatever state it is. It may be infeasible and is compared with all the same. `place` is what
    users know the run by; `over_seeds` what other seeds than the run's own say, if any do.
    """
    seeds = () if over_seeds is None else over_seeds.sentences
    early = f"One seed ({seed}) and validation data only." if over_seeds is None else "Validation data only."
    if best is None:
        return Verdict("undecided", "search", "No verdict yet: no grown trial has finished.", (), early)
    metric = yardstick.by.metric
    on_seed = "" if over_seeds is None else f" on seed {seed}"
    reached = f"Trial {best.number} has {metric.with_unit(metric.value(best.metrics))} {metric.title}{on_seed}"
    if static is None or not static.has_finished:
        state = f"is {static.state}" if static is not None else "was not tried"
        headline = f"No verdict: the static control {state}, so there is nothing to compare the best trial with."
        return Verdict("undecided", "search", headline, (f"{reached} so far.", *seeds), early, grown=best.number)
    subject = subject_of(best.metrics["num_events"], best.metrics["parameters"], static.metrics["parameters"])
    reached = f"{reached}, the static control {metric.with_unit(metric.value(static.metrics))}."
    against_chance = f"validation_{yardstick.judges_chance_by}"
    lost = [row for row in (best, static) if not yardstick.has_learned(row.metrics.get(against_chance))]
    if lost:
        return _nothing_learned(lost, reached, yardstick, early, subject, best, static)
    paired = None if over_seeds is None else over_seeds.paired(STATIC)
    floor = None if over_seeds is None else over_seeds.floor
    judgement = paired or judge_values(best.metrics[metric.name], static.metrics[metric.name], yardstick, floor)
    who = _SUBJECTS[subject].format(f"trial {best.number}")
    advice = f"run autogrow confirm {shlex.quote(place)}"
    gap = best.metrics["generalization_gap"] - static.metrics["generalization_gap"]
    ratios = {name: _ratio(best, static, name) for name in ("train_seconds", "training_flops", "parameters")}
    return Verdict(
        kind=judgement.kind,
        source="search",
        headline=f"{_sentence(who)} is {judgement.compared_with('the static control')}: {advice}.",
        details=(reached, *seeds, *_details(finished, best, static, gap, ratios, yardstick.score)),
        caveat=_caveat(len(finished), seed, over_seeds is not None),
        subject=subject,
        grown=best.number,
        static=static.number,
        score_difference=metric.shown(judgement.difference) if yardstick.by_score else None,
        gap_difference=yardstick.score.numbers.shown(gap),
        train_seconds_ratio=ratios["train_seconds"],
        compute_ratio=ratios["training_flops"],
        parameters_ratio=ratios["parameters"],
        num_seeds=judgement.num_seeds,
        standard_error=None if judgement.standard_error is None else metric.shown(judgement.standard_error),
    )


def judge_confirmation(paired: Paired) -> Verdict:
    """What the seeds of a confirmation say, which the search did not use."""
    yardstick = paired.yardstick
    metric = yardstick.by.metric
    seeds = "one other seed" if paired.num_seeds == 1 else f"{paired.num_seeds} other seeds"
    caveat = (
        f"Read on the validation data that the search chose by, over {seeds}; the test split is autogrow compare's."
    )
    who = _SUBJECTS[paired.subject].format(paired.title)
    values = metric.with_unit(paired.mean), metric.with_unit(paired.other_mean)
    reached = f"Mean {metric.title}: {paired.title} {values[0]}, {paired.other} {values[1]}."
    reached_by = {paired.title: paired.value_against_chance, paired.other: paired.other_value_against_chance}
    lost = [title for title, value in reached_by.items() if not yardstick.has_learned(value)]
    if lost:
        who_lost = " and ".join(lost)
        headline = (
            f"{who_lost[:1].upper()}{who_lost[1:]} learned nothing over {seeds} (no better than chance), so nothing "
            "is compared."
        )
        return Verdict("nothing_learned", "confirmation", headline, (reached,), caveat, paired.subject, paired.trial)
    judgement = judge_paired(paired)
    several = (
        f" It is the best of {paired.best_of} by these very seeds, which flatters it." if paired.best_of > 1 else ""
    )
    return Verdict(
        kind=judgement.kind,
        source="confirmation",
        headline=f"Over {seeds}, {who} is {judgement.compared_with(paired.other)}.",
        details=(
            reached,
            *([] if paired.floor is None else [noise_sentence(paired.floor, paired.num_seeds, yardstick)]),
        ),
        caveat=caveat + several,
        subject=paired.subject,
        grown=paired.trial,
        score_difference=metric.shown(paired.difference) if yardstick.by_score else None,
        num_seeds=paired.num_seeds,
        standard_error=None if paired.standard_error is None else metric.shown(paired.standard_error),
    )


def judge_paired(paired: Paired) -> Judgement:
    size = max(abs(paired.mean), abs(paired.other_mean))
    return judge_seeds(paired.difference, paired.standard_error, paired.num_seeds, size, paired.yardstick, paired.floor)


def _nothing_learned(
    lost: Sequence[_Row], reached: str, yardstick: Yardstick, caveat: str, subject: Subject, best: _Row, static: _Row
) -> Verdict:
    who = "the static control" if lost == [static] else f"trial {best.number}"
    headline = f"Nothing was learned: {who} is no better than chance, so nothing is compared."
    if lost == [static]:
        headline = "The static control has learned nothing, so there is nothing to compare the best trial with."
    advice = f"{_sentence(yardstick.chance)}: train longer or on more examples (--epochs, --train-size)."
    return Verdict(
        "nothing_learned", "search", headline, (reached, advice), caveat, subject, best.number, static.number
    )


def _details(
    finished: Sequence[_Row], best: _Row, static: _Row, gap: float, ratios: dict[str, float | None], score: Score
) -> tuple[str, ...]:
    taken = {"train_seconds": "train seconds", "training_flops": "compute (training FLOPs)", "parameters": "parameters"}
    costs = [f"{numbers.ratio(ratios[name])} times the {title}" for name, title in taken.items()]
    details = [f"Against the static control it took {costs[0]} and {costs[1]}, and ended with {costs[2]}."]
    if static.state != "complete":
        details.append(f"The static control is {static.state}: it breaks a constraint that the best trial keeps.")
    if abs(gap) < _NO_DIFFERENCE:
        details.append("The generalization gap is the same.")
    else:
        side = "smaller" if gap < 0 else "larger"
        details.append(f"Its generalization gap is {score.numbers.amount(gap)} {side}.")
    if best.training_differences:
        settings = ", ".join(f"{name} {formats.plain(value)}" for name, value in best.training_differences.items())
        details.append(f"It trained with {settings}, which the control did not: part of any difference may be that.")
    quicker = _quickest_as_accurate(finished, static)
    if quicker is not None and quicker.number != best.number:
        seconds = numbers.ratio(_ratio(quicker, static, "train_seconds"))
        compute = numbers.ratio(_ratio(quicker, static, "training_flops"))
        details.append(
            f"Trial {quicker.number} is as accurate as the static control or more, by this seed, at {seconds} times "
            f"its train seconds and {compute} times its compute."
        )
    return tuple(details)


def _quickest_as_accurate(finished: Sequence[_Row], static: _Row) -> _Row | None:
    """The grown trial that matches the static control's accuracy in the least time, if that is less time."""
    limit = static.metrics
    matching = [
        row
        for row in finished
        if row.number != static.number
        and row.metrics["validation_score"] >= limit["validation_score"] - _NO_DIFFERENCE
        and row.metrics["train_seconds"] < limit["train_seconds"]
    ]
    return min(matching, key=lambda row: float(row.metrics["train_seconds"]), default=None)


def _caveat(num_finished: int, seed: int, over_seeds: bool) -> str:
    if over_seeds:
        return (
            f"Validation data only, and the best of {num_finished} finished policies was picked by the same data and "
            "seeds, which flatters it. A difference may be chance until other seeds have confirmed it."
        )
    return (
        f"One seed ({seed}) and validation data only, and the best of {num_finished} finished trials was picked by the "
        "same validation data, which flatters it. A difference may be chance until other seeds have confirmed it."
    )


def _ratio(row: _Row, other: _Row, metric: str) -> float | None:
    return row.metrics[metric] / other.metrics[metric] if other.metrics[metric] else None


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
