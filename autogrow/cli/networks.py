"""``autogrow train`` and ``evaluate``: the two commands that open the test split."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autogrow.cli.options import (
    FILE,
    FOLDER,
    data_dir_option,
    data_form_options,
    device_option,
    execution_options,
    json_option,
    known_dataset_option,
    limit_options,
    model_option_option,
    parse_limits,
    parse_model_options,
    say_data,
    say_dataset,
)
from autogrow.paths import shown

if TYPE_CHECKING:
    from autogrow.metrics.scores import Score

MOST_THREADS = 4096


@click.command()
@click.argument("policy_file", metavar="POLICY", type=FILE)
@known_dataset_option
@data_form_options
@click.option("--model", help="Name or package.module:factory  [default: the model the policy was found with]")
@model_option_option
@click.option("--out", type=FOLDER, default="model", show_default=True)
@click.option("--epochs", type=int, help="In place of the policy's own.")
@click.option("--train-size", type=int, help="Train on a stratified subset of this many examples (plus validation).")
@click.option("--hold-out-validation", is_flag=True, help="Keep validation apart, so that shrink can be judged by it.")
@click.option("--keep-trunk", is_flag=True, help="Save it before its rate falls, too: shrink begins there.")
@limit_options
@click.option("--seed", type=int, default=0, show_default=True)
@device_option
@execution_options
@click.option("--threads", type=int, help="CPU threads  [default: all cores]")
@data_dir_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def train(policy_file: Path, **options: Any) -> int:
    """Train a network by a policy on train + validation, test it once, and save it.

    Writes model.safetensors and config.json. In Python, autogrow.load(DIR) takes inputs as they lie in your file, and
    autogrow.predict(DIR, inputs) returns names of classes, or values in your unit.
    """
    from autogrow.export.retraining import train_policy
    from autogrow.inputs import open_data, read_before, resolve_device, training_settings
    from autogrow.policy.execution import Execution
    from autogrow.policy.growth_policy import GrowthPolicy
    from autogrow.tasks import TASKS

    policy = GrowthPolicy.load(policy_file)
    before = read_before(policy, options["dataset"])
    dataset = open_data(options["dataset"], options["data_dir"], options["task"], options["layout"], before)
    if options["dataset"] is None:
        say_dataset(dataset.name, "which the policy was found with")
    score = TASKS[dataset.task].score
    settings = training_settings(dataset, policy.training, options["epochs"])
    device = resolve_device(options["device"])
    set_threads(options["threads"])
    is_silent = options["quiet"] or options["as_json"]
    with interruptible() as interrupted:
        result = train_policy(
            model_for(policy, dataset, options),
            dataset,
            policy.within(parse_limits(options)),
            settings,
            seed=options["seed"],
            train_size=options["train_size"],
            hold_out_validation=options["hold_out_validation"] or None,
            keep_trunk=options["keep_trunk"],
            device=device,
            execution=Execution(precision=options["precision"], compile=options["compile"]),
            out=options["out"],
            on_sample=None if is_silent else _sample_printer(settings, score.title),
            interrupted=interrupted.is_set,
            on_start=None if is_silent else lambda data: say_data(dataset, data.target_scale),
        )
    if result is None:
        click.echo(f"interrupted; the same command goes on from {shown(options['out'])}", err=True)
        return 130
    metrics = result.metrics()
    if options["as_json"]:
        click.echo(json.dumps({"out": shown(options["out"]), **metrics}))
        return 0
    why_held_out = ""
    if result.held_out_validation:
        watched = policy.watches_validation
        why_held_out = "the policy's trigger watches its metrics" if watched else "--hold-out-validation"
    _print_metrics(metrics, score, options["out"], why_held_out)
    return 0


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@known_dataset_option
@data_form_options
@click.option("--model", help="package.module:factory of a network that is not built in (runs your own code).")
@data_dir_option
@json_option
def evaluate(folder: Path, dataset: str | None, as_json: bool, **options: Any) -> None:
    """Read a saved network on a data set's test split: by default of the data that it was trained with."""
    from autogrow.api import evaluate as evaluate_saved
    from autogrow.data.reopening import recorded_dataset
    from autogrow.export.saved_network import read_config, recorded_tokens
    from autogrow.export.testing import bits_per_byte_of, plain_test_metrics
    from autogrow.tasks import TASKS

    config = read_config(folder)
    if dataset is None:
        say_dataset(recorded_dataset(config), "which the network was trained with")
    content = plain_test_metrics(evaluate_saved(folder, dataset, **options))
    content |= bits_per_byte_of(content, recorded_tokens(config))
    click.echo(json.dumps(content) if as_json else _test_line(content, TASKS[config["task"]].score))


