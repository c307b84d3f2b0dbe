"""Convolutions, each pooled, then fully connected layers: the classic network for images.

As it is, the first thesis' network for MNIST (5.2): two 7 x 7 convolutions, then 1024 units. With other options those
of the second thesis (Çallı 2017, Optimizing Neural Networks for Mobile Devices), whose weights start otherwise:

- table 2.3, for MNIST: ``kernel_size=5, hidden=128``. Its 7 x 7 convolution of a 7 x 7 image is the hidden layer here.
- table 2.4, for CIFAR-10: ``channels=(64, 64), kernel_size=5, pool_size=3, hidden=(384, 192), batch_norm=True``, on
  images of 24 x 24: ``crop=24`` reads these off the middle of larger ones, so that training images, which are moved by
  up to 4 pixels at random, are seen through random crops. No bias is before a norm, which would take it off again.
"""

from torch import nn

from autogrow.errors import NetworkError
from autogrow.models.registry import MODELS

POOL_STRIDE = 2


@MODELS.register("convnet")
def convnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    channels: tuple[int, ...] = (32, 64),
    hidden: int | tuple[int, ...] = 1024,
    kernel_size: int = 7,
    batch_norm: bool = False,
    pool_size: int = 2,
    crop: int | None = None,
) -> nn.Sequential:
    """(N, C, H, W) images in, (N, num_outputs) out.

    Args:
        channels: Of every convolution; height and width are halved after each, so that images need 2 to the power of
            their number.
        hidden: Units of the fully connected layers but the last.
        batch_norm: Whether one stands before every ReLU.
        pool_size: Side of the windows of max pooling, which are 2 apart.
        crop: Side of the square in the middle of the image that is read; None for all of it.
    """
    smallest = POOL_STRIDE ** len(channels)
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        raise NetworkError(
            f"model 'convnet' takes images of at least {smallest} x {smallest}, not inputs of shape {input_shape}; use "
            "'mlp'"
        )
    in_channels, height, width = input_shape
    layers: list[nn.Module] = []
    if crop is not None:
        layers.append(_middle(height, width, crop, smallest))
        height = width = crop
    for out_channels in channels:
        convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=not batch_norm)
        norm: list[nn.Module] = [nn.BatchNorm2d(out_channels)] if batch_norm else []
        pool = nn.MaxPool2d(pool_size, POOL_STRIDE, padding=(pool_size - 1) // 2)
        layers += [convolution, *norm, nn.ReLU(), pool]
        height, width = (_side_after(side, kernel_size, pool_size) for side in (height, width))
        in_channels = out_channels
    layers.append(nn.Flatten())
    features = in_channels * height * width
    for units in (hidden,) if isinstance(hidden, int) else hidden:
        norm = [nn.BatchNorm1d(units)] if batch_norm else []
        layers += [nn.Linear(features, units, bias=not batch_norm), *norm, nn.ReLU()]
        features = units
    layers.append(nn.Linear(features, num_outputs))
    return nn.Sequential(*layers)


def _middle(height: int, width: int, crop: int, smallest: int) -> nn.ZeroPad2d:
    """Takes off what lies outside a square in the middle: padding by less than nothing."""
    if not smallest <= crop <= min(height, width):
        raise NetworkError(
            f"model 'convnet' has crop {crop}: give {smallest} to {min(height, width)} for images of {height} x {width}"
        )
    top, left = (height - crop) // 2, (width - crop) // 2
    return nn.ZeroPad2d((-left, crop + left - width, -top, crop + top - height))


def _side_after(side: int, kernel_size: int, pool_size: int) -> int:
    """Of an image after a convolution and a pooling; an even kernel makes it larger by one first."""
    convolved = side + 2 * (kernel_size // 2) - kernel_size + 1
    return (convolved + 2 * ((pool_size - 1) // 2) - pool_size) // POOL_STRIDE + 1
