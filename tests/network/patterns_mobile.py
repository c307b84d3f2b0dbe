"""Patterns of efficient convolutional networks: depthwise, shuffled and split channels, gates, attention over maps."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.network.patterns import Patterns, conv_norm

PATTERNS = Patterns()


def _classifier(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4)


@PATTERNS.add("mobilenet", growable=("0.0", "2.0", "4.0", "6.0", "8.0"))
def mobilenet() -> nn.Module:
    """MobileNet: depthwise, then pointwise convolutions."""
    first = (conv_norm(4, 4, groups=4), nn.ReLU6(), conv_norm(4, 6, 1), nn.ReLU6())
    second = (conv_norm(6, 6, stride=2, groups=6), nn.ReLU6(), conv_norm(6, 8, 1), nn.ReLU6())
    return nn.Sequential(conv_norm(3, 4), nn.ReLU6(), *first, *second, *_classifier(8))


class InvertedResidual(nn.Module):
    """Expand, depthwise, project, and add where the shapes allow it."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        layers = (conv_norm(inputs, inner, 1), nn.Hardswish(), conv_norm(inner, inner, 3, stride, inner))
        self.body = nn.Sequential(*layers, nn.Hardswish(), conv_norm(inner, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


@PATTERNS.add("inverted residual", growable=("0.0", "1.body.0.0", "1.body.2.0", "2.body.0.0", "2.body.4.0"))
def inverted_residual() -> nn.Module:
    """MobileNetV2."""
    blocks = (InvertedResidual(4, 12, 4, 1), InvertedResidual(4, 8, 6, 2))
    return nn.Sequential(conv_norm(3, 4), *blocks, *_classifier(6))


@PATTERNS.add("depthwise with multiplier", growable=("0.0", "1", "3"))
def depthwise_multiplier() -> nn.Module:
    """A depthwise layer that computes two channels from each."""
    body = (nn.Conv2d(5, 10, 3, padding=1, groups=5), nn.BatchNorm2d(10), nn.Conv2d(10, 6, 1), nn.ReLU())
    return nn.Sequential(conv_norm(3, 5), *body, *_classifier(6))


@PATTERNS.add("xception", growable=("stem.0", "depthwise1", "pointwise1", "depthwise2", "pointwise2", "skip.0"))
class Xception(nn.Module):
    """Xception: separable convolutions beside a strided skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.skip = conv_norm(3, 4), conv_norm(4, 6, 1, 2)
        self.depthwise1, self.pointwise1 = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 8, 1)
        self.depthwise2, self.pointwise2 = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x), inplace=True)
        out = self.pointwise2(self.depthwise2(functional.relu(self.pointwise1(self.depthwise1(x)))))
        out = functional.max_pool2d(out, 3, 2, 1)
        out += self.skip(x)
        return self.head(functional.adaptive_avg_pool2d(out, (1, 1)).squeeze(3).squeeze(2))


@PATTERNS.add("several sums and a concatenation", growable=("stem.0", "squeeze.0", "after"))
class NormalCell(nn.Module):
    """NASNet: sums of branches, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze = conv_norm(3, 5), conv_norm(5, 4, 1)
        self.left, self.right = self._separable(3), self._separable(5)
        self.after, self.head = nn.Conv2d(16, 6, 1), nn.Linear(6, 4)

    def _separable(self, size: int) -> nn.Sequential:
        return nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, size, padding=size // 2, groups=4), conv_norm(4, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(torch.relu(self.stem(x)))
        pooled = functional.avg_pool2d(x, 3, 1, 1)
        sums = [self.left(x) + x, self.left(pooled) + self.right(x), pooled + pooled]
        return self.head(torch.relu(self.after(torch.cat([x, *sums], 1))).mean((2, 3)))


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channels of all groups in turn."""
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width).transpose(1, 2).contiguous()
    return x.view(batch, -1, height, width)


@PATTERNS.add("shuffle of two groups", growable=("stem.0", "narrow.0", "depthwise.0", "widen.0", "beside.0"))
class ShuffleTwo(nn.Module):
    """ShuffleNet: pointwise convolutions in groups, shuffled between; strided units concatenate."""

    groups = 2

    def __init__(self) -> None:
        super().__init__()
        g = self.groups
        self.stem, self.narrow = conv_norm(3, 4 * g), conv_norm(4 * g, 2 * g * g, 1, groups=g)
        self.depthwise = conv_norm(2 * g * g, 2 * g * g, groups=2 * g * g)
        self.widen, self.beside = conv_norm(2 * g * g, 4 * g, 1, groups=g), conv_norm(4 * g, 3 * g, 1, groups=g)
        self.head = nn.Linear(7 * g, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        out = self.depthwise(shuffled(torch.relu(self.narrow(x)), self.groups))
        x = torch.relu(x + self.widen(out))
        x = torch.cat([functional.avg_pool2d(x, 3, 2, 1), self.beside(x)[:, :, ::2, ::2]], 1)
        return self.head(torch.relu(x).mean((2, 3)))


@PATTERNS.add("shuffle of three groups", growable=("stem.0", "narrow.0", "depthwise.0", "widen.0", "beside.0"))
class ShuffleThree(ShuffleTwo):
    groups = 3


class ShuffleUnit(nn.Module):
    """Half of the channels pass, half are convolved, and they are shuffled; how they are halved varies."""

    def __init__(self, channels: int, halving: str) -> None:
        super().__init__()
        self.halving, self.half = halving, channels // 2
        self.pointwise = conv_norm(self.half, self.half, 1)
        self.depthwise = conv_norm(self.half, self.half, groups=self.half)

    def forward(self, x: Tensor) -> Tensor:
        if self.halving == "chunk":
            kept, changed = x.chunk(2, dim=1)
        elif self.halving == "slice":
            half = x.size(1) // 2
            kept, changed = x[:, :half, :, :], x[:, half:, :, :]
        else:
            kept, changed = torch.split(x, self.half, dim=1)
        return shuffled(torch.cat([kept, self.depthwise(torch.relu(self.pointwise(changed)))], 1), 2)


def _shuffle_units(halving: str) -> nn.Module:
    units = (ShuffleUnit(8, halving), ShuffleUnit(8, halving))
    return nn.Sequential(conv_norm(3, 8), nn.ReLU(), *units, nn.Conv2d(8, 6, 1), nn.ReLU(), *_classifier(6))


@PATTERNS.add("halves by chunk", growable=("0.0", "2.pointwise.0", "2.depthwise.0", "3.pointwise.0", "4"))
def halves_by_chunk() -> nn.Module:
    """ShuffleNetV2 with `chunk`."""
    return _shuffle_units("chunk")


@PATTERNS.add("halves by slices", growable=("0.0", "2.pointwise.0", "2.depthwise.0", "3.pointwise.0", "4"))
def halves_by_slices() -> nn.Module:
    """ShuffleNetV2 with slices at half of the size."""
    return _shuffle_units("slice")


@PATTERNS.add("halves of a size that is kept", growable=("4",))
def halves_of_kept_size() -> nn.Module:
    """ShuffleNetV2 with a size that a unit remembers."""
    return _shuffle_units("kept")


@PATTERNS.add("cross stage partial", growable=("stem.0", "conv.0", "transition.0"))
class CrossStagePartial(nn.Module):
    """CSPNet: one part passes, the other is convolved."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.transition = conv_norm(3, 8), conv_norm(4, 5), conv_norm(9, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        first, second = functional.leaky_relu(self.stem(x), 0.1).chunk(2, 1)
        return self.head(self.transition(torch.cat((first, self.conv(second)), dim=1)).mean((2, 3)))


@PATTERNS.add("kernels of several sizes", growable=("stem.0", "after.0"), unlisted=("conv.1",))
class MixedKernels(nn.Module):
    """MixNet: depthwise kernels of several sizes, for parts of sizes that the layer remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.sizes = conv_norm(3, 5), conv_norm(5, 9, 1), (4, 3, 2)
        self.parts = nn.ModuleList(
            nn.Conv2d(n, n, k, padding=k // 2, groups=n) for n, k in zip(self.sizes, (1, 3, 5), strict=True)
        )
        self.after, self.head = conv_norm(9, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(torch.relu(self.conv(torch.relu(self.stem(x)))), self.sizes, dim=1)
        x = torch.cat([layer(part) for layer, part in zip(self.parts, parts, strict=True)], 1)
        return self.head(torch.relu(self.after(x)).mean((2, 3)))


@PATTERNS.add("hierarchical split", growable=("stem.0", "widen.0"))
class HierarchicalSplit(nn.Module):
    """Res2Net: parts of the channels, each convolved together with the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.narrow, self.widen = conv_norm(3, 6), conv_norm(6, 12, 1), conv_norm(12, 6, 1)
        self.convs = nn.ModuleList([conv_norm(3, 3) for _ in range(3)])
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        parts = list(torch.chunk(torch.relu(self.narrow(x)), 4, 1))
        for index, conv in enumerate(self.convs):
            parts[index + 1] = torch.relu(conv(parts[index + 1] + parts[index]))
        return self.head(torch.relu(self.widen(torch.cat(parts, 1)) + x).mean((2, 3)))


@PATTERNS.add("ghost", growable=("0.0", "1.primary.0", "1.cheap.0"))
def ghost() -> nn.Module:
    """GhostNet: computed channels and cheap copies beside them."""

    class Ghost(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.primary, self.cheap = conv_norm(4, 5, 1), conv_norm(5, 5, groups=5)

        def forward(self, x: Tensor) -> Tensor:
            primary = torch.relu(self.primary(x))
            return torch.cat([primary, torch.relu(self.cheap(primary))], dim=1)

    return nn.Sequential(conv_norm(3, 4), Ghost(), conv_norm(10, 6, 1), *_classifier(6))


class SqueezeExcitation(nn.Module):
    """Gates from the means of all channels, of linear layers or 1x1 convolutions."""

    def __init__(self, channels: int, inner: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        layer = nn.Linear if linear else lambda *sizes: nn.Conv2d(*sizes, 1)
        self.squeeze, self.excite = layer(channels, inner), layer(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        if not self.linear:
            gates = functional.avg_pool2d(x, x.size(2))
            return x * torch.sigmoid(self.excite(functional.silu(self.squeeze(gates))))
        gates = functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        gates = torch.sigmoid(self.excite(torch.relu(self.squeeze(gates))))
        return x * gates.view(x.size(0), x.size(1), 1, 1).expand_as(x)


@PATTERNS.add("gates by linear layers", growable=("0.0", "2.squeeze", "2.excite", "3.0"))
def gates_by_linear() -> nn.Module:
    """SENet with linear layers."""
    return nn.Sequential(conv_norm(3, 8), nn.ReLU(), SqueezeExcitation(8, 4, True), conv_norm(8, 6), *_classifier(6))


@PATTERNS.add("gates by convolutions", growable=("0.0", "2.squeeze", "2.excite", "3.0"))
def gates_by_convolutions() -> nn.Module:
    """SENet with 1x1 convolutions."""
    return nn.Sequential(conv_norm(3, 8), nn.ReLU(), SqueezeExcitation(8, 4, False), conv_norm(8, 6), *_classifier(6))


class DropPath(nn.Module):
    """Drops a whole branch for some of the examples."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = torch.empty((x.size(0), 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(0.8)
        return x.div(0.8) * keep


@PATTERNS.add("efficientnet", growable=("stem.0", "expand.0", "gates.squeeze"), random_in_training=True)
class EfficientNet(nn.Module):
    """EfficientNet: an inverted residual with gates, swish, and branches that are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand, self.depthwise = conv_norm(3, 4), conv_norm(4, 12, 1), conv_norm(12, 12, 5, groups=12)
        self.gates, self.project, self.drop = SqueezeExcitation(12, 3, False), conv_norm(12, 4, 1), DropPath()
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.stem(x))
        out = self.depthwise(functional.silu(self.expand(x)))
        x = self.drop(self.project(self.gates(out * out.sigmoid()))) + x
        return self.head(x.mean(dim=[2, 3]))


@PATTERNS.add("regnet", growable=("stem.0", "narrow.0", "inner.0", "gates.squeeze", "widen.0"))
class RegNet(nn.Module):
    """RegNet: a convolution in groups of a set width, with gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.narrow, self.inner = conv_norm(3, 6), conv_norm(6, 12, 1), conv_norm(12, 12, 3, 2, 12 // 4)
        self.gates, self.widen = SqueezeExcitation(12, 2, True), conv_norm(12, 8, 1)
        self.shortcut, self.head = conv_norm(6, 8, 1, 2), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        out = self.widen(self.gates(torch.relu(self.inner(torch.relu(self.narrow(x))))))
        return self.head(torch.relu(out + self.shortcut(x)).mean((2, 3)))


@PATTERNS.add("several branches that fold", growable=("stem.0", "three.0", "one.0"))
class RepVgg(nn.Module):
    """RepVGG: branches that could be folded into one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.three, self.one = conv_norm(3, 6), conv_norm(6, 6), conv_norm(6, 6, 1)
        self.identity, self.head = nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(self.three(x) + self.one(x) + self.identity(x)).mean((2, 3)))
