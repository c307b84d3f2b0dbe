"""Patterns of transformers, embeddings, recurrent networks and mixers."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.network.patterns import Patterns

PATTERNS = Patterns()
TOKENS, CHANNELS = 5, 8


class FeedForward(nn.Sequential):
    """The inner layer of a transformer."""

    def __init__(self, channels: int = CHANNELS, inner: int = 12) -> None:
        super().__init__(nn.Linear(channels, inner), nn.GELU(), nn.Linear(inner, channels))


STREAM = ("norm1", "norm2", "norm", "mlp.2")


@PATTERNS.add(
    "vision transformer",
    growable=("mlp.0",),
    fixed={"patches": "statistics"},
    unlisted=("", "attention", "attention.out_proj", *STREAM),
)
class VisionTransformer(nn.Module):
    """ViT: patches, a class token, positions, PyTorch's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, CHANNELS, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, CHANNELS))
        self.positions = nn.Parameter(torch.randn(1, 5, CHANNELS))
        self.norm1, self.norm2, self.norm = (nn.LayerNorm(CHANNELS) for _ in range(3))
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
        self.mlp, self.head = FeedForward(), nn.Linear(CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.size(0), -1, -1), x], dim=1) + self.positions
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm(x)[:, 0])


LAYER_STREAM = ("norm1", "norm2", "linear2", "self_attn", "self_attn.out_proj")


@PATTERNS.add(
    "transformer encoder",
    (TOKENS, 6),
    growable=("layers.0.linear1", "layers.1.linear1"),
    fixed={"stem": "statistics"},
    unlisted=tuple(f"layers.{index}.{layer}" for index in (0, 1) for layer in LAYER_STREAM),
)
class TransformerEncoder(nn.Module):
    """PyTorch's encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, CHANNELS), nn.Linear(CHANNELS, 3)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(CHANNELS, 2, 12, dropout=0.0, batch_first=True, norm_first=bool(index))
            for index in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


@PATTERNS.add(
    "attention written out",
    (TOKENS, CHANNELS),
    growable=("mlp.0",),
    fixed={"queries_keys_values": ""},
    unlisted=(*STREAM, "project"),
)
class Attention(nn.Module):
    """One linear layer for queries, keys and values, reshaped into heads."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.scale = 2, (CHANNELS // 2) ** -0.5
        self.queries_keys_values, self.project = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.norm1, self.norm2, self.norm = (nn.LayerNorm(CHANNELS) for _ in range(3))
        self.mlp, self.head = FeedForward(), nn.Linear(CHANNELS, 3)

    def attend(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        parts = self.queries_keys_values(x).reshape(batch, tokens, 3, self.heads, channels // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (queries @ keys.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.project((scores @ values).transpose(1, 2).reshape(batch, tokens, channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(self.norm(x).mean(dim=1))


@PATTERNS.add(
    "scaled dot product",
    (TOKENS, 6),
    growable=("stem", "inner"),
    fixed={"queries": "", "keys": ""},
)
class ScaledDotProduct(nn.Module):
    """Attention without norms around it: the values and the stream can grow, the scores cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.back = nn.Linear(6, CHANNELS), nn.Linear(CHANNELS, 10), nn.Linear(10, CHANNELS)
        self.queries, self.keys, self.values = (nn.Linear(CHANNELS, 4, bias=False) for _ in range(3))
        self.project, self.head = nn.Linear(4, CHANNELS), nn.Linear(CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        heads = [layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.queries, self.keys, self.values)]
        out = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.project(out.transpose(1, 2).flatten(2))
        return self.head(x + self.back(functional.relu(self.inner(x))))


MIXER_STREAM = ("norm1", "norm2", "tokens.2", "channels.2")


@PATTERNS.add(
    "mixer",
    growable=("tokens.0", "channels.0"),
    fixed={"patches": "statistics"},
    unlisted=MIXER_STREAM,
)
class Mixer(nn.Module):
    """MLP-Mixer: layers across tokens, then across channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.head = nn.Conv2d(3, CHANNELS, 4, 4), nn.Linear(CHANNELS, 3)
        self.norm1, self.norm2 = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)
        self.tokens, self.channels = FeedForward(4, 6), FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.head(x.mean(1))


@PATTERNS.add("norm by root mean square", (TOKENS, 6), growable=("inner",), fixed={"stem": ""}, unlisted=("", "back"))
class RootMeanSquareNorm(nn.Module):
    """A norm written out, with a gated inner layer, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gain = nn.Linear(6, CHANNELS), nn.Parameter(torch.linspace(0.5, 1.5, CHANNELS))
        self.gate, self.inner = nn.Linear(CHANNELS, 10, bias=False), nn.Linear(CHANNELS, 10, bias=False)
        self.back, self.head = nn.Linear(10, CHANNELS, bias=False), nn.Linear(CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        normed = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain
        return self.head(x + self.back(functional.silu(self.gate(normed)) * self.inner(normed)))


@PATTERNS.add("embedding", (TOKENS,), growable=("embedding", "hidden"), vocabulary=11)
class EmbeddingClassifier(nn.Module):
    """Embedded words, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.head = nn.Embedding(11, 6), nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.embedding(x).mean(dim=1))))


