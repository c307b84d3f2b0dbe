"""Networks of a given shape from fresh weights: narrower, wider, shallower and deeper than their author wrote them."""

from types import SimpleNamespace

import pytest
import torch

from autogrow.experiments.controls import CPU, build_in_shape
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shape import NetworkShape
from autogrow.training.example_input import example_input

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGE, OUTPUTS = (3, 8, 8), 4
MLP, RESNET = ModelSpec("mlp", {"hidden": (40, 30)}), ModelSpec("resnet", {"depth": 14, "width": 8})


def of(spec, seed=0):
    return ExpandableNetwork(build_model(spec, IMAGE, OUTPUTS, seed), example_input(IMAGE, CPU))


def built(spec, shape, seed=0):
    data = SimpleNamespace(task="classification", input_shape=IMAGE, num_outputs=OUTPUTS)
    return build_in_shape(spec, data, shape, seed)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [MLP, RESNET], ids=lambda spec: spec.name)
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_the_widths_are_those_asked_for(spec, factor):
    widths = {name: round(factor * width) for name, width in of(spec).widths.items()}
    module = built(spec, NetworkShape(widths))
    assert ExpandableNetwork(module, example_input(IMAGE, CPU)).widths == widths
    assert module(torch.rand(2, *IMAGE)).isfinite().all()


@pytest.mark.slow
def test_full_size_is_the_network_itself():
    full = of(RESNET)
    module = built(RESNET, NetworkShape.of(full, with_blocks=True))
    assert all(map(torch.equal, module.state_dict().values(), full.module.state_dict().values()))


def test_one_that_is_wider_than_written_starts_like_its_author_would_start_it():
    widths = {name: 2 * width for name, width in of(MLP).widths.items()}
    module, written = built(MLP, NetworkShape(widths)), build_model(
        ModelSpec("mlp", {"hidden": (80, 60)}), IMAGE, OUTPUTS, 1
    )  # fmt: skip
    for layer in (1, 4, 7):
        assert module[layer].weight.shape == written[layer].weight.shape
        deviation = written[layer].weight.std().item()
        assert module[layer].weight.std().item() == pytest.approx(deviation, rel=0.2)
        assert len(module[layer].weight.unique(dim=0)) == len(written[layer].weight)
    for layer in (2, 5):
        assert torch.equal(module[layer].weight, written[layer].weight)
        assert torch.equal(module[layer].running_var, written[layer].running_var)


def test_every_seed_draws_weights_of_its_own_and_always_the_same():
    widths = {name: 2 * width for name, width in of(MLP).widths.items()}
    first, again, other = (built(MLP, NetworkShape(widths), seed)[1].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_depth_is_that_asked_for(number):
    other = of(RESNET)
    other.set_blocks(dict.fromkeys(other.blocks, number))
    widths = {name: max(1, width // 2) for name, width in other.widths.items()}
    shape = NetworkShape(widths, dict(other.blocks))
    module = built(RESNET, shape)
    found = ExpandableNetwork(module, example_input(IMAGE, CPU))
    assert found.widths == widths
    assert [len(stage) for stage in module.stages] == [number] * 3


def test_eps_that_growing_has_changed_is_the_authors():
    network = of(MLP)
    eps = {name: 1e-3 for name in NetworkShape.of(network, with_blocks=False).norm_eps}
    assert eps
    module = built(MLP, NetworkShape(network.widths, norm_eps=eps))
    assert {layer.eps for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm1d)} == {1e-5}
