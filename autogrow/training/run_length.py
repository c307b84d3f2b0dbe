"""How long a run is, and how far it has come: in steps, or in the training FLOPs that it uses.

A run whose length is compute lasts as long as the full-size network would take for its epochs; while the network is
smaller, a step costs less and the run takes more of them. Both kinds have one clock, which counts in steps of the
full-size network: schedules go by it. FLOPs are whole numbers and are summed as such, so that a run which is
interrupted and resumed, at whatever step, comes to the same sums.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autogrow.errors import NetworkError
from autogrow.policy.records import Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.optimizers import learning_rate_at, start_of_fall


def whole(flops: float) -> int:
    """FLOPs as a whole number, which adds up exactly however many there are."""
    return round(flops)


@dataclass(frozen=True)
class RunLength:
    """The length of one run, and where it is after some steps."""

    settings: TrainingSettings
    num_full_steps: int
    """Steps that the run takes at full size; all of them where it goes by epochs."""
    full_step_flops: int
    """Training FLOPs of a step at full size."""
    sample_every: int
    """Steps between two samples, of the full-size network unless the settings give a number."""

    def __post_init__(self) -> None:
        if self.goes_by_compute and self.full_step_flops < 1:
            raise NetworkError(
                "training.length is compute, but the FLOPs of this network cannot be counted: set it to epochs"
            )

    @property
    def goes_by_compute(self) -> bool:
        return self.settings.length == "compute"

    @property
    def full_flops(self) -> int:
        """Training FLOPs of the whole run at full size; of a network whose FLOPs cannot be counted there are none."""
        return self.full_step_flops * self.num_full_steps

    def num_steps(self, step: int, flops: int, step_flops: int) -> int:
        """The steps of the whole run, as things are: `flops` were used in `step` steps, another costs `step_flops`."""
        if not self.goes_by_compute:
            return self.num_full_steps
        return step + _steps_for(self.full_flops - flops, step_flops)

    def next_sample_step(self, step: int, flops: int, step_flops: int) -> int:
        """The step after which the next sample is due; counted on past the end of the run."""
        if not self.goes_by_compute or self.settings.sample_every is not None:
            return (step // self.sample_every + 1) * self.sample_every
        interval = self.sample_every * self.full_step_flops
        return step + max(1, _steps_for((flops // interval + 1) * interval - flops, step_flops))

    def clock(self, step: int, flops: int) -> float:
        """The place in the run, from 0 to `num_full_steps`, in steps of the full-size network."""
        if not self.goes_by_compute:
            return min(step, self.num_full_steps)
        return min(flops / self.full_step_flops, self.num_full_steps)

    def progress(self, flops: int) -> float | None:
        """The share of the run's compute that is used, at most 1; None where the run goes by epochs."""
        return min(flops / self.full_flops, 1.0) if self.goes_by_compute else None

    def learning_rate(self, step: int, flops: int, samples: Sequence[Sample], growth_ended_step: int | None) -> float:
        """The learning rate of the step after `step` others, which used `flops`."""
        ended = self._growth_ended(samples, growth_ended_step)
        return learning_rate_at(step, self.clock(step, flops), self.num_full_steps, self.settings, ended)

    def fall_step(
        self, step: int, flops: int, step_flops: int, samples: Sequence[Sample], growth_ended_step: int | None
    ) -> int | None:
        """The step after which the rate begins to fall, as things are; the present one where that is behind."""
        start = start_of_fall(self.num_full_steps, self.settings, self._growth_ended(samples, growth_ended_step))
        if start is None:
            return None
        if not self.goes_by_compute:
            return max(step, math.ceil(start))
        return step + _steps_for(math.ceil(start * self.full_step_flops) - flops, step_flops)

    def _growth_ended(self, samples: Sequence[Sample], growth_ended_step: int | None) -> float | None:
        """The place in the run of the step after which the network grew no more."""
        if not self.goes_by_compute or not growth_ended_step:
            return growth_ended_step
        used = next(sample.training_flops for sample in samples if sample.step == growth_ended_step)
        return used / self.full_step_flops


def _steps_for(flops: int, step_flops: int) -> int:
    """The fewest steps that use `flops` FLOPs."""
    return max(0, -(-flops // max(1, step_flops)))
