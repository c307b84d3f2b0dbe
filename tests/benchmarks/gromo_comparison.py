"""A growth event and the training step after it, beside gromo 0.1.0, whose layers are growing modules of its own.

Both grow the same networks by the same units, fit new units to the same examples, and end with an Adam that is right
for the grown network. What is not the same:

- gromo widens one layer at a time and sees all examples again for each; autogrow widens both in one event.
- gromo makes a fresh Adam, autogrow carries the state of the old one; its step is measured with a dropped one as well.
- gromo fits no more units than the layer behind has outputs, so of the second group 10. Its own
  `create_layer_extensions` adds the others, with a random fan-in and a fan-out of zero, as autogrow's fit leaves them.
- gromo's GradMax zeroes the fan-in of what it fits, autogrow's the fan-out. gromo's statistics are those of TINY even
  where GradMax uses few of them.
- `RestrictedConv2dGrowingModule`, which gromo's own networks use, fits the middle of a kernel; the full one and
  autogrow fit all of it.

gromo's layers cannot be fitted across a convolution and a linear layer, so the last layer of the convolutional network
is a 1x1 convolution before the mean: the same function as a linear layer behind it. Its other convolutions have no
bias: with one, gromo's statistics expect a wrong size once the layer was widened.
"""

import importlib.util
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.network.optimizer.ages import ADULT_STEPS
from tests.benchmarks.table import Row
from tests.benchmarks.timing import Measurement, measure

BATCH = 128
LINE_SEARCH = (0.1, 0.5, 1.0)
"""The steps of gromo's tutorial, without 0, which would add dead units."""

FLAGS = {
    "gradient_max": {
        "compute_delta": False, "use_covariance": False, "alpha_zero": True, "omega_zero": False,
        "use_projection": False, "ignore_singular_values": True,
    },
    "tiny": {
        "compute_delta": False, "use_covariance": True, "alpha_zero": False, "omega_zero": False,
        "use_projection": True, "ignore_singular_values": False,
    },
}  # fmt: skip
"""What the documentation of gromo's `compute_optimal_updates` names for each paper."""

TITLES = {
    "zero_fan_out": "random fan-in, fan-out zero",
    "gradient_max": "GradMax on {examples} examples",
    "tiny": "TINY with line search on {examples} examples",
}

Action = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One network, and by how many units its two hidden layers grow."""

    name: str
    build: Callable[[int, int], nn.Sequential]
    """The plain network, by the widths of its hidden layers."""
    build_gromo: Callable[[str], nn.Sequential]
    """The same at its first widths from gromo's modules; of what kind, where there are several."""
    kinds: tuple[str, ...]
    widths: tuple[int, int]
    added: tuple[int, int]
    inputs: Tensor
    """What new units are fitted to; a training step sees the first `BATCH`."""
    event_repeats: int
    step_repeats: int

    @property
    def targets(self) -> Tensor:
        return torch.arange(len(self.inputs)) % 10

    def loss(self, module: nn.Module) -> Tensor:
        return F.cross_entropy(module(self.inputs), self.targets)

    def step(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> Action:
        inputs, targets = self.inputs[:BATCH], self.targets[:BATCH]

        def run() -> None:
            module.train()
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(module(inputs), targets).backward()
            optimizer.step()

        return run


def rows() -> list[Row]:
    if importlib.util.find_spec("gromo") is None:
        return [Row("comparison with gromo", "skipped: needs `pip install gromo==0.1.0`", "", None)]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="gromo")
        return [row for case in (_mlp_case(), _conv_case()) for row in _case_rows(case)]


def _case_rows(case: Case) -> list[Row]:
    found = [_row_or_reason(f"find the groups of {case.name}, once", partial(_finding, case))]
    for initialization, title in TITLES.items():
        what = f"grow {case.name}: {title.format(examples=len(case.inputs))}"
        for kind in case.kinds if initialization in FLAGS else case.kinds[:1]:
            detail = f" (gromo: {kind} kernels)" if kind and initialization in FLAGS else ""
            found.append(_row_or_reason(what + detail, partial(_event, case, initialization, kind)))
    return found + _steps(case)


