"""Every parameter of more than one dimension belongs to a group or to an entry that says why it cannot grow.

The layers are all those of `torch.nn` that hold parameters: a new one fails here until it has a case.
"""

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from autogrow.network import ExpandableNetwork
from autogrow.network.resizing.group_trials import NUMBERS

BEFORE, AFTER = 8, 6
"""Units of a layer before the one that is tried, and those that it makes."""


class Between(nn.Module):
    """A layer between two others of its kind of input, so that it has units to read and some to make."""

    def __init__(self, first, layer, last, call=None):
        super().__init__()
        self.first, self.layer, self.last, self.call = first, layer, last, call

    def forward(self, *inputs):
        hidden = self.first(inputs[0])
        hidden = self.call(self.layer, hidden, *inputs[1:]) if self.call else self.layer(hidden)
        return self.last(hidden[0] if isinstance(hidden, tuple) else hidden)


def linear(layer, outputs=AFTER, call=None):
    return Between(nn.Linear(5, BEFORE), layer, nn.Linear(outputs, 3), call), torch.randn(4, 5)


def sequence(layer, outputs=AFTER, call=None):
    return Between(nn.Linear(5, BEFORE), layer, nn.Linear(outputs, 3), call), torch.randn(4, 7, 5)


def spatial(layer, dims, outputs=BEFORE):
    first = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return Between(first(3, BEFORE, 1), layer, first(outputs, 2, 1)), torch.randn(4, 3, *[5] * dims)


def bag(**options):
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = nn.EmbeddingBag(20, AFTER, **options), nn.Linear(AFTER, 3)

        def forward(self, *inputs):
            return self.last(F.relu(self.layer(*inputs)))

    return Bag()


def attention(layer, hidden):
    return layer(hidden, hidden, hidden)[0]


TRANSFORMER = {"dim_feedforward": 16, "batch_first": True}
CASES = {
    nn.AdaptiveLogSoftmaxWithLoss: lambda: (
        Between(
            nn.Linear(5, 16), nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10]), nn.Identity(), lambda f, x, y: f(x, y)
        ),
        (torch.randn(4, 5), torch.randint(20, (4,))),
    ),
    nn.BatchNorm1d: lambda: spatial(nn.BatchNorm1d(BEFORE), 1),
    nn.BatchNorm2d: lambda: spatial(nn.BatchNorm2d(BEFORE), 2),
    nn.BatchNorm3d: lambda: spatial(nn.BatchNorm3d(BEFORE), 3),
    nn.Bilinear: lambda: linear(nn.Bilinear(BEFORE, BEFORE, AFTER), call=lambda layer, x: layer(x, x)),
    nn.Conv1d: lambda: spatial(nn.Conv1d(BEFORE, AFTER, 3, padding=1), 1, AFTER),
    nn.Conv2d: lambda: spatial(nn.Conv2d(BEFORE, AFTER, 3, padding=1), 2, AFTER),
    nn.Conv3d: lambda: spatial(nn.Conv3d(BEFORE, AFTER, 3, padding=1), 3, AFTER),
    nn.ConvTranspose1d: lambda: spatial(nn.ConvTranspose1d(BEFORE, AFTER, 3, padding=1), 1, AFTER),
    nn.ConvTranspose2d: lambda: spatial(nn.ConvTranspose2d(BEFORE, AFTER, 3, padding=1), 2, AFTER),
    nn.ConvTranspose3d: lambda: spatial(nn.ConvTranspose3d(BEFORE, AFTER, 3, padding=1), 3, AFTER),
    nn.Embedding: lambda: (nn.Sequential(nn.Embedding(20, AFTER), nn.Linear(AFTER, 3)), torch.randint(20, (4, 7))),
    nn.EmbeddingBag: lambda: (bag(), torch.randint(20, (4, 7))),
    nn.GRU: lambda: sequence(nn.GRU(BEFORE, AFTER, batch_first=True)),
    nn.GRUCell: lambda: linear(nn.GRUCell(BEFORE, AFTER)),
    nn.GroupNorm: lambda: spatial(nn.GroupNorm(2, BEFORE), 2),
    nn.InstanceNorm1d: lambda: spatial(nn.InstanceNorm1d(BEFORE, affine=True), 1),
    nn.InstanceNorm2d: lambda: spatial(nn.InstanceNorm2d(BEFORE, affine=True), 2),
    nn.InstanceNorm3d: lambda: spatial(nn.InstanceNorm3d(BEFORE, affine=True), 3),
    nn.LSTM: lambda: sequence(nn.LSTM(BEFORE, AFTER, 2, batch_first=True, bidirectional=True), 2 * AFTER),
    nn.LSTMCell: lambda: linear(nn.LSTMCell(BEFORE, AFTER)),
    nn.LayerNorm: lambda: linear(nn.LayerNorm(BEFORE), BEFORE),
    nn.Linear: lambda: linear(nn.Linear(BEFORE, AFTER)),
    nn.MultiheadAttention: lambda: sequence(nn.MultiheadAttention(BEFORE, 2, batch_first=True), BEFORE, attention),
    nn.PReLU: lambda: linear(nn.PReLU(BEFORE), BEFORE),
    nn.RMSNorm: lambda: linear(nn.RMSNorm(BEFORE), BEFORE),
    nn.RNN: lambda: sequence(nn.RNN(BEFORE, AFTER, batch_first=True)),
    nn.RNNCell: lambda: linear(nn.RNNCell(BEFORE, AFTER)),
    nn.Transformer: lambda: sequence(
        nn.Transformer(BEFORE, 2, 1, 1, **TRANSFORMER), BEFORE, lambda layer, x: layer(x, x)
    ),
    nn.TransformerDecoderLayer: lambda: sequence(
        nn.TransformerDecoderLayer(BEFORE, 2, **TRANSFORMER), BEFORE, lambda layer, x: layer(x, x)
    ),
    nn.TransformerEncoderLayer: lambda: sequence(nn.TransformerEncoderLayer(BEFORE, 2, **TRANSFORMER), BEFORE),
}  # fmt: skip

