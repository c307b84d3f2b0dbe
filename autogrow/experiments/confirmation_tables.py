"""What other seeds say of a search's best policies, as a table and in words: nothing is trained or printed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from autogrow.experiments.conditions import Condition
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import PairedDifference
from autogrow.experiments.tables import accuracy_cell, caption_of, columns_of, loss_cell, p_value_cell, seconds_cell
from autogrow.policy.presets import DEFAULT, STATIC
from autogrow.report import formats
from autogrow.report.tables import Table

NOTE = (
    "In search: what the search read, with one seed. Compute: training FLOPs, 1 being those of static. Trials train "
    "with the settings that were searched with them, static and the default policy with the run's own. s.e.: standard "
    "error; p: two-sided paired t-test, not corrected for several."
)
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Confirmed:
    """Results on other seeds, read by the metric that policies are chosen by."""

    results: Results
    metric: str
    searched: Mapping[str, float]
    """What the search itself read by its one seed, by condition."""

    @property
    def by_accuracy(self) -> bool:
        return self.metric == self.results.accuracy_metric

    @property
    def best(self) -> str | None:
        """The condition with the best mean of those that failed under no seed; static, which never grows, aside."""
        number, sign = len(self.results.seeds), 1 if self.by_accuracy else -1
        scores = {
            condition.name: sign * sum(values)
            for condition in self.results.design.conditions
            if condition.name != STATIC and len(values := self.results.values(condition.name, self.metric)) == number
        }
        return max(scores, key=lambda name: scores[name], default=None)

    def minus_default(self, condition: str) -> PairedDifference | None:
        """How far a condition is from the default policy, which is at no distance from itself."""
        return None if condition == DEFAULT else self.results.between(condition, DEFAULT, self.metric)

    def table(self) -> Table:
        """One row per condition."""
        results = self.results
        difference = f"{self._metric_name} - default"
        columns = columns_of(
            "policy", self._accuracy_title, "loss", "in search", "train s", "compute", difference, "s.e.", "p"
        )
        rows = tuple(self._row(condition) for condition in results.design.conditions)
        failures = "".join(
            f" {results.design.title(each.condition).capitalize()} failed under seed {each.seed}: {each.reason}."
            for each in results.failures
        )
        return Table(caption_of("On the validation split", results), columns, rows, f"{NOTE}{failures}")

    def table_for_terminal(self) -> Table:
        """The same without what has no room there: seconds, and what policies are not chosen by."""
        whole = self.table()
        hidden = ("train s", "loss" if self.by_accuracy else self._accuracy_title)
        shown = [place for place, column in enumerate(whole.columns) if column.title not in hidden]
        rows = tuple(tuple(row[place] for place in shown) for row in whole.rows)
        return replace(whole, columns=tuple(whole.columns[place] for place in shown), rows=rows)

    def findings(self) -> tuple[str, ...]:
        """Which policy is best, how far it is from the default one, and how lucky the search's best were."""
        return tuple(said for said in (self._said_of_best(), self._said_of_luck()) if said)

    def _row(self, condition: Condition) -> tuple[str, ...]:
        results, name = self.results, condition.name
        compute, difference = results.spread(name, "compute"), self.minus_default(name)
        p_value = None if difference is None else difference.p_value
        return (
            condition.title,
            accuracy_cell(results.spread(name, results.accuracy_metric), results.task),
            loss_cell(results.spread(name, results.loss_metric)),
            self._value(self.searched.get(name)),
            seconds_cell(results.spread(name, "train_seconds")),
            formats.MISSING if compute is None else f"{compute.mean:.3f}",
            formats.MISSING if difference is None else self._signed(difference.mean),
            formats.MISSING if difference is None else self._value(difference.standard_error),
            formats.MISSING if p_value is None else p_value_cell(p_value),
        )

    def _said_of_best(self) -> str:
        if (best := self.best) is None:
            return "No policy came through under every seed."
        number = len(self.results.seeds)
        best_of = "highest" if self.by_accuracy else "lowest"
        seeds = "one other seed" if number == 1 else f"{number} other seeds"
        where = f"the {best_of} mean {self._metric_name} over {seeds}"
        if best == DEFAULT:
            return f"The default policy has {where}: nothing that the search found is ahead of it."
        title, mean = self.results.design.title(best).capitalize(), self.results.spread(best, self.metric)
        value = self._value(None if mean is None else mean.mean)
        return f"{title} has {where}, {value}{self._unit}{self._said_of_difference(self.minus_default(best))}."

    def _said_of_difference(self, difference: PairedDifference | None) -> str:
        if difference is None:
            return ""
        said = f": {self._signed(difference.mean)}{' points' if self._unit else ''} from the default policy"
        error, p_value = difference.standard_error, difference.p_value
        if error is None or p_value is None:
            return f"{said} ({difference.note})"
        doubt = "" if p_value < SIGNIFICANT else f", which {difference.num_seeds} seeds do not tell from none"
        return f"{said} (standard error {self._value(error)}, p {p_value_cell(p_value)}){doubt}"

    def _said_of_luck(self) -> str:
        """What the chosen had in the search, beside what they have on other seeds."""
        trials = [each.name for each in self.results.design.conditions if each.name not in (DEFAULT, STATIC)]
        spreads = {name: self.results.spread(name, self.metric) for name in trials if name in self.searched}
        pairs = [(self.searched[name], spread.mean) for name, spread in spreads.items() if spread is not None]
        if not pairs:
            return ""
        then, now = (sum(pair[place] for pair in pairs) / len(pairs) for place in (0, 1))
        who, they = ("The trial had", "it was") if len(pairs) == 1 else (f"The {len(pairs)} trials had", "they were")
        average = "" if len(pairs) == 1 else " on average"
        was_luckier = then > now if self.by_accuracy else then < now
        luck = f"; the difference is the luck that {they} chosen for" if was_luckier else ""
        values = f"{self._value(then)}{self._unit} in the search, {self._value(now)}{self._unit} with other seeds"
        return f"{who}{average} {self._metric_name} {values}{luck}."

    @property
    def _accuracy_title(self) -> str:
        return formats.accuracy_name(self.results.task) + (" %" if self.results.task == "classification" else "")

    @property
    def _metric_name(self) -> str:
        return formats.accuracy_name(self.results.task) if self.by_accuracy else "loss"

    @property
    def _unit(self) -> str:
        return " %" if self.by_accuracy and self.results.task == "classification" else ""

    def _value(self, value: float | None) -> str:
        return formats.accuracy(value, self.results.task) if self.by_accuracy else formats.significant(value)

    def _signed(self, value: float) -> str:
        return formats.gap(value, self.results.task) if self.by_accuracy else f"{value:+.3g}"
