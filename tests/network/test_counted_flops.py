"""FLOPs of what multiplies as one operation on a CPU: counted by hand, as `autogrow.network.measuring.flops` does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.network.measuring.flops import forward_flops_per_example, training_flops_per_example

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTH, WIDTH, HEADS = 5, 8, 2


class Attends(nn.Module):
    """Attention of its inputs to each other, without weights but for a factor."""

    def __init__(self, values=WIDTH // HEADS, **options):
        super().__init__()
        self.factor, self.values, self.options = nn.Parameter(torch.ones(())), values, options

    def forward(self, x):
        heads = (self.factor * x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads[..., : self.values], **self.options)


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"attn_mask": torch.ones(LENGTH, LENGTH).bool()}], ids=str
)
def test_attention_is_two_products_of_every_head(options):
    module, batch = Attends(**options), torch.randn(3, LENGTH, WIDTH)
    scores = 2 * HEADS * LENGTH * LENGTH * (WIDTH // HEADS)
    assert forward_flops_per_example(module, batch) == 2 * scores
    # Backward: scores again, and the gradients of probabilities, values, queries and keys.
    assert training_flops_per_example(module, batch) == 2 * scores + 5 * scores


def test_it_is_as_much_as_written_out():
    """With dropout PyTorch writes the products out, which it counts itself."""
    batch = torch.randn(3, LENGTH, WIDTH)
    fused, written_out = (forward_flops_per_example(Attends(dropout_p=rate), batch) for rate in (0.0, 0.1))
    assert fused == written_out > 0


def test_a_layer_of_attention_has_its_projections_too():
    layer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x, x, x, need_weights=False)[0]

    projections, scores = 2 * LENGTH * 4 * WIDTH * WIDTH, 2 * LENGTH * LENGTH * WIDTH
    assert forward_flops_per_example(SelfAttention(), torch.randn(2, LENGTH, WIDTH)) == projections + 2 * scores


class Reads(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.cells = kind(4, 6, batch_first=True, **options)

    def forward(self, x):
        return self.cells(x)[0]


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize(("options", "inputs"), [
    ({}, [4]), ({"num_layers": 2}, [4, 6]), ({"bidirectional": True}, [4, 4]),
    ({"num_layers": 2, "bidirectional": True, "bias": False}, [4, 4, 12, 12]),
], ids=str)  # fmt: skip
def test_recurrent_layers_are_both_weights_at_every_position(kind, gates, options, inputs):
    batch = torch.randn(3, LENGTH, 4)
    expected = sum(2 * LENGTH * gates * 6 * (width + 6) for width in inputs)
    assert forward_flops_per_example(Reads(kind, **options), batch) == expected


def test_an_lstm_takes_twice_as_much_backward():
    module, batch = Reads(nn.LSTM), torch.randn(3, LENGTH, 4)
    assert training_flops_per_example(module, batch) == 3 * forward_flops_per_example(module, batch)