@PATTERNS.add("convolution over words", (9,), growable=("embedding", "convs.0", "convs.1"), vocabulary=11)
class WordConvolution(nn.Module):
    """Convolutions of several lengths over embedded words, and their maxima."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 6), nn.Linear(9, 3)
        self.convs = nn.ModuleList([nn.Conv1d(6, 4, 2), nn.Conv1d(6, 5, 3)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).permute(0, 2, 1)
        return self.head(torch.cat([torch.relu(conv(x)).max(dim=2).values for conv in self.convs], dim=1))


@PATTERNS.add("tied embedding", (TOKENS,), growable=("hidden",), unlisted=("head",), vocabulary=11)
class TiedEmbedding(nn.Module):
    """A language model whose output layer is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.back = nn.Embedding(11, 6), nn.Linear(6, 8), nn.Linear(8, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.back(torch.relu(self.hidden(self.embedding(x)))))


@PATTERNS.add("lstm", (TOKENS, 6), growable=("stem.0",), unlisted=("stem.2", "lstm"))
class Lstm(nn.Module):
    """PyTorch's recurrent layer between others."""

    kind: type[nn.RNNBase] = nn.LSTM

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
        self.lstm, self.head = self.kind(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.stem(x))[0][:, -1])


@PATTERNS.add("gru", (TOKENS, 6), growable=("stem.0",), unlisted=("stem.2", "lstm"))
class Gru(Lstm):
    kind = nn.GRU


@PATTERNS.add("recurrence", (TOKENS, 6), growable=("read", "repeat"))
class Recurrence(nn.Module):
    """A recurrent network written out: one layer used at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.repeat, self.head = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.tanh(self.read(x[:, 0]))
        for step in range(1, x.size(1)):
            state = torch.tanh(self.read(x[:, step]) + self.repeat(state))
        return self.head(state)


@PATTERNS.add("sets", (TOKENS, 6), growable=("each.0", "each.2", "all.0"))
class Sets(nn.Module):
    """Deep sets: a layer for each element, their sum, and a layer for the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5))
        self.all = nn.Sequential(nn.Linear(10, 6), nn.SiLU(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.each(x)
        return self.all(torch.cat([x.sum(1), x.amax(1)], dim=-1))


@PATTERNS.add("graph", (TOKENS, 6), growable=("first", "second"))
class Graph(nn.Module):
    """A graph network: neighbours are averaged by a constant matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 7), nn.Linear(7, 5), nn.Linear(5, 3)
        self.register_buffer("neighbours", torch.softmax(torch.randn(TOKENS, TOKENS), dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.neighbours @ self.first(x))
        return self.head(torch.matmul(self.neighbours, torch.relu(self.second(x))).mean(1))
