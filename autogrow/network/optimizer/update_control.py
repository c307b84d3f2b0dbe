"""Scaling what an optimizer step did to each entry: learning rates per cohort, freezing, gradual connection.

With f the factor of an entry's cohort and r the ramp of an entry that connects old units with new ones, a step that
moved an entry from `old` to `new` becomes

    r' / r * old + r' * f * (new - old),

where r grows to r' in this step. Weight decay is part of the update. Where f = 1 and nothing ramps the entry is left
bit-identical; where f = 0 it is put back to `old`, bit-identical too, and its ramp waits.

- f = released * rate. Entries of frozen cohorts (C. Lee's thesis 2017, section 4.2 and listing 4.1) are released by a
  share from 0 to 1, all others entirely. The rate is a constant for every cohort but the first, or the rule of Yuan et
  al. (2023, arXiv 2306.12700, rate adaptation): eta_c = eta_0 * ||W_c||_F / ||W_0||_F.
- r(a) = 1/n + (1 - 1/n) * a/n at age a, up to 1 at n steps (gradual connection, the thesis, section 7.3). What is
  stored and used is r * w, so a weight that starts away from zero fades in, and one that starts at zero learns slowly.

Nothing here waits for the device inside a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from autogrow.network.optimizer.cohorts import CohortMap, pieces, to_device

SMALLEST_RATE = 0.1
"""Lower bound of a cohort's learning rate under the rule of Yuan et al., relative to the first cohort's."""

NewUnitRate = float | Literal["cohort"]


@dataclass(frozen=True)
class Ramp:
    """The progress of one cohort's connections."""

    age: float
    """Steps taken; one of a cohort that is released by a share counts as that share."""
    num_steps: int

    @property
    def value(self) -> float:
        first = 1 / self.num_steps
        return min(1.0, first + (1 - first) * self.age / self.num_steps)


@dataclass(frozen=True, eq=False)
class _ScaledParameter:
    """A parameter of which some updates are scaled. Masks and gains broadcast; a mask is None where it is empty."""

    tensor: nn.Parameter
    found: CohortMap
    factors: list[float]
    """f of every class."""
    old: Tensor
    """The values before the step."""
    held: Tensor | None
    """Entries that keep `old`."""
    untouched: Tensor | None
    """Those, and the ones that keep their update as it is."""
    gain: Tensor | None
    """f of every entry, where there are others and none of them ramps."""
    has_ramps: bool

    @property
    def is_blended(self) -> bool:
        """Whether there are other entries than untouched ones, so that every step needs the values before it."""
        return self.gain is not None or self.has_ramps


@dataclass(frozen=True)
class _HeldBuffer:
    """Norm statistics and the like, of which some entries are held or released by a share."""

    name: str
    tensor: Tensor
    mask: Tensor
    old: Tensor


