"""``autogrow confirm``, ``compare`` and ``reproduce``: what policies are worth against controls, over seeds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from autogrow.cli.networks import interruptible, model_for, set_threads
from autogrow.cli.options import (
    FILE,
    FOLDER,
    MOST_JOBS,
    chosen_run,
    data_dir_option,
    data_form_options,
    device_option,
    execution_options,
    jobs_option,
    json_option,
    known_dataset_option,
    limit_options,
    model_option_option,
    parse_limits,
    run_argument,
    say_data,
    say_dataset,
    storage_option,
    threads_option,
)
from autogrow.errors import UsageError
from autogrow.paths import resolved, shown


@click.command()
@run_argument
@click.option("--top", type=int, default=5, show_default=True, help="How many of the search's best policies.")
@click.option(
    "--seeds", type=int, default=5, show_default=True, help="Seeds that each is trained on, after those of the run."
)
@click.option(
    "--prefer",
    metavar="[score|loss|gap|speed|size]",
    help="What is best, in the search and over the seeds  [default: score; of text loss]",
)
@click.option(
    "--out",
    type=FOLDER,
    help="[default: RUN/confirmation; of a run at a URL, results/confirmation/NAME]",
)
@click.option("--model", help="The run's own package.module:factory, if it has one (runs your own code).")
@storage_option
@device_option
@threads_option
@jobs_option
@data_dir_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress, only the table.")
def confirm(run_path: str | None, **options: Any) -> int:
    """Train a run's best policies again on other seeds: which is best, and is it better than the default policy?

    The best of many trials is in part the luckiest. It is compared with the default policy and with the network at full
    size, this also with the training settings of the search's best. Validation data judge, the test split stays closed.
    Writes confirmation.json, table.md, figure.svg and the best as policy.yaml; in the run's study, what is trained
    counts as other seeds of its policies. The same command goes on where it was; --seeds and --top may be raised.
    Without RUN, of the newest run in results.
    """
    from autogrow.experiments.confirmation import confirm_policies
    from autogrow.inputs import resolve_device

    set_threads(options["threads"])
    run, data_dir = chosen_run(run_path, options["storage"]), options["data_dir"]
    quiet = options["quiet"]
    with interruptible() as interrupted:
        confirmation = confirm_policies(
            run,
            top=options["top"],
            num_seeds=options["seeds"],
            prefer=options["prefer"],
            model=options["model"],
            data_dir=data_dir,
            device=resolve_device(options["device"]),
            out=options["out"],
            on_start=None if quiet else lambda number: click.echo(f"{number} training runs", err=True),
            on_run=None if quiet else _print_run,
            interrupted=interrupted.is_set,
            jobs=options["jobs"],
        )
    if confirmation is None:
        click.echo("interrupted; the same command goes on", err=True)
        return 130
    _print_confirmation(confirmation, options["as_json"])
    if not options["as_json"] or not quiet:
        click.echo(confirmation.note, err=options["as_json"])
    return 0 if confirmation.policy is not None else 1


def _print_confirmation(confirmation: Any, as_json: bool) -> None:
    from autogrow.printing import console
    from autogrow.report.terminal import render_tables

    confirmed, folder = confirmation.confirmed, confirmation.folder
    if as_json:
        content = folder.result()
        click.echo(json.dumps({"out": shown(folder.path), **content}))
        return
    terminal = console()
    terminal.print(render_tables(confirmed.table_for_terminal()))
    for paragraph in confirmed.findings():
        terminal.print(paragraph)
    click.echo(f"\nwritten to {shown(folder.path)}: {', '.join(path.name for path in folder.written)}")
    if confirmation.policy is not None:
        click.echo(f"best policy  {shown(folder.policy_file)}")


@click.command()
@click.argument("policy_file", metavar="POLICY", type=FILE)
@known_dataset_option
@data_form_options
@click.option("--seeds", type=int, default=5, show_default=True, help="Seeds that every condition is trained on.")
@click.option("--model", help="Name or package.module:factory  [default: the model the policy was found with]")
@model_option_option
@click.option("--epochs", type=int, help="In place of the policy's own.")
@click.option("--train-size", type=int, help="Train on a stratified subset of this many examples (plus validation).")
@click.option("--out", type=FOLDER, help="[default: results/compare/POLICY-DATASET]")
@limit_options
@device_option
@execution_options
@threads_option
@jobs_option
@data_dir_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress, only the tables.")
def compare(policy_file: Path, **options: Any) -> int:
    """Train a policy, four controls and a placebo on paired seeds, and compare them on the test split.

    \b
    grown         by the policy
    full          the same network at full size from the first step, as many steps
    final         the shape that the grown network ended with, from fresh weights, as many steps
    same compute  full size, as many steps as the grown run's training FLOPs pay for
    small         the policy's small start, never grown, as many steps
    placebo       full, but where the policy first grows, an event adds nothing and the order changes: chance alone

    All train on the same examples (train + validation) in the same order per seed (placebo: until that event); the test
    split is read once per run. A difference no larger than what chance alone makes, by placebo and full, is level.
    Writes compare.json, table.md and figure.svg. The same command goes on where it was; --seeds may be raised.
    """
    from autogrow.experiments.comparison import KIND, compare_policy
    from autogrow.experiments.folder import ExperimentFolder

    set_threads(options["threads"])
    experiment = _experiment(policy_file, options)
    out = options["out"] or Path("results") / "compare" / f"{policy_file.stem}-{Path(experiment.dataset.name).stem}"
    is_silent = options["quiet"] or options["as_json"]
    folder = ExperimentFolder(out, KIND)
    with interruptible() as interrupted:
        results = compare_policy(
            experiment,
            options["seeds"],
            folder=folder,
            on_run=None if options["quiet"] else _print_run,
            interrupted=interrupted.is_set,
            jobs=options["jobs"],
            on_start=None if is_silent else lambda data: say_data(experiment.dataset, data.target_scale),
        )
    if results is None:
        click.echo(f"interrupted; the same command goes on from {shown(out)}", err=True)
        return 130
    _print_results(results, experiment.yardstick("test"), folder, options["as_json"])
    return 0 if results.of_condition(results.design.subject) else 1


def _experiment(policy_file: Path, options: dict[str, Any]) -> Any:
    from autogrow.experiments.conditions import Experiment
    from autogrow.inputs import open_data, read_before, resolve_device, training_settings
    from autogrow.policy.execution import Execution
    from autogrow.policy.growth_policy import GrowthPolicy

    policy = GrowthPolicy.load(policy_file).within(parse_limits(options))
    before = read_before(policy, options["dataset"])
    dataset = open_data(options["dataset"], options["data_dir"], options["task"], options["layout"], before)
    if options["dataset"] is None:
        say_dataset(dataset.name, "which the policy was found with")
    return Experiment(
        dataset,
        model_for(policy, dataset, options),
        policy,
        training_settings(dataset, policy.training, options["epochs"]),
        train_size=options["train_size"],
        device=resolve_device(options["device"]),
        execution=Execution(precision=options["precision"], compile=options["compile"]),
    )


def _print_run(run: Any) -> None:
    """A line for a finished run."""
    from autogrow.experiments.records import FailedRun
    from autogrow.metrics import numbers

    record, experiment = run.outcome, run.experiment
    seed = f"{experiment.dataset_name}, seed {record.seed} ({run.place} of {run.num_seeds})  {run.title:12}"
    if isinstance(record, FailedRun):
        click.echo(f"{seed}  failed: {record.reason}", err=True)
        return
    how = f"{record.train_seconds:.1f} train s" if run.trained_now else "was there already"
    if record.same_run_as is not None:
        how = f"the same network, and run, as {record.same_run_as.replace('_', ' ')}"
    size = f"{numbers.count(record.parameters)} parameters"
    click.echo(f"{seed}  {run.reached}, {size}, {how}", err=True)


def _print_results(results: Any, yardstick: Any, folder: Any, as_json: bool) -> None:
    from autogrow.experiments.comparison_findings import findings
    from autogrow.experiments.tables import results_tables
    from autogrow.printing import console
    from autogrow.report.terminal import render_tables

    if as_json:
        content = folder.result()
        click.echo(json.dumps({"out": shown(folder.path), **content}))
        return
    terminal = console()
    terminal.print(render_tables(*results_tables(results)))
    for paragraph in findings(results, yardstick):
        terminal.print(paragraph, highlight=False, markup=False)
    click.echo(f"\nwritten to {shown(folder.path)}: {', '.join(path.name for path in folder.written)}")


ALL = "all"


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--seeds", type=int, help="Seeds that every condition is trained on  [default: 5; cost, and with --quick: 1]"
)
@click.option("--quick", is_flag=True, help="Short runs on little data: they show that it works, not what comes out.")
@click.option("--full", is_flag=True, help="stacking: the parts too that take hours.")
@click.option(
    "--out",
    type=FOLDER,
    help="[default: results/reproduce/NAME, results/studies/NAME; of all: results]",
)
@device_option
@execution_options
@threads_option
@click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    help="Training runs at a time  [default: one per core; with --quick, or on a GPU, one]",
)
@data_dir_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress, only the tables.")
def reproduce(name: str, **options: Any) -> int:
    """Run an experiment again from which autogrow started, or a study on which its defaults rest.

    \b
    sine, mnist, cifar100   the thesis' experiments, with its policies and today's best one
    cifar100-resnet18       the network whose growth has published figures
    cost                    what the mechanism costs, and what growing saves
    summation               the second thesis: units taken away until hardly one is left
    autoencoder             the second thesis: channels taken away in cycles, five ways
    mnist-classifier, cifar10-classifier
                            the second thesis' networks, shrunk by every score to three sizes
    stacking                a transformer that gets deeper, beside every depth
    layer-selection, freezing, initialization, trigger, default-policy, grow-then-shrink
                            studies: one choice of a policy, everything else equal
    racing                  how a search is to choose by several seeds
    all                     everything; without a GPU, what needs none

    Writes JSON, a Markdown table and, of the first thesis' experiments and stacking, pictures. The same command goes on
    where it was; --seeds may be raised.
    """
    from autogrow.experiments.reproduction import REPRODUCTIONS

    set_threads(options["threads"])
    device = _device(options["device"])
    chosen = [REPRODUCTIONS[each] for each in (_all_on(device, options["quick"]) if name == ALL else [name])]
    requests = [_request(each, options, device, several=name == ALL) for each in chosen]
    _need_data(chosen, device, options)
    contents, succeeded = [], True
    with interruptible() as interrupted:
        for reproduction, request in zip(chosen, requests, strict=True):
            report = reproduction.run(replace(request, interrupted=interrupted.is_set))
            if report is None:
                click.echo(f"interrupted; the same command goes on from {shown(request.out)}", err=True)
                return 130
            succeeded = succeeded and report.succeeded
            if options["as_json"]:
                contents.append({"name": reproduction.name, "out": shown(report.folder), "files": _read_json(report)})
            else:
                _print_report(report)
    if options["as_json"]:
        click.echo(json.dumps(contents if name == ALL else contents[0]))
    return 0 if succeeded else 1


def _device(given: str) -> str:
    from autogrow.inputs import resolve_device

    return resolve_device(given)


def _all_on(device: str, quick: bool) -> list[str]:
    """Everything that can be run on such a device; quickly, everything can."""
    from autogrow.experiments.reproduction import REPRODUCTIONS

    return [name for name in REPRODUCTIONS if quick or device != "cpu" or not REPRODUCTIONS[name].needs_gpu]


def _need_data(reproductions: list[Any], device: str, options: dict[str, Any]) -> None:
    """Open all data before anything is trained. Raises `DataError` for what is not there."""
    from autogrow.inputs import resolve_data_dir

    full = options["full"]
    needed = {name: each for each in reproductions for name in each.needed_data(device, full=full)}
    for name, reproduction in needed.items():
        reproduction.open(name, resolve_data_dir(options["data_dir"]))


def _request(reproduction: Any, options: dict[str, Any], device: str, *, several: bool) -> Any:
    """How one of them is to be run. Raises `UsageError` where that could not end well."""
    from autogrow.experiments.reproduction.base import Request
    from autogrow.experiments.running import check_num_seeds
    from autogrow.inputs import resolve_data_dir
    from autogrow.policy.execution import Execution
    from autogrow.study.settings import available_cores

    if reproduction.needs_gpu and not options["quick"] and options["device"] == "auto" and device == "cpu":
        raise UsageError(f"{reproduction.name} takes days without a GPU: use --quick, or insist with --device cpu")
    if options["full"] and options["quick"]:
        raise UsageError("--full and --quick exclude each other: leave one of them out")
    if options["full"] and (several or not reproduction.has_full):
        raise UsageError(f"--full is not for {ALL if several else reproduction.name}: only stacking has more parts")
    seeds = options["seeds"]
    if seeds is None:
        seeds = 1 if options["quick"] else reproduction.default_seeds
    check_num_seeds(seeds)
    root = (options["out"] or Path("results")) if several or options["out"] is None else None
    folder = f"{reproduction.name}-quick" if options["quick"] else reproduction.name
    return Request(
        num_seeds=seeds,
        out=resolved(options["out"] if root is None else root / reproduction.place / folder),
        quick=options["quick"],
        full=options["full"],
        data_dir=resolve_data_dir(options["data_dir"]),
        device=device,
        execution=Execution(precision=options["precision"], compile=options["compile"]),
        jobs=options["jobs"] or (1 if options["quick"] or device != "cpu" else available_cores()),
        on_run=None if options["quiet"] else _print_run,
    )


def _read_json(report: Any) -> dict[str, Any]:
    """The JSON files of a report, by their paths within its folder."""
    files = [path for path in report.written if path.suffix == ".json"]
    return {str(path.relative_to(report.folder)): json.loads(path.read_text(encoding="utf-8")) for path in files}


def _print_report(report: Any) -> None:
    from autogrow.printing import console
    from autogrow.report.terminal import render_tables

    terminal = console()
    terminal.print(f"\n{report.heading}\n", style="bold")
    terminal.print(render_tables(*report.tables))
    for paragraph in report.paragraphs:
        terminal.print(paragraph)
    written = ", ".join(str(path.relative_to(report.folder)) for path in report.written)
    click.echo(f"\nwritten to {shown(report.folder)}: {written}")
