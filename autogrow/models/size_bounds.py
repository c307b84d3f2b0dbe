"""How large a built-in network may be: checked before any memory is taken for it."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from autogrow.errors import NetworkError
from autogrow.models.registry import ModelFactory

MOST_UNITS = 1_000_000
"""Of one option: units of a layer, layers, or the side of a kernel."""
MOST_LAYERS = 1000
"""Entries of an option that is a list of widths."""
MOST_PARAMETERS = 2**31
"""Eight gibibytes of float32, and four times that in training."""


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise `NetworkError` for a number in a built-in model's options that no network has."""
    for option, value in options.items():
        if isinstance(value, list | tuple) and len(value) > MOST_LAYERS:
            raise NetworkError(f"model {name!r}: {option} has {len(value)} entries, at most {MOST_LAYERS} are built")
        for number in _numbers(value):
            if abs(number) > MOST_UNITS:
                raise NetworkError(f"model {name!r}: {option} is {number}, at most {MOST_UNITS} is built")


def check_parameters(name: str, factory: ModelFactory, arguments: Mapping[str, Any], most: int) -> None:
    """Raise `NetworkError` where a built-in network would have more than `most` parameters; none is made for it."""
    with torch.device("meta"):
        number = sum(parameter.numel() for parameter in factory(**arguments).parameters())
    if number > most:
        raise NetworkError(
            f"model {name!r} would have {number:,} parameters with {dict(arguments)}, more than {most:,}: give smaller "
            "options"
        )


def _numbers(value: Any) -> Iterator[int]:
    for entry in value if isinstance(value, list | tuple) else (value,):
        if isinstance(entry, int):
            yield entry
