"""Policies of a search space, drawn at random; the same ones whatever searches them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.search_space import SearchSpace


@dataclass
class RandomPoint:
    """Suggests values at random, but for those that are fixed, and remembers them."""

    generator: np.random.Generator
    fixed: Mapping[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """Uniform in the value, or in its logarithm."""

        def draw() -> float:
            if step is not None:
                return low + step * float(self.generator.integers(0, round((high - low) / step), endpoint=True))
            ends = (math.log(low), math.log(high)) if log else (low, high)
            value = float(self.generator.uniform(*ends))
            return min(max(math.exp(value), low), high) if log else value

        return float(self._value(name, draw()))

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """Uniform; in the logarithm where so said."""
        if log:
            drawn = round(math.exp(self.generator.uniform(math.log(low), math.log(high))))
        else:
            drawn = low + step * int(self.generator.integers(0, (high - low) // step, endpoint=True))
        return int(self._value(name, drawn))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Each as often."""
        return self._value(name, choices[int(self.generator.integers(len(choices)))])

    def _value(self, name: str, drawn: Any) -> Any:
        self.values.setdefault(name, self.fixed.get(name, drawn))
        return self.values[name]


@dataclass(frozen=True)
class DrawnPolicy:
    """A policy with its training settings, and the point of the space that it is."""

    name: str
    policy: GrowthPolicy
    training: TrainingSettings
    point: Mapping[str, Any]


def draw_policies(space: SearchSpace, training: TrainingSettings, number: int, seed: int) -> tuple[DrawnPolicy, ...]:
    """The points that the space has first, what they leave open drawn, then random ones; `number` in all."""
    generator = np.random.default_rng(seed)
    found = []
    for place in range(number):
        fixed = space.first_points[place] if place < len(space.first_points) else {}
        point = RandomPoint(generator, fixed)
        policy, settings = space.suggest(point, training)
        found.append(DrawnPolicy(f"policy_{place}", policy, settings, dict(point.values)))
    return tuple(found)
