"""Which units a network can do without. A unit score gives every unit of a channel group a number; larger stays.

What a score measures is said here, in `formula`; `autogrow.network.shrinking` measures it. `random` is the control.
"""

from abc import ABC
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.registry import Registry, subclass_of


class UnitScore(PolicyChoice, ABC):
    """Says by what the units of a group are put in order."""

    notation: ClassVar[str] = (
        "a is what the readers of a unit are given of it, at every position of every example; g is the gradient of the "
        "example's loss with respect to a; w are weights, R the weights that read the unit; X are all inputs of a "
        "reader, a row for each position, and H = X^T X / rows (centred where the reader has a bias); j are the "
        "unit's columns"
    )
    takes: ClassVar[Literal["weights", "inputs", "loss"]]
    """What measuring needs: the weights alone, examples without their targets, or the loss on them."""

    def make_measure(self) -> Any:
        """A function (network, groups, batches, seed) -> scores by group, as `measure_unit_scores` gives them.

        For a score of an installed package, which imports what it needs in here; those of autogrow are found by their
        kind, so that nothing of a policy knows tensors.
        """
        raise PolicyError(f"unit score {self.kind!r} measures nothing: its make_measure() is missing")


UNIT_SCORES: Registry[type[UnitScore]] = Registry(
    "unit score", PolicyError, group="autogrow.unit_scores", accepts=subclass_of(UnitScore)
)


@UNIT_SCORES.register("activation_count")
class ActivationCount(UnitScore):
    """1 - APoZ, the average percentage of zeros; a unit that is never active has score 0."""

    kind: ClassVar[str] = "activation_count"
    summary: ClassVar[str] = "how often the unit is active"
    formula: ClassVar[str] = "share of positions and examples with |a| > threshold"
    source: ClassVar[str] = "Network Trimming: Hu et al. 2016, arXiv 1607.03250; second thesis, 2.2.2 and 2.8.1"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "inputs"

    threshold: float = Field(default=0.0, ge=0)
    """Activations up to this size count as zero; above 0 for functions that are never exactly zero, such as GELU."""


@UNIT_SCORES.register("activation_outliers")
class ActivationOutliers(UnitScore):
    """The count of activations against the other units of the group: below zero is an outlier.

    The thesis names the limit, mean - 2 std, and counts activations elsewhere; that it is their count which is compared
    is our reading of it. Of a group whose units are all active equally often, all scores are `deviations`.
    """

    kind: ClassVar[str] = "activation_outliers"
    summary: ClassVar[str] = "how far the unit's activity is above that of its group's outliers, which are below zero"
    formula: ClassVar[str] = (
        "(s - mean(s)) / std(s) + deviations, with s the share of positions and examples with |a| > threshold; "
        "mean and std are over the group's units"
    )
    source: ClassVar[str] = "second thesis, 2.8.2 (Pruning Outliers): mean - 2 std"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "inputs"

    threshold: float = Field(default=0.0, ge=0)
    """Activations up to this size count as zero."""
    deviations: float = Field(default=2.0, ge=0, le=100)
    """Standard deviations below the mean at which a unit is an outlier."""


@UNIT_SCORES.register("activation_std")
class ActivationStd(UnitScore):
    """A unit that is constant over the data has score 0, whatever the constant: a bias can stand for it."""

    kind: ClassVar[str] = "activation_std"
    summary: ClassVar[str] = "how much the unit's activation varies over examples and positions"
    formula: ClassVar[str] = "std(a) over positions and examples"
    source: ClassVar[str] = "thesis (C. Lee 2017), 4.3, there of whole layers; of units: Polyak and Wolf 2015"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "inputs"


@UNIT_SCORES.register("magnitude")
class Magnitude(UnitScore):
    """The weights that compute the unit, of all layers that do; biases and the gains of norms do not count."""

    kind: ClassVar[str] = "magnitude"
    summary: ClassVar[str] = "the norm of the weights that compute the unit"
    formula: ClassVar[str] = "(sum |w|^norm)^(1 / norm) over the unit's rows, and over R where readers count"
    source: ClassVar[str] = "filters: Li et al. 2017, arXiv 1608.08710; weights: Han et al. 2015, arXiv 1506.02626"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "weights"

    norm: Literal[1, 2] = 2
    """1: sum of absolute values; 2: root of the sum of squares."""
    readers: bool = False
    """Whether the weights that read the unit count, too."""


