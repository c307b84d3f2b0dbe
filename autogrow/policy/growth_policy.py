"""The growth policy: one frozen record that says when, where and how much a network grows, and how new units start."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from autogrow.policy.freezing import AnyFreezing, NoFreezing
from autogrow.policy.initializations import INITIALIZATIONS
from autogrow.policy.layer_selection import All, AnyLayerSelection
from autogrow.policy.part import PolicyPart, validated
from autogrow.policy.policy_file import read_policy_file, write_policy_file
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.triggers import AnyTrigger, Plateau


class GrowthPolicy(PolicyPart):
    """How a network grows. Fractions are of every channel group's full width, the width its author wrote."""

    initial_fraction: float = Field(default=0.25, gt=0, le=1)
    chunk_fraction: float = Field(default=0.25, gt=0, le=1)
    """Units added to a chosen group per growth event."""
    max_fraction: float = Field(default=1.0, gt=0, le=4)
    trigger: AnyTrigger = Plateau()
    layer_selection: AnyLayerSelection = All()
    initialization: str = "zero_fan_out"
    freeze: AnyFreezing = NoFreezing()
    optimizer_state: Literal["carry", "reset"] = "carry"
    """carry: moments of old entries survive an event; reset: the optimizer starts afresh."""
    training: TrainingSettings | None = None
    """The training settings that the policy was found with; None leaves them to the command."""
    found_by: dict[str, Any] | None = None
    """Where the policy comes from: study, trial, data set, fingerprint, metrics, versions. Never read back."""

    @field_validator("initialization")
    @classmethod
    def _known_initialization(cls, name: str) -> str:
        INITIALIZATIONS[name]
        return name

    @model_validator(mode="after")
    def _fractions_in_order(self) -> Self:
        if self.initial_fraction > self.max_fraction:
            raise ValueError(f"initial_fraction {self.initial_fraction} is above max_fraction {self.max_fraction}")
        return self

    @property
    def grows(self) -> bool:
        """Whether there is anything left to grow after the start."""
        return self.initial_fraction < self.max_fraction

    def initial_width(self, full_width: int) -> int:
        """The number of units a group of `full_width` starts with, at least 1."""
        return max(1, round(self.initial_fraction * full_width))

    def max_width(self, full_width: int) -> int:
        """The number of units a group of `full_width` can reach."""
        return max(self.initial_width(full_width), round(self.max_fraction * full_width))

    def added_units(self, width: int, full_width: int) -> int:
        """The units that one event adds to a group that has `width` now; 0 once it is at its maximum.

        Rounding is done on the fraction reached, not on the chunk, so that groups of different widths that grow
        together also reach their maximum together. Less than half a chunk left over joins the event before.
        """
        left = self.max_width(full_width) - width
        if left <= 0:
            return 0
        events_so_far = round((width / full_width - self.initial_fraction) / self.chunk_fraction)
        reached = self.initial_fraction + (events_so_far + 1) * self.chunk_fraction
        if self.max_fraction - reached < self.chunk_fraction / 2:
            return left
        return min(left, max(1, round(reached * full_width) - width))

    def recipe(self) -> dict[str, Any]:
        """The fields that decide how a network grows, as plain data: without `training` and `found_by`."""
        return self.model_dump(exclude={"training", "found_by"})

    @classmethod
    def from_dict(cls, fields: dict[str, Any], where: str = "policy") -> "GrowthPolicy":
        """The policy of these fields; raises `PolicyError` naming the field, the value and the limit."""
        return validated(cls, fields, where)

    @classmethod
    def load(cls, path: str | Path) -> "GrowthPolicy":
        """Read a policy file. Raises `PolicyError` for anything but a valid ``autogrow-policy/1`` file."""
        return cls.from_dict(read_policy_file(Path(path)), where=str(path))

    def save(self, path: str | Path) -> None:
        """Write the policy file, whole or not at all."""
        write_policy_file(Path(path), self.model_dump(exclude_none=True))
