"""A text continued by a saved network: one token after another, drawn from what the network says comes next."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from autogrow.data.tokenizers import TokenRecord, tokenizer_of
from autogrow.errors import RAISED_BY_OTHERS, DataError, NetworkError, UsageError, one_line
from autogrow.export.saved_network import SavedNetwork
from autogrow.network.running.undisturbed import evaluating

MOST_NEW_TOKENS = 1_000_000


def generate_text(
    saved: SavedNetwork,
    origin: str,
    prompt: str,
    *,
    num_tokens: int = 200,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> str:
    """The prompt, and `num_tokens` tokens that go on with it: the same for the same seed.

    Args:
        origin: What messages call the network.
        temperature: Logits are divided by it; 0 takes the likeliest token each time.
        top_k: How many of the likeliest tokens are drawn among; None: all.

    Raises:
        DataError: For characters that the vocabulary has no token for, and an empty prompt.
        NetworkError: For a network that was not trained on text.
        UsageError: For numbers out of range.
    """
    _check(num_tokens, temperature, top_k)
    record = saved.tokens
    if record is None:
        raise NetworkError(f"{origin} was trained on no text: there is nothing to go on with")
    tokenizer = tokenizer_of(record, origin)
    start = tokenizer.encode(prompt).tolist()
    if not start:
        raise DataError("the prompt is empty: give the beginning of a text")
    drawn = draw_tokens(saved.module, start, record, num_tokens, temperature, top_k, seed)
    return tokenizer.decode([*start, *drawn])


def draw_tokens(
    module: nn.Module,
    start: list[int],
    record: TokenRecord,
    number: int,
    temperature: float,
    top_k: int | None,
    seed: int,
) -> Iterator[int]:
    """Token after token; of what is longer than a window, its end is read."""
    generator = torch.Generator().manual_seed(seed)
    tokens = list(start)
    with evaluating(module), torch.inference_mode():
        for _ in range(number):
            logits = _next_logits(module, torch.tensor([tokens[-record.context :]]))
            tokens.append(_drawn(logits[: record.num_tokens], temperature, top_k, generator))
            yield tokens[-1]


def _next_logits(module: nn.Module, window: Tensor) -> Tensor:
    try:
        logits: Tensor = module(window)[0, -1].double()
    except RAISED_BY_OTHERS as error:
        raise NetworkError(
            f"the network fails on a window of {window.shape[1]} tokens, fewer than it was trained on or as many: "
            f"{one_line(error)}"
        ) from error
    return logits


def _drawn(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    if top_k is not None and top_k < len(logits):
        smallest = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    return int(torch.multinomial((logits / temperature).softmax(0), 1, generator=generator))


def _check(num_tokens: int, temperature: float, top_k: int | None) -> None:
    if not 1 <= num_tokens <= MOST_NEW_TOKENS:
        raise UsageError(f"{num_tokens} new tokens are not between 1 and {MOST_NEW_TOKENS:,}: give for example 200")
    if not 0 <= temperature <= 100:  # also not a number
        raise UsageError(f"temperature {temperature} is not between 0 and 100: give for example 0.8")
    if top_k is not None and top_k < 1:
        raise UsageError(f"top-k {top_k} is below 1: give the number of likeliest tokens to draw among")
