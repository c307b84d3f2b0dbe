"""The runs of a folder, a line for each: name, state, trials, and the best by the first of the run's objectives."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from autogrow.errors import AutogrowError, one_line
from autogrow.metrics.numbers import MISSING
from autogrow.report.summary import COMPLETE, FAILED, INFEASIBLE, PRUNED, RunSummary, status_content, summarize
from autogrow.study.run_folder import RunFolder


@dataclass(frozen=True)
class ListedRun:
    """What is said of one run among others."""

    name: str
    state: str
    """``running``, ``done``, ``unfinished`` (`--resume` goes on), or ``damaged``."""
    ended: int = 0
    trials: int = 0
    best: str = ""
    """The best value by the first objective, with its name and unit and the trial's number; or what is damaged."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def list_runs(runs: Iterable[RunFolder]) -> list[ListedRun]:
    """A line for each run, in their order; one that cannot be read keeps none of the others from being listed."""
    return [_listed(run) for run in runs]


def render_runs(runs: list[ListedRun]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("run", "state", "trials", "best"):
        table.add_column(title, no_wrap=title != "best", overflow="ellipsis" if title == "run" else "fold")
    for run in runs:
        trials = f"{run.ended} of {run.trials}" if run.trials else MISSING
        table.add_row(run.name, run.state, trials, run.best or MISSING)
    return table


def _listed(run: RunFolder) -> ListedRun:
    try:
        summary = summarize(run, with_progress=False)
    except AutogrowError as error:
        return ListedRun(run.name, "damaged", best=one_line(error))
    ended = sum(summary.counts[state] for state in (COMPLETE, INFEASIBLE, PRUNED, FAILED))
    trials = summary.settings["trials"]
    state = "running" if summary.is_running else "done" if ended >= trials else "unfinished"
    return ListedRun(run.name, state, ended, trials, _best(summary))


def _best(summary: RunSummary) -> str:
    objective = summary.chosen_objectives[0]
    best = status_content(summary)["best"][objective.name]
    if best is None:
        return ""
    return f"{objective.metric.title} {objective.metric.with_unit(best['value'])} (trial {best['trial']})"
