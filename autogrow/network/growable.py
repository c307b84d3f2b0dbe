"""What has to be known of a network to fit new units to data, and to measure where they would help most."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from autogrow.network.structure.channel_groups import Structure

LossOf = Callable[[nn.Module], Tensor]
"""The loss, a scalar with gradients, of a module on some batch of examples."""


class GrowableNetwork(Protocol):
    """A module and its groups, as `expandable.ExpandableNetwork` has them."""

    @property
    def module(self) -> nn.Module:
        """The plain module."""

    @property
    def structure(self) -> Structure:
        """Groups and layouts as they are now."""
