"""How a training run ends: what a caller answers to a sample, how it is interrupted, and the record of its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from autogrow.errors import TrainingDivergedError
from autogrow.network.shape import NetworkShape
from autogrow.training.evaluation import Metrics, validation_problem

INTERRUPT_POLL_SECONDS = 0.5


class Signal(Enum):
    """What a caller answers to a sample."""

    CONTINUE = "continue"
    STOP = "stop"
    """End now, keep the record: a scheduler has seen enough."""
    INTERRUPT = "interrupt"
    """Write a checkpoint and end: the run will be resumed."""


class InterruptPoll:
    """Asks about twice a second whether the run is to be saved and to end; the answer stays once it was yes."""

    def __init__(self, interrupted: Callable[[], bool] | None) -> None:
        self._interrupted = interrupted or (lambda: False)
        self._next_poll = 0.0
        self.is_interrupted = False

    def ask(self) -> bool:
        """Ask if it is time to; whether the run is interrupted."""
        if not self.is_interrupted and time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + INTERRUPT_POLL_SECONDS
            self.is_interrupted = self._interrupted()
        return self.is_interrupted


@dataclass(frozen=True)
class TrainingOutcome:
    """How a run ended. Metrics are of the last weights; None where there is no validation or the run did not finish."""

    signal: Signal
    steps: int
    train: Metrics | None
    validation: Metrics | None
    train_seconds: float
    training_flops: float
    parameters: int
    num_events: int
    shape: NetworkShape
    growth_ended_by: str
    """Why the network grew no more, in words; empty where it still might have."""

    def check_validation(self) -> None:
        """Raise `TrainingDivergedError` where the network is fine, but not on all validation examples."""
        if self.validation is not None and not self.validation.is_finite:
            raise TrainingDivergedError(validation_problem(self.validation))
