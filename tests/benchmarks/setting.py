"""Where a part is measured: on which device, with whose data, and at full size or just to see that it works."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """The device, and whether sizes are cut so far down that the figures mean nothing."""

    device: torch.device = torch.device("cpu")
    quick: bool = False
    data_dir: Path | None = None
    """Where data sets lie; None is the user's cache folder."""

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"

    def choose(self, *, cpu: T, gpu: T, quick: T) -> T:
        """A size: a GPU is given more to do than a CPU, or start-up and launches are all that is seen."""
        if self.quick:
            return quick
        return gpu if self.is_gpu else cpu

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)


def data_dir_of_user() -> Path | None:
    """AUTOGROW_DATA, as autogrow's own commands read it; for entry points alone."""
    return Path(os.environ["AUTOGROW_DATA"]) if os.environ.get("AUTOGROW_DATA") else None


def available_cores() -> int:
    return len(os.sched_getaffinity(0))
