"""What a comparison says of its subject against each control, in the words that every command has for it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from autogrow.experiments.results import Results
from autogrow.report.judging import Judgement, Yardstick, judge_seeds


def judged(results: Results, yardstick: Yardstick) -> dict[str, Judgement]:
    """The subject against every control that it can be compared with, by the objective of the yardstick."""
    found = {}
    metric = results.score_metric if yardstick.by_score else results.loss_metric
    for control in results.design.controls:
        difference = results.difference(control.name, metric)
        spread = results.spread(control.name, metric)
        if difference is not None and spread is not None and not _at_chance(results, control.name, yardstick):
            found[control.name] = judge_seeds(
                difference.mean, difference.standard_error, difference.num_seeds, spread.mean, yardstick
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
    lost = [each.title for each in results.design.controls if _at_chance(results, each.name, yardstick)]
    if lost:
        said.append(f"Not compared, for they are no better than chance ({yardstick.chance}): {', '.join(lost)}.")
    return tuple(said)


def content(results: Results, yardstick: Yardstick) -> Mapping[str, Any]:
    """The same as plain data, for the JSON file."""
    verdicts = {name: asdict(each) for name, each in judged(results, yardstick).items()}
    return {"verdicts": verdicts, "findings": findings(results, yardstick)}


def _at_chance(results: Results, condition: str, yardstick: Yardstick) -> bool:
    spread = results.spread(condition, results.metric_against_chance(yardstick))
    return spread is not None and not yardstick.has_learned(spread.mean)
