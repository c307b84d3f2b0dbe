"""Checking that something has looked at a network and left no trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Values, tensor objects, gradients, modes, hooks and the random state are inside as after, failing or not."""
    tensors = {name: (tensor, tensor.detach().clone()) for name, tensor in module.state_dict(keep_vars=True).items()}
    gradients = [None if entry.grad is None else entry.grad.clone() for entry in module.parameters()]
    flags = [entry.requires_grad for entry in module.parameters()]
    modes = [layer.training for layer in module.modules()]
    hooks = [[list(getattr(layer, kind)) for kind in HOOKS] for layer in module.modules()]
    random_state = torch.random.get_rng_state()
    try:
        yield
    finally:
        after = module.state_dict(keep_vars=True)
        assert list(after) == list(tensors)
        assert all(after[name] is tensor and torch.equal(tensor, value) for name, (tensor, value) in tensors.items())
        for entry, gradient in zip(module.parameters(), gradients, strict=True):
            assert entry.grad is None if gradient is None else torch.equal(entry.grad, gradient)
        assert [entry.requires_grad for entry in module.parameters()] == flags
        assert [layer.training for layer in module.modules()] == modes
        assert [[list(getattr(layer, kind)) for kind in HOOKS] for layer in module.modules()] == hooks
        assert torch.equal(torch.random.get_rng_state(), random_state)
