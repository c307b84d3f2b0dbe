"""Examples on the device, and the batches a training step takes of them: no DataLoader, no worker processes.

Everything random is a function of (seed, epoch) or (seed, step), so a resumed run continues bit for bit without any
generator state having been saved.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from autogrow.data.preprocessing import Normalization, standardize
from autogrow.data.splits import Examples
from autogrow.reading.arrays import Array
from autogrow.training.augmentation import NUM_DRAWS, Augmentation

SMALL_BYTES = 16 * 2**20
"""What normalized examples may take, so that they are kept as such and not normalized in every step."""
EVALUATION_BATCH = 1000
"""Examples per forward pass when metrics are read, but of text."""
SMALL_PLACES = 2**30
"""Number of pixels below which 32 bits hold twice their place: half the bytes of a batch's index."""


class BatchSource(Protocol):
    """One split on a device, however its batches are made: `DeviceExamples`, or `token_windows.TokenWindows`."""

    evaluation_batch: int
    """Examples per forward pass when metrics are read; bounds memory."""
    predictions_per_example: int
    """What a network says of one example: 1, or the tokens of a window."""

    @property
    def target_units(self) -> Tensor | None:
        """(width,) what 1 of every standardized target is in the user's unit; None: targets as they are."""

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets as the network and its loss take them, at `indices`, (B,)."""

    def augmented(self, indices: Tensor, draws: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """The same as training sees them, changed at random as `draws` (`NUM_DRAWS`, B) say."""


class DeviceExamples:
    """The inputs and targets of one split as tensors on a device; uint8 inputs stay uint8 until they are batched.

    Images are stored channels last, and so are batches of them (N, C, H, W): on a 2-core CPU a training step of a
    ResNet then takes 0.85 to 0.92 of the time, and tensor cores want it so.

    Targets of a regression are standardized by `target_scale` where there is one: losses and gradients then have the
    same size whatever unit the targets are in.
    """

    evaluation_batch = EVALUATION_BATCH
    predictions_per_example = 1

    def __init__(
        self,
        examples: Examples,
        normalization: Normalization,
        device: torch.device,
        target_scale: Normalization | None = None,
    ) -> None:
        shape = examples.inputs.shape
        self._image = (shape[2], shape[3], shape[1]) if len(shape) == 4 else None
        """Height, width and channels."""
        self.targets = None if examples.targets_are_inputs else _stored_targets(examples.targets, target_scale, device)
        """None where batches of inputs are their own targets."""
        scales = None if target_scale is None else torch.tensor(target_scale.std, dtype=torch.float64, device=device)
        self.target_units = scales
        # What needs 64 bits has to be standardized in them.
        is_wide = examples.inputs.dtype == np.float64
        inputs = standardize(examples.inputs, normalization) if is_wide else examples.inputs
        self._rows = torch.from_numpy(self._stored(inputs)).to(device)
        """Every example as a row; of images every pixel (N * H * W, C), and a last one of zeros for padding."""
        scale = 255.0 if self._rows.dtype == torch.uint8 else 1.0
        broadcast = (-1,) if self._image else (-1,) + (1,) * (len(shape) - 2)
        # (x / scale - mean) / std as one multiplication and one addition
        std = torch.tensor(normalization.std, dtype=torch.float32, device=device).view(broadcast)
        self._brightness_unit = 1.0 / std.flatten()
        """(C,) what the whole range of 8-bit values, or 1 of others, is in normalized ones."""
        self._factor = 1.0 / (std * scale)
        self._offset = -torch.tensor(normalization.mean, dtype=torch.float32, device=device).view(broadcast) / std
        self._are_normalized = is_wide or self._rows.dtype == torch.int64  # which networks embed
        if self._rows.dtype == torch.float32 or 4 * self._rows.numel() <= SMALL_BYTES:
            self._rows, self._are_normalized = self._normalized(self._rows), True
        self._examples = self._rows if self._image is None else self._rows[:-1].view(-1, *self._image)
        """(N, ...); images as (N, H, W, C)."""

    def _stored(self, inputs: Array) -> Array:
        if self._image is None:
            return _writeable(inputs)
        height, width, channels = self._image
        rows = np.zeros((len(inputs) * height * width + 1, channels), inputs.dtype)
        rows[:-1].reshape(len(inputs), height, width, channels)[:] = inputs.transpose(0, 2, 3, 1)
        return rows

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def device(self) -> torch.device:
        return self._rows.device

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized inputs, float32 with mean 0 and standard deviation 1, and targets at `indices`, (B,) here."""
        inputs = self._normalized(self._examples[indices])
        inputs = inputs if self._image is None else inputs.permute(0, 3, 1, 2)
        return inputs, self._targets_of(inputs, indices)

    def augmented(self, indices: Tensor, draws: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
        """The same of images that `augmentation` changes as `draws` (`NUM_DRAWS`, B) say.

        Where they are their own targets, these are changed alike, but nothing is cut out of them.
        """
        assert self._image is not None
        height, width, channels = self._image
        outside = len(self._rows) - 1
        numbers = indices.int() if outside < SMALL_PLACES else indices
        places = augmentation.pixels(numbers, draws, height, width, outside)
        stored = self._rows.index_select(0, places.view(-1)).view(-1, height, width, channels)
        inputs = self._normalized(stored).permute(0, 3, 1, 2)
        inputs = augmentation.relit(inputs, draws, self._brightness_unit)
        return augmentation.cut(inputs, draws), self._targets_of(inputs, indices)

    def _targets_of(self, inputs: Tensor, indices: Tensor) -> Tensor:
        # A copy of inputs: a network may write into what it is given.
        return inputs.clone() if self.targets is None else self.targets[indices]

    def _normalized(self, inputs: Tensor) -> Tensor:
        return inputs if self._are_normalized else torch.addcmul(self._offset, inputs.float(), self._factor)


def _writeable(array: Array) -> Array:
    """The array itself, or a copy of a memory-mapped one, which is read-only: torch.from_numpy warns of that."""
    return array if array.flags.writeable else np.array(array)


def as_tensor(array: Array) -> Tensor:
    """The array as a tensor; unsigned numbers of 16 bits or more, for which PyTorch can do little, as signed ones."""
    wider = {2: np.int32, 4: np.int64, 8: np.int64}
    is_wide = array.dtype.kind == "u" and array.dtype.itemsize > 1
    return torch.from_numpy(_writeable(array.astype(wider[array.dtype.itemsize]) if is_wide else array))


def _stored_targets(targets: Array, scale: Normalization | None, device: torch.device) -> Tensor:
    if scale is not None:
        targets = standardize(targets, scale)
    narrow = targets.astype(np.float32) if targets.dtype == np.float64 else targets
    return torch.from_numpy(_writeable(narrow)).to(device)


class BatchOrder:
    """Which examples each step trains on: a new random order every epoch, an incomplete last batch left out.

    Args:
        redrawn_from: The step from which on everything is drawn otherwise; None for no such step. No epoch has an
            example twice even so.
    """

    def __init__(
        self, num_examples: int, batch_size: int, seed: int, device: torch.device, redrawn_from: int | None = None
    ) -> None:
        self.batch_size = min(batch_size, num_examples)
        self.steps_per_epoch = num_examples // self.batch_size
        self._num_examples = num_examples
        self._seed = seed
        self._device = device
        self._redrawn_from = redrawn_from
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)
        self._draws_epoch = -1
        self._draws = torch.empty(0)

    def indices(self, step: int) -> Tensor:
        """The examples of step number `step`, counted from 0 over the whole run: (B,)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = self._order_of(epoch).to(self._device)
            self._epoch = epoch
        return self._order[self._part(position)]

    def draws(self, step: int) -> Tensor:
        """Random numbers from 0 to below 1 for the augmentation of that step's examples: (`NUM_DRAWS`, B)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._draws_epoch:
            self._draws = self._draws_of(epoch).to(self._device)
            self._draws_epoch = epoch
        return self._draws[:, self._part(position)]

    def _order_of(self, epoch: int) -> Tensor:
        """All examples in the order of that epoch: (N,)."""
        order = torch.randperm(self._num_examples, generator=self._generator("order", epoch))
        kept = self._num_kept(epoch)
        if kept >= len(order):
            return order
        again = torch.randperm(len(order) - kept, generator=self._generator("order anew", epoch))
        return torch.cat([order[:kept], order[kept:][again]])

    def _draws_of(self, epoch: int) -> Tensor:
        """Random numbers for all steps of that epoch: (`NUM_DRAWS`, steps * B)."""
        shape = NUM_DRAWS, self.steps_per_epoch * self.batch_size
        draws = torch.rand(shape, generator=self._generator("augmentation", epoch))
        kept = self._num_kept(epoch)
        if kept >= shape[1]:
            return draws
        again = torch.rand(shape, generator=self._generator("augmentation anew", epoch))
        return torch.cat([draws[:, :kept], again[:, kept:]], dim=1)

    def _num_kept(self, epoch: int) -> int:
        """Examples of that epoch that come before everything is drawn otherwise."""
        if self._redrawn_from is None:
            return self._num_examples
        steps = self._redrawn_from - epoch * self.steps_per_epoch
        return self._num_examples if steps >= self.steps_per_epoch else max(0, steps) * self.batch_size

    def _generator(self, stream: str, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self._seed, stream, epoch))

    def _part(self, position: int) -> slice:
        return slice(position * self.batch_size, (position + 1) * self.batch_size)


def stream_seed(seed: int, stream: str, index: int) -> int:
    """A 63-bit seed for one draw of one stream of random numbers, unrelated to those of neighbouring indices."""
    words = np.random.SeedSequence([seed, int.from_bytes(stream.encode(), "big"), index]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])