def _row_or_reason(what: str, measured: Callable[[], str]) -> Row:
    try:
        return Row(what, measured(), "", None)
    except (NetworkError, RuntimeError, AssertionError, ValueError, TypeError) as error:
        return Row(what, f"skipped: {type(error).__name__}: {error}"[:200], "", None)


def _finding(case: Case) -> str:
    return f"autogrow {measure(lambda: ExpandableNetwork(case.build(*case.widths), case.inputs[:2]), 7)}; gromo: none"


def _event(case: Case, initialization: str, kind: str) -> str:
    """Everything from the last step at the old size to the moment before the first at the new one."""
    found = _alternate(
        {
            "autogrow": lambda: _autogrow_event(case, initialization)[0],
            "gromo": lambda: _gromo_event(case, initialization, kind)[0],
        },
        case.event_repeats,
    )
    return f"autogrow {found['autogrow']}; gromo {found['gromo']}; {_ratio(found, 'gromo', 'autogrow')}"


def _steps(case: Case) -> list[Row]:
    """Steps after growing, all of them in turn: while ages are corrected, and once entries have grown up."""
    plain = case.build(*(width + more for width, more in zip(case.widths, case.added, strict=True)))
    steps = {"plain": case.step(plain, _adam(plain))}
    for name, state, age in (
        ("autogrow", "carry", 2 * ADULT_STEPS),
        ("autogrow, just after", "carry", 0),
        ("autogrow, state dropped", "reset", 0),
    ):
        grow, growing, optimizer = _autogrow_event(case, "zero_fan_out", state)
        grow()
        steps[name] = case.step(growing.module, optimizer)
        for _ in range(age):
            steps[name]()
    grow, module = _gromo_event(case, "zero_fan_out", case.kinds[0])
    steps["gromo"] = case.step(module, grow())
    found = _alternate({name: lambda step=step: step for name, step in steps.items()}, min(case.step_repeats, 90))
    pairs = [(name, "plain") for name in steps if name != "plain"] + [("gromo", "autogrow")]
    what = f"step of {case.name}, {2 * ADULT_STEPS} steps after growing where nothing else is said"
    times = Row(what, "; ".join(f"{name} {seconds.median:.4g} s" for name, seconds in found.items()), "", None)
    return [times, *(Row(what, _ratio(found, first, second), "", None) for first, second in pairs)]


