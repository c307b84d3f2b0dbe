"""The shape of a network: what a checkpoint must carry besides weights, or they could be loaded into nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self, cast

from torch import nn

from autogrow.network.expandable import ExpandableNetwork


@dataclass(frozen=True)
class NetworkShape:
    """Plain numbers from which a fresh network of the same factory is brought to the size of a grown one."""

    widths: dict[str, int]
    blocks: dict[str, int] = field(default_factory=dict)
    """Blocks by stage, where depth grows."""
    norm_eps: dict[str, float] = field(default_factory=dict)
    """The eps of norms whose readers were rescaled (`variance_transfer`); it stands in no state_dict."""

    @classmethod
    def of(cls, network: ExpandableNetwork, *, with_blocks: bool) -> Self:
        """The present shape; finding out about stages takes a moment, so it is left out where no depth grows."""
        layers = dict(network.module.named_modules())
        norms = {name: layers[name] for name in network.structure.norm_of.values() if name in layers}
        return cls(
            network.widths,
            network.blocks if with_blocks else {},
            {name: cast(nn.BatchNorm2d, layer).eps for name, layer in norms.items()},
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(values["widths"], values.get("blocks") or {}, values.get("norm_eps") or {})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def give_to(self, network: ExpandableNetwork) -> None:
        """Bring a network to this shape. Its weights mean nothing until some are loaded."""
        if self.blocks:
            network.add_stages(self.blocks)
            network.set_blocks(self.blocks)
        network.set_widths(self.widths)
        layers = dict(network.module.named_modules())
        for name, eps in self.norm_eps.items():
            cast(nn.BatchNorm2d, layers[name]).eps = eps
