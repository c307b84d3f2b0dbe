"""``autogrow compare``: what a policy is worth beside its controls."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from autogrow.cli.networks import interruptible, model_for, set_threads
from autogrow.cli.options import (
    data_dir_option,
    execution_options,
    jobs_option,
    json_option,
    model_option_option,
)


@click.command()
@click.argument("policy_file", metavar="POLICY", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--dataset", required=True, help="A built-in data set (autogrow data list), or a .npz file.")
@click.option("--seeds", type=int, default=5, show_default=True, help="Every condition is trained on so many seeds.")
@click.option("--model", help="Name or package.module:factory  [default: the model the policy was found with]")
@model_option_option
@click.option("--epochs", type=int, help="In place of the policy's own.")
@click.option("--train-size", type=int, help="Train on a stratified subset of so many examples (plus validation).")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="[default: results/compare/POLICY-DATASET]"
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@execution_options
@click.option("--threads", type=int, help="CPU threads of all runs together  [default: all cores]")
@jobs_option
@data_dir_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress, only the tables.")
def compare(policy_file: Path, **options: Any) -> int:
    """Train a policy and four controls on paired seeds, and compare them on the test split.

    \b
    grown         by the policy
    full          the same network at full size from the first step, as many steps
    final         the shape that the grown network ended with, from fresh weights, as many steps
    same compute  full size, as many steps as the grown run's training FLOPs pay for
    small         the policy's small start, never grown, as many steps

    All train on the same examples (train + validation) in the same order per seed; the test split is read once per run.
    Writes compare.json, table.md and figure.svg. The same command goes on where it was; --seeds may be raised.
    """
    from autogrow.experiments.comparison import KIND, compare_policy
    from autogrow.experiments.folder import ExperimentFolder

    set_threads(options["threads"])
    experiment = _experiment(policy_file, options)
    out = options["out"] or Path("results") / "compare" / f"{policy_file.stem}-{Path(options['dataset']).stem}"
    folder = ExperimentFolder(out, KIND)
    with interruptible() as interrupted:
        results = compare_policy(
            experiment,
            options["seeds"],
            folder=folder,
            on_run=None if options["quiet"] else _run_printer(options["seeds"], experiment.dataset.task),
            interrupted=interrupted.is_set,
            jobs=options["jobs"],
        )
    if results is None:
        click.echo(f"interrupted; the same command goes on from {out}", err=True)
        return 130
    _print_results(results, folder, options["as_json"])
    return 0 if results.of_condition(results.design.subject) else 1


def _experiment(policy_file: Path, options: dict[str, Any]) -> Any:
    from autogrow.api import resolve_data_dir, resolve_device, training_settings
    from autogrow.data.opening import open_dataset
    from autogrow.experiments.conditions import Experiment
    from autogrow.policy.execution import Execution
    from autogrow.policy.growth_policy import GrowthPolicy

    policy = GrowthPolicy.load(policy_file)
    dataset = open_dataset(options["dataset"], resolve_data_dir(options["data_dir"]))
    return Experiment(
        dataset,
        model_for(policy, dataset, options),
        policy,
        training_settings(dataset, policy.training, options["epochs"]),
        train_size=options["train_size"],
        device=resolve_device(options["device"]),
        execution=Execution(precision=options["precision"], compile=options["compile"]),
    )


def _run_printer(num_seeds: int, task: Any) -> Any:
    """Prints a line for every finished run."""
    from autogrow.experiments.records import FailedRun
    from autogrow.report import formats

    def show(record: Any, trained_now: bool) -> None:
        name = record.condition.replace("_", " ")
        seed = f"seed {record.seed} ({record.seed + 1} of {num_seeds})"
        if isinstance(record, FailedRun):
            click.echo(f"{seed}  {name:12}  failed: {record.reason}", err=True)
            return
        accuracy = f"test {formats.accuracy_name(task)} {formats.accuracy_with_unit(record.test_accuracy, task)}"
        how = f"{record.train_seconds:.1f} train s" if trained_now else "was there already"
        if record.same_run_as is not None:
            how = f"the same network, and run, as {record.same_run_as.replace('_', ' ')}"
        size = f"{formats.count(record.parameters)} parameters"
        click.echo(f"{seed}  {name:12}  {accuracy}, {size}, {how}", err=True)

    return show


def _print_results(results: Any, folder: Any, as_json: bool) -> None:
    from rich.console import Console

    from autogrow.experiments.tables import results_tables
    from autogrow.report.terminal import render_tables

    if as_json:
        content = json.loads(folder.result_file.read_text(encoding="utf-8"))
        click.echo(json.dumps({"out": str(folder.path), **content}))
        return
    Console(file=sys.stdout).print(render_tables(*results_tables(results)))
    click.echo(f"\nwritten to {folder.path}: {', '.join(path.name for path in folder.written)}")
