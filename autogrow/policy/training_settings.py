"""How a network trains, apart from how it grows: the settings that an exported policy carries under `training:`."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from autogrow.policy.part import PolicyPart


class TrainingSettings(PolicyPart):
    """Optimizer, batch size, length and measuring points of one training run."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    steps: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Length of the run in training steps, in place of `epochs`; schedules span it. None goes by epochs."""
    batch_size: int = Field(default=128, ge=1, le=1_048_576)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=100)
    learning_rate_schedule: Literal["constant", "cosine", "constant_then_cosine"] = "constant_then_cosine"
    """cosine: from `learning_rate` to zero over the whole run. constant_then_cosine: constant while the network can
    still grow, and for `constant_share` of the run, then the cosine to its end (FRAGrow: Wu et al. 2024, arXiv
    2401.03104)."""
    constant_share: float = Field(default=0.75, ge=0, lt=1)
    """Share of the run, at least, for which constant_then_cosine is constant, also where nothing grows any more. A
    short fall at the end does as well as a long one, or better, for networks that never grow too (Hägele et al. 2024,
    arXiv 2405.18392; results/studies/default-policy)."""
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """For sgd alone."""
    augment: bool = True
    """Random crop after padding by 4 and random horizontal flip, on the data sets that ask for it (CIFAR)."""
    cutout: int = Field(default=0, ge=0, le=1024)
    """Side, in pixels, of a square hole in every augmented image; 0 for none (DeVries and Taylor 2017)."""
    sample_every: int | None = Field(default=None, ge=1, le=1_000_000)
    """Steps between two samples; None takes a hundredth of the run, at most 100 steps."""
    sample_size: int | None = Field(default=None, ge=1, le=1_000_000)
    """Examples of each split that a sample looks at; None takes about half of what was trained on since the last."""

    def num_steps(self, steps_per_epoch: int) -> int:
        """Training steps of the whole run."""
        return self.steps if self.steps is not None else self.epochs * steps_per_epoch

    @model_serializer(mode="wrap")
    def _without_open_length(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Runs that go by epochs are written as before `steps` existed: they are recognized by what was written.
        written: dict[str, Any] = serialize(self)
        return {name: value for name, value in written.items() if name != "steps" or value is not None}
