"""Checkpoints that survive a kill: written whole or not at all, checked when read, the previous one kept.

A checkpoint is a SHA-256 checksum followed by what `torch.save` writes, read with ``weights_only=True``: tensors and
plain containers, no code.
"""

import hashlib
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autogrow.files import atomic_target
from autogrow.removal import temporary_names

FORMAT_VERSION = 2
KEPT = 2
CHECKPOINTS = r"step-\d{10}\.pt"
"""Pattern of the names of checkpoints."""
UNFINISHED_CHECKPOINTS = temporary_names(CHECKPOINTS)
ALIVE = "alive"
"""The file beside them that changes as long as a trial trains."""
ONLY_TO_GO_ON = f"{CHECKPOINTS}|{ALIVE}"
"""Pattern of the names of all that a trial needs only until it has ended."""
_DIGEST_BYTES = 32
_log = logging.getLogger(__name__)


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> Path:
    """Write the state of a run at `step`; all but the newest two checkpoints are removed."""
    buffer = io.BytesIO()
    torch.save({"version": FORMAT_VERSION, "step": step, **state}, buffer)
    payload = buffer.getvalue()
    path = folder / f"step-{step:010d}.pt"
    with atomic_target(path) as temporary:
        temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint that is whole and of this version, or None; a damaged one is passed over with a warning."""
    for path in _newest_first(folder):
        content = path.read_bytes()
        payload = content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != content[:_DIGEST_BYTES]:
            _log.warning("%s is damaged and is passed over", path)
            continue
        state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        if state["version"] == FORMAT_VERSION:
            return state
        _log.warning("%s is of version %s, this autogrow reads %s", path, state["version"], FORMAT_VERSION)
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("step-*.pt") if re.fullmatch(CHECKPOINTS, path.name)), reverse=True)
