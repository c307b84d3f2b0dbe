"""A network of a given shape that has not been trained: as if its author had written it in that shape.

Not for loading weights into, which `NetworkShape.give_to` is for: there the values mean nothing.
"""

from math import sqrt

import torch
from torch import nn

from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shape import NetworkShape
from autogrow.training.batches import stream_seed
from autogrow.training.example_input import example_input

CPU = torch.device("cpu")


def build_in_shape(
    spec: ModelSpec, input_shape: tuple[int, ...], num_outputs: int, shape: NetworkShape, seed: int
) -> nn.Module:
    """A plain module of this shape on the CPU, its weights drawn from `seed`.

    It begins as the network at full size does under the same seed. Groups that are narrower keep the first units, with
    the weight variance that their width asks for, just as a network that is to grow starts. Groups that are wider, and
    stages that are deeper, than their author wrote them are drawn after those that he did write. Settings that growing
    changed to keep a function the same (norms' eps) are the author's.
    """
    module = build_model(spec, input_shape, num_outputs, seed)
    network = ExpandableNetwork(module, example_input(input_shape, CPU))
    generator = torch.Generator().manual_seed(stream_seed(seed, "fresh network", 0))
    if shape.blocks:
        _set_blocks(network, shape, generator)
    present = network.widths
    network.start_small({name: min(width, present[name]) for name, width in shape.widths.items()})
    if any(width > present[name] for name, width in shape.widths.items()):
        _widen(network, shape, generator)
    return module


def _set_blocks(network: ExpandableNetwork, shape: NetworkShape, generator: torch.Generator) -> None:
    network.add_stages(shape.blocks)
    present = network.blocks
    network.shorten({name: min(number, present[name]) for name, number in shape.blocks.items()})
    more = {name: number - present[name] for name, number in shape.blocks.items() if number > present[name]}
    if more:
        network.deepen_stages(more, initialization="random", generator=generator)


def _widen(network: ExpandableNetwork, shape: NetworkShape, generator: torch.Generator) -> None:
    """Widen beyond what the author wrote: every tensor that changes is drawn anew from the values it had.

    How the author draws them cannot be known; drawing from their values keeps their distribution, whatever it is
    (zeros of biases, ones of norms), and the fan-in gives weights their scale, as in `start_small`.
    """
    before = {name: parameter.detach().clone() for name, parameter in network.module.named_parameters()}
    network.set_widths(shape.widths)
    with torch.no_grad():
        for name, parameter in network.module.named_parameters():
            old = before[name]
            if old.shape == parameter.shape:
                continue
            drawn = old.flatten()[torch.randint(old.numel(), parameter.shape, generator=generator)]
            layout = network.structure.tensors.get(name)
            if layout is not None and layout.in_dim is not None:
                drawn *= sqrt(old.shape[layout.in_dim] / parameter.shape[layout.in_dim])
            parameter.copy_(drawn)
