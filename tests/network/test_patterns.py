"""Groups are found, and grow exactly, in small modules shaped like the architectures that are published."""

import copy

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from autogrow.network import ExpandableNetwork
from tests.network import (
    patterns_convolutional,
    patterns_gated,
    patterns_mobile,
    patterns_sequence,
    patterns_written_out,
)

FILES = (patterns_convolutional, patterns_mobile, patterns_gated, patterns_sequence, patterns_written_out)
PATTERNS = {name: pattern for file in FILES for name, pattern in file.PATTERNS.items()}
OUTPUT = "network's output"
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
ALSO_FIXED = {
    "padded shortcut": ["3.conv2.0"],
    "spatial attention": ["spatial"],
    "mixture of experts": ["router"],
    "vision transformer": ["token"],
    "norm by root mean square": ["gain"],
    "tied embedding": ["embedding", "back"],
    "graph": ["neighbours"],
    "layer used on two inputs": ["head"],
    "binarized weights": ["binary"],
}
"""Groups that cannot grow under names that stand in no pattern: parts of layers, or tensors of a module's own."""


def test_names_are_not_used_twice():
    assert len(PATTERNS) == sum(len(file.PATTERNS) for file in FILES)


@pytest.fixture(scope="module", params=PATTERNS)
def name(request):
    """Of a pattern. The tests of one pattern run after each other, so that its groups are found once."""
    return request.param


@pytest.fixture(scope="module")
def found(name):
    """The network whose groups have been found; copy it before changing it."""
    return ExpandableNetwork(PATTERNS[name].module(), PATTERNS[name].batch())


def changeable(found, name):
    """A copy; found anew where PyTorch's copies cannot learn, as with compiled modules."""
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in found.module.modules()):
        return ExpandableNetwork(PATTERNS[name].module(), PATTERNS[name].batch())
    return copy.deepcopy(found)


def outputs(module, batch, training):
    """All output tensors in train or eval mode; running statistics and other buffers are left as they were."""
    twin = copy.deepcopy(module).train(training)
    with torch.no_grad():
        return [leaf for leaf in tree_leaves(twin(batch)) if isinstance(leaf, Tensor)]


def assert_close(after, before, what):
    assert len(after) == len(before)
    for new, old in zip(after, before, strict=True):
        assert new.shape == old.shape, what
        change = float((new - old).abs().max() / old.abs().max().clamp(min=1))
        assert change <= 1e-5, (what, change)


def with_gradient(module, batch):
    """Names of the parameters that a training step reaches; the gradients stay."""
    torch.manual_seed(3)
    sum(leaf.square().mean() for leaf in tree_leaves(module.train()(batch))).backward()
    return {key for key, parameter in module.named_parameters() if parameter.grad is not None}


def modes(name):
    return (False,) if PATTERNS[name].random_in_training else (False, True)


def layer_of(group):
    """The layer that a group is named after."""
    return group.name.split("[")[0].split("#")[0]


def different_numbers(growing):
    return {group.name: 1 + index % 3 for index, group in enumerate(growing.groups)}


@pytest.mark.slow
def test_finding_groups_leaves_the_network_alone(name):
    module, batch = PATTERNS[name].module(), PATTERNS[name].batch()
    module.train()
    for layer in list(module.children())[-1:]:
        layer.eval()
    first, *_, last = module.parameters()
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    module.register_forward_hook(lambda *_: None)
    parameters = dict(module.named_parameters())
    state = {key: value.clone() for key, value in module.state_dict().items()}
    training = [layer.training for layer in module.modules()]
    hooks = [[list(getattr(layer, kind)) for kind in HOOKS] for layer in module.modules()]
    kept_attributes = [sorted(vars(layer)) for layer in module.modules()]

    growing = ExpandableNetwork(module, batch)

    assert growing.module is module
    assert all(value is parameters[key] for key, value in module.named_parameters())
    assert list(dict(module.named_parameters())) == list(parameters)
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert [layer.training for layer in module.modules()] == training
    assert [[list(getattr(layer, kind)) for kind in HOOKS] for layer in module.modules()] == hooks
    assert [sorted(vars(layer)) for layer in module.modules()] == kept_attributes
    assert [key for key, value in parameters.items() if not value.requires_grad] == [next(iter(parameters))]
    assert torch.equal(last.grad, torch.ones_like(last))
    assert sum(value.grad is not None for value in parameters.values()) == 1
    assert_close(outputs(module, batch, False), outputs(PATTERNS[name].module(), batch, False), "outputs")


