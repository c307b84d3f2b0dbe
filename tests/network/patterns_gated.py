"""Patterns of norms, gates and attention over maps, where channels depend on each other."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.network.patterns import Patterns, conv_norm

PATTERNS = Patterns()


def _classifier(channels: int) -> tuple[nn.Module, ...]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4)


@PATTERNS.add("residual attention", growable=("trunk.0", "down.0", "up.0", "mask.1", "mask.4", "last.0"))
class ResidualAttention(nn.Module):
    """Residual attention: a mask from a smaller map, upsampled, multiplies the trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.trunk, self.down, self.up = conv_norm(3, 5), conv_norm(5, 6), conv_norm(5, 4), conv_norm(4, 6)
        mask = (nn.BatchNorm2d(6), nn.Conv2d(6, 7, 1), nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 6, 1), nn.Sigmoid())
        self.mask, self.last, self.head = nn.Sequential(*mask), conv_norm(6, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        trunk = torch.relu(self.trunk(x))
        small = self.up(torch.relu(self.down(functional.max_pool2d(x, 3, 2, 1))))
        mask = self.mask(functional.interpolate(small, size=x.shape[2:]))
        return self.head(self.last((1 + mask) * trunk).mean((2, 3)))


@PATTERNS.add("spatial attention", growable=("stem.0", "squeeze"), fixed={"conv.0": ""}, unlisted=("conv.1", "excite"))
class SpatialAttention(nn.Module):
    """CBAM: gates per channel, then gates per pixel from the mean and maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = conv_norm(3, 5), conv_norm(5, 6), nn.Linear(6, 4)
        self.squeeze, self.excite = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.spatial = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(torch.relu(self.stem(x))))
        pooled = functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1)
        x = x * torch.sigmoid(sum(self.excite(torch.relu(self.squeeze(entry))) for entry in pooled))
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return self.head((x * torch.sigmoid(self.spatial(summary))).mean((2, 3)))


@PATTERNS.add(
    "convolution across channels", growable=("stem.0", "after.0"), fixed={"conv.0": ""}, unlisted=("conv.1", "across")
)
class AcrossChannels(nn.Module):
    """ECA: a convolution slides over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.after = conv_norm(3, 5), conv_norm(5, 6), conv_norm(6, 5)
        self.across, self.head = nn.Conv1d(1, 1, 3, padding=1, bias=False), nn.Linear(5, 4)
        self.across.weight.data = torch.tensor([[[0.8, 1.0, -0.9]]])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.relu(self.stem(x)))
        gates = self.across(functional.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2))
        x = x * torch.sigmoid(gates.transpose(-1, -2).unsqueeze(-1)).expand_as(x)
        return self.head(torch.relu(self.after(x)).mean((2, 3)))


