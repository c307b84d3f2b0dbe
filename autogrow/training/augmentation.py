"""Random changes of training images, as arithmetic on the place of every pixel: a batch is read in a single gather.

What is drawn is a function of (seed, epoch) and the same on every device: a resumed run goes on as it would have, and
a step holds no generator, so that it can be captured and replayed.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from autogrow.policy.training_settings import TrainingSettings

CROP_PADDING = 4
"""Pixels of zeros around an image before a random crop of its own size (He et al. 2016, section 4.2)."""
NUM_DRAWS = 7
"""Uniform random numbers per example: the crop's row and column, the flip, the row and column of the cutout, brightness
and contrast."""


@dataclass(frozen=True)
class Augmentation:
    """Random crop after padding by 4, mirrored half of the time; if asked for, other light and a hole."""

    cutout: int = 0
    """Side of the hole in pixels; 0 for none (DeVries and Taylor 2017, arXiv 1708.04552)."""
    brightness: float = 0.0
    """Most that is added or taken away, as a share of the range of 8-bit values, or in the unit of others."""
    contrast: float = 0.0
    """Factors of contrast are from 1 minus this to 1 plus this."""

    @classmethod
    def wanted(cls, settings: TrainingSettings, kind: str) -> Self | None:
        """What the settings ask for, of data that are augmented as `kind` says; None leaves images as they are."""
        if not settings.augment or kind == "none":
            return None
        return cls(settings.cutout, settings.brightness, settings.contrast)

    def pixels(self, indices: Tensor, draws: Tensor, height: int, width: int, outside: int) -> Tensor:
        """Where each pixel of the changed images is read from.

        Args:
            indices: (B,) numbers of the images.
            draws: (`NUM_DRAWS`, B) from 0 to below 1.
            outside: What stands for a pixel of the padding: larger than any place.

        Returns:
            (B, height, width): places in the rows of all pixels of all images, one image after the other.
        """
        rows = torch.arange(height, dtype=indices.dtype, device=indices.device)
        columns = torch.arange(width, dtype=indices.dtype, device=indices.device)
        shifts = (draws[:2, :, None] * (2 * CROP_PADDING + 1)).to(indices.dtype) - CROP_PADDING
        rows = rows + shifts[0]
        columns = torch.where(draws[2, :, None] < 0.5, columns.flip(0), columns) + shifts[1]
        row_places = torch.where((rows >= 0) & (rows < height), (indices[:, None] * height + rows) * width, outside)
        column_places = torch.where((columns >= 0) & (columns < width), columns, outside)
        return (row_places[:, :, None] + column_places[:, None, :]).clamp_(max=outside)

    def relit(self, images: Tensor, draws: Tensor, brightness_unit: Tensor) -> Tensor:
        """Images (B, C, H, W) with other brightness, then other contrast: distances from the mean of each channel.

        Source: the random_brightness and random_contrast of TensorFlow's tutorial on CIFAR-10, without cutting off.

        Args:
            brightness_unit: (C,) what a brightness of 1 is in each channel.
        """
        if self.brightness:
            added = (2 * draws[5] - 1) * self.brightness
            images = images + added[:, None, None, None] * brightness_unit[:, None, None]
        if self.contrast:
            factors = (1 + (2 * draws[6] - 1) * self.contrast)[:, None, None, None]
            means = images.mean((2, 3), keepdim=True)
            images = torch.lerp(means, images, factors)
        return images

    def cut(self, images: Tensor, draws: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) with a hole of zeros in each, its centre anywhere in the image."""
        if not self.cutout:
            return images
        height, width = images.shape[2:]
        rows = self._span(draws[3], height)[:, :, None]
        columns = self._span(draws[4], width)[:, None, :]
        return images * ~(rows & columns)[:, None]

    def _span(self, draws: Tensor, size: int) -> Tensor:
        """(B, size): which rows, or columns, of each image the hole takes."""
        first = (draws[:, None] * size).long() - self.cutout // 2
        places = torch.arange(size, device=draws.device)
        return (places >= first) & (places < first + self.cutout)
