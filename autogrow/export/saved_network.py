"""A trained network on disk: ``model.safetensors`` and ``config.json``; no pickle, no code run because a file says so.

``config.json`` holds what it takes to build the plain module again (model, options, shape), to feed it (the
preprocessing) and to know where it comes from (policy, training settings, data, metrics, versions).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autogrow.data.preprocessing import UINT8_SCALE, Normalization
from autogrow.data.tokenizers import TokenRecord
from autogrow.errors import NetworkError
from autogrow.export.network_record import FORMAT, NetworkRecord, read_record
from autogrow.export.weights import load_weights, save_weights, weights_bytes
from autogrow.files import paths_present, write_json_atomically
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shape import NetworkShape
from autogrow.paths import resolved
from autogrow.training.example_input import example_of

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TRUNK = "trunk"
"""The folder beside them with what the network was before its rate fell, where that is kept (`export.trunk`)."""
LARGEST_UNGROWN = 1000
"""How many times its weights a saved network may take at full width, where it is built before it is narrowed."""
SMALL_PARAMETERS = 2**26
"""Which are built in any case."""


@dataclass(frozen=True)
class SavedNetwork:
    """A network read from a folder, with its configuration."""

    module: nn.Module
    config: dict[str, Any]
    expandable: ExpandableNetwork
    """Of the module: knows the stages that its author wrote, also those of which one block is left."""

    @property
    def normalization(self) -> Normalization:
        """Inputs of type uint8 are divided by 255, then ``(x - mean) / std``."""
        return Normalization.from_dict(self.config["preprocessing"])

    @property
    def tokens(self) -> TokenRecord | None:
        """What the tokens of a network of text stand for; None of any other."""
        return recorded_tokens(self.config)

    @property
    def target_scale(self) -> Normalization | None:
        """Outputs of a regression are multiplied by std, then mean is added; None where they are as they are."""
        record = self.config.get("target_scale")
        return None if record is None else Normalization.from_dict(record)


def recorded_tokens(config: Mapping[str, Any]) -> TokenRecord | None:
    """What the tokens of a configuration that was read stand for; None of a network of anything but text."""
    record = config.get("tokens")
    known = {field.name for field in fields(TokenRecord)}
    return None if record is None else TokenRecord(**{name: value for name, value in record.items() if name in known})


def network_config(
    spec: ModelSpec,
    *,
    input_shape: tuple[int, ...],
    num_outputs: int,
    task: str,
    shape: NetworkShape,
    normalization: Normalization,
    target_scale: Normalization | None = None,
    **provenance: Any,
) -> dict[str, Any]:
    """The content of config.json; `provenance` is kept for readers and not needed to load."""
    return {
        "format": FORMAT,
        "model": spec.to_dict(),
        "input_shape": list(input_shape),
        "num_outputs": num_outputs,
        "task": task,
        **shape.to_dict(),
        "preprocessing": {"uint8_scale": UINT8_SCALE, **normalization.to_dict()},
        **({} if target_scale is None else {"target_scale": target_scale.to_dict()}),
        **provenance,
    }


def save_network(folder: Path, module: nn.Module, config: Mapping[str, Any]) -> None:
    """Write weights and configuration; the configuration comes last, so a folder that has one is whole."""
    save_weights(folder / WEIGHTS, module)
    write_json_atomically(folder / CONFIG, dict(config))


def add_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Put the metrics of a saved network into its configuration, in the place of those that were there."""
    write_json_atomically(folder / CONFIG, {**read_config(folder), "metrics": dict(metrics)})


def load_network(folder: str | Path, model: str | Callable[..., Any] | None = None) -> SavedNetwork:
    """Build the saved network at its widths and load its weights; it comes back on the CPU, in eval mode.

    `model` is the object that training was given in Python, where no file can hold it; or it names the
    ``package.module:factory`` of a network that is not built in: a saved file may not choose what
    code is imported. Raises `NetworkError` for anything missing, damaged or of a newer format.
    """
    folder = resolved(folder)
    record, config = _read(folder)
    spec = ModelSpec.from_dict(config["model"]).named_again(model, str(folder))
    most = max(SMALL_PARAMETERS, LARGEST_UNGROWN * weights_bytes(folder / WEIGHTS))
    module = build_model(spec, record.input_shape, record.num_outputs, seed=0, most_parameters=most)
    # Found as it was for training: what a trace alone leaves open, experiments settle.
    network = ExpandableNetwork(module, example_of(record, torch.device("cpu")))
    try:
        record.shape.give_to(network)
    except KeyError as error:
        raise NetworkError(f"{folder / CONFIG}: the network has no norm {error}: restore it from a copy") from error
    load_weights(folder / WEIGHTS, module)
    return SavedNetwork(module.eval(), config, network)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a saved network. Raises `NetworkError` when there is none that this version reads."""
    return _read(folder)[1]


def _read(folder: Path) -> tuple[NetworkRecord, dict[str, Any]]:
    if not (folder / CONFIG).exists():
        if members := sorted(each for each in paths_present(folder, "*", CONFIG) if each.parent.name != TRUNK):
            raise NetworkError(f"{folder} holds several networks: name one of them, such as {members[0].parent}")
        raise NetworkError(f"no network at {folder}: it has no {CONFIG}; autogrow train --out {folder} makes one")
    return read_record(folder / CONFIG)
