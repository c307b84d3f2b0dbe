"""Patterns that lie in how a network is written: own parameters, functional calls, shared layers, parametrizations."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tests.network.patterns import Patterns, conv_norm

PATTERNS = Patterns()


@PATTERNS.add("layer used twice", growable=("stem.0", "shared"))
class UsedTwice(nn.Module):
    """A convolution and a norm that run several times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.norm = conv_norm(3, 6), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for _ in range(3):
            x = torch.relu(self.norm(self.shared(x)) + x)
        return self.head(x.mean((2, 3)))


@PATTERNS.add("layer used on two inputs", (2, 6), growable=("shared.0", "shared.2", "compare"))
class Siamese(nn.Module):
    """One tower for both of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5))
        self.compare, self.head = nn.Linear(15, 6), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = (self.shared(entry) for entry in x.unbind(1))
        joined = torch.cat([left, right, (left - right).abs()], dim=1)
        return self.head(torch.tanh(self.compare(joined))).squeeze(1)


@PATTERNS.add("tied weights", (6,), growable=("stem", "last"))
class TiedWeights(nn.Module):
    """Two linear layers with one weight and biases of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.last, self.head = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(torch.relu(self.stem(x))))))
        return self.head(torch.relu(self.last(x)))


@PATTERNS.add("tied autoencoder", (6,), growable=("encode",))
class TiedAutoencoder(nn.Module):
    """A decoder that uses the encoder's weight transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.bias = nn.Linear(6, 4), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(torch.relu(self.encode(x)), self.encode.weight.t(), self.bias)


@PATTERNS.add("own scales", growable=("stem", "conv"))
class OwnScales(nn.Module):
    """Gains and biases that a network keeps by itself, in several shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 6, 3), nn.Linear(6, 4)
        self.gain, self.bias = nn.Parameter(torch.randn(1, 5, 1, 1)), nn.Parameter(torch.randn(6))
        self.strength = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x) * self.gain) * self.strength
        return self.head((self.conv(x) + self.bias.view(1, -1, 1, 1)).sigmoid().mean((2, 3)))


@PATTERNS.add("constants for each channel", growable=("last.0",))
class ChannelConstants(nn.Module):
    """Buffers with an entry for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last, self.head = nn.Conv2d(3, 5, 3), conv_norm(5, 6), nn.Linear(6, 4)
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 1.0, 0.5]).view(1, 5, 1, 1))
        self.register_buffer("offset", torch.linspace(-1, 1, 5).view(5, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.last(torch.relu(self.stem(x) + self.offset) * self.mask)).mean((2, 3)))


@PATTERNS.add("fixed filters", growable=("stem", "last"))
class BlurPool(nn.Module):
    """A constant filter applied to every channel by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 6, 3), nn.Linear(6, 4)
        self.register_buffer("kernel", torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        kernel = self.kernel.expand(x.size(1), 1, 3, 3)
        x = functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=x.size(1))
        return self.head(torch.relu(self.last(x)).flatten(2).amax(-1))


@PATTERNS.add("functional calls", growable=("filters", "weight"))
class Functional(nn.Module):
    """Functions of PyTorch with parameters of the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.filters, self.filter_bias = nn.Parameter(torch.randn(5, 3, 3, 3) * 0.3), nn.Parameter(torch.randn(5))
        self.register_buffer("mean", torch.randn(5))
        self.register_buffer("variance", torch.rand(5) + 0.5)
        self.weight, self.bias = nn.Parameter(torch.randn(7, 20)), nn.Parameter(torch.randn(7))
        self.out = nn.Parameter(torch.randn(7, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.filters, self.filter_bias, stride=2)
        x = functional.relu(functional.batch_norm(x, self.mean, self.variance))
        x = functional.adaptive_max_pool2d(x, 2).reshape(x.shape[0], -1)
        return torch.tanh(functional.linear(x, self.weight, self.bias)) @ self.out


@PATTERNS.add("sums of products", (5, 6), growable=("first", "second"))
class Einsum(nn.Module):
    """Products written as Einstein sums."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(6, 7)), nn.Parameter(torch.randn(8, 7))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(torch.einsum("btc,cd->btd", x, self.first))
        return self.head(torch.relu(torch.einsum("btd,ed->bte", x, self.second)).mean(1))


@PATTERNS.add("spectral norm", growable=("last",), fixed={"stem": ""}, unlisted=("stem.parametrizations.weight",))
class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = parametrizations.spectral_norm(nn.Conv2d(3, 5, 3))
        self.last, self.head = nn.Conv2d(5, 6, 3), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.last(torch.relu(self.stem(x)))).mean((2, 3)))


PARAMETRIZED = ("stem.parametrizations.weight", "middle.parametrizations.weight")


