"""Every stock optimizer that can be built from parameters alone, and short training with it."""

import copy

import torch
from torch import nn

from autogrow.network import ExpandableNetwork
from tests.network.networks import built_in

LEARNING_RATE = 0.01
ADAMS = {
    "adam": lambda p: torch.optim.Adam(p, LEARNING_RATE, foreach=False),
    "adam, foreach": lambda p: torch.optim.Adam(p, LEARNING_RATE, foreach=True),
    "adam, fused": lambda p: torch.optim.Adam(p, LEARNING_RATE, fused=True),
    "adam, amsgrad": lambda p: torch.optim.Adam(p, LEARNING_RATE, amsgrad=True),
    "adam, maximize": lambda p: torch.optim.Adam(p, LEARNING_RATE, maximize=True),
    "adam, large eps": lambda p: torch.optim.Adam(p, LEARNING_RATE, eps=0.1, betas=(0.8, 0.99)),
    "adamw": lambda p: torch.optim.AdamW(p, LEARNING_RATE, weight_decay=0.5),
    "adamw, fused amsgrad": lambda p: torch.optim.AdamW(p, LEARNING_RATE, fused=True, amsgrad=True),
}
AGED = {
    **ADAMS,
    "radam": lambda p: torch.optim.RAdam(p, LEARNING_RATE),
    "adamax": lambda p: torch.optim.Adamax(p, LEARNING_RATE),
}
OPTIMIZERS = {
    **AGED,
    "sgd": lambda p: torch.optim.SGD(p, LEARNING_RATE),
    "sgd, momentum and decay": lambda p: torch.optim.SGD(p, LEARNING_RATE, momentum=0.9, weight_decay=0.1),
    "sgd, nesterov, fused": lambda p: torch.optim.SGD(p, LEARNING_RATE, momentum=0.9, nesterov=True, fused=True),
    "nadam": lambda p: torch.optim.NAdam(p, LEARNING_RATE),
    "rmsprop": lambda p: torch.optim.RMSprop(p, LEARNING_RATE, momentum=0.5, weight_decay=0.1, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, LEARNING_RATE, weight_decay=0.1),
    "adagrad, fused": lambda p: torch.optim.Adagrad(p, LEARNING_RATE, initial_accumulator_value=0.1, fused=True),
    "adadelta": lambda p: torch.optim.Adadelta(p, LEARNING_RATE, weight_decay=0.1),
    "asgd": lambda p: torch.optim.ASGD(p, LEARNING_RATE),
    "rprop": lambda p: torch.optim.Rprop(p, LEARNING_RATE),
    "adafactor": lambda p: torch.optim.Adafactor(p, LEARNING_RATE),
    "lbfgs": lambda p: torch.optim.LBFGS(p, LEARNING_RATE, max_iter=3),
    "muon": lambda p: torch.optim.Muon(p, LEARNING_RATE),
}

WITH_DECAY = {
    "sgd": lambda p: torch.optim.SGD(p, LEARNING_RATE, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, LEARNING_RATE, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, LEARNING_RATE, weight_decay=0.5, fused=True),
}


def plain_sgd(parameters):
    return torch.optim.SGD(parameters, LEARNING_RATE)


def matrices_only():
    """A network without vectors (Muon takes matrices only), and a batch for it."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 4, bias=False))
    return module, torch.randn(6, 5, generator=torch.Generator().manual_seed(1))


def trained(name, steps=6, network="mlp"):
    """A growing network, its optimizer after some steps, and the batch."""
    module, batch = matrices_only() if name == "muon" else built_in(network)
    growing = ExpandableNetwork(module, batch, verify=False)
    optimizer = OPTIMIZERS[name](list(module.parameters()))
    growing.attach(optimizer)
    train(module, optimizer, batch, steps)
    return growing, optimizer, batch


def configured(make, network="mlp", steps=6, **configuration):
    """The same for any optimizer, and its control, configured from the start."""
    module, batch = built_in(network)
    growing = ExpandableNetwork(module, batch, verify=False)
    optimizer = make(list(module.parameters()))
    control = growing.attach(optimizer)
    control.configure(**configuration)
    train(module, optimizer, batch, steps)
    return growing, optimizer, control, batch


def train(module, optimizer, batch, steps):
    def closure():
        optimizer.zero_grad()
        loss = (module(batch) - 1).square().mean()
        loss.backward()
        return loss

    module.train()
    for _ in range(steps):
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()


def push(module, optimizer, gradient, steps=1):
    """Steps with the same gradient everywhere: Adam's are then one learning rate each, whatever its size."""
    for _ in range(steps):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()


def widen_all(growing, optimizer, **options):
    return growing.widen_groups(
        {group.name: max(1, group.full_width // 2) for group in growing.groups}, optimizer=optimizer, **options
    )


def old_block(tensor, shape):
    return tensor[tuple(slice(0, size) for size in shape)]


def values_of(module):
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def everything(growing, optimizer):
    """All that training depends on, copied."""
    return copy.deepcopy(
        {
            "network": growing.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "cohorts": growing.cohorts.state_dict(),
            "control": growing.attach(optimizer).state_dict(),
        }
    )


def same(one, other):
    """Whether two nested containers hold the same values, tensors compared bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
