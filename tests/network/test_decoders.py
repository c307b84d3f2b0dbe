"""Decoders in the manner of public ones: layers sliced by a number in a configuration, norms registered after the
layers that they come before, a gated hidden layer, tuples in and out, a cache by layer."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import autogrow

pytestmark = pytest.mark.usefixtures("one_thread")


class Configuration:
    def __init__(self, num_hidden_layers):
        self.num_hidden_layers, self.hidden_size, self.num_heads = num_hidden_layers, 8, num_hidden_layers
        self.layer_types = ["full"] * num_hidden_layers


class Cache:
    """Room for as many layers as the configuration says."""

    def __init__(self, config):
        self.seen = [None] * config.num_hidden_layers

    def update(self, value, layer_idx):
        before = self.seen[layer_idx]
        self.seen[layer_idx] = value if before is None else torch.cat([before, value], 1)
        return self.seen[layer_idx]


class Layer(nn.Module):
    """Averages over what was seen so far, then a gated hidden layer; returns a tuple where it is asked to."""

    def __init__(self, config, layer_idx, returns_tuple):
        super().__init__()
        width = config.hidden_size
        self.config, self.layer_idx, self.returns_tuple = config, layer_idx, returns_tuple
        self.value, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 12, bias=False), nn.Linear(width, 12, bias=False)
        self.down = nn.Linear(12, width, bias=False)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, x, mask=None, cache=None, position=None):
        value = self.value(self.norm1(x)) * position[: x.shape[1], None]
        seen = value if cache is None else cache.update(value, self.layer_idx)
        mean = seen.cumsum(1)[:, -x.shape[1] :] if mask is None else (seen * mask).cumsum(1)[:, -x.shape[1] :]
        x = x + self.out(mean)
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return (x, mean) if self.returns_tuple else x


class Decoder(nn.Module):
    def __init__(self, layers, returns_tuple=False):
        super().__init__()
        self.config = Configuration(layers)
        self.tokens = nn.Embedding(11, 8)
        self.layers = nn.ModuleList(Layer(self.config, number, returns_tuple) for number in range(layers))
        self.norm, self.head = nn.RMSNorm(8), nn.Linear(8, 11, bias=False)
        self.register_buffer("position", torch.linspace(1, 0.5, 16))

    def forward(self, tokens, use_cache=True):
        cache = Cache(self.config) if use_cache else None
        x = self.tokens(tokens)
        for layer in self.layers[: self.config.num_hidden_layers]:
            x = layer(x, mask=None, cache=cache, position=self.position)
            x = x[0] if isinstance(x, tuple) else x
        return self.head(self.norm(x))


TOKENS = torch.arange(18).reshape(3, 6) % 11


def decoder(layers=2, returns_tuple=False):
    torch.manual_seed(0)
    return Decoder(layers, returns_tuple)


def out(model, **options):
    with torch.no_grad():
        return model(TOKENS, **options)


@pytest.mark.parametrize("returns_tuple", [False, True])
@pytest.mark.parametrize("initialization", ["zero", "stack", "interleave"])
class TestDecoder:
    @pytest.mark.slow
    def test_a_deeper_one_runs_all_of_its_layers_each_with_its_own_cache(self, initialization, returns_tuple):
        model = decoder(returns_tuple=returns_tuple)
        growing = autogrow.ExpandableNetwork(model, TOKENS)
        assert growing.blocks == {"layers": 2}
        before = out(model)
        growing.deepen("layers", 2, initialization=initialization)
        assert model.config.num_hidden_layers == 4 and model.config.layer_types == ["full"] * 4
        assert model.config.num_heads == 2  # which is something else
        assert [layer.layer_idx for layer in model.layers] == [0, 1, 2, 3]
        assert all(layer.config is model.config for layer in model.layers)
        assert ((out(model) - before).abs().max() < 1e-6) == (initialization == "zero")
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3)
        assert torch.allclose(out(model, use_cache=True), out(model, use_cache=False), atol=1e-6)

    @pytest.mark.slow
    def test_new_layers_learn(self, initialization, returns_tuple):
        model = decoder(returns_tuple=returns_tuple)
        growing = autogrow.ExpandableNetwork(model, TOKENS)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        growing.deepen("layers", 1, initialization=initialization, optimizer=optimizer)
        before = copy.deepcopy(model.state_dict())
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten()).backward()
            optimizer.step()
        assert not [name for name, value in model.state_dict().items() if "position" not in name and
                    torch.equal(value, before[name])]  # fmt: skip

    @pytest.mark.slow
    def test_it_is_shortened_and_comes_back(self, initialization, returns_tuple):
        model = decoder(3, returns_tuple)
        growing = autogrow.ExpandableNetwork(model, TOKENS)
        growing.start_shallow({"layers": 1})
        assert model.config.num_hidden_layers == 1 and len(model.config.layer_types) == 1
        assert out(model).shape == (3, 6, 11)
        growing.deepen("layers", 3, initialization=initialization)
        assert model.config.num_hidden_layers == 4
        saved = decoder(3, returns_tuple)
        again = autogrow.ExpandableNetwork(saved, TOKENS)
        again.set_blocks(growing.blocks)
        saved.load_state_dict(model.state_dict())
        assert torch.equal(out(saved), out(model))


def test_a_number_that_two_rows_share_follows_neither():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = Configuration(2)
            self.encoder, self.decoder = nn.Module(), nn.Module()
            for part in (self.encoder, self.decoder):
                part.layers = nn.ModuleList(Layer(self.config, number, False) for number in range(2))
            self.start, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
            self.register_buffer("position", torch.ones(9))

        def forward(self, x):
            x = self.start(x)
            for layer in (*self.encoder.layers, *self.decoder.layers):
                x = layer(x, position=self.position)
            return self.head(x)

    torch.manual_seed(0)
    model = Two()
    growing = autogrow.ExpandableNetwork(model, torch.randn(2, 4, 5))
    growing.deepen("encoder.layers", 1, initialization="stack")
    assert len(model.encoder.layers) == 3 and model.config.num_hidden_layers == 2
