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
from torch import Tensor, nn

from autogrow.errors import NetworkError, one_line
from autogrow.files import atomic_target, paths_present
from autogrow.training.records import CHECKPOINTS

FORMAT_VERSION = 2
KEPT = 2
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
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
            version = state["version"]
        except Exception as error:  # noqa: BLE001 - what somebody else has written can fail in any way
            _log.warning("%s is no checkpoint and is passed over: %s", path, one_line(error))
            continue
        if version == FORMAT_VERSION:
            return state
        _log.warning("%s is of version %s, this autogrow reads %s", path, version, FORMAT_VERSION)
    return None


def check_checkpoints(module: nn.Module) -> None:
    """Raise `NetworkError` naming the first entry of a network's state that would not come back from a checkpoint.

    To be called before training: a run that was interrupted could not go on.
    """
    tried: set[torch.dtype] = set()
    for name, value in module.state_dict().items():
        is_plain = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and not value.is_quantized
        if is_plain and value.dtype in tried:
            continue
        # Of plain tensors it depends on their type alone; others are tried themselves.
        if not _comes_back(torch.empty(1, dtype=value.dtype) if is_plain else value):
            kind = f"{type(value).__name__}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise NetworkError(
                f"the network cannot be saved while it trains: {name} ({kind}) does not come back from a checkpoint; "
                "keep it out of the state_dict, or in a plain tensor"
            )
        if is_plain:
            tried.add(value.dtype)


def _comes_back(value: object) -> bool:
    buffer = io.BytesIO()
    try:
        torch.save({"value": value}, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except Exception:  # noqa: BLE001 - whatever a class of a user's own, or PyTorch's tables of types, lead to
        return False
    return True


def _newest_first(folder: Path) -> list[Path]:
    return sorted(
        (path for path in paths_present(folder, "step-*.pt") if re.fullmatch(CHECKPOINTS, path.name)), reverse=True
    )
