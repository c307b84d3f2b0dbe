"""``autogrow inspect``: what of a network can grow, and what cannot and why."""

import json
import math
from typing import Any

import click

from autogrow.cli.options import (
    data_dir_option,
    data_form_options,
    json_option,
    model_option_option,
    parse_model_options,
)
from autogrow.errors import NetworkError, UsageError

BATCH = 2
DEFAULT_OUTPUTS = 10
MOST_INPUTS = 2**27
MOST_DIMENSIONS = 8
MOST_TOKENS = 2**31


@click.command()
@click.argument("model")
@click.option("--dataset", help="Take the input shape and the number of outputs from this data set.")
@data_form_options
@click.option("--input-shape", metavar="C,H,W", help="Shape of one example  [default: 3,32,32]")
@click.option("--outputs", type=click.IntRange(1, 10_000_000), help="Outputs of the network  [default: 10]")
@click.option(
    "--tokens", type=click.IntRange(1, MOST_TOKENS), metavar="N", help="Feed whole numbers below N, not real ones."
)
@click.option("--members", is_flag=True, help="List the layers of every group.")
@model_option_option
@data_dir_option
@json_option
def inspect(model: str, **options: Any) -> None:
    """Show the channel groups of a network: a built-in one, or package.module:factory (runs your own code)."""
    from autogrow.models.building import ModelSpec, automatic_model, build_model, check_fits_task, reads_tokens
    from autogrow.network.expandable import ExpandableNetwork

    dataset = _dataset(options)
    if dataset is None and reads_tokens(model):
        _give_usual_tokens(options)
    if dataset is None:
        (input_shape, num_outputs), task = _shape_and_outputs(options), None
    else:
        input_shape, num_outputs, task = dataset.input_shape, dataset.num_outputs, dataset.task
    spec = automatic_model(input_shape, task) if model == "auto" else ModelSpec(model)
    spec = ModelSpec(spec.name, {**spec.options, **parse_model_options(options["model_options"])}).given_by_caller()
    if dataset is not None:
        check_fits_task(spec, dataset.task, dataset.name)
    module = build_model(spec, input_shape, num_outputs, seed=0, gives_sizes=False)  # its input may be tokens
    try:
        network = ExpandableNetwork(module, _example(input_shape, options["tokens"], dataset))
    except NetworkError as error:
        if dataset is not None:
            raise
        fix = "give the shape that it takes with --input-shape, or --tokens N where it takes whole numbers below N"
        raise NetworkError(f"{error}: {fix}") from error
    content = _content(network, model, input_shape)
    if dataset is not None and options["tokens"] is None:
        content["problem_with_data"] = _problem(network, dataset)
    if options["as_json"]:
        click.echo(json.dumps(content))
    else:
        _print(content, options["members"])


def _dataset(options: dict[str, Any]) -> Any:
    """The data set that the network is for, if one was named."""
    if options["dataset"] is None:
        return None
    if options["input_shape"] is not None:
        raise UsageError("--dataset and --input-shape both give the input's shape: leave one out")
    if options["outputs"] is not None:
        raise UsageError("--dataset and --outputs both give the number of outputs: leave one out")
    from autogrow.inputs import open_data

    return open_data(options["dataset"], options["data_dir"], options["task"], options["layout"])


def _give_usual_tokens(options: dict[str, Any]) -> None:
    """Bytes in windows of the usual length, where a model reads text and nothing is said of it."""
    from autogrow.data.text_names import DEFAULT_CONTEXT
    from autogrow.data.tokenizers import NUM_BYTES

    outputs = options["outputs"] or options["tokens"] or NUM_BYTES
    usual = {"input_shape": str(DEFAULT_CONTEXT), "outputs": outputs, "tokens": outputs}
    options.update({name: value for name, value in usual.items() if options[name] is None})


def _problem(network: Any, dataset: Any) -> str | None:
    """Why the network cannot be trained on the data as it is; None where nothing speaks against it."""
    from autogrow.study.settings import SPLIT_SEED
    from autogrow.training.output_check import check_outputs
    from autogrow.training.training_data import TrainingData

    try:
        check_outputs(network.module, TrainingData.of(dataset, *dataset.split(seed=SPLIT_SEED)))
    except NetworkError as error:
        return str(error)
    return None


def _shape_and_outputs(options: dict[str, Any]) -> tuple[tuple[int, ...], int]:
    """Input shape and number of outputs."""
    text = "3,32,32" if options["input_shape"] is None else options["input_shape"]
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UsageError(f"--input-shape {text!r} is not whole numbers above 0: write for example 3,32,32")
    if math.prod(shape) > MOST_INPUTS or len(shape) > MOST_DIMENSIONS:
        raise UsageError(
            f"--input-shape {text!r} is more than {MOST_INPUTS} numbers or {MOST_DIMENSIONS} dimensions: write for "
            "example 3,32,32"
        )
    return shape, DEFAULT_OUTPUTS if options["outputs"] is None else options["outputs"]


def _example(input_shape: tuple[int, ...], tokens: int | None, dataset: Any) -> Any:
    import torch

    from autogrow.training.example_input import example_input, example_of

    if tokens is None:
        cpu = torch.device("cpu")
        return example_input(input_shape, cpu) if dataset is None else example_of(dataset, cpu)
    return torch.randint(tokens, (BATCH, *input_shape), generator=torch.Generator().manual_seed(0))


def _content(network: Any, model: str, input_shape: tuple[int, ...]) -> dict[str, Any]:
    return {
        "model": model,
        "input_shape": list(input_shape),
        "parameters": network.num_parameters,
        "groups": [
            {"name": group.name, "width": group.width, "members": [str(member) for member in group.members]}
            for group in network.groups
        ],
        "fixed": [
            {
                "name": group.name,
                "width": group.width,
                "reason": group.reason,
                "members": [str(member) for member in group.members],
            }
            for group in network.fixed
        ],
        "stages": [{"name": stage.name, "blocks": stage.num_blocks} for stage in network.stages],
    }


def _print(content: dict[str, Any], with_members: bool) -> None:
    shape = " x ".join(map(str, content["input_shape"]))
    click.echo(f"{content['model']}: input {shape}, {content['parameters']:,} parameters")
    entries = content["groups"] + content["fixed"]
    width = max((len(entry["name"]) for entry in entries + content["stages"]), default=0)
    click.echo(f"\n{len(content['groups'])} channel groups can grow (units, and the layers that change with them):")
    for group in content["groups"]:
        _print_entry(group, width, f"{len(group['members'])} layers", with_members)
    click.echo(f"\n{len(content['fixed'])} cannot:")
    for group in content["fixed"]:
        _print_entry(group, width, group["reason"], with_members)
    if content["stages"]:
        click.echo("\nstages of blocks that can grow deeper:")
        for stage in content["stages"]:
            click.echo(f"  {stage['name']:{width}}  {stage['blocks']:>6} blocks")
    if content.get("problem_with_data") is not None:
        click.echo(f"\nit cannot be trained on these data: {content['problem_with_data']}")


def _print_entry(entry: dict[str, Any], width: int, note: str, with_members: bool) -> None:
    click.echo(f"  {entry['name']:{width}}  {entry['width']:>6}  {note}")
    if with_members:
        for member in entry["members"]:
            click.echo(f"  {'':{width}}          {member}")
