"""What a comparison says of its subject against each control, in the words that every command has for it.

What its placebo does is said once, and what is no more than that is level.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from autogrow.experiments.results import Results
from autogrow.report.judging import Judgement, Yardstick, judge_seeds


def judged(results: Results, yardstick: Yardstick) -> dict[str, Judgement]:
    """The subject against every control that it can be compared with, by the objective of the yardstick."""
    found = {}
    metric = _metric(results, yardstick)
    floor = results.noise_floor(metric)
    for control in results.design.controls:
        difference = results.difference(control.name, metric)
        spread = results.spread(control.name, metric)
        if difference is not None and spread is not None and not _at_chance(results, control.name, yardstick):
            found[control.name] = judge_seeds(
                difference.mean, difference.standard_error, difference.num_seeds, spread.mean, yardstick, floor
            )
    return found


def findings(results: Results, yardstick: Yardstick) -> tuple[str, ...]:
    """A line for the subject against every control; one alone where the subject has learned nothing."""
    subject, title = results.design.subject, results.design.title(results.design.subject).capitalize()
    name = f"By {results.design.split} {results.score.title if yardstick.by_score else 'loss'}"
    if _at_chance(results, subject, yardstick):
        return (f"Nothing was learned: {title} is no better than chance ({yardstick.chance}), so nothing is compared.",)
    verdicts = judged(results, yardstick)
    said = [
        f"{name}, {title} is {each.compared_with(results.design.title(control))}." for control, each in verdicts.items()
    ]
    if noise := noise_finding(results, yardstick):
        said.append(noise)
    lost = [each.title for each in results.design.controls if _at_chance(results, each.name, yardstick)]
    if lost:
        said.append(f"Not compared, for they are no better than chance ({yardstick.chance}): {', '.join(lost)}.")
    return tuple(said)


def noise_finding(results: Results, yardstick: Yardstick) -> str:
    """What an event that adds nothing did, and up to which size differences are therefore level; empty without one."""
    metric, placebo = _metric(results, yardstick), results.design.placebo
    difference, floor = results.placebo_difference(metric), results.noise_floor(metric)
    if placebo is None or placebo.copies is None or difference is None or floor is None:
        return ""
    error = difference.standard_error
    basis = "" if error is None else f"standard error {yardstick.error(error)}, "
    apart = f"{'-' if difference.mean < 0 else '+'}{yardstick.amount(difference.mean)}"
    number = len(results.seeds)
    return (
        f"Noise floor: the {placebo.title}, an event that adds nothing, ended {apart} from "
        f"{results.design.title(placebo.copies)} ({basis}{_seeds(difference.num_seeds)}). By how that varies, chance "
        f"alone makes up to {yardstick.amount(floor.of_mean(number))} over {_seeds(number)}: nothing smaller is called "
        "better."
    )


def _seeds(number: int) -> str:
    return "one seed" if number == 1 else f"{number} seeds"


def content(results: Results, yardstick: Yardstick) -> Mapping[str, Any]:
    """The same as plain data, for the JSON file."""
    verdicts = {name: asdict(each) for name, each in judged(results, yardstick).items()}
    return {"verdicts": verdicts, "findings": findings(results, yardstick)}


def _metric(results: Results, yardstick: Yardstick) -> str:
    """What conditions are judged by."""
    return results.score_metric if yardstick.by_score else results.loss_metric


def _at_chance(results: Results, condition: str, yardstick: Yardstick) -> bool:
    spread = results.spread(condition, results.metric_against_chance(yardstick))
    return spread is not None and not yardstick.has_learned(spread.mean)