@UNIT_SCORES.register("optimal_brain_damage")
class OptimalBrainDamage(UnitScore):
    """What the loss rises by when the weights that read the unit become zero, each by itself.

    h is a Gauss-Newton estimate: the squared gradient of each example's loss with respect to what the reader computes
    stands for the second derivative there (the empirical Fisher information). As in the paper, the positions that share
    a weight are summed up as if they were independent.
    """

    kind: ClassVar[str] = "optimal_brain_damage"
    summary: ClassVar[str] = "rise of the loss without the weights that read the unit, by their second derivatives"
    formula: ClassVar[str] = (
        "1/2 sum over R of h w^2, with h the mean over examples of the sum over positions of (a d)^2, and d the "
        "gradient of the example's loss with respect to what the reader computes"
    )
    source: ClassVar[str] = "LeCun et al. 1990, Optimal Brain Damage; the estimate of h: empirical Fisher"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "loss"


@UNIT_SCORES.register("optimal_brain_surgeon")
class OptimalBrainSurgeon(UnitScore):
    """What the other units cannot make up for by a change D of the weights that read them, which is kept small.

    With several readers their errors are summed. NaN for a group with a reader of more than 8192 columns.
    """

    kind: ClassVar[str] = "optimal_brain_surgeon"
    summary: ClassVar[str] = "squared error of what the readers compute after the other units have made up for it"
    formula: ClassVar[str] = (
        "sum over readers of trace(w_j (((H + s I)^-1)_jj^-1 - s I) w_j^T), with s = damping mean(diag H): the minimum "
        "over D of mean |X_j w_j^T - X_k D^T|^2 + s |D|^2, with k the other columns"
    )
    source: ClassVar[str] = "Hassibi and Stork 1993; layer by layer: Dong et al. 2017, arXiv 1705.07565; of units: ours"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "inputs"

    damping: float = Field(default=0.01, gt=0, le=1)
    """What a change of the other weights costs, relative to the mean square of the inputs: with few examples, others
    could otherwise make up for everything."""


@UNIT_SCORES.register("fisher")
class Fisher(UnitScore):
    """Second-order estimate of what the loss rises by when the unit is silenced."""

    kind: ClassVar[str] = "fisher"
    summary: ClassVar[str] = "rise of the loss without the unit, by its squared gradient for every example"
    formula: ClassVar[str] = "1/2 mean over examples of (sum over positions of a g)^2"
    source: ClassVar[str] = "Theis et al. 2018, arXiv 1801.05787; Molchanov et al. 2019, arXiv 1906.10771"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "loss"


@UNIT_SCORES.register("taylor")
class Taylor(UnitScore):
    """First-order estimate of what the loss changes by when the unit is silenced: of activations, not of weights."""

    kind: ClassVar[str] = "taylor"
    summary: ClassVar[str] = "change of each example's loss without the unit, by its gradient"
    formula: ClassVar[str] = "mean over examples of |sum over positions of a g|"
    source: ClassVar[str] = "Molchanov et al. 2017, arXiv 1611.06440, but for the division by positions"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "loss"


@UNIT_SCORES.register("sensitivity")
class Sensitivity(UnitScore):
    """The true change that the other scores estimate; one forward pass for every unit."""

    kind: ClassVar[str] = "sensitivity"
    summary: ClassVar[str] = "rise of the loss when the unit is silenced"
    formula: ClassVar[str] = "loss(R = 0) - loss"
    source: ClassVar[str] = "skeletonization: Mozer and Smolensky 1989; the oracle of Molchanov et al. 2017"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "loss"

    absolute: bool = False
    """Whether a unit without which the loss falls counts like one without which it rises as much."""


@UNIT_SCORES.register("random")
class Random(UnitScore):
    kind: ClassVar[str] = "random"
    summary: ClassVar[str] = "random numbers (the control for every other score)"
    source: ClassVar[str] = "the control"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "weights"


parse_unit_score = choice_parser(UNIT_SCORES)


def _dump(score: UnitScore) -> dict[str, Any]:
    return score.describe()


AnyUnitScore = Annotated[UnitScore, BeforeValidator(parse_unit_score), PlainSerializer(_dump)]