def _alternate(prepare: Mapping[str, Callable[[], Action]], repeats: int) -> dict[str, Measurement]:
    """Seconds of what each of `prepare` returns, in turn, every other round backwards; one round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in prepare}
    for index in range(repeats + 1):
        for name in list(prepare) if index % 2 else reversed(prepare):
            elapsed = measure(prepare[name](), 1).median
            if index:
                seconds[name].append(elapsed)
    return {name: Measurement(tuple(found)) for name, found in seconds.items()}


def _ratio(found: Mapping[str, Measurement], first: str, second: str) -> str:
    """The median of the ratios of each round, and the middle half of them, as single rounds say little."""
    ratios = [a / b for a, b in zip(found[first].seconds, found[second].seconds, strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return (
        f"{first} / {second} {statistics.median(ratios):.3f} (half of them {lower:.3f} to {upper:.3f}, all "
        f"{min(ratios):.3f} to {max(ratios):.3f}, n={len(ratios)})"
    )


def _adam(module: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), fused=True)


def _autogrow_event(
    case: Case, initialization: str, state: str = "carry"
) -> tuple[Action, ExpandableNetwork, torch.optim.Optimizer]:
    growing = ExpandableNetwork(case.build(*case.widths), case.inputs[:2], verify=False)
    optimizer = _adam(growing.module)
    case.step(growing.module, optimizer)()
    added = dict(zip(growing.widths, case.added, strict=True))

    def grow() -> None:
        growing.widen_groups(
            added, initialization=initialization, optimizer=optimizer, optimizer_state=state, loss=case.loss
        )

    return grow, growing, optimizer


def _gromo_event(
    case: Case, initialization: str, kind: str
) -> tuple[Callable[[], torch.optim.Optimizer], nn.Sequential]:
    module = case.build_gromo(kind)
    case.step(module, _adam(module))()

    def grow() -> torch.optim.Optimizer:
        for layer, units in zip(list(module)[1:], case.added, strict=True):
            if initialization in FLAGS:
                _compute_update(case, module, layer, units, initialization)
                missing = units - len(layer.eigenvalues_extension)
                layer.apply_change()
                layer.delete_update()
            else:
                missing = units
            if missing:
                layer.create_layer_extensions(missing, output_extension_init="kaiming", input_extension_init="zeros")
                layer.apply_change(extension_size=missing, scaling_factor=1.0)
                layer.delete_update()
        return _adam(module)

    return grow, module


def _compute_update(case: Case, module: nn.Sequential, layer: Any, units: int, initialization: str) -> None:
    """What gromo's tutorials do for one layer up to `apply_change`; GradMax changes no output, so no line search."""
    module.eval()
    layer.init_computation()
    for inputs, targets in zip(case.inputs.split(BATCH), case.targets.split(BATCH), strict=True):
        module.zero_grad()
        F.cross_entropy(module(inputs), targets, reduction="sum").backward()
        layer.update_computation()
    layer.compute_optimal_updates(maximum_added_neurons=units, statistical_threshold=0.0, **FLAGS[initialization])
    layer.reset_computation()
    layer.previous_module.store_input = False
    layer.scaling_factor = 1.0 if initialization == "gradient_max" else _best_scale(case, list(module), layer)


@torch.no_grad()
def _best_scale(case: Case, layers: Sequence[Any], layer: Any) -> float:
    losses = {}
    for scale in LINE_SEARCH:
        layer.scaling_factor = scale
        losses[scale] = 0.0
        for inputs, targets in zip(case.inputs.split(BATCH), case.targets.split(BATCH), strict=True):
            outputs, extension = inputs, None
            for each in layers:
                outputs, extension = each.extended_forward(outputs, extension)
            losses[scale] += float(F.cross_entropy(outputs, targets, reduction="sum"))
    return min(losses, key=losses.__getitem__)


def _mlp_case() -> Case:
    def build(first: int, second: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(784, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 10)
        )

    def build_gromo(kind: str) -> nn.Sequential:
        from gromo.modules.linear_growing_module import LinearGrowingModule

        first = LinearGrowingModule(784, 256, post_layer_function=nn.ReLU())
        second = LinearGrowingModule(256, 256, post_layer_function=nn.ReLU(), previous_module=first)
        return nn.Sequential(first, second, LinearGrowingModule(256, 10, previous_module=second))

    inputs = torch.randn(1024, 784, generator=torch.Generator().manual_seed(0))
    return Case("the MLP", build, build_gromo, ("",), (256, 256), (128, 128), inputs, 21, 201)


def _conv_case() -> Case:
    def build(first: int, second: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False), nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1, bias=False), nn.ReLU(),
            nn.Conv2d(second, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip

    def build_gromo(kind: str) -> nn.Sequential:
        from gromo.modules import conv2d_growing_module as gromo

        make = {"full": gromo.FullConv2dGrowingModule, "restricted": gromo.RestrictedConv2dGrowingModule}[kind]
        hidden = {"padding": 1, "use_bias": False, "post_layer_function": nn.ReLU()}
        first = make(3, 32, 3, stride=2, input_size=(32, 32), **hidden)
        second = make(32, 64, 3, input_size=(16, 16), previous_module=first, allow_growing=True, **hidden)
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        last = make(
            64, 10, 1, input_size=(16, 16), previous_module=second, allow_growing=True, post_layer_function=mean
        )
        return nn.Sequential(first, second, last)

    inputs = torch.randn(128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kinds = ("restricted", "full")
    return Case("the conv net", build, build_gromo, kinds, (32, 64), (16, 32), inputs, 9, 41)
