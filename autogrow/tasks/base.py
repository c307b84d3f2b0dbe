"""What a network is trained for: its loss, its score, and what a user's targets mean.

Everything that differs from task to task stands in one class per task, and nothing else asks which task it is. The
first half of a task is about arrays and is free of torch, so that data sets can be read without it; the second half is
about tensors, and imports torch where it is called.

A new task is one file, imported in `autogrow.tasks`. Needed are the score's name, a loss, a streaming score, and how
many outputs a network has:

    class Ranking(Task):
        score_name, score_title = "reciprocal_rank", "reciprocal rank"
        def count_outputs(self, y_train, y_test, origin): return y_train.shape[1]
        def wanted_outputs(self, targets, num_outputs): return WantedOutputs((targets.shape,), "a rank for each item")
        def loss(self, outputs, targets):
            if outputs.shape != targets.shape:
                raise wrong_shape(outputs, tuple(targets.shape))
            return -(targets * outputs.log_softmax(1)).sum(1).mean()
        def new_score(self): return MeanReciprocalRank()  # update(outputs, targets), then compute()

    TASKS.register("ranking")(Ranking())
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from autogrow.errors import DataError, NetworkError
from autogrow.metrics.scores import SCORES, Score
from autogrow.reading.arrays import Array
from autogrow.tasks.labels import ClassName, IntArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class EncodedTargets:
    """A file's targets as they are stored: a network's outputs are compared with rows of these."""

    y_train: Array
    y_test: Array | None
    classes: tuple[ClassName, ...] | None = None
    """Names of the outputs in their order, where a user has named them."""


@dataclass(frozen=True)
class WantedOutputs:
    """The outputs that a loss takes for a batch of targets."""

    shapes: tuple[tuple[int | None, ...], ...]
    """Each may be had; None for a length that nothing decides. The first is the usual one."""
    meaning: str
    """What a network's numbers stand for: "a value for each of 10 classes"."""

    def fit(self, shape: Sequence[int]) -> bool:
        """Whether outputs of this shape are among the wanted."""
        return any(
            len(shape) == len(wanted)
            and all(length in (None, given) for length, given in zip(wanted, shape, strict=True))
            for wanted in self.shapes
        )

    def __str__(self) -> str:
        shapes = (str(tuple("classes" if length is None else length for length in shape)) for shape in self.shapes)
        return f"{' or '.join(shapes).replace(repr('classes'), 'classes')}: {self.meaning}"


class StreamingScore(ABC):
    """A score of many examples that is given a batch at a time and never holds their outputs together.

    Sums stay on the device in 64 bits until `compute`, so that no batch waits for it.
    """

    @abstractmethod
    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        """Take in one batch; both as the task's loss takes them."""

    @abstractmethod
    def compute(self) -> float:
        """The score of all that was taken in; NaN where it is not defined."""


