"""How a network trains, apart from how it grows: the settings that an exported policy carries under `training:`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from autogrow.former_names import with_present_settings
from autogrow.policy.part import PolicyPart

Beta = Annotated[float, Field(ge=0, lt=1)]
LATER_SETTINGS = (
    "steps",
    "weight_decay_of",
    "betas",
    "max_gradient_norm",
    "length",
    "warmup_steps",
    "decay_fraction",
    "decay",
    "brightness",
    "contrast",
)
"""Written only where they are other than usual."""
WINDOWS_OF_A_LONG_TEXT = 10_000
EPOCHS_OF_SHORT_TEXTS, EPOCHS_OF_LONG_TEXTS = 10, 2
TEXT_BATCH = 16


class TrainingSettings(PolicyPart):
    """Optimizer, batch size, length and measuring points of one training run."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    steps: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Length of the run in training steps, in place of `epochs`; schedules span it. None goes by epochs."""
    length: Literal["epochs", "compute"] = "epochs"
    """What `epochs` (or `steps`) counts. epochs: passes over the training examples. compute: the training FLOPs that
    the full-size network would use in them; a smaller one takes more steps for these. Schedules then go by compute."""
    batch_size: int = Field(default=128, ge=1, le=1_048_576)
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    """rmsprop: gradients divided by the root of the running mean of their squares, of which a step keeps 0.9 (Tieleman
    and Hinton 2012, lecture 6.5)."""
    learning_rate: float = Field(default=1e-3, gt=0, le=100)
    learning_rate_schedule: Literal["constant", "cosine", "constant_then_cosine", "constant_then_decay"] = (
        "constant_then_cosine"
    )
    """cosine: from `learning_rate` to zero over the whole run. constant_then_cosine: constant while the network can
    still grow, and for `constant_share` of the run, then the cosine to its end (FRAGrow: Wu et al. 2024, arXiv
    2401.03104). constant_then_decay: constant, then to zero over the last `decay_fraction`, whatever grows."""
    constant_share: float = Field(default=0.75, ge=0, lt=1)
    """Share of the run, at least, for which constant_then_cosine is constant, also where nothing grows any more. A
    short fall at the end does as well as a long one, or better, for networks that never grow too (Hägele et al. 2024,
    arXiv 2405.18392; results/studies/default-policy)."""
    warmup_steps: int = Field(default=0, ge=0, le=1_000_000)
    """First steps over which the learning rate rises linearly, under every schedule."""
    decay_fraction: float = Field(default=0.2, gt=0, le=1)
    """Last share of the run over which constant_then_decay falls (MiniCPM, arXiv 2404.06395: 0.1 suffices)."""
    decay: Literal["linear", "one_minus_sqrt"] = "linear"
    """How constant_then_decay falls: one_minus_sqrt falls faster at first (Hägele et al. 2024, arXiv 2405.18392)."""
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    weight_decay_of: Literal["all", "matrices"] = "all"
    """What weight decay is for: all parameters, or those of two dimensions and more, so that biases and gains of norms
    are left out."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Of adam and adamw: how much of the running means of gradients and of their squares a step keeps."""
    max_gradient_norm: float | None = Field(default=None, gt=0, le=1e6)
    """Gradients of all parameters together are scaled down to this norm where they have a larger one (Pascanu, Mikolov
    and Bengio 2013, arXiv 1211.5063, algorithm 1); None leaves them as they are."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """For sgd alone."""
    augment: bool = True
    """Random crop after padding by 4 and random horizontal flip, on the data sets that ask for it (CIFAR); of text,
    windows that begin anywhere, not side by side."""
    cutout: int = Field(default=0, ge=0, le=1024)
    """Side, in pixels, of a square hole in every augmented image; 0 for none (DeVries and Taylor 2017)."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Most that is added to, or taken from, all values of an augmented image alike, as a share of their range; of other
    than 8-bit images in the unit of their values. Before contrast; values are not cut off."""
    contrast: float = Field(default=0.0, ge=0, le=1)
    """Distances of an augmented image's values from the mean of their channel are multiplied by a factor drawn from 1
    minus this to 1 plus this."""
    sample_every: int | None = Field(default=None, ge=1, le=1_000_000)
    """Steps between two samples; None takes a hundredth of the run, at most 100 steps."""
    sample_size: int | None = Field(default=None, ge=1, le=1_000_000)
    """Examples of each split that a sample looks at; None takes about half of what was trained on since the last."""

    @model_validator(mode="before")
    @classmethod
    def _by_present_names(cls, fields: Any) -> Any:
        return with_present_settings(fields) if isinstance(fields, Mapping) else fields

    def num_steps(self, steps_per_epoch: int) -> int:
        """Training steps of the whole run."""
        return self.steps if self.steps is not None else self.epochs * steps_per_epoch

    @model_serializer(mode="wrap")
    def _without_later_settings(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Runs are written as before the later settings existed: they are recognized by what was written.
        written: dict[str, Any] = serialize(self)
        usual = type(self).model_fields
        return {
            name: value
            for name, value in written.items()
            if name not in LATER_SETTINGS or getattr(self, name) != usual[name].default
        }


TEXT_RECIPE: Mapping[str, Any] = {
    "optimizer": "adamw",
    "learning_rate_schedule": "constant_then_decay",
    "length": "compute",
    "weight_decay": 0.1,
    "weight_decay_of": "matrices",
    "betas": (0.9, 0.95),
    "max_gradient_norm": 1.0,
}
"""What text is trained with whatever the length, the batch and the rate: see `text_training`."""


def text_training(num_windows: int) -> TrainingSettings:
    """What text is trained with where nothing is said: a usual recipe for small transformers.

    AdamW with these betas, decay of matrices alone and clipped gradients are those of GPT-3 (Brown et al. 2020, arXiv
    2005.14165, appendix B); the rate is what did best for narrow networks (width 32 to 64) of 0.002, 0.004 and 0.008.
    The length is compute, so that networks that start shallow and ones that do not spend the same, and the rate is
    constant till the last fifth: a rate that falls all along keeps new blocks from catching up (Bu 2025, 2511.04981).
    """
    is_small = num_windows < WINDOWS_OF_A_LONG_TEXT
    return TrainingSettings(
        epochs=EPOCHS_OF_SHORT_TEXTS if is_small else EPOCHS_OF_LONG_TEXTS,
        batch_size=TEXT_BATCH,
        learning_rate=4e-3,
        warmup_steps=50,
        **TEXT_RECIPE,
    )
