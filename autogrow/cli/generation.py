"""``autogrow generate``: a text continued by a saved network."""

import json
from pathlib import Path
from typing import Any

import click

from autogrow.cli.options import FOLDER, json_option
from autogrow.errors import printable


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--prompt", required=True, help="The beginning of the text.")
@click.option("--tokens", "num_tokens", type=int, default=200, show_default=True, help="Tokens to go on with.")
@click.option(
    "--temperature", type=float, default=0.8, show_default=True, help="Lower is likelier; 0: always the likeliest."
)
@click.option("--top-k", type=int, help="How many of the likeliest tokens to draw among  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same text for the same seed.")
@click.option("--model", help="package.module:factory of a network that is not built in (runs your own code).")
@json_option
def generate(folder: Path, prompt: str, as_json: bool, model: str | None, **options: Any) -> None:
    """Go on with a text by a network that autogrow train has saved."""
    from autogrow.api import generate as generate_text

    text = generate_text(folder, prompt, model=model, **options)
    if as_json:
        click.echo(json.dumps(dict(prompt=prompt, text=text)))
        return
    # A network may draw the bytes by which terminals are driven.
    click.echo("".join(character if character in "\n\t" else printable(character) for character in text))