@PATTERNS.add("selected kernels", growable=("stem.0", "three.0", "five.0", "squeeze.0"))
class SelectedKernels(nn.Module):
    """SKNet: a softmax over branches, channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.three, self.five = conv_norm(3, 4), conv_norm(4, 6), conv_norm(4, 6, 5)
        self.squeeze, self.first, self.second = conv_norm(6, 3, 1), nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        branches = torch.stack([torch.relu(self.three(x)), torch.relu(self.five(x))], dim=1)
        summary = torch.relu(self.squeeze(branches.sum(dim=1).mean((2, 3), keepdim=True)))
        choice = torch.softmax(torch.stack([self.first(summary), self.second(summary)], dim=1), dim=1)
        return self.head((branches * choice).sum(dim=1).mean((2, 3)))


@PATTERNS.add("instance norm", growable=("0", "3", "6"))
def instance_norm() -> nn.Module:
    """Discriminator of a GAN: instance norms, with and without gains."""
    first = (nn.Conv2d(3, 4, 4, 2, 1), nn.InstanceNorm2d(4, affine=True), nn.LeakyReLU(0.2))
    second = (nn.Conv2d(4, 6, 3, padding=1), nn.InstanceNorm2d(6), nn.LeakyReLU(0.2))
    third = (nn.Conv2d(6, 5, 3, padding=1), nn.InstanceNorm2d(5, affine=True, track_running_stats=True))
    return nn.Sequential(*first, *second, *third, *_classifier(5))


@PATTERNS.add("instance norm in a residual stream", growable=("0", "2.0", "2.3"))
def style_transfer() -> nn.Module:
    """CycleGAN: padding by reflection, residual blocks, transposed convolutions."""

    class Residual(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return x + super().forward(x)

    conv = (nn.ReflectionPad2d(1), nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4), nn.ReLU(True))
    block = Residual(nn.Conv2d(4, 6, 3, padding=1), nn.InstanceNorm2d(6), nn.ReLU(True), nn.Conv2d(6, 4, 1))
    up = (nn.ConvTranspose2d(4, 5, 3, 2, 1, output_padding=1), nn.InstanceNorm2d(5), nn.ReLU(True))
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), block, *conv, *up, nn.Conv2d(5, 3, 1), nn.Tanh())


@PATTERNS.add("halves with norms of their own", growable=("after",), unlisted=("norm.instance", "norm.batch"))
class HalvesWithNorms(nn.Module):
    """IBN: an instance norm for the first half of the channels and a batch norm for the rest."""

    class Norm(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.sizes = [channels // 2, channels - channels // 2]
            self.instance, self.batch = nn.InstanceNorm2d(self.sizes[0], affine=True), nn.BatchNorm2d(self.sizes[1])

        def forward(self, x: Tensor) -> Tensor:
            first, second = torch.split(x, self.sizes, dim=1)
            return torch.cat((self.instance(first.contiguous()), self.batch(second.contiguous())), dim=1)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.after, self.head = (
            nn.Conv2d(3, 8, 3),
            self.Norm(8),
            nn.Conv2d(8, 5, 3),
            nn.Linear(5, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.after(torch.relu(self.norm(self.stem(x))))).mean((2, 3)))


@PATTERNS.add("norm over neighbours", growable=("2",), fixed={"0": ""})
def local_response_norm() -> nn.Module:
    """AlexNet: each channel divided by what its neighbours hold."""
    body = (nn.Conv2d(3, 6, 3), nn.LocalResponseNorm(3, alpha=1.0), nn.Conv2d(6, 5, 3), nn.ReLU())
    return nn.Sequential(*body, *_classifier(5))


@PATTERNS.add("maxima over neighbours", growable=("stem", "after"), fixed={"conv": ""})
class MaximaOverNeighbours(nn.Module):
    """Channels pooled with those beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.after = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 6, 3), nn.Conv2d(6, 5, 1)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.relu(self.stem(x))).permute(0, 2, 3, 1)
        x = functional.max_pool2d(x, (1, 3), stride=1, padding=(0, 1)).permute(0, 3, 1, 2)
        return self.head(torch.relu(self.after(x)).mean((2, 3)))


@PATTERNS.add("group norm", growable=("0", "3", "6"))
def group_norm() -> nn.Module:
    """Norms over several groups of channels."""
    first = (nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.ReLU())
    second = (nn.Conv2d(8, 6, 3, padding=1), nn.GroupNorm(2, 6, affine=False), nn.ReLU())
    return nn.Sequential(*first, *second, nn.Conv2d(6, 5, 1), nn.GroupNorm(5, 5), nn.ReLU(), *_classifier(5))


@PATTERNS.add("group norm of one group", growable=("0", "4"), fixed={"2": "statistics"}, unlisted=("3",))
def group_norm_of_one_group() -> nn.Module:
    body = (nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 6, 3), nn.GroupNorm(1, 6), nn.Conv2d(6, 5, 1), nn.ReLU())
    return nn.Sequential(*body, *_classifier(5))


@PATTERNS.add("group norm in a residual stream", growable=("stem", "conv"))
class GroupNormStream(nn.Module):
    """ResNet with group norms, as in diffusion models."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm1, self.conv = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.GroupNorm(3, 6),
            nn.Conv2d(6, 8, 3, padding=1),
        )
        self.norm2, self.back = nn.GroupNorm(4, 8), nn.Conv2d(8, 6, 3, padding=1)
        self.out = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.back(functional.silu(self.norm2(self.conv(functional.silu(self.norm1(x))))))
        return self.out(functional.silu(x))


class ConvNextBlock(nn.Module):
    """Depthwise, layer norm over channels, an inner layer, and a gain for each channel."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.LayerNorm(channels)
        self.inner, self.back = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.gain = nn.Parameter(torch.linspace(0.1, 0.5, channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        out = self.gain * self.back(functional.gelu(self.inner(out)))
        return x + out.permute(0, 3, 1, 2)


@PATTERNS.add(
    "convnext",
    growable=("1.inner", "2.inner"),
    fixed={"0": "statistics"},
    unlisted=("1", "2", *(f"{block}.{layer}" for block in (1, 2) for layer in ("depthwise", "norm", "back"))),
)
def convnext() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 2, 2), ConvNextBlock(6, 12), ConvNextBlock(6, 12), *_classifier(6))


