"""How much of a start or of a growth event still fits under a policy's size limits, found by trying it on a copy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.size import measure_size
from autogrow.network.running.model_input import ModelInput
from autogrow.policy.changes import Change, Deepen, Widen
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import largest_fitting


class FittingSizes:
    """Finds sizes of one network that its policy's limits allow.

    Args:
        batch: What a training step sees, which its memory depends on.
        timed: What latency is measured on.
    """

    def __init__(self, network: ExpandableNetwork, policy: GrowthPolicy, batch: ModelInput, timed: ModelInput) -> None:
        self._network = network
        self._limits = policy.limits
        self._unit_multiple = policy.initialization.unit_multiple
        self._batch = batch
        self._timed = timed
        self._exceeded: str | None = None

    def start(self, widths: Mapping[str, int]) -> dict[str, int]:
        """The widths of a fresh network to start with: these, or the largest share of them that fits.

        Raises `NetworkError` where not even one unit per group does.
        """
        if not self._limits.is_set:
            return dict(widths)

        def scaled(share: float) -> dict[str, int]:
            return {name: max(1, round(share * width)) for name, width in widths.items()}

        def fits(share: float) -> bool:
            twin = self._network.twin()
            twin.start_small(scaled(share))
            return self._fits(twin)

        share = largest_fitting(fits)
        if share is None:
            raise NetworkError(f"the network is too large even with one unit per group: {self._exceeded}")
        return scaled(share)

    def cut(self, changes: Sequence[Change]) -> tuple[tuple[Change, ...], str | None]:
        """What fits of the changes that a policy decided on, and the limit that stood against all of them.

        Where nothing fits of the one that adds something, it is left out with everything after it.
        """
        for place, change in enumerate(changes):
            if isinstance(change, Widen):
                units, limited_by = self.event(change.added_units)
                fitting: tuple[Change, ...] = (replace(change, added_units=units),) if units else ()
            elif isinstance(change, Deepen):
                blocks, limited_by = self.blocks(change.added_blocks)
                fitting = (replace(change, added_blocks=blocks),) if blocks else ()
            else:
                continue
            return (*changes[:place], *fitting, *(changes[place + 1 :] if fitting else ())), limited_by
        return tuple(changes), None

    def event(self, units: Mapping[str, int]) -> tuple[dict[str, int], str | None]:
        """The units of an event that fit, scaled down alike, and the limit that stood against all of them."""
        if not self._limits.is_set:
            return dict(units), None
        self._exceeded = None

        def scaled(share: float) -> dict[str, int]:
            multiple = self._unit_multiple
            added = {name: int(share * number) // multiple * multiple for name, number in units.items()}
            return {name: number for name, number in added.items() if number > 0}

        def fits(share: float) -> bool:
            added = scaled(share)
            twin = self._network.twin()
            if added:
                twin.widen_groups(added)
            return self._fits(twin)

        share = largest_fitting(fits)
        return (scaled(share) if share is not None else {}), self._exceeded

    def blocks(self, blocks: Mapping[str, int]) -> tuple[dict[str, int], str | None]:
        """The blocks of an event that fit, the last ones left out first, and the limit that stood against all."""
        added = dict(blocks)
        self._exceeded = None
        while added and self._limits.is_set:
            twin = self._network.twin()
            twin.set_blocks({name: twin.blocks[name] + number for name, number in added.items()})
            if self._fits(twin):
                break
            last = list(added)[-1]
            added[last] -= 1
            added = {name: number for name, number in added.items() if number > 0}
        return added, self._exceeded

    def _fits(self, twin: ExpandableNetwork) -> bool:
        exceeded = self._limits.exceeded(measure_size(twin.module, self._batch, self._limits, self._timed))
        self._exceeded = exceeded or self._exceeded
        return exceeded is None
