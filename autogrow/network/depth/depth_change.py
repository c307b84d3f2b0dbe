"""A change of the number of blocks: what has been made for it, how it is put in place, taken back, and told of.

Not how it is made: see `deepening`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from autogrow.network.depth.place_settings import Undo
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.structure.channel_groups import Structure
from autogrow.policy.depth import BlockState


@dataclass(frozen=True)
class Deepening:
    """What one event of depth growth did."""

    added_blocks: dict[str, int]
    parameters_before: int
    parameters_after: int
    seconds: float


@dataclass
class DepthChange:
    """A change of the number of blocks that has been computed and not yet made."""

    structure: Structure
    added: dict[str, nn.Module] = field(default_factory=dict)
    """New blocks by their dotted names."""
    copied: set[str] = field(default_factory=set)
    """Those of them that are copies of present blocks, with their weights."""
    moved: dict[str, tuple[str, nn.Module]] = field(default_factory=dict)
    """Present blocks that get another place, by their former names, with their new ones."""
    removed: dict[str, nn.Module] = field(default_factory=dict)
    models: dict[str, nn.Parameter] = field(default_factory=dict)
    """For every new parameter the present one whose place in an optimizer it follows; of a copy its original."""
    children: list[tuple[nn.Module, dict[str, nn.Module | None], dict[str, nn.Module | None]]] = field(
        default_factory=list
    )
    """Containers with their children before and after."""
    settings: list[Callable[[], Undo]] = field(default_factory=list)
    """What puts values in place that go by depth, and returns what puts back those of before."""
    undo: list[Undo] = field(default_factory=list)
    """What puts back those that were put in place."""

    def commit(self) -> None:
        for container, _, after in self.children:
            _put(container, after)
        self.undo = [put() for put in self.settings]

    def retire(self) -> None:
        """Nothing is replaced by blocks that come or go."""

    def revert(self) -> None:
        """Put the children of before back, the same objects, and their settings."""
        for undo in reversed(self.undo):
            undo()
        self.undo = []
        for container, before, _ in self.children:
            _put(container, before)

    @property
    def fresh_channels(self) -> dict[str, Tensor]:
        """Masks, by layer, of the channels of norms that have seen no data: all those of blocks drawn anew."""
        return {
            f"{prefix}.{name}" if name else prefix: torch.ones(len(mean), dtype=torch.bool)
            for prefix, block in self.added.items()
            if prefix not in self.copied
            for name, layer in block.named_modules()
            if isinstance(mean := layer._buffers.get("running_mean"), Tensor)
        }

    def tell(
        self,
        cohorts: Cohorts,
        optimizers: Sequence[OptimizerCohorts],
        *,
        begins_event: bool,
        grows: bool,
        optimizer_state: BlockState = "carry",
    ) -> None:
        """Let the records and the optimizers of the network follow, once it has its new blocks.

        Args:
            cohorts: The network's record of ages.
            optimizers: All that look after the network.
            begins_event: Whether new blocks are of the next growth event, or of the one made last.
            grows: Whether there are new blocks whose age counts.
            optimizer_state: Whether copies take over the state of their originals, start without, or all do.

        Raises:
            NetworkError: New parameters that are trained would be in none of the optimizers.
        """
        cohorts.remove(name for name, _ in tensors_of(self.removed))
        cohorts.rename(self._new_names)
        cohorts.commit({}, begins_event)
        cohorts.add(name for name, _ in tensors_of(self.added))
        gone = [tensor for _, tensor in tensors_of(self.removed) if isinstance(tensor, nn.Parameter)]
        new = {name: tensor for name, tensor in tensors_of(self.added) if isinstance(tensor, nn.Parameter)}
        copies = {name for name in new if any(name.startswith(f"{prefix}.") for prefix in self.copied)}
        held = {parameter for optimizer in optimizers for parameter in optimizer.parameters}
        for number, optimizer in enumerate(optimizers):
            # What none of them holds goes to the first, which has the words for it.
            mine = {
                name: parameter
                for name, parameter in new.items()
                if self.models[name] in optimizer.parameters or (number == 0 and self.models[name] not in held)
            }
            if gone:
                optimizer.remove(gone)
            optimizer.rename(self._new_names)
            if mine:
                optimizer.add(mine, self.models)
            carried = {mine[name]: self.models[name] for name in mine if name in copies}
            if optimizer_state == "carry":
                optimizer.carry_state(carried)
            # A block is new as a whole: nothing in it connects old units with new ones.
            optimizer.commit([], {}, reset=optimizer_state == "reset", grows=grows, ramp=False)

    @property
    def _new_names(self) -> dict[str, str]:
        """New names of the tensors of blocks that get another place."""
        return {
            f"{former}.{name}": f"{prefix}.{name}"
            for former, (prefix, block) in self.moved.items()
            for name, _ in [*block.named_parameters(), *block.named_buffers()]
        }


def _put(container: nn.Module, children: Mapping[str, nn.Module | None]) -> None:
    container._modules.clear()
    container._modules.update(children)


def tensors_of(blocks: Mapping[str, nn.Module]) -> list[tuple[str, Tensor]]:
    """The parameters and buffers of blocks, by name."""
    return [
        (f"{prefix}.{name}", tensor)
        for prefix, block in blocks.items()
        for name, tensor in [*block.named_parameters(), *block.named_buffers()]
    ]