def model_for(policy: Any, dataset: Any, options: dict[str, Any]) -> Any:
    """The model named on the command line, else the built-in one the policy was found with, else the automatic one.

    A policy file may say which built-in network it was found with; it may not name code of its own to run.
    """
    from autogrow.inputs import resolve_model
    from autogrow.models.building import ModelSpec, fits_task
    from autogrow.models.registry import MODELS

    given = parse_model_options(options["model_options"])
    found = policy.found_by or {}
    if options["model"] is None and found.get("model") in MODELS and fits_task(found["model"], dataset.task):
        spec = ModelSpec.from_dict({"name": found["model"], "options": found.get("model_options") or {}})
        return ModelSpec(spec.name, {**spec.options, **given})
    return resolve_model(options["model"] or "auto", dataset, given)


def set_threads(threads: int | None) -> None:
    import torch

    from autogrow.errors import UsageError

    if threads is not None:
        if threads < 1:
            raise UsageError(f"--threads {threads} is below 1: leave it out for all cores")
        if threads > MOST_THREADS:
            raise UsageError(f"--threads {threads} is above {MOST_THREADS}: give the cores that this machine has")
        torch.set_num_threads(threads)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second ends the command at once."""
    event = threading.Event()

    def handle(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        click.echo("saving; once more ends at once", err=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sample_printer(settings: Any, score_name: str) -> Any:
    """Prints every tenth sample, and every one at which the network has another size."""
    from autogrow.training.ending import Signal

    last_parameters = 0
    # An epoch that the run ends in is not known here where its length is given in steps.
    end = f"of {settings.epochs}" if settings.steps is None else f"step {{}} of {settings.steps}"

    def show(sample: Any) -> Signal:
        nonlocal last_parameters
        so_far = end.format(sample.step) if sample.progress is None else f"compute {sample.progress:6.1%}"
        if sample.index % 10 == 0 or sample.parameters != last_parameters:
            click.echo(
                f"epoch {sample.epoch:6.2f} {so_far}  loss {sample.train_loss:.4g}  "
                f"{score_name} {sample.train_score:.4f}  {sample.parameters:,} parameters  "
                f"{sample.train_seconds:.1f} s",
                err=True,
            )
        last_parameters = sample.parameters
        return Signal.CONTINUE

    return show


def _test_line(metrics: dict[str, Any], score: "Score") -> str:
    """Test metrics, by the task's own name; in the place of one that is undefined, this word, and why at the end."""
    accuracy, loss = (
        "undefined" if metrics[name] is None else f"{metrics[name]:{digits}}"
        for name, digits in (("test_score", ".4f"), ("test_loss", ".4g"))  # a loss has the user's unit, any size
    )
    reason = f": {metrics['test_undefined']}" if "test_undefined" in metrics else ""
    unit = f" {score.loss_unit}" if score.loss_unit else ""
    bits = metrics.get("test_bits_per_byte")
    more = "" if bits is None else f", {bits:.4g} bits per byte"
    return f"test {score.title} {accuracy}, loss {loss}{unit}{more}{reason}"


def _print_metrics(metrics: dict[str, Any], score: "Score", out: Path, why_held_out: str) -> None:
    events = metrics["num_events"]
    if why_held_out:
        click.echo(f"validation was kept apart ({why_held_out})")
    if "test_score" in metrics:
        click.echo(f"{_test_line(metrics, score)} (read once, at the end)")
    else:
        click.echo("the data set has no test split")
    click.echo(
        f"train {score.title} {metrics['train_score']:.4f}; {metrics['parameters']:,} parameters, "
        f"{events} growth event{'s' if events != 1 else ''}, {metrics['train_seconds']:.1f} train seconds, "
        f"{metrics['compute']:.0%} of the full-size training FLOPs"
    )
    click.echo(f"saved in {shown(out)}")
