"""Patterns of convolutional networks: plain and residual ones, branches, and decoders."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.network.patterns import Patterns, conv_norm

PATTERNS = Patterns()


@PATTERNS.add("vgg", growable=("features.0", "features.4", "classifier.0"))
class Vgg(nn.Module):
    """VGG: convolutions with norms and pooling, then linear layers on the flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AvgPool2d(2)),
        )
        self.classifier = nn.Sequential(nn.Linear(8 * 2 * 2, 10), nn.ReLU(), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, projected where the shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_norm(inputs, outputs, stride=stride), conv_norm(outputs, outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(torch.relu(self.conv1(x)))
        out += self.shortcut(x)
        return torch.relu(out)


@PATTERNS.add("resnet", growable=("0.0", "2.conv1.0", "2.conv2.0", "3.conv1.0", "3.shortcut.0"))
def resnet() -> nn.Module:
    """ResNet: a stream that every block adds to; a projection starts the next one."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(conv_norm(3, 6), nn.ReLU(), BasicBlock(6, 6), BasicBlock(6, 8, 2), *head)


class Bottleneck(nn.Module):
    """Narrow, convolve (in groups, in ResNeXt), widen, add."""

    def __init__(self, inputs: int, inner: int, outputs: int, groups: int = 1) -> None:
        super().__init__()
        self.narrow, self.widen = conv_norm(inputs, inner, 1), conv_norm(inner, outputs, 1)
        self.inner = conv_norm(inner, inner, groups=groups)
        self.shortcut = conv_norm(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.widen(functional.relu(self.inner(functional.relu(self.narrow(x)))))
        return functional.relu(out + self.shortcut(x))


def _bottlenecks(inner: int, groups: int) -> nn.Module:
    blocks = (Bottleneck(6, inner, 10, groups), Bottleneck(10, inner, 10, groups))
    return nn.Sequential(conv_norm(3, 6), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 4))


@PATTERNS.add("bottleneck", growable=("0.0", "1.narrow.0", "1.inner.0", "1.widen.0", "2.narrow.0", "2.inner.0"))
def bottleneck() -> nn.Module:
    """ResNet-50."""
    return _bottlenecks(4, 1)


@PATTERNS.add("resnext of many groups", growable=("0.0", "1.narrow.0", "1.inner.0", "1.widen.0"))
def resnext() -> nn.Module:
    """ResNeXt 32x4d: many small groups."""
    return _bottlenecks(8, 4)


@PATTERNS.add("resnext of large groups", growable=("0.0", "1.narrow.0", "1.inner.0", "1.widen.0"))
def resnext_large() -> nn.Module:
    """ResNeXt 2x64d: few large groups."""
    return _bottlenecks(8, 2)


class PaddedBlock(nn.Module):
    """A block whose shortcut drops every second pixel and adds channels of zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_norm(inputs, outputs, stride=2), conv_norm(outputs, outputs)
        self.missing = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.missing, self.missing), "constant", 0)
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + shortcut)


@PATTERNS.add("padded shortcut", growable=("2.conv1.0", "3.conv1.0"))
def padded_shortcut() -> nn.Module:
    """ResNet for CIFAR with shortcuts of option A."""
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    return nn.Sequential(conv_norm(3, 4), nn.ReLU(), BasicBlock(4, 4), PaddedBlock(4, 8), *head)


@PATTERNS.add("preact", growable=("stem", "conv1", "projection"))
class PreAct(nn.Module):
    """PreAct-ResNet: norms before convolutions, the shortcut taken after the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm1, self.conv1 = nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.projection = nn.Conv2d(6, 8, 1, stride=2, bias=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        active = torch.relu(self.norm1(x))
        x = self.conv2(torch.relu(self.norm2(self.conv1(active)))) + self.projection(active)
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


@PATTERNS.add("wide resnet", growable=("0", "1.2", "1.6", "5"), random_in_training=True)
def wide_resnet() -> nn.Module:
    """Wide ResNet: dropout between the convolutions of a block."""
    block = (nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 12, 3, padding=1))
    block = (*block, nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(12, 12, 3, padding=1))
    rest = (nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 6, 1), nn.Flatten(), nn.Linear(6, 4))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(*block), *rest)


@PATTERNS.add("densenet", growable=("stem", "first.1", "first.3", "second.1", "second.3", "transition.1"))
class DenseNet(nn.Module):
    """DenseNet: every layer reads all before it; a transition gathers them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.first, self.second = self._layer(6), self._layer(10)
        self.transition = nn.Sequential(nn.BatchNorm2d(14), nn.Conv2d(14, 7, 1), nn.AvgPool2d(2))
        self.norm, self.head = nn.BatchNorm2d(7), nn.Linear(7, 4)

    def _layer(self, inputs: int) -> nn.Sequential:
        inner = (nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, padding=1))
        return nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([self.first(x), x], 1)
        x = torch.cat([x, self.second(x)], 1)
        return self.head(torch.relu(self.norm(self.transition(x))).mean((2, 3)))