if hasattr(nn, "LinearCrossEntropyLoss"):  # new in PyTorch 2.13
    CASES[nn.LinearCrossEntropyLoss] = lambda: (
        Between(nn.Linear(5, BEFORE), nn.LinearCrossEntropyLoss(BEFORE, 7), nn.Identity(), lambda f, x, y: f(x, y)),
        (torch.randn(4, 5), torch.randint(7, (4,))),
    )

GROWING = {
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d,
    nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Embedding, nn.EmbeddingBag, nn.GRU, nn.GRUCell, nn.LSTM, nn.LSTMCell,
    nn.AdaptiveLogSoftmaxWithLoss, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.Linear, nn.MultiheadAttention, nn.PReLU, nn.RNN, nn.RNNCell, nn.Transformer, nn.TransformerDecoderLayer,
    nn.TransformerEncoderLayer,
}  # fmt: skip
"""Layers that hold or read a group that is offered, at least in part."""

ELSEWHERE = {
    nn.RNNBase, nn.RNNCellBase,  # bases of others
    nn.TransformerEncoder, nn.TransformerDecoder,  # in nn.Transformer
    nn.SyncBatchNorm,  # runs on several devices alone
}  # fmt: skip


def lazy_convolution(kind, dims):
    return getattr(nn, f"Lazy{kind}{dims}d")(AFTER, 3), getattr(nn, f"Conv{dims}d")(AFTER, 2, 1), (4, 3, *[5] * dims)