class UpdateControl:
    """The factors of one optimizer's parameters, and their application around a step.

    Containers are replaced and never changed in place, so that a reference to them is a snapshot.
    """

    def __init__(self) -> None:
        self.new_unit_lr: NewUnitRate = 1.0
        self.first_trained_cohort = 0
        self.released = 0.0
        self.ramps: dict[int, Ramp] = {}
        """By cohort, while they are below 1."""
        self.rates: dict[nn.Parameter, list[float]] = {}
        """By parameter, for every cohort: the ratios of Yuan et al., as last measured."""
        self._maps: dict[nn.Parameter, CohortMap] = {}
        self._parameters: list[_ScaledParameter] = []
        self._buffers: list[_HeldBuffer] = []

    def factor(self, parameter: nn.Parameter, cohort: int) -> float:
        """f of the entries of one cohort in one parameter."""
        if self.new_unit_lr == "cohort":
            rates = self.rates.get(parameter, [])
            rate = rates[cohort] if cohort < len(rates) else 1.0
        else:
            rate = 1.0 if cohort == 0 else self.new_unit_lr
        return self._share(cohort) * rate

    def _share(self, cohort: int) -> float:
        return 1.0 if cohort >= self.first_trained_cohort else self.released

    def measure_rates(self, maps: Mapping[nn.Parameter, CohortMap]) -> None:
        """Take the ratios of Yuan et al. from the present weights. Waits for the device.

        W_0 is the oldest cohort of the parameter. A block of zeros (fresh fan-out) has ratio 1, and none is below
        `SMALLEST_RATE` or above 1. Vectors (biases, norm gains) have no ratios: new ones start at a constant, so that
        their norm says nothing of the scale they should reach; LARS (You et al. 2017, arXiv 1708.03888) leaves them
        out likewise.
        """
        is_measured = self.new_unit_lr == "cohort"
        self.rates = {
            parameter: _norm_ratios(parameter.detach(), found)
            for parameter, found in maps.items()
            if is_measured and parameter.dim() > 1 and len(found.cohorts) > 1
        }

    @torch.no_grad()
    def start_ramp(self, cohort: int, num_steps: int, maps: Mapping[nn.Parameter, CohortMap]) -> None:
        """Scale the connections of a cohort just born to r(0), and let them grow from there."""
        if num_steps < 2:
            return
        ramp = Ramp(0.0, num_steps)
        self.ramps = {**self.ramps, cohort: ramp}
        for parameter, found in maps.items():
            connection = cohort + found.num_cohorts
            if connection in found.classes:
                table = torch.ones(2 * found.num_cohorts, dtype=parameter.dtype, device=parameter.device)
                table[connection] = ramp.value
                parameter.mul_(found.spread(table))

    def rebuild(self, maps: Mapping[nn.Parameter, CohortMap], buffers: Mapping[str, tuple[Tensor, CohortMap]]) -> None:
        """Look up again what is scaled. Entries that are held keep the values they have now."""
        self._maps = dict(maps)
        self.rates = {parameter: rates for parameter, rates in self.rates.items() if parameter in maps}
        self._rebuild_parameters()
        self._buffers = []
        for name, (tensor, found) in buffers.items():
            frozen = {each for each in found.classes if self._share(each % found.num_cohorts) < 1}
            mask = _mask(frozen, found, tensor.device)
            if mask is not None:
                self._buffers.append(_HeldBuffer(name, tensor, mask, tensor.detach().clone()))

    def _rebuild_parameters(self) -> None:
        scaled = (self._scaled(parameter, found) for parameter, found in self._maps.items())
        self._parameters = [each for each in scaled if each is not None]

    def _scaled(self, parameter: nn.Parameter, found: CohortMap) -> _ScaledParameter | None:
        factors = [self.factor(parameter, cohort) for cohort in range(found.num_cohorts)] * 2
        held = {each for each in found.classes if factors[each] == 0}
        ramping = {cohort + found.num_cohorts for cohort in self.ramps} & found.classes - held
        untouched = held | {each for each in found.classes - ramping if factors[each] == 1}
        if untouched == found.classes and not held:
            return None
        gain = None
        if untouched != found.classes and not ramping:
            gain = found.spread(to_device(torch.tensor(factors, dtype=parameter.dtype), parameter.device))
        return _ScaledParameter(
            tensor=parameter,
            found=found,
            factors=factors,
            old=parameter.detach().clone(),
            held=_mask(held, found, parameter.device),
            untouched=_mask(untouched, found, parameter.device),
            gain=gain,
            has_ramps=bool(ramping),
        )

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do around a step."""
        return not (self._parameters or self._buffers or self.ramps)

    @torch.no_grad()
    def before_step(self) -> None:
        blended = [each for each in self._parameters if each.is_blended]
        if blended:
            torch._foreach_copy_([each.old for each in blended], [each.tensor for each in blended])

    @torch.no_grad()
    def after_step(self) -> bool:
        """Returns whether ramps have ended, so that from here on steps use other tensors."""
        before = self.ramps
        self.ramps = {cohort: Ramp(ramp.age + self._share(cohort), ramp.num_steps) for cohort, ramp in before.items()}
        self._scale(before)
        self._hold_buffers(self.released)
        ended = any(ramp.value >= 1 for ramp in self.ramps.values())
        if ended:
            self.ramps = {cohort: ramp for cohort, ramp in self.ramps.items() if ramp.value < 1}
            self._rebuild_parameters()
        return ended

    def _scale(self, before: Mapping[int, Ramp]) -> None:
        """Apply the formula above to every scaled parameter; `before` holds the ramps as they were."""
        for each in self._parameters:
            if each.held is not None:
                torch.where(each.held, each.old, each.tensor, out=each.tensor.detach())
        gains = {each: each.gain for each in self._parameters if each.gain is not None}
        if gains:
            olds = [each.old for each in gains]
            torch._foreach_lerp_(olds, [each.tensor for each in gains], list(gains.values()))
        ramping = [each for each in self._parameters if each.has_ramps]
        if ramping:
            self._blend_ramping(ramping, self._ramp_tables(ramping, before))
        for each in self._parameters:
            if each.is_blended and each.untouched is not None:
                torch.where(each.untouched, each.tensor, each.old, out=each.tensor.detach())
            elif each.is_blended:
                each.tensor.copy_(each.old)

    def _blend_ramping(self, ramping: list[_ScaledParameter], tables: list[Tensor]) -> None:
        """old <- (r' / r - r' * f) * old + r' * f * new; the memory of `old` takes the result."""
        for numbers, rows, spread in pieces([each.found for each in ramping], tables):
            olds = [ramping[number].old[rows] for number in numbers]
            torch._foreach_mul_(olds, [values[0] for values in spread])
            news = [ramping[number].tensor.detach()[rows] for number in numbers]
            torch._foreach_addcmul_(olds, news, [values[1] for values in spread])

    def _ramp_tables(self, ramping: list[_ScaledParameter], before: Mapping[int, Ramp]) -> list[Tensor]:
        """For each parameter (2, classes): the coefficients of `old` and `new`."""
        tables: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        rows = []
        for each in ramping:
            growth, ratio = [1.0] * len(each.factors), [1.0] * len(each.factors)
            for cohort, ramp in before.items():
                growth[cohort + each.found.num_cohorts] = self.ramps[cohort].value
                ratio[cohort + each.found.num_cohorts] = self.ramps[cohort].value / ramp.value
            new = [grown * factor for grown, factor in zip(growth, each.factors, strict=True)]
            rows.append([[kept - share for kept, share in zip(ratio, new, strict=True)], new])
        for each in ramping:
            kind = (each.tensor.device, each.tensor.dtype)
            if kind not in tables:
                tables[kind] = to_device(torch.tensor(rows, dtype=each.tensor.dtype), each.tensor.device)
        return [tables[each.tensor.device, each.tensor.dtype][index] for index, each in enumerate(ramping)]

    @torch.no_grad()
    def hold(self) -> None:
        """Put frozen buffers back to their values after the last step; forward passes may have moved them."""
        self._hold_buffers(0.0)

    def _hold_buffers(self, released: float) -> None:
        for each in self._buffers:
            if released > 0:
                each.old.lerp_(each.tensor, released)
            torch.where(each.mask, each.old, each.tensor, out=each.tensor)

    def state_dict(self, names: Mapping[nn.Parameter, str]) -> dict[str, Any]:
        """What is not in the network, its cohorts and the optimizer's own state, as plain containers.

        Args:
            names: Of all parameters that the optimizer holds.
        """
        return {
            "new_unit_lr": self.new_unit_lr,
            "rates": {names[parameter]: list(rates) for parameter, rates in self.rates.items()},
            "ramps": {cohort: [ramp.age, ramp.num_steps] for cohort, ramp in self.ramps.items()},
            "first_trained_cohort": self.first_trained_cohort,
            "released": self.released,
            "held_buffers": {name: values.clone() for name, values in self.held_buffers().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]) -> None:
        """Take over what `state_dict` gave, but for buffers: `restore_buffers`, once `rebuild` has found them."""
        self.new_unit_lr = state["new_unit_lr"]
        self.rates = {parameters[name]: list(rates) for name, rates in state["rates"].items()}
        self.ramps = {cohort: Ramp(age, num_steps) for cohort, (age, num_steps) in state["ramps"].items()}
        self.first_trained_cohort = state["first_trained_cohort"]
        self.released = state["released"]

    def held_parameters(self) -> list[nn.Parameter]:
        """Those of which every entry is held."""
        return [each.tensor for each in self._parameters if not any(each.factors[kind] for kind in each.found.classes)]

    def held_buffers(self) -> dict[str, Tensor]:
        """By name, the values that frozen buffers are held at; only the frozen entries mean anything."""
        return {each.name: each.old for each in self._buffers}

    def restore_buffers(self, values: Mapping[str, Tensor]) -> None:
        for each in self._buffers:
            if each.name in values:
                each.old.copy_(values[each.name])


def _mask(classes: set[int], found: CohortMap, device: torch.device) -> Tensor | None:
    """The entries of these classes; None where there are none."""
    if not classes:
        return None
    table = torch.zeros(2 * found.num_cohorts, dtype=torch.bool)
    table[list(classes)] = True
    return found.spread(to_device(table, device))


def _norm_ratios(weight: Tensor, found: CohortMap) -> list[float]:
    """||W_c|| / ||W_0|| for every cohort number, within its limits; 1 for cohorts that the parameter does not hold."""
    numbers = found.spread(torch.arange(found.num_cohorts, device=weight.device).repeat(2))
    cohorts = sorted(found.cohorts)
    blocks = [torch.linalg.vector_norm(torch.where(numbers == cohort, weight, 0)) for cohort in cohorts]
    norms = dict(zip(cohorts, torch.stack(blocks).tolist(), strict=True))
    reference = norms[cohorts[0]]
    ratios = [1.0] * found.num_cohorts
    for cohort in cohorts[1:]:
        if norms[cohort] > 0 and reference > 0:
            ratios[cohort] = min(1.0, max(SMALLEST_RATE, norms[cohort] / reference))
    return ratios
