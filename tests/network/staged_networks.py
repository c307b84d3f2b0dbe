"""Networks with stages: rows of residual blocks in the shapes that users write them in."""

import math
from collections import OrderedDict
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from autogrow.network import ExpandableNetwork
from tests.network.networks import batch_of, built_in, warmed_up


class PreAct(nn.Module):
    """He et al. 2016, arXiv 1603.05027: norms and ReLUs before the convolutions, nothing after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        return self.conv2(torch.relu(self.bn2(self.conv1(y)))) + shortcut


class Bottleneck(nn.Module):
    """Narrow, 3 x 3 in groups, wide; in-place ReLUs."""

    def __init__(self, inputs: int, inner: int, outputs: int, groups: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, 1, 1, groups=groups, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True),
            nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.shortcut(x))


class ChannelsFirstNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Liu et al. 2022, arXiv 2201.03545: depthwise convolution, layer norm, two linear layers, a layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), 0.1))
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen, self.back = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.back(nn.functional.gelu(self.widen(y)))
        return x + y.permute(0, 3, 1, 2)


class Inverted(nn.Module):
    """Sandler et al. 2018, arXiv 1801.04381: residual only where the shape stays, with squeeze-excitation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = 2 * inputs
        self.expand = nn.Sequential(nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6())
        self.depthwise = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.squeeze, self.excite = nn.Conv2d(inner, 3, 1), nn.Conv2d(3, inner, 1)
        self.project = nn.Sequential(nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        y = y * torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + self.project(y) if self.is_residual else self.project(y)


class Residual(nn.Module):
    """x + f(x), f without norms."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class Gated(Residual):
    """x + a f(x) with a = 0 at the start (Bachlechner et al. 2020, arXiv 2003.04887)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__(width, inner)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * self.f(x)


class Attention(nn.Module):
    """A transformer block with norms first: two residual branches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2, self.mlp = (
            nn.LayerNorm(width),
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)),
        )

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        y = self.norm1(x) * scale
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class InTurn(nn.Module):
    """Blocks in a list that `forward` runs in turn, with another argument."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = nn.Linear(5, 8), nn.ModuleList(blocks), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, scale=0.5)
        return self.head(x.mean(1))


class Images(nn.Module):
    """A stem, stages, and a head; what is between them keeps its channels."""

    def __init__(self, *stages: nn.Module, channels: int, width: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.body = nn.Module()
        self.body.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body.stages(torch.relu(self.norm(self.stem(x)))).mean((2, 3)))


def preact() -> nn.Module:
    stages = (nn.Sequential(PreAct(4, 4), PreAct(4, 4)), nn.Sequential(PreAct(4, 6, 2), PreAct(6, 6), PreAct(6, 6)))
    return Images(*stages, channels=4, width=6)


def bottleneck() -> nn.Module:
    first = nn.Sequential(Bottleneck(4, 3, 8), Bottleneck(8, 3, 8))
    return Images(first, nn.Sequential(Bottleneck(8, 4, 10), Bottleneck(10, 4, 10)), channels=4, width=10)


def resnext() -> nn.Module:
    return Images(nn.Sequential(Bottleneck(4, 6, 8, 3), Bottleneck(8, 6, 8, 3)), channels=4, width=8)


def convnext() -> nn.Module:
    first = nn.Sequential(ConvNeXt(6), ConvNeXt(6))
    down = nn.Sequential(ChannelsFirstNorm(6), nn.Conv2d(6, 8, 2, 2))
    return Images(first, nn.Sequential(down, ConvNeXt(8), ConvNeXt(8)), channels=6, width=8)


def inverted() -> nn.Module:
    blocks = nn.Sequential(Inverted(4, 6, 2), Inverted(6, 6, 1), Inverted(6, 6, 1))
    return Images(blocks, channels=4, width=6)


def residual_mlp() -> nn.Module:
    trunk = nn.ModuleDict({"rows": nn.Sequential(Residual(6, 9), Residual(6, 9))})
    model = nn.Sequential(OrderedDict(stem=nn.Linear(5, 6), trunk=nn.Sequential(trunk["rows"]), head=nn.Linear(6, 3)))
    return model


def gated_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Sequential(Gated(6, 9), Gated(6, 9)), nn.Linear(6, 3))


def list_of_attention() -> nn.Module:
    return InTurn(Attention(8), Attention(8))