@PATTERNS.add("weight norm", (6,), growable=("last",), unlisted=("stem", "middle", *PARAMETRIZED))
class WeightNorm(nn.Module):
    """A weight as directions and lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = parametrizations.weight_norm(nn.Linear(6, 5))
        self.middle = parametrizations.weight_norm(nn.Linear(5, 7))
        self.last, self.head = nn.Linear(7, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.last(torch.relu(self.middle(torch.relu(self.stem(x)))))))


@PATTERNS.add("standardized weights", growable=("conv", "last.0"), fixed={"stem": "mean"})
class StandardizedWeights(nn.Module):
    """A convolution whose weights are normalized for each output channel."""

    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            mean = self.weight.mean(dim=(1, 2, 3), keepdim=True)
            deviation = self.weight.var(dim=(1, 2, 3), keepdim=True, unbiased=False).add(1e-5).sqrt()
            return self._conv_forward(x, (self.weight - mean) / deviation, self.bias)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = self.Standardized(3, 5, 3), self.Standardized(5, 6, 3)
        self.last, self.head = conv_norm(6, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.last(torch.relu(self.conv(torch.relu(self.stem(x)))))).mean((2, 3)))


@PATTERNS.add("binarized weights", growable=("stem", "last"))
class BinarizedWeights(nn.Module):
    """Signs of weights, with one scale for all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last, self.head = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 6, 3), nn.Linear(6, 4)
        self.binary = nn.Conv2d(6, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.last(torch.relu(self.stem(x))))
        x = torch.relu(functional.conv2d(x, torch.sign(self.binary.weight) * 0.1))
        return self.head(x.repeat_interleave(2, dim=1)[:, :6].mean((2, 3)))


@PATTERNS.add("constant width in the code", (6,), growable=("free",), fixed={"counted": ""})
class ConstantWidth(nn.Module):
    """Code that has the width of a layer written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.counted, self.head = nn.Linear(6, 7), nn.Linear(7, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.counted(torch.relu(self.free(x)))) * torch.ones(5)
        return self.head(x)


@PATTERNS.add("paths that depend on widths", growable=("stem.0", "last.0"), unlisted=("project.0", "project.1"))
class DependsOnWidths(nn.Module):
    """A projection that runs only where the numbers of channels differ."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.last = conv_norm(3, 6), conv_norm(6, 6), conv_norm(6, 5)
        self.project, self.filters, self.head = conv_norm(6, 6, 1), 6, nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        out = self.conv(x)
        if x.size(1) != out.size(1):
            x = self.project(x)
        return self.head(torch.relu(self.last(torch.relu(out + x))).mean((2, 3)))


class Octave(nn.Conv2d):
    """A convolution from and to maps of two resolutions."""

    def __init__(self, inputs: int, outputs: int, low_inputs: int, low_outputs: int) -> None:
        super().__init__(inputs + low_inputs, outputs + low_outputs, 3, padding=1, bias=False)
        self.split, self.low_split = outputs, inputs

    def forward(self, maps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        (high, low), (weight, low_weight) = maps, (self.weight[: self.split], self.weight[self.split :])
        from_low = functional.conv2d(low, weight[:, self.low_split :], padding=1)
        to_high = functional.conv2d(high, weight[:, : self.low_split], padding=1) + functional.interpolate(
            from_low, None, 2
        )
        pooled = functional.conv2d(functional.avg_pool2d(high, 2), low_weight[:, : self.low_split], padding=1)
        return torch.relu(to_high), torch.relu(
            pooled + functional.conv2d(low, low_weight[:, self.low_split :], padding=1)
        )


@PATTERNS.add("layers of several maps", growable=("stem",), unlisted=("octave",))
class OctaveNetwork(nn.Module):
    """Octave convolutions: layers that take and return tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.low, self.octave = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1), Octave(4, 5, 3, 4)
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        high, low = self.octave((x, self.low(functional.avg_pool2d(x, 2))))
        return self.head(torch.cat([high.mean((2, 3)), low.mean((2, 3))], 1))


@PATTERNS.add("layers called by keyword", (6,), growable=("first", "second"))
class CalledByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(input=self.first(input=x)))
        return self.head(input=torch.relu(input=self.second(input=x)))


class _Reversible(torch.autograd.Function):
    """Computes two residual branches and frees its inputs; they are restored on the way back."""

    @staticmethod
    def forward(context, x, first, second, *parameters):
        left, right = torch.chunk(x, 2, dim=1)
        left, right = left.contiguous(), right.contiguous()
        with torch.no_grad():
            new_left = left + first(right)
            left.set_()
            new_right = right + second(new_left)
            right.set_()
        context.first, context.second = first, second
        context.save_for_backward(new_left, new_right)
        return torch.cat([new_left, new_right], dim=1)

    @staticmethod
    def backward(context, gradient):
        return gradient, None, None, *(None for _ in [*context.first.parameters(), *context.second.parameters()])


@PATTERNS.add("own backward pass", growable=("last",), unlisted=("first", "second"))
class Reversible(nn.Module):
    """RevNet: a function with a backward pass of its own, which frees tensors while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 4)
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        parameters = (*self.first.parameters(), *self.second.parameters())
        x = _Reversible.apply(torch.relu(self.stem(x)), self.first, self.second, *parameters)
        return self.head(torch.relu(self.last(x)).mean((2, 3)))


@PATTERNS.add("scripted block", growable=("first", "last"), unlisted=("block.0", "block.1"))
def scripted_block() -> nn.Module:
    """A network of which PyTorch has compiled one block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        block = torch.jit.script(nn.Sequential(nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU()))
    network = nn.Sequential()
    for name, layer in (
        *(("first", nn.Conv2d(3, 6, 3)), ("relu", nn.ReLU()), ("second", nn.Conv2d(6, 5, 1)), ("block", block)),
        *(("third", nn.Conv2d(5, 4, 1)), ("tanh", nn.Tanh()), ("last", nn.Conv2d(4, 6, 3)), ("flatten", nn.Flatten())),
        ("head", nn.Linear(6 * 16, 3)),
    ):
        network.add_module(name, layer)
    return network