@PATTERNS.add("batch norm without gains or statistics", growable=("0", "3", "6"))
def plain_batch_norm() -> nn.Module:
    first = (nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5, affine=False), nn.ReLU())
    second = (nn.Conv2d(5, 6, 3, bias=False), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU())
    third = (nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4, affine=False, track_running_stats=False))
    return nn.Sequential(*first, *second, *third, *_classifier(4))


@PATTERNS.add("slopes", growable=("0", "2", "4"))
def slopes() -> nn.Module:
    """PReLU with one slope for all channels, and with one for each."""
    body = (nn.Conv2d(3, 5, 3), nn.PReLU(), nn.Conv2d(5, 6, 3), nn.PReLU(6), nn.Conv2d(6, 4, 1), nn.PReLU(4))
    return nn.Sequential(*body, *_classifier(4))


@PATTERNS.add("stochastic depth", growable=("stem.0", "blocks.0.0", "blocks.1.0"), random_in_training=True)
class StochasticDepth(nn.Module):
    """Blocks that are skipped at random while training, and scaled afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = conv_norm(3, 5), nn.Linear(5, 4)
        self.blocks = nn.ModuleList(nn.Sequential(*conv_norm(5, 6), nn.ReLU(), *conv_norm(6, 5)) for _ in range(2))
        self.survival = (0.9, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for block, survival in zip(self.blocks, self.survival, strict=True):
            if not self.training:
                x = x + survival * block(x)
            elif torch.rand(()) < survival:
                x = x + block(x)
        return self.head(x.mean((2, 3)))


@PATTERNS.add("logits as means of maps", growable=("0", "2"), fixed={"4": "output"})
def mean_of_maps() -> nn.Module:
    """A fully convolutional classifier."""
    body = (nn.Conv2d(3, 5, 3), nn.ELU(), nn.Conv2d(5, 6, 3), nn.Softplus(), nn.Conv2d(6, 4, 1))
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@PATTERNS.add("maxout", (5,), growable=("first", "second"))
class Maxout(nn.Module):
    """The larger of two units each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 12), nn.Linear(6, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = layer(x)
            x = x.view(x.size(0), x.size(1) // 2, 2).max(2)[0]
        return self.head(x)


@PATTERNS.add("gated linear units", growable=("conv1", "conv2", "conv3"))
class GatedLinearUnits(nn.Module):
    """Half of the channels gate the other half, in three ways to write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 8, 3), nn.Conv2d(4, 12, 3), nn.Conv2d(6, 10, 1)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.glu(self.conv1(x), dim=1)
        values, gates = self.conv2(x).chunk(2, dim=1)
        x = self.conv3(values * torch.sigmoid(gates))
        half = x.shape[1] // 2
        return self.head((x[:, :half] * functional.gelu(x[:, half:])).mean((2, 3)))


@PATTERNS.add("highway", (6,), growable=("stem", "gate", "change"))
class Highway(nn.Module):
    """Gates choose between a layer and its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.change = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        gate = torch.sigmoid(self.gate(x))
        return self.head(gate * torch.tanh(self.change(x)) + (1.0 - gate) * x)


@PATTERNS.add("mixture of experts", (6,), growable=("experts.0.0", "experts.1.0", "experts.2.2"))
class Mixture(nn.Module):
    """A softmax over experts weighs their outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)) for _ in range(3))
        self.router, self.head = nn.Linear(6, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        weights = functional.softmax(self.router(x), dim=-1)
        outputs = torch.stack([expert(x) for expert in self.experts], dim=-1)
        return self.head(torch.relu((outputs * weights.unsqueeze(1)).sum(-1)))