LAZY = {
    nn.LazyLinear: lambda: (nn.LazyLinear(AFTER), nn.Linear(AFTER, 3), (4, 5)),
    nn.LazyBatchNorm1d: lambda: (nn.LazyBatchNorm1d(), nn.Conv1d(3, 2, 1), (4, 3, 5)),
    nn.LazyBatchNorm2d: lambda: (nn.LazyBatchNorm2d(), nn.Conv2d(3, 2, 1), (4, 3, 5, 5)),
    nn.LazyBatchNorm3d: lambda: (nn.LazyBatchNorm3d(), nn.Conv3d(3, 2, 1), (4, 3, 5, 5, 5)),
    nn.LazyInstanceNorm1d: lambda: (nn.LazyInstanceNorm1d(affine=True), nn.Conv1d(3, 2, 1), (4, 3, 5)),
    nn.LazyInstanceNorm2d: lambda: (nn.LazyInstanceNorm2d(affine=True), nn.Conv2d(3, 2, 1), (4, 3, 5, 5)),
    nn.LazyInstanceNorm3d: lambda: (nn.LazyInstanceNorm3d(affine=True), nn.Conv3d(3, 2, 1), (4, 3, 5, 5, 5)),
    **{getattr(nn, f"LazyConv{dims}d"): lambda dims=dims: lazy_convolution("Conv", dims) for dims in (1, 2, 3)},
    **{
        getattr(nn, f"LazyConvTranspose{dims}d"): lambda dims=dims: lazy_convolution("ConvTranspose", dims)
        for dims in (1, 2, 3)
    },
}


def bag_cases():
    offsets = torch.tensor([0, 3, 5])
    numbers = torch.randint(20, (8,), generator=torch.Generator().manual_seed(0))
    weights = torch.randn(8, generator=torch.Generator().manual_seed(1))
    return {
        **{f"bag of {mode}": (bag(mode=mode), (numbers.view(4, 2),)) for mode in ("sum", "mean", "max")},
        **{f"bag of {mode}, offsets": (bag(mode=mode), (numbers, offsets)) for mode in ("sum", "mean", "max")},
        "weighted bag": (bag(mode="sum"), (numbers, offsets, weights)),
        "bag with the last offset": (
            bag(mode="sum", include_last_offset=True), (numbers, torch.tensor([0, 3, 5, 8]), weights)
        ),
        "bag with padding": (bag(mode="mean", padding_idx=0), (numbers, offsets)),
    }  # fmt: skip


class Own(nn.Module):
    """Parameters of one's own, in lists and dictionaries, and a layer that nothing uses."""

    def __init__(self):
        super().__init__()
        self.first, self.unused = nn.Linear(4, 5), nn.Linear(5, 4)
        self.rows = nn.ParameterList([nn.Parameter(torch.randn(5, 5)) for _ in range(2)])
        self.named = nn.ParameterDict({"last": nn.Parameter(torch.randn(5, 2))})

    def forward(self, x):
        return self.first(x).relu() @ self.rows[0] @ self.rows[1] @ self.named["last"]


def parametrized(how):
    return nn.Sequential(how(nn.Linear(4, 4)), nn.ReLU(), how(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2))


def assert_all_listed(growing):
    listed = {member.layer for group in (*growing.groups, *growing.fixed) for member in group.members}
    for name, parameter in growing.module.named_parameters():
        assert parameter.dim() < 2 or name in listed or name.rpartition(".")[0] in listed, name
    assert all(group.reason for group in growing.fixed)
    assert len({*growing.widths, *(group.name for group in growing.fixed)}) == len(growing.groups) + len(growing.fixed)


def assert_grows(growing, inputs):
    before = growing.module.eval()(*inputs)
    for group in growing.groups:
        for number in NUMBERS:
            twin = growing.twin()
            twin.widen(group.name, number)
            assert (twin.module(*inputs) - before).abs().max() <= 1e-5 * before.abs().max().clamp(min=1)
    growing.widen_groups({group.name: 1 + number % 3 for number, group in enumerate(growing.groups)})
    assert (growing.module(*inputs) - before).abs().max() <= 1e-5 * before.abs().max().clamp(min=1)
    optimizer = torch.optim.SGD(growing.module.parameters(), lr=0.01)
    growing.module.train()(*inputs).square().mean().backward()
    optimizer.step()
    assert growing.module.eval()(*inputs).isfinite().all()


def without_parameters(kind):
    """Whether a layer has none, made from whatever small arguments it takes."""
    for arguments in ((), (2,), (2, 2), (2, 2, 2), (0.0, 1.0), ((2, 2), 2), (1, (2, 2)), (nn.Identity(),)):
        try:
            return not list(kind(*arguments).parameters())
        except (TypeError, ValueError, AttributeError):
            continue
    return False


