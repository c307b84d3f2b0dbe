"""Text on the device, and the windows that a training step takes of it.

A row of n tokens has ``n - context`` places at which a window can begin. They are divided evenly among the windows of
an epoch, and each window begins at a random one of its share: in an epoch every part of the text is seen once, and over
epochs every place is as likely as any other. What is read for metrics lies side by side, and is always the same.
"""

import numpy as np
import torch
from torch import Tensor

from autogrow.data.splits import Examples
from autogrow.training.augmentation import Augmentation
from autogrow.training.batches import as_tensor

EVALUATED_OUTPUTS = 2**22
"""Numbers that a network returns for one batch of an evaluation, at most: they are 16 MiB of float32."""


class TokenWindows:
    """One split of a text on a device; a batch is inputs and targets (B, context) int64.

    Args:
        num_outputs: Size of the vocabulary, by which evaluation is cut into batches.
    """

    target_units = None

    def __init__(self, examples: Examples, device: torch.device, num_outputs: int | None) -> None:
        self._context = self.predictions_per_example = examples.inputs.shape[1]
        self._tokens = as_tensor(np.concatenate(examples.streams)).to(device)
        self._windows = self._tokens.unfold(0, self._context + 1, 1)
        """(number - context, context + 1): every window that there is, as a view."""
        firsts, starts, rooms = _places([len(stream) for stream in examples.streams], self._context)
        self._firsts = torch.from_numpy(firsts).to(device)
        self._starts, self._rooms = torch.from_numpy(starts).to(device), torch.from_numpy(rooms).to(device)
        self.evaluation_batch = max(1, EVALUATED_OUTPUTS // (self._context * (num_outputs or 1)))

    def __len__(self) -> int:
        return len(self._firsts)

    @property
    def device(self) -> torch.device:
        return self._tokens.device

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The windows of these numbers, (B,), as they lie side by side."""
        return self._at(self._firsts[indices])

    def augmented(self, indices: Tensor, draws: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """The same, each begun where the first of `draws`, from 0 to below 1, says; there is nothing else to change."""
        shifts = (draws[0].double() * self._rooms[indices]).long()
        return self._at(self._starts[indices] + shifts)

    def _at(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        windows = self._windows[starts].long()
        return windows[:, :-1], windows[:, 1:]


def _places(lengths: list[int], context: int) -> "tuple[_Places, _Places, _Places]":
    """Of every window its place side by side, the first place of its share, and how many places that has."""
    firsts, starts, rooms = [], [], []
    offset = 0
    for length in lengths:
        number = (length - 1) // context
        bounds = np.arange(number + 1, dtype=np.int64) * (length - context) // number
        firsts.append(offset + np.arange(number, dtype=np.int64) * context)
        starts.append(offset + bounds[:-1])
        rooms.append(np.diff(bounds))
        offset += length
    return np.concatenate(firsts), np.concatenate(starts), np.concatenate(rooms)


_Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
