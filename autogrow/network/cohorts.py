"""Which growth event every entry was born in: the record behind ages in the optimizer and behind freezing.

The entries present at the start are cohort 0; the entries that event number n adds are cohort n. A tensor that has
only ever had cohort 0 needs no record of its own.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from autogrow.network.resizing import TensorChange


class Cohorts:
    """Cohort numbers (int16, of the tensor's shape) of the parameters and buffers of one network, by name."""

    def __init__(self) -> None:
        self.num_events = 0
        self._numbers: dict[str, Tensor] = {}

    def prepare(self, changes: Iterable[TensorChange], grows: bool) -> dict[str, Tensor]:
        """The cohort numbers of changed tensors after a change; new entries belong to the next event if it grows."""
        newborn = self.num_events + int(grows)
        return {change.name: change.carry(self.of(change.name, change.old), newborn) for change in changes}

    def commit(self, prepared: dict[str, Tensor], grows: bool) -> None:
        self._numbers.update(prepared)
        self.num_events += int(grows)

    def of(self, name: str, tensor: Tensor) -> Tensor:
        """The cohort number of every entry of the tensor of that name."""
        recorded = self._numbers.get(name)
        if recorded is None:
            return torch.zeros(tensor.shape, dtype=torch.int16, device=tensor.device)
        return recorded.to(tensor.device)

    def is_mixed(self, name: str) -> bool:
        """Whether the tensor holds entries born after the start."""
        recorded = self._numbers.get(name)
        return recorded is not None and bool((recorded > 0).any())

    def state_dict(self) -> dict[str, object]:
        return {"num_events": self.num_events, "numbers": dict(self._numbers)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.num_events = int(state["num_events"])  # type: ignore[call-overload]
        self._numbers = dict(state["numbers"])  # type: ignore[call-overload]