@PATTERNS.add("inception", growable=("one.0", "three.0.0", "three.2.0", "pool.1.0", "after.0"))
class Inception(nn.Module):
    """GoogLeNet: parallel branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.one = conv_norm(3, 3, 1)
        self.three = nn.Sequential(conv_norm(3, 4, 1), nn.ReLU(), conv_norm(4, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_norm(3, 2, 1))
        self.after, self.head = conv_norm(10, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.one(x), self.three(x), self.pool(x)], dim=1)
        return self.head(self.after(torch.relu(x)).mean((-2, -1)))


@PATTERNS.add("dual path", growable=("first.conv1.0", "first.conv2.0", "second.conv1.0", "second.conv2.0"))
class DualPath(nn.Module):
    """DPN: the first channels are added, the rest is concatenated."""

    class Block(nn.Module):
        def __init__(self, inputs: int, added: int, grown: int, projects: bool) -> None:
            super().__init__()
            self.added = added
            self.conv1, self.conv2 = conv_norm(inputs, 8, 1), conv_norm(8, 8, groups=4)
            self.conv3 = conv_norm(8, added + grown, 1)
            self.shortcut = conv_norm(inputs, added + grown, 1) if projects else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            out = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x)))))
            x, d = self.shortcut(x), self.added
            return torch.relu(torch.cat([x[:, :d] + out[:, :d], x[:, d:], out[:, d:]], 1))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = self.Block(3, 6, 2, True), self.Block(10, 6, 2, False)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)).mean((2, 3)))


@PATTERNS.add("layer aggregation", growable=("stem.0", "left.conv1.0", "left.conv2.0", "right.conv2.0", "root.0"))
class Aggregation(nn.Module):
    """DLA: roots read the outputs of their children."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 4)
        self.left, self.right = BasicBlock(4, 6), BasicBlock(6, 6)
        self.inner, self.root = conv_norm(12, 5, 1), conv_norm(5 + 6 + 4, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        children = [self.left(x)]
        children.append(self.right(children[-1]))
        inner = torch.relu(self.inner(torch.cat(children, 1)))
        return self.head(torch.relu(self.root(torch.cat([inner, children[-1], x], 1))).mean((2, 3)))


@PATTERNS.add("squeezenet", growable=("stem", "squeeze", "expand1", "expand3"), fixed={"classifier": "output"})
class SqueezeNet(nn.Module):
    """SqueezeNet: a fire module with a bypass; the classifier is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)
        self.expand1, self.expand3 = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.classifier = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        narrow = torch.relu(self.squeeze(x))
        x = torch.cat([torch.relu(self.expand1(narrow)), torch.relu(self.expand3(narrow))], 1) + x
        x = functional.adaptive_avg_pool2d(torch.relu(self.classifier(x)), 1)
        return x.view(x.size(0), -1)


@PATTERNS.add("residual in residual", growable=("residual.0", "transient.0", "across.0", "back.0", "conv"))
class ResidualInResidual(nn.Module):
    """RiR: two streams that feed each other, and a norm after their sums."""

    def __init__(self) -> None:
        super().__init__()
        self.residual, self.transient = conv_norm(3, 5), conv_norm(3, 5)
        self.across, self.back, self.keep = conv_norm(5, 6), conv_norm(5, 6), conv_norm(5, 6, 1)
        self.norm, self.conv, self.head = nn.BatchNorm2d(6), nn.Conv2d(12, 7, 3, 2), nn.Linear(63, 4)

    def forward(self, x: Tensor) -> Tensor:
        streams = self.residual(x), self.transient(x)
        streams = torch.relu(self.norm(self.back(streams[1]) + self.keep(streams[0]))), self.across(streams[0])
        return self.head(self.conv(torch.cat(streams, 1)).view(x.size(0), -1))


@PATTERNS.add("unet", growable=("down1.0", "down2.0", "middle.0", "up", "join.0"), fixed={"out": "output"})
class UNet(nn.Module):
    """U-Net: skips beside upsampled maps."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = conv_norm(3, 4), conv_norm(4, 6), conv_norm(6, 8)
        self.up, self.join = nn.ConvTranspose2d(8, 6, 2, stride=2), conv_norm(12, 5)
        self.last, self.out = conv_norm(9, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.down1(x))
        second = torch.relu(self.down2(functional.max_pool2d(first, 2)))
        x = self.up(torch.relu(self.middle(functional.max_pool2d(second, 2))))
        x = torch.relu(self.join(torch.cat([second, x], 1)))
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(torch.relu(self.last(torch.cat([first, x], 1))))


@PATTERNS.add("feature pyramid", growable=("low.0", "high.0", "lateral_low", "lateral_high"))
class FeaturePyramid(nn.Module):
    """FPN: lateral convolutions summed with an upsampled map, one output per level."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = conv_norm(3, 4), conv_norm(4, 6, stride=2)
        self.lateral_low, self.lateral_high = nn.Conv2d(4, 5, 1), nn.Conv2d(6, 5, 1)
        self.head = nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low = torch.relu(self.low(x))
        high = self.lateral_high(torch.relu(self.high(low)))
        low = self.lateral_low(low) + functional.interpolate(high, size=low.shape[-2:], mode="nearest")
        return {"low": self.head(low), "high": self.head(high)}


class Decoder(nn.Module):
    """A latent vector turned into a map."""

    def __init__(self, unflatten: nn.Module | None) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
        self.expand, self.unflatten = nn.Linear(5, 4 * 4 * 4), unflatten
        self.decode, self.norm = nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1), nn.BatchNorm2d(6)
        self.out = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.expand(torch.tanh(self.encode(x))))
        x = x.view(-1, 4, 4, 4) if self.unflatten is None else self.unflatten(x)
        return torch.sigmoid(self.out(torch.relu(self.norm(self.decode(x)))))


@PATTERNS.add("autoencoder", growable=("encode.0", "encode.3", "decode"), fixed={"expand": ""})
def autoencoder() -> nn.Module:
    """An autoencoder with a view of fixed sizes."""
    return Decoder(None)


@PATTERNS.add("autoencoder with unflatten", growable=("encode.0", "encode.3", "expand", "decode"))
def autoencoder_with_unflatten() -> nn.Module:
    return Decoder(nn.Unflatten(1, (4, 4, 4)))


@PATTERNS.add("pixel shuffle", growable=("0", "2", "5"))
def pixel_shuffle() -> nn.Module:
    """Super-resolution: channels become pixels."""
    body = (nn.Conv2d(3, 6, 3, padding=1), nn.PReLU(), nn.Conv2d(6, 16, 3, padding=1), nn.PixelShuffle(2), nn.PReLU(4))
    return nn.Sequential(*body, nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1))


@PATTERNS.add("coordinates beside channels", growable=("stem", "conv"))
class CoordinateConvolution(nn.Module):
    """CoordConv: two constant channels beside the computed ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(7, 6, 3), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        rows = torch.linspace(-1, 1, x.size(2), dtype=x.dtype).view(1, 1, -1, 1).expand(x.size(0), 1, -1, x.size(3))
        return self.head(torch.relu(self.conv(torch.cat([x, rows, rows.transpose(2, 3)], 1))).mean((2, 3)))


@PATTERNS.add("convolution over time", (2, 16), growable=("0", "3", "8"))
def convolution_over_time() -> nn.Module:
    front = (nn.Conv1d(2, 6, 3, padding=1), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 8, 3, dilation=2))
    return nn.Sequential(
        *front, nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Dropout(0.0), nn.Linear(48, 7), nn.Linear(7, 3)
    )


@PATTERNS.add("convolution over volumes", (1, 4, 6, 6), growable=("0", "3", "4"))
def convolution_over_volumes() -> nn.Module:
    front = (
        nn.Conv3d(1, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.MaxPool3d(2),
        nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1)),
    )
    return nn.Sequential(*front, nn.Conv3d(6, 5, (2, 1, 1)), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(5, 2))


@PATTERNS.add("two heads", growable=("trunk.0", "hidden.0"), fixed={"labels": "output", "boxes": "output"})
class TwoHeads(nn.Module):
    """A trunk whose outputs are a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.hidden = conv_norm(3, 6), conv_norm(6, 5)
        self.labels, self.boxes = nn.Linear(6, 3), nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.trunk(x))
        return self.labels(x.mean((2, 3))), self.boxes(torch.relu(self.hidden(x)))
