"""The trunk of a trained network: the network as it was before its rate fell, with what its optimizer had learnt.

It lies beside the network, in the folder ``trunk``: ``model.safetensors``, ``config.json``, ``optimizer.safetensors``.
Smaller networks are pruned off it while the rate is still the constant one, and then have a fall of their own: branches
of a warmup-stable-decay schedule (Hägele et al. 2024, arXiv 2405.18392).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from autogrow.errors import NetworkError, UsageError
from autogrow.export.optimizer_state import OPTIMIZER, load_optimizer_state, save_optimizer_state
from autogrow.export.saved_network import CONFIG, TRUNK, WEIGHTS, load_network, read_config, save_network
from autogrow.network.optimizer.optimizer_state import OptimizerState
from autogrow.network.shape import NetworkShape
from autogrow.paths import shown
from autogrow.policy.training_settings import TrainingSettings
from autogrow.removal import leads_through_link, remove_written, temporary_names

_FILES = "|".join(map(re.escape, (WEIGHTS, CONFIG, OPTIMIZER)))
TRUNK_FILES = rf"{TRUNK}/(?:{_FILES}|{temporary_names(_FILES)})"
"""Pattern of the files of a trunk, below the folder of its network."""


@dataclass(frozen=True)
class Trunk:
    """A network before its rate fell, on the CPU."""

    module: nn.Module
    optimizer_state: OptimizerState


def save_trunk(folder: Path, module: nn.Module, optimizer_state: OptimizerState, config: Mapping[str, Any]) -> None:
    """Write it below the folder of its network; its configuration comes last, so that one that has it is whole."""
    place = folder / TRUNK
    save_optimizer_state(place / OPTIMIZER, optimizer_state)
    save_network(place, module, config)


def has_trunk(folder: Path) -> bool:
    """Whether a whole one lies below the folder of a network."""
    return (folder / TRUNK / CONFIG).exists() and not leads_through_link(folder / TRUNK, folder)


def check_trunk(settings: TrainingSettings, out: Path | None) -> None:
    """Raise `UsageError` where a training run has none to keep, or nowhere."""
    schedule = settings.learning_rate_schedule
    if out is None:
        raise UsageError("keep_trunk saves the network before its rate falls: give out, the folder for it")
    if schedule in ("constant", "cosine"):
        what = "never falls" if schedule == "constant" else "falls from the first step"
        raise UsageError(
            f"there is no trunk to keep: the rate of learning_rate_schedule {schedule!r} {what}; set the policy's to "
            "constant_then_decay, or leave out --keep-trunk"
        )


def trunk_shape(folder: Path) -> NetworkShape:
    return NetworkShape.from_dict(read_config(folder / TRUNK))


def discard_trunk(folder: Path) -> None:
    """Remove it."""
    remove_written(folder, TRUNK_FILES)


def load_trunk(folder: Path, config: Mapping[str, Any], model: str | Callable[..., Any] | None = None) -> Trunk | None:
    """The trunk of the network that is saved in a folder with this configuration, if it has one.

    `model` is as for `load_network`. Raises `NetworkError` for one that is damaged, or of another network.
    """
    if not has_trunk(folder):
        return None
    place = folder / TRUNK
    saved = load_network(place, model)
    if NetworkShape.from_dict(saved.config) != NetworkShape.from_dict(config):
        raise NetworkError(f"{shown(place)} is of another network than {shown(folder)}: remove it")
    return Trunk(saved.module, load_optimizer_state(place / OPTIMIZER, saved.module))
