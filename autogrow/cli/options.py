"""Options and arguments that several commands share, and reading of their values."""

from collections.abc import Callable
from typing import Any

import click
import yaml

from autogrow.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

data_dir_option: Decorator = click.option(
    "--data-dir",
    envvar="AUTOGROW_DATA",
    type=click.Path(file_okay=False),
    help="Where data sets lie, in torchvision's layout [AUTOGROW_DATA, or the user's cache folder].",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
run_argument: Decorator = click.argument("run_path", metavar="RUN")
model_help = (
    "auto, mlp, convnet, resnet, resnet18, or package.module:factory (runs your own code, from the current folder)."
)
model_option_option: Decorator = click.option(
    "--model-option",
    "model_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the model, e.g. depth=62.",
)


def parse_model_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Options of a model factory; values are YAML: numbers, true, false, [64, 64] or words."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--model-option {pair!r} is not NAME=VALUE: write for example depth=62")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UsageError(f"--model-option {pair!r}: the value is not valid YAML") from None
        options[name] = tuple(value) if isinstance(value, list) else value
    return options
