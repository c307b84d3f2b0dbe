"""Sending small tables to a device in the middle of a training step."""

import torch
from torch import Tensor


def to_device(table: Tensor, device: torch.device) -> Tensor:
    """A small table on `device`. A plain copy to a GPU would make the host wait for everything queued there."""
    if device.type == "cuda" and table.device.type == "cpu":
        return table.pin_memory().to(device, non_blocking=True)
    return table.to(device)
