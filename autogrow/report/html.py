"""The report as one HTML file that needs no network: tables readable without JavaScript, figures drawn by plotly.

plotly.js is embedded once. A content security policy in the page forbids every other source, so that nothing a run
contains (a data set's path, a reason) can load anything.
"""

from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from autogrow.files import write_text_atomically
from autogrow.metrics.numbers import MISSING
from autogrow.outputs import check_output, write_output
from autogrow.report import tables
from autogrow.report.formats import plain
from autogrow.report.growth_table import growth_table
from autogrow.report.page_figures import page_figures
from autogrow.report.snapshot import read_snapshot
from autogrow.report.summary import RunSummary, summarize_snapshot
from autogrow.study.run_folder import RunFolder

REPORT_BYTES = 8192
"""Of a page's beginning, with its title and the run's name in it."""


def write_html_report(run: RunFolder, path: Path, *, overwrite: bool = False) -> None:
    """Write the report of a run, whole or not at all. Raises `RunFolderError` when the run cannot be read.

    Raises `UsageError` where something else than an earlier report stands at `path`, unless it may be overwritten.
    """
    if path == run.report_file:
        write_text_atomically(path, html_report(run))
        return
    check_output(path, lambda file: overwrite or is_report(file), "it is no report; add --overwrite, or choose another")
    write_output(path, html_report(run))


def is_report(path: Path) -> bool:
    """Whether a file begins as the pages do that are written here."""
    with path.open("rb") as file:
        beginning = file.read(REPORT_BYTES)
    return beginning.startswith(b"<!doctype html>") and b"autogrow report</title>" in beginning


def html_report(run: RunFolder) -> str:
    """The page of a run as it is now."""
    from plotly.offline import get_plotlyjs

    snapshot = read_snapshot(run)
    summary = summarize_snapshot(snapshot)
    return _template().render(
        summary=summary,
        best=summary.preferred_trial,
        facts=_facts(summary),
        space=yaml.safe_dump(snapshot.settings.space, sort_keys=False).rstrip(),
        tables=_tables(summary),
        all_trials=tables.all_trials_table(summary),
        figures=page_figures(snapshot, summary),
        plotly=Markup(get_plotlyjs()),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("autogrow", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja")


def _tables(summary: RunSummary) -> list[tables.Table]:
    made = [
        tables.objectives_table(summary),
        tables.best_and_controls(summary),
        tables.pareto_front_table(summary),
        tables.differences_table(summary),
        growth_table(summary),
        tables.search_table(summary),
        tables.running_table(summary),
        tables.failures_table(summary),
    ]
    return [table for table in made if table.rows]


def _facts(summary: RunSummary) -> list[tuple[str, str]]:
    """What was searched: names and values for the list at the top."""
    settings = summary.settings
    training = ("epochs", "batch_size", "optimizer", "learning_rate", "learning_rate_schedule", "weight_decay")
    facts = [
        ("data set", f"{summary.dataset} (fingerprint {settings['fingerprint']})"),
        ("training examples", "all" if settings["train_size"] is None else f"{settings['train_size']:,}"),
        ("model", summary.model + _listed(settings["model_options"], " (", ")")),
        ("objectives", ", ".join(objective.metric.title for objective in summary.chosen_objectives)),
        *([("chance", summary.chance)] if summary.chance else []),
        ("training", _listed({name: settings[name] for name in training})),
        ("seed", str(settings["seed"])),
        ("per trial", f"{settings['gpus_per_trial']:g} GPUs, {settings['cpus_per_trial']} CPUs"),
        ("versions", _listed(summary.versions) or MISSING),
    ]
    if settings["time_budget_seconds"] is not None:
        facts.insert(-1, ("time budget", f"{settings['time_budget_seconds']:g} s"))
    return facts


def _listed(values: dict[str, Any], before: str = "", after: str = "") -> str:
    if not values:
        return ""
    return before + ", ".join(f"{name.replace('_', ' ')} {plain(value)}" for name, value in values.items()) + after
