"""``autogrow shrink``: a trained network made smaller, step by step."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from autogrow.cli.networks import interruptible, set_threads
from autogrow.cli.options import (
    FOLDER,
    data_dir_option,
    data_form_options,
    device_option,
    json_option,
    known_dataset_option,
)
from autogrow.errors import UsageError
from autogrow.paths import shown


@click.command()
@click.argument("network", metavar="DIR", type=FOLDER)
@known_dataset_option
@data_form_options
@click.option("--to-flops", type=float, metavar="SIZE", help="Of a forward pass: a share up to 1, or their number.")
@click.option("--to-parameters", type=float, metavar="SIZE", help="The same of its parameters.")
@click.option("--to-bytes", metavar="SIZE", help="The same of its weights; or with a unit, such as 300K.")
@click.option("--to-latency-ms", type=float, metavar="MS", help="Of a pass of 64 examples here, with all threads.")
@click.option("--to-nonzero", type=float, metavar="SIZE", help="Of parameters that are not zero; --remove weights.")
@click.option("--keep", type=float, metavar="LOSS", help="As small as it goes while validation falls by at most this.")
@click.option("--family", metavar="SHARES", help="A network of each share of the FLOPs, such as 0.5,0.25,0.125.")
@click.option("--remove", default="units", show_default=True, help="What goes: see autogrow list removals.")
@click.option("--only", metavar="NAMES", help="Groups or stages that may lose some, such as layer2,layer3.*.conv1.")
@click.option("--score", help="Which units go: see autogrow list unit-scores  [default: fisher]")
@click.option(
    "--block-score",
    type=click.Choice(["loss", "similarity"]),
    help="Which blocks go: those that the loss rises least without, or that change least  [default: loss]",
)
@click.option(
    "--normalization",
    type=click.Choice(["mean", "largest", "standard_deviation", "none"]),
    help="By what scores of a group are divided before groups are compared  [default: mean]",
)
@click.option("--per-group", is_flag=True, help="Take the same share of every group, not the worst units of all.")
@click.option(
    "--compensation",
    type=click.Choice(["none", "constants", "least_squares"]),
    help="What reads removed units makes up for them by its biases, or by all of its weights  [default: least_squares]",
)
@click.option("--cycles", type=int, help="Removals, each followed by training  [default: 1]")
@click.option("--epochs", type=int, help="Of training after each removal  [default: a quarter of its own training]")
@click.option("--learning-rate", type=float, help="[default: that of its own training]")
@click.option("--distillation", type=float, metavar="WEIGHT", help="Part of the loss that the network before teaches.")
@click.option("--holdout", metavar="DATA", help="Examples it has not seen, where it has learnt from validation.")
@click.option("--model", help="package.module:factory of a network that is not built in (runs your own code).")
@click.option("--out", type=FOLDER, default="small", show_default=True)
@click.option("--resume", is_flag=True, help="Go on with what was interrupted or killed in --out.")
@click.option("--seed", type=int, default=0, show_default=True)
@device_option
@click.option("--threads", type=int, help="CPU threads  [default: all cores]")
@data_dir_option
@json_option
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def shrink(network: Path, **options: Any) -> int:
    """Make a trained network smaller: remove the units or blocks that matter least, and train it on.

    Give one of --to-flops, --to-parameters, --to-bytes, --to-latency-ms, --to-nonzero, --keep and --family. Writes a
    plain network (model.safetensors, config.json) and shrink.json, which has every step: score, size, measured times.
    """
    from autogrow.api.shrinking import shrink as shrink_saved
    from autogrow.report.shrinking import final_lines, step_line

    set_threads(options["threads"])
    is_silent = options["quiet"] or options["as_json"]
    with interruptible() as interrupted, _said_as_options():
        result = shrink_saved(
            network,
            options["dataset"],
            options["out"],
            to_flops=options["to_flops"],
            to_parameters=options["to_parameters"],
            to_bytes=_bytes(options["to_bytes"]),
            to_latency_ms=options["to_latency_ms"],
            to_nonzero=options["to_nonzero"],
            keep=options["keep"],
            family=_shares(options["family"]),
            shrinking=_shrinking(options),
            holdout=options["holdout"],
            model=options["model"],
            seed=options["seed"],
            data_dir=options["data_dir"],
            task=options["task"],
            layout=options["layout"],
            device=options["device"],
            resume=options["resume"],
            on_step=None if is_silent else lambda step: click.echo(step_line(step), err=True),
            interrupted=interrupted.is_set,
        )
    if result is None:
        click.echo(f"interrupted; go on with --resume --out {shown(options['out'])}", err=True)
        return 130
    if options["as_json"]:
        click.echo(json.dumps({"out": shown(options["out"]), **result.to_dict()}))
        return 0
    for line in final_lines(result.to_dict()):
        click.echo(line)
    click.echo(f"saved in {shown(options['out'])}")
    return 0


def _shrinking(options: dict[str, Any]) -> Any:
    """How it is shrunk, by the command line's names."""
    from autogrow.policy.recovery import Recovery
    from autogrow.policy.shrinking import Shrinking
    from autogrow.policy.unit_removal import RemovalOrder

    def given(**values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    recovery = given(
        epochs=options["epochs"], learning_rate=options["learning_rate"], distillation=options["distillation"]
    )
    budget = "per_group" if options["per_group"] else "global"
    return Shrinking(
        remove=_removal(options),
        only=tuple(name for name in (options["only"] or "").split(",") if name),
        order=RemovalOrder(**given(normalization=options["normalization"], budget=budget)),
        recovery=Recovery(**recovery),
        **given(score=options["score"], cycles=options["cycles"], compensation=options["compensation"]),
    )


_NAMES = re.compile(r"\bto_\w+|^(?:keep|family)\b|\bkeep(?= and family)|(?<=keep and )family\b")
"""Names of what a network is to become, as Python has them, in errors about them."""


@contextmanager
def _said_as_options() -> Iterator[None]:
    """Inside, errors about the size that is asked for name options, as they were typed."""
    try:
        yield
    except UsageError as error:
        raise UsageError(_NAMES.sub(lambda name: "--" + name[0].replace("_", "-"), str(error))) from error


def _removal(options: dict[str, Any]) -> Any:
    """What goes, by its kind; `UsageError` where something else is said of what does not."""
    from autogrow.policy.removals import parse_removal

    kind, block_score = options["remove"], options["block_score"]
    removal = parse_removal(kind)
    if block_score is not None and not removal.takes_blocks:
        raise UsageError(f"--block-score is for blocks: give --remove blocks or both with it, not {kind}")
    for name in ("score", "compensation"):
        if options[name] is not None and not removal.takes_units:
            raise UsageError(f"--{name} is for units: leave it out, or give --remove units or both, not {kind}")
    return removal if block_score is None else parse_removal({"kind": kind, "score": block_score})


def _bytes(text: str | None) -> float | None:
    """A share of the bytes, or their number, which may have a unit."""
    from autogrow.reading.fields import parse_bytes

    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return parse_bytes(text, "--to-bytes")


def _shares(text: str | None) -> tuple[float, ...]:
    try:
        return () if text is None else tuple(float(share) for share in text.split(","))
    except ValueError as error:
        raise UsageError(f"--family {text!r}: give shares with commas between them, such as 0.5,0.25") from error
