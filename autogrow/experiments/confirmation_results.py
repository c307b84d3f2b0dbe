"""What other seeds say of a search's best policies, as a table and in words: nothing is trained or printed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autogrow.experiments.conditions import Condition
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import PairedDifference
from autogrow.experiments.tables import (
    caption_of,
    columns_of,
    difference_cells,
    loss_cell,
    metric_cell,
    score_cell,
    seconds_cell,
)
from autogrow.metrics import numbers
from autogrow.metrics.numbers import MISSING
from autogrow.metrics.objectives import Objective
from autogrow.policy.presets import DEFAULT
from autogrow.report.judging import Yardstick, judge_seeds, noise_sentence
from autogrow.report.noise_floor import NoiseFloor
from autogrow.report.tables import Table
from autogrow.report.verdict import Paired, judge_confirmation, subject_of

TUNED = "tuned"
"""The full network with the training settings of the search's best trial; of its condition's name, what comes first."""
NOTE = (
    "In search: what the search read, with one seed. Compute: training FLOPs, 1 being those of full. Trials train with "
    "the settings that were searched with them, full and the default policy with the run's own. s.e.: standard error; "
    "p: two-sided paired t-test, not corrected for several. All is read on the validation examples that the search "
    "chose by."
)
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Confirmed:
    """Results on other seeds, read by the objective that policies are chosen by."""

    results: Results
    objective: Objective
    candidates: tuple[str, ...]
    """Conditions of what the search tried, its best first."""
    searched: Mapping[str, float]
    """What the search itself read by its one seed, by condition."""
    yardstick: Yardstick
    """What is known of the examples that results are read on."""
    default_is_feasible: bool = True
    """Whether the default policy keeps to the run's limits; it cannot be chosen where not."""

    @property
    def metric(self) -> str:
        """The name of what policies are chosen by."""
        return self.objective.metric.name

    @property
    def by_score(self) -> bool:
        return self.metric == self.results.score_metric

    @property
    def best(self) -> str | None:
        """The policy with the best mean of those that failed under no seed. The full network is none."""
        number, sign = len(self.results.seeds), self.objective.sign
        eligible = (DEFAULT, *self.candidates) if self.default_is_feasible else self.candidates
        values = {name: self.results.values(name, self.metric) for name in eligible}
        scores = {name: sign * sum(each) for name, each in values.items() if len(each) == number}
        return max(scores, key=lambda name: scores[name], default=None)

    @property
    def floor(self) -> NoiseFloor | None:
        """What chance alone makes between two conditions, by how all of them vary from seed to seed."""
        return self.results.floor_by_replicates(self.metric)

    def evidence(self) -> dict[str, Any] | None:
        """What the seeds say of the best policy, as plain data."""
        if (best := self.best) is None:
            return None
        others = [
            each.name for each in self.results.design.conditions if each.name in self._controls and each.name != best
        ]
        differences = {
            f"minus_{name.partition('@')[0]}": self.results.between(best, name, self.metric) for name in others
        }
        mean = self.results.spread(best, self.metric)
        return {
            "metric": self.metric,
            "seeds": self.results.seeds,
            "best_of": len(self.candidates),
            **({} if mean is None else {"mean": mean.mean, "std": mean.std}),
            **{name: difference.to_dict() for name, difference in differences.items() if difference is not None},
        }

    def paired(self) -> Paired | None:
        """The best policy against the better of the networks at full size; None where one of the two is missing."""
        best, rivals = self.best, [name for name in self._controls if name != DEFAULT]
        means = {name: spread.mean for name in rivals if (spread := self.results.spread(name, self.metric)) is not None}
        if best is None or not means:
            return None
        rival = max(means, key=lambda name: self.objective.sign * means[name])
        difference = self.results.between(best, rival, self.metric)
        return None if difference is None else self._paired(best, rival, difference)

    def _paired(self, best: str, rival: str, difference: PairedDifference) -> Paired:
        def mean(name: str, metric: str) -> float | None:
            spread = self.results.spread(name, metric)
            return None if spread is None else spread.mean

        sizes = [mean(name, "parameters") or 0.0 for name in (best, rival)]
        against_chance = self.results.metric_against_chance(self.yardstick)
        return Paired(
            title=self._title(best),
            trial=int(best.partition("@")[0].removeprefix("trial_")) if best != DEFAULT else None,
            subject=subject_of(mean(best, "num_events") or 0.0, *sizes),
            other=self._title(rival),
            task=self.results.task,
            objective=self.objective.name,
            mean=mean(best, self.metric) or 0.0,
            other_mean=mean(rival, self.metric) or 0.0,
            value_against_chance=mean(best, against_chance),
            other_value_against_chance=mean(rival, against_chance),
            difference=difference.mean,
            standard_error=difference.standard_error,
            num_seeds=difference.num_seeds,
            best_of=len(self.candidates) + int(self.default_is_feasible),
            num_examples=self.yardstick.num_examples,
            chance_level=self.yardstick.chance_level,
            floor=self.floor,
        )

    def _title(self, name: str) -> str:
        """As sentences call a condition."""
        if name == DEFAULT:
            return "the default policy"
        title = self.results.design.title(name)
        return title if name in self.candidates else title.replace("full", "the full network", 1)

    def table(self) -> Table:
        """One row per condition."""
        results = self.results
        difference = f"{self._metric_name} - default"
        titles = (self._own_title, "in search", "train s", "compute", difference, "s.e.", "p")
        columns = columns_of("policy", results.score.heading, "loss", *(title for title in titles if title))
        rows = tuple(self._row(condition) for condition in results.design.conditions)
        failures = "".join(
            f" {results.design.title(each.condition).capitalize()} failed under seed {each.seed}: {each.reason}."
            for each in results.failures
        )
        return Table(caption_of("On the validation split", results), columns, rows, f"{NOTE}{failures}")

    def table_for_terminal(self) -> Table:
        """The same without what has no room there: seconds, and what policies are not chosen by."""
        whole = self.table()
        chosen_by = {self.results.score_metric: self.results.score.heading, self.results.loss_metric: "loss"}
        hidden = {"train s", *chosen_by.values()} - {chosen_by.get(self.metric)}
        shown = [place for place, column in enumerate(whole.columns) if column.title not in hidden]
        rows = tuple(tuple(row[place] for place in shown) for row in whole.rows)
        return replace(whole, columns=tuple(whole.columns[place] for place in shown), rows=rows)

    def policies_table(self) -> Table:
        """What every condition is, in a line."""
        rows = tuple((condition.title, condition.summary) for condition in self.results.design.conditions)
        return Table("Policies", (*columns_of("policy"), *columns_of("what it is")), rows, "")

    def findings(self) -> tuple[str, ...]:
        """The verdict, how the best policy compares with what needs no search, and how lucky the search's best were."""
        best, paired = self.best, self.paired()
        if best is None:
            return ("No policy came through under every seed.",)
        verdict = None if paired is None else judge_confirmation(paired)
        if verdict is not None and verdict.kind == "nothing_learned":
            return verdict.headline, *verdict.details
        headline = "" if verdict is None else verdict.headline
        noise = "" if self.floor is None else noise_sentence(self.floor, len(self.results.seeds), self.yardstick)
        said = (headline, self._said_of_best(best), self._said_of_full(best), self._said_of_luck(), noise)
        return tuple(each for each in said if each)

    @property
    def _controls(self) -> list[str]:
        return [each.name for each in self.results.design.conditions if each.name not in self.candidates]

    def _row(self, condition: Condition) -> tuple[str, ...]:
        results, name = self.results, condition.name
        compute = results.spread(name, "compute")
        difference = None if name == DEFAULT else results.between(name, DEFAULT, self.metric)
        metric = self.objective.metric
        return (
            condition.title,
            score_cell(results.spread(name, results.score_metric), results.score),
            loss_cell(results.spread(name, results.loss_metric)),
            *([metric_cell(results.spread(name, self.metric), metric)] if self._own_title else []),
            metric.text(self.searched.get(name)),
            seconds_cell(results.spread(name, "train_seconds")),
            MISSING if compute is None else f"{compute.mean:.3f}",
            *difference_cells(difference, metric.numbers or numbers.SIGNIFICANT),
        )

    def _said_of_best(self, best: str) -> str:
        number, mean = len(self.results.seeds), self.results.spread(best, self.metric)
        seeds = "one other seed" if number == 1 else f"{number} other seeds"
        value = self.objective.metric.with_unit(None if mean is None else mean.mean)
        where = (
            f"the {'highest' if self.objective.sign > 0 else 'lowest'} mean {self._metric_name} over {seeds}, {value}"
        )
        if best == DEFAULT:
            return f"Of the policies, the default one has {where}: none that the search found has more."
        said = f"Of the policies, {self.results.design.title(best)} has {where}"
        difference = self.results.between(best, DEFAULT, self.metric)
        if difference is None:
            return f"{said}."
        return f"{said}: {self._beside(best, DEFAULT, difference)}{self._doubt(difference)}."

    def _doubt(self, difference: PairedDifference) -> str:
        """The best of several is compared: by Bonferroni's correction, each of them may have been it."""
        number = len(self.candidates)
        if number == 1 or difference.p_value is None or difference.p_value * number < SIGNIFICANT:
            return ""
        p_value = numbers.p_value(difference.p_value)
        return f"; as the best of {number} it was chosen by these seeds, and p {p_value} is not below 0.05 / {number}"

    def _said_of_full(self, best: str) -> str:
        """The best policy against the full network, whichever is ahead."""
        said = []
        for name in self._controls:
            difference = None if name == DEFAULT else self.results.between(best, name, self.metric)
            if difference is not None:
                said.append(self._beside(best, name, difference))
        title = self._title(best)
        return f"{title[:1].upper()}{title[1:]} is {'; '.join(said)}." if said else ""

    def _said_of_luck(self) -> str:
        """What the chosen had in the search, what they have on other seeds, and both of the default policy."""
        pairs = self._then_and_now(self.candidates)
        if not pairs:
            return ""
        who = "The trial had" if len(pairs) == 1 else f"The {len(pairs)} trials had on average"
        said = f"{who} {self._metric_name} {self._in_both(pairs)}"
        default = self._then_and_now((DEFAULT,))
        if not default:
            return f"{said}."
        fell, shared = _mean_change(pairs), _mean_change(default)
        is_luck = self.objective.sign * fell < min(0.0, self.objective.sign * shared)
        luck = " What they lost beyond it is the luck of being chosen." if is_luck else ""
        return f"{said}; the default policy, which was not chosen, {self._in_both(default)}.{luck}"

    def _then_and_now(self, names: tuple[str, ...]) -> list[tuple[float, float]]:
        """What the search read, and the mean over other seeds."""
        spreads = {name: self.results.spread(name, self.metric) for name in names if name in self.searched}
        return [(self.searched[name], spread.mean) for name, spread in spreads.items() if spread is not None]

    def _in_both(self, pairs: list[tuple[float, float]]) -> str:
        then, now = (sum(pair[place] for pair in pairs) / len(pairs) for place in (0, 1))
        written = self.objective.metric.with_unit
        return f"{written(then)} in the search, {written(now)} with other seeds"

    def _beside(self, best: str, other: str, difference: PairedDifference) -> str:
        """How the best compares with another condition, in the words that every command has for it."""
        spread = self.results.spread(other, self.metric)
        size = 0.0 if spread is None else spread.mean
        judgement = judge_seeds(
            difference.mean, difference.standard_error, difference.num_seeds, size, self.yardstick, self.floor
        )
        return judgement.compared_with(self._title(other))

    @property
    def _own_title(self) -> str:
        """Of a column for what policies are chosen by; empty where the table has that anyway."""
        shown = (self.results.score_metric, self.results.loss_metric)
        return "" if self.metric in shown else self.objective.metric.heading

    @property
    def _metric_name(self) -> str:
        return self.objective.metric.heading


def _mean_change(pairs: list[tuple[float, float]]) -> float:
    return sum(now - then for then, now in pairs) / len(pairs)
