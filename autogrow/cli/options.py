"""Options and arguments that several commands share, and reading of their values."""

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from autogrow.errors import UsageError
from autogrow.paths import is_url, resolved
from autogrow.reading.fields import parse_bytes
from autogrow.reading.plain import LARGEST_INTEGER
from autogrow.reading.yaml_files import parse_yaml

MOST_JOBS = 1024
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class ResolvedPath(click.Path):
    """A path, made absolute; nothing has to stand there, but nothing of another kind may."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(resolved(value), param, ctx)


class Place(ResolvedPath):
    """A folder, or a URL, which stays as it is."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return os.fspath(value) if is_url(value) else str(super().convert(value, param, ctx))


FOLDER = ResolvedPath(file_okay=False, path_type=Path)
FILE = ResolvedPath(dir_okay=False, path_type=Path)
PLACE = Place(file_okay=False)


data_dir_option: Decorator = click.option(
    "--data-dir",
    envvar="AUTOGROW_DATA",
    type=FOLDER,
    help="Where data sets lie, in torchvision's layout [AUTOGROW_DATA, or the user's cache folder].",
)
device_option: Decorator = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
threads_option: Decorator = click.option(
    "--threads", type=int, help="CPU threads of all runs together  [default: all cores]"
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
jobs_option: Decorator = click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    default=1,
    show_default=True,
    help="Training runs at a time, each with its share of the threads; their seconds are then of a shared machine.",
)
storage_option: Decorator = click.option(
    "--storage",
    metavar="URL",
    help="The database that the run's study is in, where that is not in its folder [AUTOGROW_STORAGE].",
)
run_argument: Decorator = click.argument("run_path", metavar="[RUN]", required=False)
"""A run, which `chosen_run` finds."""
model_help = (
    "auto, mlp, convnet, resnet, resnet18, autoencoder, gpt, or package.module:factory (your own code, from the "
    "current folder)."
)
model_option_option: Decorator = click.option(
    "--model-option",
    "model_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the model, e.g. depth=62.",
)


known_dataset_option: Decorator = click.option(
    "--dataset",
    help="A built-in data set (autogrow data list), a .npz file, a text or a folder  [default: the one of before]",
)
"""The data set where a policy or a saved network may say which it was; see `autogrow.inputs.open_data`."""


def say_dataset(name: str, why: str) -> None:
    """Say which data set was taken where none was given."""
    click.echo(f"autogrow: data set {name}, {why}", err=True)


def say_data(dataset: Any, target_scale: Any) -> None:
    """Say how a data set is read: what was decided, and what a flag can overrule."""
    from autogrow.paths import is_npz_name

    overrule = " (--task and --layout overrule this)" if is_npz_name(dataset.name) else ""
    click.echo(f"autogrow: data: {dataset.describe(target_scale)}{overrule}", err=True)


def chosen_run(run_path: str | None, storage: str | None) -> Any:
    """The run of a path, a URL or a name; where none is given the newest one, which is then said."""
    from autogrow.study.finding_runs import find_run, newest_run

    if run_path is not None:
        return find_run(run_path, storage)
    run = newest_run(storage=storage)
    click.echo(f"autogrow: {run.place}, the newest run", err=True)
    return run


class _TaskType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 alone
    """The name of a task. The table of tasks needs numpy and is loaded with a value alone: help answers at once."""

    name = "task"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from autogrow.tasks import TASKS

        return click.Choice(tuple(TASKS)).convert(value, param, ctx)


_data_form = (
    click.option(
        "--task",
        type=_TaskType(),
        help="What targets are for (autogrow list tasks)  [default: decided by them, and said]",
    ),
    click.option(
        "--layout",
        type=click.Choice(["channels_first", "channels_last"]),
        help="Of the images in a .npz file: (N, C, H, W) or (N, H, W, C)  [default: by their shape, and said]",
    ),
)


_text_form = (
    click.option(
        "--context", type=int, metavar="TOKENS", help="Of a text: tokens that a network reads at a time  [default: 128]"
    ),
    click.option(
        "--tokenizer",
        metavar="NAME|FILE",
        help="Of a text: what a token is: see autogrow list tokenizers, or a tokenizer.json  [default: bytes]",
    ),
)


def data_form_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a user's own file is read. Those of a text become part of its name, `dataset`."""

    @functools.wraps(command)
    def with_named_text(*arguments: Any, context: int | None, tokenizer: str | None, **options: Any) -> Any:
        if context is not None or tokenizer is not None:
            from autogrow.data.text_names import with_options

            if options["dataset"] is None:
                raise UsageError("--context and --tokenizer say how a text is read: name the text with --dataset")
            options["dataset"] = with_options(options["dataset"], context, tokenizer)
        return command(*arguments, **options)

    named: Callable[..., Any] = with_named_text
    for option in reversed((*_data_form, *_text_form)):
        named = option(named)
    return named


_execution = (
    click.option(
        "--precision",
        type=click.Choice(["auto", "float32", "bfloat16"]),
        default="auto",
        show_default=True,
        help="Of forward passes and gradients; auto: bfloat16 on GPUs that compute with it.",
    ),
    click.option(
        "--compile/--no-compile",
        default=False,
        show_default=True,
        help="torch.compile the network, again after every growth event.",
    ),
)


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how training is executed."""
    for option in reversed(_execution):
        command = option(command)
    return command


_limits = (
    click.option(
        "--max-params",
        type=click.IntRange(1, LARGEST_INTEGER),
        help="Largest number of parameters a network may reach.",
    ),
    click.option("--max-flops", type=click.FloatRange(min=0, min_open=True), help="Training FLOPs of one example."),
    click.option("--max-memory", metavar="SIZE", help="Memory of one training step, e.g. 800M or 4G."),
    click.option(
        "--max-latency-ms",
        type=click.FloatRange(min=0, min_open=True),
        help="Measured time of a forward pass of 128 examples.",
    ),
)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that bound a network's size; it grows until the first of them stops it."""
    for option in reversed(_limits):
        command = option(command)
    return command


def parse_share(text: str) -> float | str:
    """GPUs per trial: a number, or "auto"."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--gpus-per-trial {text!r} is not a number: give 0, 0.25, 1 or auto") from error


def parse_limits(options: dict[str, Any]) -> Any:
    """The size limits that the command line gives."""
    from autogrow.policy.limits import SizeLimits

    for flag, name in (("--max-flops", "max_flops"), ("--max-latency-ms", "max_latency_ms")):
        if options[name] is not None and not math.isfinite(options[name]):
            raise UsageError(f"{flag} {options[name]} is not a number above 0: leave it out for no limit")
    return SizeLimits(
        max_parameters=options["max_params"],
        max_flops=options["max_flops"],
        max_memory_bytes=parse_bytes(options["max_memory"], "--max-memory"),
        max_latency_ms=options["max_latency_ms"],
    )


def parse_model_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Options of a model factory; values are YAML: numbers, true, false, [64, 64] or words."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--model-option {pair!r} is not NAME=VALUE: write for example depth=62")
        value = parse_yaml(text, f"--model-option {name}", UsageError)
        options[name] = tuple(value) if isinstance(value, list) else value
    return options
