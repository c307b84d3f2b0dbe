"""Torch-Pruning 1.6.1: a trained network at a size, by its own criteria.

As its documentation and examples have it: global pruning, group importance with its default normalizers, the output
layer ignored, attention pruned by whole heads once it is told which layers make how many (BERT, LLMs), and the numbers
of heads that modules hold set afterwards, as its examples do by hand. `pruning_ratio`, the same for channels and heads,
is looked for so that the network has as many FLOPs as it may. Its mutable default arguments are given anew each time:
what one pruner writes into them is read by the next.
"""

import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from autogrow.network.measuring.flops import forward_flops_per_example
from autogrow.network.running.copying import copied
from autogrow.training.fixed_batch import FixedBatch

L2, TAYLOR = "Torch-Pruning, L2", "Torch-Pruning, Taylor"
CRITERIA = (L2, TAYLOR)
LIMIT_SECONDS = 300
"""For a network at one size, whatever is tried on the way."""
GRID = 20
"""Ratios that are tried from small to large until one is small enough: a layer that would lose all channels is left
whole, so the FLOPs do not always fall with the ratio, and bisection alone could miss the place."""
BISECTIONS = 6


class PeerFailedError(Exception):
    """No network of that size came of it; the message says why."""


class TooLargeError(PeerFailedError):
    """Whatever the ratio, the network is larger."""


class TooSlowError(PeerFailedError):
    """It did not return in time."""


@dataclass(frozen=True)
class AttentionLayers:
    """One attention, and the layers that make its heads."""

    module: Any
    heads: dict[nn.Module, int]

    def follow(self, now: dict[nn.Module, int]) -> None:
        """Set what the module holds of its heads to what there is now; what its examples set after pruning."""
        layers: list[Any] = list(self.heads)
        if len(layers) == 1:
            self.module.heads = self.module.key_value_heads = now[layers[0]]
            return
        query, key = layers[0], layers[1]
        values = {"num_attention_heads": now[query], "num_heads": now[query], "all_head_size": query.out_features}
        for name, value in values.items():
            if hasattr(self.module, name):
                setattr(self.module, name, value)
        if hasattr(self.module, "num_key_value_groups"):
            self.module.num_key_value_groups = now[query] // now[key]


def attention_layers(module: nn.Module) -> list[AttentionLayers]:
    """Attentions with query, key and value layers of their own, as in `transformers`, or with a fused `qkv`."""
    config = getattr(getattr(module, "model", None), "config", None)
    found = []
    for layer in module.modules():
        if isinstance(fused := getattr(layer, "qkv", None), nn.Linear):
            found.append(AttentionLayers(layer, {fused: int(getattr(layer, "heads", 1))}))
        for names in (("q_proj", "k_proj", "v_proj"), ("query", "key", "value")):
            parts = [getattr(layer, name, None) for name in names]
            if all(isinstance(part, nn.Linear) for part in parts):
                heads = int(getattr(config, "num_attention_heads", 1))
                shared = int(getattr(config, "num_key_value_heads", None) or heads)
                of_part = dict(zip(parts, (heads, shared, shared), strict=True))
                found.append(AttentionLayers(layer, of_part))  # type: ignore[arg-type]
    return found


