"""``autogrow search``."""

from typing import Any

import click

from autogrow.cli.options import (
    PLACE,
    data_dir_option,
    data_form_options,
    execution_options,
    json_option,
    limit_options,
    model_help,
    model_option_option,
    parse_limits,
    parse_model_options,
    parse_share,
    say_data,
)
from autogrow.errors import UsageError
from autogrow.reading.fields import parse_bytes
from autogrow.urls import without_secrets


@click.command()
@click.option(
    "--dataset", default="digits", show_default=True, help="A built-in data set (autogrow data list), or a .npz file."
)
@data_form_options
@click.option("--model", default="auto", show_default=True, help=model_help)
@model_option_option
@click.option(
    "--space",
    default="auto",
    show_default=True,
    help="A search space: default, quick, thesis, depth, or a .yaml file; auto: depth for text, if blocks repeat.",
)
@click.option("--trials", type=int, help="Training runs: policies to try, some on several seeds  [default: 20]")
@click.option("--seeds-per-policy", type=int, help="The most seeds that one policy is trained on  [default: 5]")
@click.option("--time-budget", metavar="TIME", help="Start no trial after this time, e.g. 30m or 2h; save what runs.")
@click.option("--compute-budget", metavar="TIME", help="The same for the core-time (GPU-time) of all trials together.")
@click.option("--max-consecutive-failures", type=int, help="Stop after this many failures in a row  [default: 5]")
@click.option(
    "--trial-timeout",
    metavar="TIME|none",
    help="A trial that takes no training step for so long fails  [default: 30m]",
)
@click.option(
    "--from",
    "warm_start",
    multiple=True,
    metavar="RUN|POLICY",
    help="First try the best of an earlier run, or a .yaml.",
)
@click.option("--sampler", default="tpe", show_default=True, help="What proposes policies: tpe, nsga2, gp or random.")
@click.option(
    "--early-stopping",
    type=click.Choice(["flops", "train_seconds", "none"]),
    default="flops",
    show_default=True,
    help="What trials have used when they are compared and the worst third is stopped.",
)
@click.option(
    "--objectives", help="What to optimize  [default: score,generalization_gap,train_seconds; of text loss,...]"
)
@click.option("--epochs", type=int, help="Epochs of a trial  [default: 15 below 10,000 examples, else 10]")
@click.option("--batch-size", type=int, help="Examples per training step  [default: 128, fewer below 1,024 examples]")
@click.option("--learning-rate", type=float, help="Where the space does not search it  [default: 0.001]")
@click.option("--train-size", type=int, help="Train on a stratified subset of this many examples.")
@limit_options
@click.option(
    "--gpus-per-trial",
    metavar="NUMBER|auto",
    default="0",
    show_default=True,
    callback=lambda ctx, option, text: parse_share(text),
    help="0.25 runs four trials on a GPU; auto measures how many train most together.",
)
@click.option("--cpus-per-trial", type=int, default=1, show_default=True, help="Cores, and threads, of a trial.")
@execution_options
@click.option("--max-concurrent", type=int, help="Trials at a time  [default: as many as fit]")
@click.option(
    "--memory-per-trial",
    "memory_per_trial_bytes",
    metavar="SIZE",
    callback=lambda ctx, option, text: parse_bytes(text, "--memory-per-trial"),
    help="What a trial may take, e.g. 2G  [default: an equal share of what is free]",
)
@click.option(
    "--fork-at-growth/--no-fork-at-growth",
    default=True,
    show_default=True,
    help="Trials that start alike share what they train before they first grow; the results are the same.",
)
@click.option("--address", help="Join the Ray cluster at this address instead of starting one here.")
@click.option(
    "--storage",
    envvar="AUTOGROW_STORAGE",
    metavar="URL",
    help="Share the study in this database, e.g. postgresql://...",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of weights, batches and proposals.")
@click.option("--name", help="Name of the run  [default: the data set and a number]")
@click.option("--out", default="results", show_default=True, type=PLACE, help="Folder of runs.")
@data_dir_option
@click.option(
    "--resume", is_flag=True, help="Go on with the run of that --name, with the settings it was started with."
)
@json_option
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop.")
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
@click.pass_context
def search(ctx: click.Context, /, **options: Any) -> int:
    """Search for a growth policy.

    Ray Tune runs trials in parallel, Optuna proposes their policies. Three trials are controls: the default policy
    first, then, after half of the trials or of the time, the network at full size from the start and the policy of
    the thesis autogrow comes from. Ctrl-C saves; --resume goes on.
    """
    from autogrow.cli.progress import ProgressDisplay

    if options["resume"] and options["name"] is None:
        raise UsageError("--resume needs the --name of the run to go on with")
    with ProgressDisplay(quiet=options["quiet"] or options["as_json"] or options["dry_run"]) as monitor:
        monitor.phase("loading PyTorch")
        folder, plan = _planned(ctx, options, monitor)
        if not options["dry_run"]:
            result, summary = _searched(plan, folder, options["resume"], monitor)
    if options["dry_run"]:
        _print_plan(plan, folder, options["as_json"])
        return 0
    _print_result(folder, summary, options["as_json"])
    if result.waiting:
        out = without_secrets(options["out"])
        click.echo(f"saved; go on with: autogrow search --resume --name {folder.name} --out {out}", err=True)
    return 130 if result.interrupted else 0


def _planned(ctx: click.Context, options: dict[str, Any], monitor: Any) -> tuple[Any, Any]:
    """The run's folder, and what is going to be done in it, everything checked."""
    from autogrow.study.finding_runs import named_run, next_run_name

    name = next_run_name(options["out"], options["dataset"]) if options["name"] is None else options["name"]
    folder = named_run(options["out"], name)
    if not options["dry_run"]:
        folder.refuse_if_in_use()  # before PyTorch is imported, which takes seconds
    import autogrow.api  # noqa: F401

    monitor.phase("reading data")
    plan = _resumed_plan(ctx, folder, options) if options["resume"] else _new_plan(folder, options)
    if not options["quiet"] and not options["as_json"]:
        say_data(plan.dataset, plan.target_scale)
    for note in plan.warnings:
        click.echo(f"autogrow: note: {note}", err=True)
    return folder, plan


def _searched(plan: Any, folder: Any, resume: bool, monitor: Any) -> tuple[Any, Any]:
    """How the search ended, and the summary that is also written as a page."""
    from autogrow.report.html import write_html_report
    from autogrow.report.summary import summarize
    from autogrow.study.search import run_search

    monitor.planned(plan)
    result = run_search(plan, folder, resume=resume, monitor=monitor)
    monitor.phase("writing the report")
    summary = summarize(folder)
    if folder.policy_file.exists():
        write_html_report(folder, folder.report_file)
        folder.publish()
    return result, summary


def _new_plan(folder: Any, options: dict[str, Any]) -> Any:
    from autogrow.search_plans import plan_new_search

    folder.refuse_what_is_no_run()
    given = {name: value for name, value in _settings(options).items() if value is not None}
    return plan_new_search(**given)


def _resumed_plan(ctx: click.Context, folder: Any, options: dict[str, Any]) -> Any:
    """A run goes on with its own settings; a flag that would change the experiment is refused."""
    from autogrow.search_plans import plan_resumed_search

    is_given = {name: ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE for name in options}
    return plan_resumed_search(
        folder, **_settings({name: options[name] if is_given[name] else None for name in options})
    )


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The settings of a search as Python takes them, from the options of the command; None where one is not given."""
    from autogrow.study.settings import parse_duration, parse_timeout

    timeout = options["trial_timeout"]
    renamed = {
        "model_options": parse_model_options(options["model_options"]) if options["model_options"] else None,
        "time_budget_seconds": parse_duration(options["time_budget"]) if options["time_budget"] else None,
        "compute_budget_seconds": parse_duration(options["compute_budget"]) if options["compute_budget"] else None,
        "trial_timeout_seconds": None if timeout is None else parse_timeout(timeout),
        "execution": _given({name: options[name] for name in ("precision", "compile")}),
        "limits": _given(parse_limits(options).model_dump()),
    }
    return {**{name: options[name] for name in _TAKEN_AS_THEY_ARE}, **renamed}


def _given(values: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in values.items() if value is not None} or None


_TAKEN_AS_THEY_ARE = (
    "dataset", "model", "space", "trials", "seeds_per_policy", "max_consecutive_failures", "warm_start", "sampler",
    "early_stopping", "objectives", "epochs", "batch_size", "learning_rate", "train_size", "gpus_per_trial",
    "cpus_per_trial", "max_concurrent", "memory_per_trial_bytes", "fork_at_growth", "address", "storage", "seed",
    "data_dir", "task", "layout",
)  # fmt: skip


def _print_plan(plan: Any, folder: Any, as_json: bool) -> None:
    import json

    from autogrow.study.study_location import without_password

    settings = plan.settings.model_dump(mode="json", exclude={"space"})
    content = {
        **settings,
        "storage": without_password(settings["storage"]) if settings["storage"] else None,
        "data": plan.dataset.describe(plan.target_scale),
        "input_shape": list(plan.dataset.input_shape),
        "num_outputs": plan.dataset.num_outputs,
        "classes": list(plan.dataset.classes),
        "target_scale": plan.target_scale.to_dict() if plan.target_scale else None,
        "run": folder.place,
        "parameters_at_full_width": plan.num_parameters,
        "channel_groups": plan.num_groups,
        "measurements_per_trial": plan.num_samples,
    }
    if as_json:
        click.echo(json.dumps(content))
        return
    for key, value in content.items():
        click.echo(f"{key:26} {value}")


def _print_result(folder: Any, summary: Any, as_json: bool) -> None:
    """The report's tables, and where things are."""
    import json

    from autogrow.printing import console
    from autogrow.report.terminal import render

    if as_json:
        click.echo(json.dumps(summary.to_dict()))
        return
    console().print(render(summary))
    if folder.policy_file.exists():
        policy = folder.place_of(folder.policy_file)
        click.echo(f"\nbest policy  {policy}\nreport       {folder.place_of(folder.report_file)}")
        train = f"train {policy}" if folder.is_here else f"export {folder.place} && autogrow train policy.yaml"
        click.echo(f"retrain it   autogrow {train} --out model")
        click.echo(f"be sure      autogrow confirm {folder.place}  (the best again on other seeds: about 40 runs)")
