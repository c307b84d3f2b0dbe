"""Networks that tests grow: every built-in one, small, and shapes that users' own networks have."""

import torch
from torch import Tensor, nn

from autogrow.models.building import ModelSpec, build_model

BUILT_IN = {
    "mlp": (ModelSpec("mlp", {"hidden": (12, 8)}), (1, 6, 6)),
    "mlp without norm": (ModelSpec("mlp", {"hidden": (10,), "batch_norm": False}), (5,)),
    "convnet": (ModelSpec("convnet", {"channels": (6, 8), "hidden": 12}), (1, 12, 12)),
    "resnet": (ModelSpec("resnet", {"depth": 14, "width": 6}), (3, 16, 16)),
    "resnet of 60 layers": (ModelSpec("resnet", {"depth": 62, "width": 4}), (3, 8, 8)),
    "resnet18": (ModelSpec("resnet18", {"width": 4}), (3, 16, 16)),
}


def built_in(name: str) -> tuple[nn.Module, Tensor]:
    """A built-in network whose norms have seen data, and a batch for it."""
    spec, shape = BUILT_IN[name]
    return warmed_up(build_model(spec, shape, num_outputs=7, seed=0)), batch_of(shape)


def batch_of(shape: tuple[int, ...], size: int = 6) -> Tensor:
    return torch.randn((size, *shape), generator=torch.Generator().manual_seed(1))


def warmed_up(model: nn.Module) -> nn.Module:
    """Norm gains, biases and running statistics away from their defaults, so that nothing is exact by accident."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


class Inception(nn.Module):
    """Branches joined by concatenation: new units belong inside the reader's input, not at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 1)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.reader = nn.Conv2d(10, 5, 3)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], dim=1)
        return self.head(torch.relu(self.reader(joined)).mean((2, 3)))


class Depthwise(nn.Module):
    """A separable convolution: the depthwise layer's inputs are its units."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.PReLU(8)
        self.project = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4 * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(self.act(self.norm(self.depthwise(self.expand(x)))))
        return self.head(torch.relu(x).flatten(1))


class Decoder(nn.Module):
    """A transposed convolution and a convolution over sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv1d(2, 6, 3, padding=1)
        self.decode = nn.ConvTranspose1d(6, 5, 2, stride=2)
        self.out = nn.Conv1d(5, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.decode(torch.relu(self.encode(x)))))


class Mixed(nn.Module):
    """One hidden layer that can grow between groups that cannot: a layer norm, tied weights, a softmax over units."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.free = nn.Linear(6, 8)
        self.gated = nn.Linear(8, 5)
        self.reader = nn.Linear(5, 5)
        self.tied_a = nn.Linear(5, 5)
        self.tied_b = nn.Linear(5, 5)
        self.tied_b.weight = self.tied_a.weight
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.free(torch.relu(self.norm(self.normed(x)))))
        x = torch.relu(self.reader(torch.softmax(self.gated(x), dim=1)))
        return self.head(torch.relu(self.tied_b(torch.relu(self.tied_a(x)))))


USER_NETWORKS = {
    "concatenation": (Inception, (3, 8, 8)),
    "depthwise": (Depthwise, (3, 6, 6)),
    "transposed": (Decoder, (2, 9)),
}


def user_network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    kind, shape = USER_NETWORKS[name]
    return warmed_up(kind()), batch_of(shape)