class Peer:
    """One trained network under one criterion.

    Args:
        trained: Left as it is.
        output_layer: Name of the layer that is ignored.
        batches: What Taylor importance takes its gradients from.
        example: Inputs that are traced, and that FLOPs are counted on.
        prunes_attention: Whether it is told of heads; otherwise the layers that make them are ignored.
    """

    def __init__(
        self,
        trained: nn.Module,
        output_layer: str,
        criterion: str,
        batches: Sequence[FixedBatch],
        example: Tensor,
        prunes_attention: bool = True,
    ) -> None:
        self._trained, self._output_layer, self._criterion = trained, output_layer, criterion
        self._example, self._prunes_attention = example, prunes_attention
        self._gradients = _gradients(trained, batches) if criterion == TAYLOR else {}
        self._flops: dict[float, float] = {}

    def to_flops(self, most: float) -> nn.Module:
        """The largest network found with at most so many FLOPs. Raises `PeerFailedError`."""
        with time_limit(LIMIT_SECONDS):
            low, high = 0.0, None
            for number in range(1, GRID + 1):
                ratio = number / GRID
                if self._flops_at(ratio) <= most:
                    high = ratio
                    break
                low = ratio
            if high is None:
                share = min(self._flops.values()) / self._flops_at(0.0)
                raise TooLargeError(f"at no pruning_ratio are fewer than {share:.3f} of the FLOPs left")
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                low, high = (low, middle) if self._flops_at(middle) <= most else (middle, high)
            ratio = max((ratio for ratio in self._flops if self._flops[ratio] <= most), key=self._flops.__getitem__)
            return self.pruned(ratio)

    def pruned(self, ratio: float) -> nn.Module:
        """A copy, pruned."""
        import torch_pruning

        module = copied(self._trained).eval()
        for name, parameter in module.named_parameters():
            parameter.grad = self._gradients[name].clone() if name in self._gradients else None
        kinds = {
            L2: torch_pruning.importance.GroupMagnitudeImportance(p=2),
            TAYLOR: torch_pruning.importance.GroupTaylorImportance(),
        }
        attentions = attention_layers(module)
        ignored = [module.get_submodule(self._output_layer)]
        heads: dict[nn.Module, int] = {}
        for attention in attentions:
            if self._prunes_attention:
                heads |= attention.heads
            else:
                ignored += attention.heads
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torch_pruning")
            pruner = torch_pruning.pruner.MetaPruner(
                module, self._example, importance=kinds[self._criterion], global_pruning=True, pruning_ratio=ratio,
                ignored_layers=ignored, num_heads=heads, prune_num_heads=bool(heads), prune_head_dims=False,
                head_pruning_ratio=ratio if heads else 0.0, in_channel_groups={}, out_channel_groups={},
            )  # fmt: skip
            pruner.step()
        if heads:
            for attention in attentions:
                attention.follow(pruner.num_heads)
        module.zero_grad(set_to_none=True)
        return module

    def _flops_at(self, ratio: float) -> float:
        """Infinite for a ratio that fails; raises `PeerFailedError` where not even the first one gives what runs."""
        if ratio not in self._flops:
            try:
                module = self.pruned(ratio) if ratio else self._trained
                self._flops[ratio] = forward_flops_per_example(module, self._example)
            except (RuntimeError, IndexError, ValueError, TypeError, AttributeError, AssertionError, KeyError) as error:
                reason = f"pruning_ratio {ratio:g}: {type(error).__name__}: {error}".partition("\n")[0]
                if all(flops == float("inf") or not tried for tried, flops in self._flops.items()):
                    raise PeerFailedError(reason[:200]) from error
                self._flops[ratio] = float("inf")
        return self._flops[ratio]


def _gradients(trained: nn.Module, batches: Sequence[FixedBatch]) -> dict[str, Tensor]:
    """Summed over batches, in eval mode, by parameter."""
    module = copied(trained).eval()
    for batch in batches:
        batch.loss(module).backward()
    return {name: each.grad for name, each in module.named_parameters() if each.grad is not None}


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises `TooSlowError` in what takes longer, in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"did not return within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def tied_parameters(module: nn.Module) -> list[list[str]]:
    """The names of every parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return sorted(found for found in names.values() if len(found) > 1)


@torch.no_grad()
def fault_of(pruned: nn.Module, original: nn.Module, example: Tensor) -> str | None:
    """What is wrong with a network, whatever its weights are; None for nothing that was looked for."""
    if tied_parameters(pruned) != tied_parameters(original):
        return f"tied weights came apart: {tied_parameters(original)}"
    pruned, original = pruned.eval(), original.eval()
    outputs, shape = pruned(example), original(example).shape
    if outputs.shape != shape:
        return f"outputs of shape {tuple(outputs.shape)} instead of {tuple(shape)}"
    if not torch.isfinite(outputs).all():
        return "outputs are not finite"
    alone = torch.cat([pruned(each[None]) for each in example])
    gap = float((alone - outputs).abs().max())
    return None if gap < 1e-3 * max(1.0, float(outputs.abs().max())) else f"examples change each other by {gap:.2g}"
