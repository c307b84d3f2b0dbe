"""Examples on the device, and the batches a training step takes of them: no DataLoader, no worker processes.

Everything random is a function of (seed, epoch) or (seed, step), so a resumed run continues bit for bit without any
generator state having been saved.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autogrow.data.preprocessing import Normalization
from autogrow.data.splits import Examples

CROP_PADDING = 4
"""Pixels of zeros around an image before a random crop of its own size (He et al. 2016, section 4.2)."""


class DeviceExamples:
    """The inputs and targets of one split as tensors on a device; uint8 inputs stay uint8 until they are batched."""

    def __init__(self, examples: Examples, normalization: Normalization, device: torch.device) -> None:
        # A memory-mapped array is read-only, which torch.from_numpy warns of: only such an array is copied first.
        inputs = examples.inputs if examples.inputs.flags.writeable else np.array(examples.inputs)
        targets = examples.targets if examples.targets.flags.writeable else np.array(examples.targets)
        self.inputs = torch.from_numpy(inputs).to(device)
        self.targets = torch.from_numpy(targets).to(device)
        scale = 255.0 if self.inputs.dtype == torch.uint8 else 1.0
        shape = (1, -1) + (1,) * (self.inputs.dim() - 2)
        # (x / scale - mean) / std as one multiplication and one addition
        std = torch.tensor(normalization.std, dtype=torch.float32, device=device).view(shape)
        self._factor = 1.0 / (std * scale)
        self._offset = -torch.tensor(normalization.mean, dtype=torch.float32, device=device).view(shape) / std

    def __len__(self) -> int:
        return len(self.inputs)

    def normalized(self, inputs: Tensor) -> Tensor:
        """Inputs of this split, as stored, in float32 with mean 0 and standard deviation 1."""
        return torch.addcmul(self._offset, inputs.float(), self._factor)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized inputs and targets at `indices`, (B,) on this device."""
        return self.normalized(self.inputs[indices]), self.targets[indices]


class BatchOrder:
    """Which examples each step trains on: a new random order every epoch, an incomplete last batch left out."""

    def __init__(self, num_examples: int, batch_size: int, seed: int, device: torch.device) -> None:
        self.batch_size = min(batch_size, num_examples)
        self.steps_per_epoch = num_examples // self.batch_size
        self._num_examples = num_examples
        self._seed = seed
        self._device = device
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> Tensor:
        """The examples of step number `step`, counted from 0 over the whole run."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(stream_seed(self._seed, "order", epoch))
            self._order = torch.randperm(self._num_examples, generator=generator).to(self._device)
            self._epoch = epoch
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]


def pad_crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (N, C, H, W) shifted by up to 4 pixels, zeros moving in, and mirrored half of the time: one gather."""
    count, channels, height, width = images.shape
    device = images.device
    draws = torch.rand((3, count, 1), generator=generator, device=generator.device).to(device)
    shifts = (draws[:2] * (2 * CROP_PADDING + 1)).long()
    rows = torch.arange(height, device=device) + shifts[0]
    columns = torch.arange(width, device=device)
    columns = torch.where(draws[2] < 0.5, columns.flip(0), columns) + shifts[1]
    padded_width = width + 2 * CROP_PADDING
    pixels = (rows[:, :, None] * padded_width + columns[:, None, :]).view(count, 1, -1)
    padded = F.pad(images, (CROP_PADDING,) * 4).view(count, channels, -1)
    return padded.gather(2, pixels.expand(-1, channels, -1)).view(images.shape)


def stream_seed(seed: int, stream: str, index: int) -> int:
    """A 63-bit seed for one draw of one stream of random numbers, unrelated to those of neighbouring indices."""
    words = np.random.SeedSequence([seed, int.from_bytes(stream.encode(), "big"), index]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])