class Task(ABC):
    """What a network is trained for. Tasks have no state: one object serves every run.

    In the shapes below, N are all examples of a split, B those of a batch.
    """

    score_name: ClassVar[str]
    """The score's name in `autogrow.metrics`, by which objectives, tables and files call it."""
    score_title: ClassVar[str]
    """The same as it is read: "accuracy"."""
    standardizes_targets: ClassVar[bool] = False
    """Whether a network is trained on targets of mean 0 and standard deviation 1, and read in the user's unit."""
    embeds_inputs: ClassVar[bool] = False
    """Whether inputs are whole numbers that networks embed, such as tokens: they are kept as they are, int64."""
    targets_are_inputs: ClassVar[bool] = False
    """Whether a network is to give back what it reads: data then need no targets, and what they have is left out. What
    stands for targets below are the inputs, and outputs are as many as an example has numbers."""
    grows_in_depth: ClassVar[bool] = False
    """Whether the networks of such data are rows of equal blocks, so that the default policy is one of depth."""
    undefined_for: ClassVar[str] = "like these"
    """Examples that have no score, in words after "the score of 20 test examples"."""
    default_objectives: ClassVar[tuple[str, ...]] = ("score", "generalization_gap", "train_seconds")
    """What a search optimizes where its caller names nothing."""
    mlp_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Options of the built-in `mlp` where it is chosen automatically, for features."""

    @property
    def preference(self) -> str:
        """What trials are preferred, and results are judged by, where nobody says: the first default objective."""
        return self.default_objectives[0]

    @property
    def prefers_score(self) -> bool:
        return self.preference in ("score", self.score.name)

    @property
    def score(self) -> Score:
        """How the score is called and written; with four digits where `SCORES` has none of the name."""
        return SCORES[self.score_name] if self.score_name in SCORES else Score(self.score_name, self.score_title)

    # Arrays

    def recognizes(self, y_train: Array) -> bool:
        """Whether a user's targets speak for this task by themselves; False: it has to be asked for."""
        return False

    def refuse_inputs(self, input_shape: Sequence[int], origin: str) -> None:  # noqa: B027  (most take any)
        """Raise `DataError` (naming `origin`) for examples of a shape, without N, that this task cannot have."""

    def encode(self, y_train: Array, y_test: Array | None, origin: str) -> EncodedTargets:
        """A user's targets as they are stored. Raises `DataError` (naming `origin`) for what this task cannot have."""
        return EncodedTargets(y_train, y_test)

    @abstractmethod
    def count_outputs(self, y_train: Array, y_test: Array | None, origin: str) -> int:
        """The number of a network's outputs for stored targets. Raises `DataError` where they cannot be trained on."""

    def class_names(self, num_outputs: int) -> tuple[ClassName, ...]:
        """What outputs are called that a user has not named; () where they are no classes."""
        return ()

    def describe(self, num_outputs: int, classes: Sequence[ClassName]) -> str:
        """What the targets are, in words: "10 classes (0..9)"."""
        return f"{num_outputs} output{'s' if num_outputs > 1 else ''}"

    def strata(self, targets: Array) -> IntArray:
        """(N,) the stratum of every example, numbered from 0 without a gap: splits take their share of each."""
        return np.zeros(len(targets), dtype=np.int64)

    judges_chance_by: ClassVar[Literal["score", "loss"]] = "score"
    """What `chance_level` is of, and tells whether anything was learned."""
    chance_answer: ClassVar[str] = "an answer that looks at no input"
    """The answer that `chance_level` is of, in words before "has 10.00 %"."""

    def chance_level(self, targets: Array) -> float | None:
        """What the best answer has that looks at no input; None where there is none to speak of."""
        return None

    def has_learned(self, value: float, chance_level: float | None, num_examples: int | None) -> bool:
        """Whether a score, or a loss, is better than chance by more than chance; True where nothing is known of it.

        Args:
            value: Of what chance is judged by.
            chance_level: As `chance_level` gave it for the training examples.
            num_examples: That the value was read on.
        """
        if chance_level is None:
            return True
        return value < chance_level if self.judges_chance_by == "loss" else value > chance_level

    counts_examples: ClassVar[bool] = False
    """Whether a score is a share of examples, so that differences can be told as a number of them."""

    def refuse_unlearnable(self, targets: Array, examples: str) -> None:  # noqa: B027  (most have nothing to refuse)
        """Raise `DataError` for examples that there is nothing to learn of, or that have no score.

        Args:
            targets: As they are stored.
            examples: Which they are, in words: "training examples".
        """

    # Tensors

    @abstractmethod
    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Mean over the batch, as it is trained on, differentiable.

        Raises `NetworkError` for outputs of a shape that was not wanted: nothing is ever broadcast.
        """

    def distillation_loss(self, outputs: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
        """How far a network's outputs are from those of another, a mean over the batch; 0 where they are the same.

        The mean squared difference, in which `temperature` has no part (Ba and Caruana 2014, arXiv 1312.6184).
        """
        import torch.nn.functional as F

        if outputs.shape != taught.shape:
            raise wrong_shape(outputs, tuple(taught.shape))
        return F.mse_loss(outputs, taught)

    @abstractmethod
    def new_score(self) -> StreamingScore:
        """A score that has taken in nothing yet."""

    @abstractmethod
    def wanted_outputs(self, targets: "Tensor", num_outputs: int | None) -> WantedOutputs:
        """The outputs that the loss takes for these targets; `num_outputs` is None where no data set says it."""

    def example_input(self, input_shape: tuple[int, ...], num_outputs: int, number: int) -> "Tensor":
        """(number, *input_shape) to trace and check a network with, always the same.

        Noise, as of standardized inputs; int64 below `num_outputs` where networks embed them.
        """
        import torch

        generator = torch.Generator().manual_seed(0)
        if self.embeds_inputs:
            return torch.randint(num_outputs, (number, *input_shape), generator=generator)
        return torch.randn((number, *input_shape), generator=generator)

    def in_rows(self, outputs: "Tensor") -> "Tensor":
        """A network's outputs in their usual shape, where the loss takes several."""
        return outputs

    def answers(self, outputs: "Tensor", classes: Sequence[ClassName]) -> Array:
        """What a user is told for outputs in rows, in their own unit: names of classes, or values."""
        values: Array = outputs.cpu().numpy()
        return values

    def probabilities(self, outputs: "Tensor") -> "Tensor":
        """Of every class for outputs in rows. Raises `DataError` where the outputs are no classes."""
        raise DataError("probabilities are of classes, and this network was not trained for any: leave it out")


def wrong_shape(outputs: "Tensor", wanted: object) -> NetworkError:
    """The error for outputs that the loss does not take."""
    return NetworkError(f"the network returned {tuple(outputs.shape)} for targets that want {wanted}")


def distillation_of_classes(outputs: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
    """Kullback-Leibler divergence of softened probabilities times the temperature squared, whose gradients are then of
    the size of cross-entropy's whatever the temperature (Hinton et al. 2015, arXiv 1503.02531, section 2).

    Args:
        outputs: (..., classes) logits, as `taught`: the mean is over all but the last dimension.
    """
    import torch.nn.functional as F

    if outputs.shape != taught.shape:
        raise wrong_shape(outputs, tuple(taught.shape))
    own = (outputs.flatten(0, -2) / temperature).log_softmax(1)
    others = (taught.flatten(0, -2) / temperature).log_softmax(1)
    return F.kl_div(own, others, reduction="batchmean", log_target=True) * temperature**2
