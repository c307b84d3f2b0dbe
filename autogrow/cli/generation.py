"""``autogrow generate`` and ``predict``: a text continued, and read, by a saved network."""

import json
import math
from pathlib import Path
from typing import Any

import click

from autogrow.cli.options import FILE, FOLDER, json_option
from autogrow.errors import UsageError, printable, shortened

NEXT_TOKENS = 5
"""What comes next, of which so many are shown."""


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


@click.command()
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=FILE)
@click.option("--text", "texts", multiple=True, help="A text itself, in place of a file; may be repeated.")
@click.option("--tokens", "each_token", is_flag=True, help="Every token, too: its log probability, and the likeliest.")
@click.option("--model", help="package.module:factory of a network that is not built in (runs your own code).")
@json_option
def predict(folder: Path, files: tuple[Path, ...], texts: tuple[str, ...], **options: Any) -> None:
    """What a network that was trained on text says of other texts: loss, bits per byte, what comes next.

    A text of any length: every token beyond the first window has at least half a context before it. The score of other
    networks is what autogrow evaluate says; in Python, autogrow.predict takes arrays.
    """
    from autogrow.export.saved_network import load_network
    from autogrow.export.text_prediction import predict_text

    if not files and not texts:
        raise UsageError("there is nothing to read: give files of text, or --text")
    saved = load_network(folder, options["model"])
    given: dict[str, str | Path] = {**{str(file): file for file in files}, **{repr(text): text for text in texts}}
    found = {name: predict_text(saved, str(folder), text) for name, text in given.items()}
    if options["as_json"]:
        click.echo(json.dumps([{"text": name, **_as_data(prediction)} for name, prediction in found.items()]))
        return
    for name, prediction in found.items():
        click.echo(f"{printable(shortened(name, 60))}: {_in_a_line(prediction)}")
        if options["each_token"]:
            _print_tokens(prediction)


def _in_a_line(prediction: Any) -> str:
    number = f"{len(prediction.tokens):,} token{'s' if len(prediction.tokens) > 1 else ''}"
    said = [number]
    if prediction.loss is not None:
        said.append(f"loss {prediction.loss:.4g} nats per token, {prediction.bits_per_byte:.4g} bits per byte")
        said.append(f"{100 * prediction.accuracy:.1f} % of next tokens right")
    shares = (f"{each['piece']!r} {each['probability']:.2f}" for each in _next(prediction))
    return f"{', '.join(said)}; next {', '.join(shares)}"


def _next(prediction: Any) -> list[dict[str, Any]]:
    """The likeliest tokens after the end."""
    log_probabilities = prediction.next_log_probabilities
    places = log_probabilities.argsort()[::-1][:NEXT_TOKENS].tolist()
    return [
        {
            "token": token,
            "piece": prediction.piece(token),
            "probability": math.exp(log_probabilities[token]),
        }
        for token in places
    ]


def _as_data(prediction: Any) -> dict[str, Any]:
    return {
        "loss": prediction.loss,
        "bits_per_byte": prediction.bits_per_byte,
        "accuracy": prediction.accuracy,
        "tokens": prediction.tokens.tolist(),
        "pieces": [prediction.piece(token) for token in prediction.tokens],
        "log_probabilities": prediction.log_probabilities.tolist(),
        "likeliest": prediction.likeliest.tolist(),
        "next": _next(prediction),
    }


def _print_tokens(prediction: Any) -> None:
    """A line for every token but the first: itself, its log probability, the likeliest in its place."""
    rows = zip(prediction.tokens[1:], prediction.log_probabilities, prediction.likeliest, strict=True)
    for token, log_probability, likeliest in rows:
        instead = "" if token == likeliest else f"  likeliest {prediction.piece(likeliest)!r}"
        click.echo(f"  {prediction.piece(token)!r:12} {log_probability:8.3f}{instead}")
