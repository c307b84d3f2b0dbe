"""``autogrow status``, ``report`` and ``export``: what a run says, and what leaves it."""

import json
from pathlib import Path
from typing import Any

import click

from autogrow.cli.options import FILE, chosen_run, json_option, run_argument, storage_option


@click.command()
@run_argument
@storage_option
@json_option
def status(run_path: str | None, storage: str | None, as_json: bool) -> None:
    """Say what is running, waiting, done, stopped, failed and infeasible in a run, the best so far, what it took.

    Of a folder of runs, a line for each. Without RUN, of the newest run in results.
    """
    from autogrow.printing import console
    from autogrow.report.summary import status_content, summarize
    from autogrow.report.terminal import render_status
    from autogrow.study.finding_runs import runs_in

    run = chosen_run(run_path, storage)
    if run.is_here and not run.exists and (runs := runs_in(run.path)):
        _print_runs(runs, as_json)
        return
    summary = summarize(run, with_progress=False)
    if as_json:
        content = {"run": summary.name, "is_running": summary.is_running, "counts": summary.counts}
        click.echo(json.dumps({**content, **status_content(summary)}))
        return
    console().print(render_status(summary))


def _print_runs(runs: list[Any], as_json: bool) -> None:
    from autogrow.printing import console
    from autogrow.report.run_list import list_runs, render_runs

    listed = list_runs(runs)
    if as_json:
        click.echo(json.dumps({"runs": [run.to_dict() for run in listed]}))
        return
    console().print(render_runs(listed))


@click.command()
@run_argument
@click.option("--html", type=FILE, help="Where to write the page  [RUN/report.html]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is no report.")
@storage_option
@json_option
def report(run_path: str | None, html: Path | None, overwrite: bool, storage: str | None, as_json: bool) -> None:
    """Show a run's tables, and write one offline HTML file with figures. Without RUN, of the newest in results."""
    from autogrow.outputs import is_standard_output
    from autogrow.printing import console
    from autogrow.report.html import write_html_report
    from autogrow.report.summary import summarize
    from autogrow.report.terminal import render

    run = chosen_run(run_path, storage)
    summary = summarize(run)
    target = html or run.report_file
    write_html_report(run, target, overwrite=overwrite)
    if is_standard_output(target):
        return  # the page alone, as it was asked for
    run.publish()
    place = str(html) if html else run.place_of(target)
    if as_json:
        click.echo(json.dumps({**summary.to_dict(), "html": place}))
        return
    console().print(render(summary))
    click.echo(f"\nreport  {place}")


class _Export(click.Command):
    """Takes the number after ``--prefer smallest-within`` for a part of that."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from autogrow.metrics.objectives import SMALLEST_WITHIN

        if SMALLEST_WITHIN in args[:-1]:
            place = args.index(SMALLEST_WITHIN)
            args = [*args[:place], " ".join(args[place : place + 2]), *args[place + 2 :]]
        return super().parse_args(ctx, args)


@click.command(cls=_Export)
@run_argument
@click.option("--trial", type=int, help="The trial with this number.")
@click.option(
    "--prefer",
    metavar="[score|gap|speed|loss|size|flops|latency|knee|smallest-within NUMBER]",
    help="The best trial in this respect; smallest-within 0.01: the smallest network whose score is at most 0.01 below "
    "the best (of a search for the loss: whose loss is at most 1% above)  [default: score]",
)
@click.option("--to", "target", default="policy.yaml", show_default=True, type=FILE)
@click.option("--overwrite", is_flag=True, help="Replace the file if there is one.")
@storage_option
@json_option
def export(
    run_path: str | None,
    trial: int | None,
    prefer: str | None,
    target: Path,
    overwrite: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Write a trial's policy to a file that trains anywhere. Without RUN, of the newest run in results."""
    from autogrow.export.policies import export_policy, save_policy
    from autogrow.outputs import is_standard_output
    from autogrow.tasks import TASKS

    run = chosen_run(run_path, storage)
    policy = export_policy(run, trial=trial, prefer=prefer)
    save_policy(policy, target, overwrite=overwrite)
    if is_standard_output(target):
        return  # the policy alone
    if as_json:
        click.echo(json.dumps({"policy": str(target), **policy.model_dump(mode="json")}))
        return
    found = policy.found_by or {}
    metrics = found.get("metrics", {})
    name = TASKS[run.settings().task].score.title
    click.echo(
        f"{target}: trial {found.get('trial')}, validation {name} {metrics['validation_score']:.4f}, "
        f"gap {metrics['generalization_gap']:+.4f}, {metrics['train_seconds']:.1f} train seconds"
    )