def after_a_stem() -> nn.Module:
    """Other layers lead the row; its blocks have names."""
    row = OrderedDict(conv=nn.Conv2d(3, 6, 3), norm=nn.BatchNorm2d(6), act=nn.ReLU())
    row |= {f"block{number}": Bottleneck(6, 4, 6) for number in (1, 2, 3)}
    return nn.Sequential(nn.Sequential(row), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def of_different_widths() -> nn.Module:
    """Blocks that are not alike."""
    return nn.Sequential(nn.Linear(5, 6), nn.Sequential(Residual(6, 9), Residual(6, 4), Gated(6, 7)), nn.Linear(6, 3))


IMAGE = (3, 8, 8)


class NumberedRow(nn.Module):
    """A container of somebody's own making, whose children are numbered from 1."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        for number, block in enumerate(blocks, start=1):
            self.add_module(f"b{number}", block)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.children():
            x = block(x)
        return x


def numbered() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), NumberedRow(*(Residual(6, 9) for _ in range(3))), nn.Linear(6, 3))


STAGED = {
    "preact": (preact, IMAGE, {"body.stages.0": 2, "body.stages.1": 3}),
    "bottleneck": (bottleneck, IMAGE, {"body.stages.0": 2, "body.stages.1": 2}),
    "resnext": (resnext, IMAGE, {"body.stages.0": 2}),
    "convnext": (convnext, IMAGE, {"body.stages.0": 2, "body.stages.1": 3}),
    "inverted residuals": (inverted, IMAGE, {"body.stages.0": 3}),
    "residual mlp": (residual_mlp, (5,), {"trunk.0": 2}),
    "gated mlp": (gated_mlp, (5,), {"1": 2}),
    "attention in a list": (list_of_attention, (4, 5), {"blocks": 2}),
    "after a stem": (after_a_stem, IMAGE, {"0": 3}),
    "numbered children": (numbered, (5,), {"1": 3}),
    "different widths": (of_different_widths, (5,), {"1": 3}),
}
BUILT_IN_STAGES = {
    "resnet": {"stages.0": 2, "stages.1": 2, "stages.2": 2},
    "resnet18": {"stages.0": 2, "stages.1": 2, "stages.2": 2, "stages.3": 2},
}
EXPECTED_STAGES = {**BUILT_IN_STAGES, **{name: stages for name, (_, _, stages) in STAGED.items()}}


def staged_network(name: str) -> tuple[nn.Module, Tensor]:
    """A network whose norms have seen data, and a batch for it."""
    if name in BUILT_IN_STAGES:
        return built_in(name)
    build, shape, _ = STAGED[name]
    torch.manual_seed(0)
    return warmed_up(build()), batch_of(shape)


every_network = pytest.mark.parametrize("name", EXPECTED_STAGES)


@cache
def found(name):
    module, batch = staged_network(name)
    growing = ExpandableNetwork(module, batch, verify=False)
    assert growing.stages
    return growing, batch


def growing_network(name="resnet", widths=None):
    """A network whose stages have been found, and a batch."""
    growing, batch = found(name)[0].twin(), found(name)[1]
    if widths is not None:
        growing.start_small({group.name: math.ceil(widths * group.width) for group in growing.groups})
    return growing, batch


def outputs(module, batch):
    """In eval and in train mode; modes and running statistics are left as they were."""
    modes = {layer: layer.training for layer in module.modules()}
    buffers = {buffer: buffer.clone() for buffer in module.buffers()}
    with torch.no_grad():
        found = [module.train(training)(batch) for training in (False, True)]
        for buffer, value in buffers.items():
            buffer.copy_(value)
    for layer, mode in modes.items():
        layer.training = mode
    return found


def assert_close(after, before):
    for new, old in zip(after, before, strict=True):
        assert float((new - old).abs().max() / old.abs().max().clamp(min=1)) <= 1e-5


def one_more(growing):
    return dict.fromkeys(growing.blocks, 1)


def described(structure):
    """Everything in a structure that grows, in its order, but for full widths."""
    return {
        "groups": [(group.name, group.width, group.members) for group in structure.groups.values()],
        "tensors": list(structure.tensors.items()),
        "attributes": sorted(
            [entry.attribute.layer, entry.attribute.name, str(entry.layout)] for entry in structure.attributes
        ),
        "norm_of": dict(structure.norm_of),
        "fixed": set(structure.fixed),
    }
