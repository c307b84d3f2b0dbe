"""A convolutional autoencoder: strided convolutions make an image small, transposed ones make it large again.

Its usual form is the second thesis' (Çallı 2017, Optimizing Neural Networks for Mobile Devices, 2.7.2): 32 and 64
channels, then 32 and the image's own, kernels of 3, strides of 2, batch norm and ReLU. Other than there, the last layer
has neither norm nor ReLU, because the images it is to give back are standardized and go below 0; and there is no bias
before a norm, which would take it off again.
"""

from collections import OrderedDict

from torch import nn

from autogrow.errors import NetworkError
from autogrow.models.registry import GIVES_INPUTS_BACK, MODELS


@MODELS.register("autoencoder")
def autoencoder(
    input_shape: tuple[int, ...],
    channels: tuple[int, ...] = (32, 64, 32),
    kernel_size: int = 3,
    stride: int = 2,
    batch_norm: bool = True,
) -> nn.Sequential:
    """(N, C, H, W) images of any size in and out; `encoder` and `decoder` are its two halves.

    Args:
        channels: Of every layer but the last, whose channels are the image's: an odd number of widths, of which the
            first half and the middle one encode. (16,) is one layer each; (32, 64, 32) two.
        kernel_size: Odd.
        stride: By which every encoding layer divides height and width, rounded up.
    """
    if len(input_shape) != 3:
        raise NetworkError(f"model 'autoencoder' takes images, not inputs of shape {input_shape}; use 'mlp'")
    _check_options(channels, kernel_size, stride)
    num_encoding = len(channels) // 2 + 1
    image_channels, height, image_width = input_shape
    widths, sizes = [image_channels], [(height, image_width)]
    encoder: list[nn.Module] = []
    for width in channels[:num_encoding]:
        encoder.append(nn.Conv2d(widths[-1], width, kernel_size, stride, padding=kernel_size // 2, bias=not batch_norm))
        encoder += _norm_and_activation(width, batch_norm)
        widths.append(width)
        height, image_width = (height - 1) // stride + 1, (image_width - 1) // stride + 1
        sizes.append((height, image_width))
    decoder: list[nn.Module] = []
    for width in channels[num_encoding:]:
        decoder.append(_enlarging(widths[-1], width, kernel_size, stride, sizes.pop(), sizes[-1], bias=not batch_norm))
        decoder += _norm_and_activation(width, batch_norm)
        widths.append(width)
    decoder.append(_enlarging(widths[-1], image_channels, kernel_size, stride, sizes.pop(), sizes[-1], bias=True))
    return nn.Sequential(OrderedDict(encoder=nn.Sequential(*encoder), decoder=nn.Sequential(*decoder)))


def _check_options(channels: tuple[int, ...], kernel_size: int, stride: int) -> None:
    if len(channels) % 2 == 0:
        raise NetworkError(
            f"model 'autoencoder' has channels {list(channels)}: give an odd number, such as [32, 64, 32]; the last "
            "layer's are the image's"
        )
    if kernel_size % 2 == 0 or not 1 <= stride <= kernel_size:
        raise NetworkError(
            f"model 'autoencoder' has kernel_size {kernel_size} and stride {stride}: give an odd kernel_size, and a "
            "stride from 1 to it"
        )


def _norm_and_activation(width: int, batch_norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]


def _enlarging(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int,
    size: tuple[int, int],
    larger: tuple[int, int],
    bias: bool,
) -> nn.ConvTranspose2d:
    """Takes images from `size` back to what a convolution of this kernel and stride has made that of."""
    missing = larger[0] - 1 - (size[0] - 1) * stride, larger[1] - 1 - (size[1] - 1) * stride
    return nn.ConvTranspose2d(
        in_channels, out_channels, kernel_size, stride, kernel_size // 2, output_padding=missing, bias=bias
    )


setattr(autoencoder, GIVES_INPUTS_BACK, True)
