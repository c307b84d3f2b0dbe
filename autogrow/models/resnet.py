"""Residual networks for small images (He et al. 2016, arXiv 1512.03385, section 4.2, and the thesis, 5.3).

`resnet` has 6n + 2 layers in three stages; depth 62 is the thesis' network: 30 blocks, 16, 32 and 64 channels.
`resnet18` is the ImageNet network of table 1 with the stem for 32 x 32 images (one 3 x 3 convolution, no pooling).
"""

import torch
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.models.registry import MODELS
from autogrow.models.size_bounds import MOST_LAYERS


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to the input or to its 1 x 1 projection."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, stages of basic blocks (each after the first halves the image), global pooling, one linear layer."""

    def __init__(self, in_channels: int, num_outputs: int, blocks: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.stages = nn.ModuleList()
        width = channels[0]
        for stage, (count, out_channels) in enumerate(zip(blocks, channels, strict=True)):
            layers = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(BasicBlock(width, out_channels, stride))
                width = out_channels
            self.stages.append(nn.Sequential(*layers))
        self.fc = nn.Linear(width, num_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) images to (N, num_outputs)."""
        x = torch.relu(self.bn1(self.conv1(x)))
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


@MODELS.register("resnet")
def resnet(input_shape: tuple[int, ...], num_outputs: int, depth: int = 20, width: int = 16) -> ResNet:
    """`depth` layers, 6n + 2; stages of `width`, 2 `width` and 4 `width` channels."""
    if not 8 <= depth <= MOST_LAYERS or (depth - 2) % 6:
        raise NetworkError(
            f"model 'resnet' has a depth of 6n + 2 (8, 14, 20, ... 62), at most {MOST_LAYERS}, not {depth}"
        )
    _need_images("resnet", input_shape)
    count = (depth - 2) // 6
    return ResNet(input_shape[0], num_outputs, (count,) * 3, (width, 2 * width, 4 * width))


@MODELS.register("resnet18")
def resnet18(input_shape: tuple[int, ...], num_outputs: int, width: int = 64) -> ResNet:
    """Four stages of two blocks: `width`, 2, 4 and 8 times `width` channels."""
    _need_images("resnet18", input_shape)
    return ResNet(input_shape[0], num_outputs, (2, 2, 2, 2), (width, 2 * width, 4 * width, 8 * width))


def _need_images(model: str, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3 or min(input_shape[1:]) < 8:
        raise NetworkError(
            f"model {model!r} takes images of at least 8 x 8, not inputs of shape {input_shape}; use 'mlp'"
        )
