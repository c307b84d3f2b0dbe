"""The transformer: what it computes, what of it grows, and what is refused."""

import math

import pytest
import torch

from autogrow.errors import NetworkError
from autogrow.models.building import ModelSpec, automatic_model, build_model
from autogrow.models.gpt import gpt
from autogrow.network.expandable import ExpandableNetwork

VARIANTS = {
    "default": {},
    "rms": {"norm": "rms"},
    "learned": {"positions": "learned"},
    "grouped": {"heads": 4, "key_value_heads": 2},
    "tied": {"tied": True},
}
TOKENS = torch.randint(11, (3, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=list(VARIANTS))
def module(request):
    return build_model(
        ModelSpec("gpt", {"layers": 2, "width": 32, **VARIANTS[request.param]}), (16,), 11, seed=0
    ).eval()


def test_what_comes_later_changes_nothing(module):
    changed = TOKENS.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 11
    with torch.no_grad():
        before, after = module(TOKENS), module(changed)
        shorter = module(TOKENS[:, :9])
    assert torch.allclose(before[:, :9], after[:, :9], atol=1e-6)
    assert torch.allclose(before[:, :9], shorter, atol=1e-5)
    assert (before[:, 9:] != after[:, 9:]).any()


def test_positions_matter(module):
    repeated = TOKENS.clone()
    repeated[:, 3] = repeated[:, 5]
    swapped = repeated[:, [0, 2, 1, *range(3, 16)]]
    with torch.no_grad():
        assert not torch.allclose(module(repeated)[:, 8], module(swapped)[:, 8], atol=1e-6)


@pytest.mark.slow
def test_depth_and_width_grow_exactly(module):
    network = ExpandableNetwork(module, TOKENS)
    assert [(stage.name, stage.num_blocks) for stage in network.stages] == [("blocks", 2)]
    names = {group.name for group in network.groups}
    assert {"blocks.0.up", "blocks.1.up"} <= names
    with torch.no_grad():
        before = module(TOKENS)
        network.widen("blocks.0.up", 16)
        if "blocks.0.attention.qkv" in names:
            network.widen("blocks.0.attention.qkv", 1)
        network.deepen("blocks")
        assert torch.allclose(module(TOKENS), before, atol=1e-5)
    assert len(module.blocks) == 3 and module.blocks[0].up.out_features == 144


def test_a_fresh_network_is_nearly_at_the_chance_level():
    module = build_model(ModelSpec("gpt"), (64,), 256, seed=0)
    tokens = torch.randint(256, (4, 65), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(module(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert float(loss) == pytest.approx(math.log(256), abs=0.1)


def test_tied_embeddings_are_one_tensor():
    assert len(list(gpt((16,), 11, 1, 32, tied=True).parameters())) == len(list(gpt((16,), 11, 1, 32).parameters())) - 1


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 32, 32), {}, r"reads text, not inputs of shape \(3, 32, 32\)"),
        ((16,), {"layers": 0}, "layers is 0, it is at least 1"),
        ((16,), {"heads": 3}, "width 64 is no multiple of twice its 3 heads"),
        ((16,), {"heads": 4, "key_value_heads": 3}, "or these are none of its 3 key_value_heads"),
        ((16,), {"norm": "batch"}, "norm is 'batch', known are layer and rms"),
        ((16,), {"positions": "sinusoidal"}, "positions is 'sinusoidal', known are rotary and learned"),
    ],
)
def test_what_it_cannot_be_is_one_line(shape, options, message):
    with pytest.raises(NetworkError, match=message):
        build_model(ModelSpec("gpt", options), shape, 11, seed=0)


def test_it_is_what_text_is_read_with():
    assert automatic_model((128,), "text") == ModelSpec("gpt")
