"""What a saved network says of a text: the log probability of every token in its place, and what comes next."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from autogrow.data.tokenizers import Tokenizer, tokenizer_of, tokens_of
from autogrow.errors import RAISED_BY_OTHERS, DataError, NetworkError, one_line
from autogrow.export.saved_network import SavedNetwork
from autogrow.network.running.undisturbed import evaluating
from autogrow.reading.arrays import Array
from autogrow.reading.texts import MEBIBYTE, read_bytes
from autogrow.tasks.text import bits_per_byte

MOST_BYTES = 256 * MEBIBYTE
"""Of a text that is read."""
BATCH = 16
"""Windows that are read at a time."""


@dataclass(frozen=True)
class TextPrediction:
    """A text as a network sees it; T is the number of its tokens."""

    tokens: Array
    """(T,) int64."""
    tokenizer: Tokenizer
    log_probabilities: Array
    """(T - 1,) float64, in nats: of every token but the first, which nothing comes before."""
    likeliest: Array
    """(T - 1,) int64: the token that the network would have named there."""
    next_log_probabilities: Array
    """(vocabulary,) float64, in nats: of every token to come after the end."""
    num_bytes: int
    """Of the text."""

    @property
    def loss(self) -> float | None:
        """Nats per token; None where the text is a single token."""
        return -float(self.log_probabilities.mean()) if len(self.log_probabilities) else None

    @property
    def bits_per_byte(self) -> float | None:
        """The loss in the unit that does not depend on the tokenizer."""
        return None if self.loss is None else bits_per_byte(self.loss, self.num_bytes / len(self.tokens))

    def piece(self, token: int) -> str:
        """The text that a token stands for alone."""
        return self.tokenizer.decode([int(token)])

    @property
    def accuracy(self) -> float | None:
        """Share of tokens that the network would have named."""
        return float((self.likeliest == self.tokens[1:]).mean()) if len(self.likeliest) else None


def predict_text(saved: SavedNetwork, origin: str, text: str | Path) -> TextPrediction:
    """What a network that was trained on text says of another text.

    A text longer than the network's context is read in windows that overlap by half, so that every token beyond the
    first window has at least half a context before it.

    Args:
        origin: What messages call the network.
        text: The text itself; a `Path` is read as a file.

    Raises:
        DataError: For an empty text, characters that the vocabulary has no token for, and a file that cannot be read.
        NetworkError: For a network that was not trained on text.
    """
    record = saved.tokens
    if record is None:
        raise NetworkError(f"{origin} was trained on no text: autogrow.predict in Python takes arrays")
    tokenizer = tokenizer_of(record, origin)
    if isinstance(text, Path):
        where, content = str(text), read_bytes(text, "text file", DataError, max_bytes=MOST_BYTES)
        tokens, num_bytes = tokens_of(tokenizer, content, where), len(content)
    else:
        where, tokens = "the text", tokenizer.encode(text)
        num_bytes = len(text.encode("utf-8", "surrogateescape"))
    if not len(tokens):
        raise DataError(f"{where} is empty: give one of at least one token")
    tokens = np.array(tokens, dtype=np.int64)
    said, likeliest = _along(saved.module, tokens, record.context, record.num_tokens)
    end = _log_probabilities(saved.module, torch.from_numpy(tokens[None, -record.context :]), record.num_tokens)
    return TextPrediction(tokens, tokenizer, said, likeliest, end[0, -1].numpy(), num_bytes)


def _along(module: nn.Module, tokens: Array, context: int, num_tokens: int) -> tuple[Array, Array]:
    """(T - 1,) the log probability of every token but the first, and the likeliest one in its place."""
    number = len(tokens) - 1
    said, likeliest = np.empty(number), np.empty(number, dtype=np.int64)
    length = min(context, number)
    of_all = list(_windows(number, length))
    for place in range(0, len(of_all), BATCH):
        windows = of_all[place : place + BATCH]
        inputs = torch.from_numpy(np.stack([tokens[start : start + length] for start, _ in windows]))
        found = _log_probabilities(module, inputs, num_tokens)
        for (start, first), of_window in zip(windows, found, strict=True):
            new = of_window[first - start :]
            wanted = torch.from_numpy(tokens[first + 1 : start + length + 1])
            said[first : start + length] = new.gather(1, wanted[:, None])[:, 0].numpy()
            likeliest[first : start + length] = new.argmax(-1).numpy()
    return said, likeliest


def _windows(number: int, length: int) -> Iterator[tuple[int, int]]:
    """Where each window starts, and from which place on it says something new; the last one ends with the text."""
    start = end = 0
    while end < number:
        yield start, end
        end = start + length
        start = min(end - length // 2, number - length)


def _log_probabilities(module: nn.Module, windows: Tensor, num_tokens: int) -> Tensor:
    """(B, T, num_tokens) float64, in nats, of what follows each place of (B, T) tokens."""
    try:
        with evaluating(module), torch.inference_mode():
            logits: Tensor = module(windows)[..., :num_tokens]
    except RAISED_BY_OTHERS as error:
        raise NetworkError(
            f"the network fails on windows of {windows.shape[1]} tokens, fewer than it was trained on or as many: "
            f"{one_line(error)}"
        ) from error
    return logits.double().log_softmax(-1)