@pytest.mark.filterwarnings("ignore")
def test_every_layer_of_pytorch_that_holds_parameters_has_a_case():
    kinds = {kind for kind in vars(nn).values() if inspect.isclass(kind) and issubclass(kind, nn.Module)}
    lazy = {kind for kind in kinds if kind.__name__.startswith("Lazy")}
    assert {kind for kind in kinds - lazy - CASES.keys() - ELSEWHERE if not without_parameters(kind)} == set()
    assert lazy == LAZY.keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_it_grows_or_says_why(kind):
    torch.manual_seed(0)
    module, inputs = CASES[kind]()
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    growing = ExpandableNetwork(module, inputs)
    assert_all_listed(growing)
    layers = {name for name, layer in module.named_modules() if name.startswith("layer") or type(layer) is kind}
    held = {member.layer for group in growing.groups for member in group.members}
    assert bool(layers & held) == (kind in GROWING)
    assert_grows(growing, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", bag_cases())
def test_bags_of_every_sort_grow(name):
    module, inputs = bag_cases()[name]
    growing = ExpandableNetwork(module, inputs)
    assert growing.widths == {"layer": AFTER}
    assert_grows(growing, inputs)
    assert module.layer.embedding_dim == module.layer.weight.shape[1] == AFTER + 1


@pytest.mark.parametrize("layer", [nn.Embedding(20, 6, max_norm=0.5), nn.EmbeddingBag(20, 6, max_norm=0.5)])
def test_rows_of_a_largest_norm_are_fixed(layer):
    growing = ExpandableNetwork(nn.Sequential(layer, nn.Linear(6, 3)), torch.randint(20, (4, 7)))
    reasons = {group.name: group.reason for group in growing.fixed}
    assert growing.groups == () and "scaled to a largest norm" in reasons["0"]


def test_parameters_of_ones_own():
    torch.manual_seed(0)
    module, batch = Own(), torch.randn(3, 4)
    growing = ExpandableNetwork(module, batch)
    assert_all_listed(growing)
    assert len(growing.groups) == 3
    reasons = {group.name: group.reason for group in growing.fixed}
    assert reasons["unused"] == "no pass uses it, in eval or in train mode"
    module.unused.requires_grad_(False)
    assert_grows(growing, (batch,))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    ("how", "grows"),
    [
        (parametrizations.weight_norm, True),
        (nn.utils.weight_norm, True),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.3), True),
        (parametrizations.spectral_norm, False),
        (nn.utils.spectral_norm, False),
        (parametrizations.orthogonal, False),
    ],
    ids=["weight_norm", "older weight_norm", "prune", "spectral_norm", "older spectral_norm", "orthogonal"],
)
def test_weights_that_are_computed_from_others(how, grows):
    torch.manual_seed(0)
    module, batch = parametrized(how), torch.randn(3, 4)
    growing = ExpandableNetwork(module, batch)
    assert_all_listed(growing)
    assert len(growing.groups) == (2 if grows else 0)
    assert_grows(growing, (batch,))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 5])
def test_recurrent_layers_grow_in_every_precision(kind, dtype, length):
    """In float32 a CPU runs an LSTM as one operation, and one step says nothing of what is fed back."""
    torch.manual_seed(0)
    module = Between(nn.Linear(5, BEFORE), kind(BEFORE, AFTER, batch_first=True), nn.Linear(AFTER, 3)).to(dtype)
    batch = torch.randn(2, length, 5, dtype=dtype)
    growing = ExpandableNetwork(module, batch)
    assert growing.widths == {"first": BEFORE, "layer": AFTER}
    assert_grows(growing, (batch,))
    assert module.layer.hidden_size == AFTER + 2 and module.layer.input_size == BEFORE + 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAZY, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_lazy_layers_take_their_sizes_from_the_example(kind):
    layer, last, shape = LAZY[kind]()
    module, batch = nn.Sequential(layer, last), torch.randn(shape)
    growing = ExpandableNetwork(module, batch)
    assert not module[0].__class__.__name__.startswith("Lazy")
    assert all(tensor.numel() for tensor in module.parameters())
    assert_all_listed(growing)
    assert_grows(growing, (batch,))
