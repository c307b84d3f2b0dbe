"""A transformer that reads tokens from left to right (Radford et al. 2019, GPT-2), as small ones are written today.

Norms come before attention and the hidden layer (Xiong et al. 2020, arXiv 2002.04745), positions are turned into the
queries and keys (Su et al. 2021, arXiv 2104.09864) or learned, nothing has a bias. Weights begin so that the stream of
activations keeps its size whatever the depth: the two layers that write to it are divided by sqrt(2 layers).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.models.registry import MODELS, READS_TOKENS

NORMS, POSITIONS = ("layer", "rms"), ("rotary", "learned")
ROTARY_BASE = 1000.0
"""Wavelengths of rotary positions go from 2 pi up to 2 pi times this many places."""


def rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Queries or keys (B, heads, T, D) turned by their positions: pairs (first half, second half) as points."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), -1)


class Attention(nn.Module):
    """Causal self-attention; fewer `key_value_heads` are shared by `heads` (Ainslie et al. 2023, arXiv 2305.13245)."""

    def __init__(self, width: int, heads: int, key_value_heads: int) -> None:
        super().__init__()
        self.heads, self.key_value_heads, self.head_width = heads, key_value_heads, width // heads
        self.qkv = nn.Linear(width, (heads + 2 * key_value_heads) * self.head_width, bias=False)
        self.out = nn.Linear(heads * self.head_width, width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, T, width) to the same."""
        batch, length, _ = x.shape
        turned = self.heads + self.key_value_heads
        qkv = self.qkv(x).view(batch, length, turned + self.key_value_heads, self.head_width).transpose(1, 2)
        query_key, values = qkv[:, :turned], qkv[:, turned:]
        if rotation is not None:
            query_key = rotated(query_key, *rotation)
        queries, keys = query_key[:, : self.heads], query_key[:, self.heads :]
        shares = self.heads != self.key_value_heads
        y = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=shares)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then a hidden layer of four times the width; both are added to what came in."""

    def __init__(self, width: int, heads: int, key_value_heads: int, norm: str) -> None:
        super().__init__()
        self.attention_norm = make_norm(norm, width)
        self.attention = Attention(width, heads, key_value_heads)
        self.hidden_norm = make_norm(norm, width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor] | None) -> Tensor:
        """(B, T, width) to the same."""
        x = x + self.attention(self.attention_norm(x), rotation)
        return x + self.down(F.gelu(self.up(self.hidden_norm(x))))  # type: ignore[no-any-return]


class GPT(nn.Module):
    """Tokens (B, T) to logits of the next one (B, T, tokens), for any T up to `context`."""

    cosines: Tensor
    sines: Tensor

    def __init__(
        self,
        num_tokens: int,
        context: int,
        layers: int,
        width: int,
        heads: int,
        key_value_heads: int,
        norm: str,
        positions: str,
        tied: bool,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(num_tokens, width)
        self.positions = nn.Embedding(context, width) if positions == "learned" else None
        self.blocks = nn.ModuleList(Block(width, heads, key_value_heads, norm) for _ in range(layers))
        self.norm = make_norm(norm, width)
        self.head = nn.Linear(width, num_tokens, bias=False)
        pairs = width // heads // 2
        angles = torch.arange(context)[:, None] / ROTARY_BASE ** (torch.arange(pairs) / pairs)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        self._draw_weights(layers, width)
        if tied:
            self.head.weight = self.tokens.weight

    def _draw_weights(self, layers: int, width: int) -> None:
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=0.02)
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.1)
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear):
                writes = name.endswith((".out", ".down"))
                std = 0.5 / math.sqrt(module.in_features * (2 * layers if writes else 1))
                nn.init.normal_(module.weight, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) whole numbers to logits (B, T, tokens)."""
        length = tokens.shape[1]
        x = self.tokens(tokens)
        rotation: tuple[Tensor, Tensor] | None = self.cosines[:length], self.sines[:length]
        if self.positions is not None:
            x, rotation = x + self.positions.weight[:length], None
        for block in self.blocks:
            x = block(x, rotation)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def make_norm(kind: str, width: int) -> nn.Module:
    """A norm over the width, without bias."""
    return nn.RMSNorm(width) if kind == "rms" else nn.LayerNorm(width, bias=False)


@MODELS.register("gpt")
def gpt(
    input_shape: tuple[int, ...],
    num_outputs: int,
    layers: int = 8,
    width: int = 64,
    heads: int | None = None,
    key_value_heads: int | None = None,
    norm: str = "layer",
    positions: str = "rotary",
    tied: bool = False,
) -> GPT:
    """Windows (context,) of tokens in; `heads` is by default one for each 32 of the width, and at least 2.

    `context` is the data set's: `autogrow train --context 256`, or ``book.txt?context=256``.
    """
    if len(input_shape) != 1:
        raise NetworkError(f"model 'gpt' reads text, not inputs of shape {input_shape}; use 'auto'")
    heads = max(2, width // 32) if heads is None else heads
    shared = heads if key_value_heads is None else key_value_heads
    for name, value in (("layers", layers), ("width", width), ("heads", heads), ("key_value_heads", shared)):
        if value < 1:
            raise NetworkError(f"model 'gpt': {name} is {value}, it is at least 1")
    if width % (2 * heads) or heads % shared:
        raise NetworkError(
            f"model 'gpt': width {width} is no multiple of twice its {heads} heads, or these are none of its {shared} "
            "key_value_heads: give for example width=64, heads=2, key_value_heads=1"
        )
    for option, kind, known in (("norm", norm, NORMS), ("positions", positions, POSITIONS)):
        if kind not in known:
            raise NetworkError(f"model 'gpt': {option} is {kind!r}, known are {' and '.join(known)}")
    return GPT(num_outputs, input_shape[0], layers, width, heads, shared, norm, positions, tied)


setattr(gpt, READS_TOKENS, True)
