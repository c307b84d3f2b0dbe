"""How a network trains on after units were removed from it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from autogrow.policy.part import PolicyPart
from autogrow.policy.training_settings import TrainingSettings

SHARE_OF_TRAINING = 4
"""A recovery takes one in so many of the epochs, or steps, that the network was trained for."""


class Recovery(PolicyPart):
    """A fine-tuning with a rate that warms up and falls, and what its loss has besides the task's."""

    epochs: int | None = Field(default=None, ge=0, le=100_000)
    """Passes over the training examples; 0 trains nothing. None: a quarter of the network's own training."""
    length_share: float = Field(default=1.0, gt=0, le=100)
    """By what that length is multiplied."""
    learning_rate: float | None = Field(default=None, gt=0, le=100)
    """None: that of the network's own training (rewinding it does at least as well as a smaller one: Renda et al. 2020,
    arXiv 2003.02389)."""
    optimizer_state: Literal["carry", "reset"] = "carry"
    """carry: where the training before left its optimizer's state, what remains of it goes on, and nothing warms up.
    reset: every recovery begins with a fresh optimizer."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the rate rises linearly, where the optimizer is a fresh one."""
    decay_share: float = Field(default=1.0, ge=0, le=1)
    """Last share of the steps over which the rate falls linearly to zero; 0 keeps it constant."""
    distillation: float = Field(default=0.0, ge=0, le=1)
    """Weight of the loss against the outputs of the network before it was shrunk; the rest is the task's own (Hinton
    et al. 2015, arXiv 1503.02531)."""
    temperature: float = Field(default=2.0, gt=0, le=100)
    """By which outputs that are logits are divided for that."""
    gain_penalty: float = Field(default=0.0, ge=0, le=10)
    """Times the sum of the absolute gains of norms, added to the loss (network slimming: Liu et al. 2017, arXiv
    1708.06519)."""
    activation_penalty: float = Field(default=0.0, ge=0, le=10)
    """Times the sum over units of their mean absolute activation, added to the loss (thesis (E. Calli 2017), 2.8)."""
    distortion: float = Field(default=0.0, ge=0, le=1)
    """Before the first step every weight that computes units, but not outputs, is moved by this times a draw from
    [0, 1) times 1 minus the variance of its tensor, where that is positive (thesis (E. Calli 2017), 2.8: 1)."""

    @model_validator(mode="after")
    def _rises_before_it_falls(self) -> Self:
        if self.warmup_share + self.decay_share > 1 and self.decay_share < 1:
            raise ValueError(
                f"warmup_share {self.warmup_share:g} and decay_share {self.decay_share:g} are more than the whole"
            )
        return self

    @property
    def trains(self) -> bool:
        return self.epochs != 0

    @property
    def ends_settled(self) -> bool:
        """Whether the rate has fallen at its end, so that the network is one to be judged."""
        return self.trains and self.decay_share > 0

    @property
    def changes_loss(self) -> bool:
        """Whether the loss has anything besides the task's own."""
        return max(self.distillation, self.gain_penalty, self.activation_penalty) > 0

    def without_fall(self) -> Self:
        return self.model_copy(update={"decay_share": 0.0})

    def constant_part(self) -> Self:
        """What comes before the rate falls, as a recovery of its own."""
        return self.without_fall().times_as_long(1 - self._falling)

    def falling_part(self) -> Self:
        """The fall of the rate, as a recovery of its own."""
        changes = {"decay_share": 1.0, "warmup_share": 0.0, "distortion": 0.0}
        return self.model_copy(update=changes).times_as_long(self._falling)

    @property
    def _falling(self) -> float:
        """Share of the length over which the rate falls where both parts are trained: neither is left without any."""
        return min(max(self.decay_share, 0.1), 0.5)

    def times_as_long(self, factor: float) -> Self:
        return self.model_copy(update={"length_share": self.length_share * factor})

    def settings(
        self, trained_with: TrainingSettings, steps_per_epoch: int, *, warms_up: bool = True
    ) -> TrainingSettings:
        """What the trainer is to do, for a network that was trained with these settings.

        Its length is in epochs, never in compute: a smaller network is not to train longer for being small.

        Args:
            warms_up: Whether the rate rises first; an optimizer that goes on with what it has learnt needs no rise.
        """
        assert self.trains
        if self.epochs is not None:
            steps = self.epochs * steps_per_epoch
        else:
            steps = trained_with.num_steps(steps_per_epoch) // SHARE_OF_TRAINING
        steps = max(1, round(self.length_share * steps))
        own = trained_with.model_dump()
        for name in ("epochs", "steps", "length", "learning_rate", "learning_rate_schedule", "warmup_steps", "decay"):
            own.pop(name, None)
        return TrainingSettings(
            **{**own, "decay_fraction": self.decay_share or 1.0},
            steps=steps,
            learning_rate=self.learning_rate or trained_with.learning_rate,
            learning_rate_schedule="constant_then_decay" if self.decay_share else "constant",
            warmup_steps=round(self.warmup_share * steps) if warms_up else 0,
        )
