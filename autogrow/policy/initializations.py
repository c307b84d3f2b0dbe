"""How new units start: names, settings, formulas and sources. `autogrow.network.resizing.initialization` does it."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.registry import Registry, subclass_of


class Initialization(PolicyChoice):
    """Says how the weights of new units start."""

    notation: ClassVar[str] = (
        "a layer of h units reads d inputs x through W1 (h x d) and is read through W2 (o x h); k new units bring "
        "V (k x d) and Z (o x k): W1' = [W1; V], W2' = [W2, Z]; delta is the gradient of the loss with respect to what "
        "the readers compute, and M = E[delta x^T] (o x d)"
    )
    keeps_outputs: ClassVar[bool]
    """Whether the network computes the same function right after growing."""
    unit_multiple: ClassVar[int] = 1
    """Units come in multiples of this."""
    ramps: ClassVar[bool] = True
    """Whether connections to new units can be faded in; not where new units carry what old ones did before."""
    needs_batch: ClassVar[bool] = False
    """Whether it needs examples and the loss on them."""

    def make_initializer(self) -> Any:
        """The `autogrow.network.resizing.initialization.Initializer` that draws the weights.

        For an initialization of an installed package, which imports that class in here; those of autogrow are found
        by their kind, so that nothing of a policy knows tensors.
        """
        raise PolicyError(f"initialization {self.kind!r} draws no weights: its make_initializer() is missing")


INITIALIZATIONS: Registry[type[Initialization]] = Registry(
    "initialization", PolicyError, group="autogrow.initializations", accepts=subclass_of(Initialization)
)


@INITIALIZATIONS.register("zero_fan_out")
class ZeroFanOut(Initialization):
    kind: ClassVar[str] = "zero_fan_out"
    summary: ClassVar[str] = "fan-in random for the new width, fan-out zero"
    formula: ClassVar[str] = "V ~ N(0, 2 / d'), Z = 0, with d' the inputs of a unit after growing"
    source: ClassVar[str] = "fan-in: He et al. 2015, arXiv 1502.01852, equation 10"
    keeps_outputs: ClassVar[bool] = True


@INITIALIZATIONS.register("paired")
class Paired(Initialization):
    """Units in pairs that compute the same and are read with opposite signs.

    With `variance_rescaling` the old fan-out weights are scaled by c and the running statistics of the norm that
    follows them by c (mean) and c^2 (variance), so that the function stays; only where a norm follows.
    """

    kind: ClassVar[str] = "paired"
    summary: ClassVar[str] = "pairs of equal units read with opposite signs; old weights rescaled where a norm follows"
    formula: ClassVar[str] = "V = [A; A], Z = [B, -B], W2' = [c W2, Z] with c = sqrt(h / (h + k)) before a norm, else 1"
    source: ClassVar[str] = "variance transfer: Yuan et al. 2023, arXiv 2306.12700"
    keeps_outputs: ClassVar[bool] = True
    unit_multiple: ClassVar[int] = 2

    variance_rescaling: bool = True
    """Scale the old fan-out weights to the new width, where a norm takes the scale out again."""
    scale: float = Field(default=1.0, gt=0, le=10)
    """Standard deviation of B relative to the usual one of the readers' weights."""


@INITIALIZATIONS.register("gradient_max")
class GradientMax(Initialization):
    """The norm-safe form of GradMax: the paper's (V = 0) gives a ReLU before a norm no usable gradient."""

    kind: ClassVar[str] = "gradient_max"
    summary: ClassVar[str] = "fan-in along the directions in which the new fan-out weights get the largest gradient"
    formula: ClassVar[str] = (
        "V = c * an orthonormal basis of the top k right singular vectors of M, Z = 0, "
        "with c = scale * the usual norm of a row of W1"
    )
    source: ClassVar[str] = "GradMax: Evci et al. 2022, arXiv 2201.05125; zero on the fan-out side: derived here"
    keeps_outputs: ClassVar[bool] = True
    needs_batch: ClassVar[bool] = True

    scale: float = Field(default=1.0, gt=0, le=10)
    """Norm of a new row relative to the usual one."""
    iterations: int = Field(default=2, ge=1, le=10)
    """Rounds of subspace iteration on the network's own gradients."""


@INITIALIZATIONS.register("split")
class Split(Initialization):
    kind: ClassVar[str] = "split"
    summary: ClassVar[str] = "copies of old units that share their outgoing weights, with noise that cancels out"
    formula: ClassVar[str] = (
        "V_i = W1_j and Z_i = W2_j / m + e_i for all m copies i of unit j, itself included; the e_i sum to 0"
    )
    source: ClassVar[str] = "Net2Wider: Chen et al. 2016, arXiv 1511.05641; antisymmetric noise: derived here"
    keeps_outputs: ClassVar[bool] = True
    ramps: ClassVar[bool] = False

    noise: float = Field(default=0.1, ge=0, le=1)
    """Size of e relative to the divided weights; without it the copies would stay equal for ever."""


@INITIALIZATIONS.register("tiny")
class Tiny(Initialization):
    """The functional gradient that the present activations cannot follow, split into units by its SVD."""

    kind: ClassVar[str] = "tiny"
    summary: ClassVar[str] = "units that add what the old ones cannot express, with a line search on the loss"
    formula: ClassVar[str] = (
        "V, Z = argmin E||D - Z V x||^2 over k units (by SVD), D = what a linear map of the old activations leaves of "
        "-delta; Z times step = scale / 2^i for the first i <= halvings after which the loss falls no further"
    )
    source: ClassVar[str] = "TINY: Verbockhaven et al. 2024, arXiv 2405.19816"
    keeps_outputs: ClassVar[bool] = False
    needs_batch: ClassVar[bool] = True

    scale: float = Field(default=1.0, gt=0, le=10)
    """First step of the line search."""
    halvings: int = Field(default=6, ge=0, le=20)
    """How often the step may be halved in search of a lower loss."""


@INITIALIZATIONS.register("xavier")
class Xavier(Initialization):
    kind: ClassVar[str] = "xavier"
    summary: ClassVar[str] = "fan-in and fan-out random, as if the layer were new; jolts the network"
    formula: ClassVar[str] = "V, Z ~ U(-l, l) with l = sqrt(6 / (fan-in + fan-out)) of the layer after growing"
    source: ClassVar[str] = "Glorot and Bengio 2010, equation 16; thesis (C. Lee 2017), 4.4.1"
    keeps_outputs: ClassVar[bool] = False


parse_initialization = choice_parser(INITIALIZATIONS)


def _dump(initialization: Initialization) -> str | dict[str, Any]:
    # The bare name where nothing was set, as older versions wrote and read it.
    at_defaults = initialization == type(initialization)()
    return initialization.kind if at_defaults else initialization.describe()


AnyInitialization = Annotated[Initialization, BeforeValidator(parse_initialization), PlainSerializer(_dump)]