@pytest.mark.slow
def test_each_group_alone_keeps_the_outputs(found, name):
    batch = PATTERNS[name].batch()
    before = {training: outputs(found.module, batch, training) for training in modes(name)}
    for group in found.groups:
        for number in (1, 2, 4):
            growing = changeable(found, name)
            growing.widen(group.name, number, initialization="zero_fan_out")
            assert growing.widths[group.name] == group.width + number
            for training, old in before.items():
                assert_close(outputs(growing.module, batch, training), old, (group.name, number, training))


@pytest.mark.slow
def test_all_groups_at_once_keep_the_outputs_and_learn(found, name):
    growing, batch = changeable(found, name), PATTERNS[name].batch()
    before = [outputs(growing.module, batch, training) for training in modes(name)]
    learns = with_gradient(changeable(found, name).module, batch)
    growing.widen_groups(different_numbers(growing))
    for training, old in zip(modes(name), before, strict=True):
        assert_close(outputs(growing.module, batch, training), old, training)
    optimizer = torch.optim.SGD(growing.module.parameters(), lr=0.01)
    assert with_gradient(growing.module, batch) == learns
    optimizer.step()
    assert all(leaf.isfinite().all() for leaf in outputs(growing.module, batch, False))


@pytest.mark.slow
def test_widening_then_narrowing_is_the_identity(found, name):
    growing = changeable(found, name)
    before = {key: value.clone() for key, value in growing.module.state_dict().items()}
    growing.widen_groups(different_numbers(growing))
    for group in found.groups:
        growing.keep_units(group.name, range(group.width))
    assert growing.widths == found.widths
    after = growing.module.state_dict()
    assert [key for key in before if not torch.equal(after[key], before[key])] == []


def test_what_should_grow_can_and_what_cannot_has_its_reason(found, name):
    pattern, growing = PATTERNS[name], found
    held = {member.layer for group in growing.groups for member in group.members if member.side == "out"}
    reasons = {group.name: group.reason for group in growing.fixed}
    assert [layer for layer in pattern.growable if layer not in held] == [], reasons
    for layer, word in pattern.fixed.items():
        assert layer not in held
        assert word in reasons.get(layer, "; ".join(reasons.values()))  # the group may have another layer's name
    assert all(reason.strip() and "\n" not in reason for reason in reasons.values())


def test_nothing_else_is_fixed(found, name):
    """Whatever cannot grow, apart from the outputs, is written down with its pattern."""
    pattern = PATTERNS[name]
    fixed = {layer_of(group) for group in found.fixed if OUTPUT not in group.reason}
    assert fixed - {*pattern.fixed, *pattern.unlisted} == set(ALSO_FIXED.get(name, ()))


def test_every_layer_is_accounted_for(found, name):
    pattern, growing = PATTERNS[name], found
    listed = {member.layer for group in growing.groups for member in group.members}
    listed |= {layer_of(group) for group in growing.fixed}
    modules = growing.module.named_modules()
    with_parameters = {key for key, layer in modules if any(p.numel() > 1 for p in layer.parameters(recurse=False))}
    listed |= {key.rpartition(".")[0] for key, _ in growing.module.named_parameters() if key in listed}
    assert with_parameters - listed <= {*pattern.unlisted, *pattern.fixed}
