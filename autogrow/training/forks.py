"""Fork at growth: a run starts where another one, alike up to there, was about to grow for the first time.

Until its policy first acts (it grows the network, or gives up growing it), a run depends on nothing that says how to
grow: two runs with the same start take the same steps on the same batches, and differ only in when each of them stops
doing so. Whichever comes to that point leaves its state there, a fork. A sibling asks its own trigger what it would
have said at every sample on the way, takes the latest fork that it would have come to itself, and goes on bit for bit
(on the CPU) as if it had been trained from scratch.

What is alike is told by content, not by names of policy fields: runs share a start if the weights they begin with are
the same, bit for bit, and so is everything else that a step depends on (`start_digest`). Starting fractions that are
rounded to the same widths are thus one start.

::

    forks/START/STEP/    one checkpoint, see `autogrow.training.checkpoint`

Any number of processes may read and write here at a time: files appear whole, and of two that write the same fork
either may win, for they write the same. A fork is an economy: one that cannot be read or written costs a warning.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autogrow.errors import RunFolderError
from autogrow.files import paths_present
from autogrow.policy.records import Sample
from autogrow.removal import remove_written
from autogrow.training.checkpoint import load_checkpoint, save_checkpoint
from autogrow.training.records import CHECKPOINTS

LEAST_SECONDS = 0.1
"""Train seconds below which a fork is not worth writing: that takes 10 ms for small networks, 90 ms for a ResNet-18."""
MOST_BYTES = 256 * 2**20
"""Disk space that the forks of one search may take; those that were not used for longest go first."""
STEP_FOLDERS = "[0-9]" * 10
"""A pattern of the names of steps' folders."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fork:
    """Where a run started instead of at step 0. What it did not train itself still counts in its own figures."""

    forked_from: int
    """Number of the trial that left the fork."""
    forked_at_step: int
    saved_seconds: float
    """Train seconds up to there, as the trials that trained it took them."""
    saved_flops: float
    """Training FLOPs up to there."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class ForkStore:
    """The forks of one search, as one of its trials sees them.

    Args:
        folder: Shared by all trials.
        trial: The number of this one.
        identity: What the start of a run depends on that its trainer does not know: model, data, split.
    """

    def __init__(
        self, folder: Path, trial: int, identity: Mapping[str, Any] | None = None, most_bytes: int = MOST_BYTES
    ) -> None:
        self.identity = dict(identity or {})
        self._folder = folder
        self._trial = trial
        self._most_bytes = most_bytes

    def leave(self, start: str, step: int, state: Mapping[str, Any]) -> None:
        """Keep the state of a run whose policy has not acted, if it is worth it and not there already."""
        if state["train_seconds"] < LEAST_SECONDS:
            return
        place = self._place(start, step)
        try:
            if not _used_now(place):
                save_checkpoint(place, step, {**state, "trial": self._trial})
                self.make_room()
        except RunFolderError as error:
            _log.warning("no fork was left at step %s: %s", step, error)

    def latest(
        self, start: str, device: torch.device, acts: Callable[[Sequence[Sample]], bool]
    ) -> tuple[dict[str, Any], Fork] | None:
        """The state of the latest fork of `start` that a run would have come to, and what it saves; None if none is.

        `acts` says whether the run's policy first acts on the last of some samples. A policy that acts on the fork's
        own sample came to it: the state is that before it acts.
        """
        latest_step: float = float("inf")
        for place in sorted(paths_present(self._folder / start, STEP_FOLDERS), reverse=True):
            if int(place.name) > latest_step:
                continue
            state = self._load(place, device)
            if state is None:
                continue
            samples = [Sample.from_dict(record) for record in state["samples"]]
            acted = next((n for n in range(1, len(samples)) if acts(samples[:n])), None)
            if acted is None:
                _used_now(place)
                return state, Fork(state["trial"], state["step"], state["train_seconds"], state["training_flops"])
            latest_step = samples[acted - 1].step
        return None

    def _place(self, start: str, step: int) -> Path:
        return self._folder / start / f"{step:010d}"

    def _load(self, place: Path, device: torch.device) -> dict[str, Any] | None:
        """The state of a fork; one that cannot be used is removed, so that it can be left anew."""
        found = list(paths_present(place, "*.pt"))
        try:
            state = load_checkpoint(place, device)
        except FileNotFoundError:  # another trial has just made room
            return None
        # Not where room was made meanwhile: what would be removed there is a fork that another has just left anew.
        if state is None and any(path.exists() for path in found):
            remove_written(place, CHECKPOINTS, self._folder)
        return state

    def make_room(self) -> None:
        """Remove the forks that were not used for longest, where all take more space than they may."""
        # Empty folders stay: another trial may be about to write into one.
        total = 0
        for _, size, path in sorted(_sizes(self._folder), reverse=True):
            total += size
            if total > self._most_bytes:
                path.unlink(missing_ok=True)


def start_digest(model: nn.Module, circumstances: Mapping[str, Any]) -> str:
    """A name for the start of a run: the same only where the weights are, bit for bit, and all `circumstances`.

    `circumstances` is plain data: whatever else the training depends on before the network first grows.
    """
    digest = hashlib.sha256(json.dumps(circumstances, sort_keys=True).encode())
    digest.update(repr(model).encode())  # what is no weight: a dropout's rate, a norm's eps
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"{name} {value!r}".encode())
    return digest.hexdigest()[:32]


def _used_now(place: Path) -> bool:
    """Mark a fork as used; False where there is none."""
    for path in paths_present(place, "*.pt"):
        try:
            os.utime(path)
        except FileNotFoundError:
            continue
        return True
    return False


def _sizes(folder: Path) -> list[tuple[float, int, Path]]:
    """Time of last use, bytes and path of every fork; others may come and go meanwhile."""
    found = []
    for path in paths_present(folder, "*", STEP_FOLDERS, "step-*.pt"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((status.st_mtime, status.st_size, path))
    return found
