"""An age for every entry under optimizers that correct their moments for a start at zero (Adam and its kin).

Adam divides its moments by corrections that depend on the number of steps (Kingma and Ba 2015, arXiv 1412.6980,
algorithm 1). One shared count gives an entry that is born late the corrections of an old one: its first update is 3.2
learning rates instead of 1, and the twelfth 6.6. After each step the update of young entries is therefore replaced by
the one that their own age asks for; that of entries as old as their parameter is left bit-identical.

Correcting costs as much as Adam itself, so under Adam and AdamW it ends when entries have taken `ADULT_STEPS` updates:
their moments are then scaled once by the quotient of both corrections, (1 - beta^t) / (1 - beta^a) (derived). From
there on the stock optimizer's division by 1 - beta^t makes of them what their own age asked for at that moment, and
under a steady gradient ever after.

Counted are the updates of each parameter, as its own state has them: a step without a gradient makes nobody older.

Covered are Adam, AdamW, RAdam and Adamax. NAdam is not: it adds a share of the gradient of its own, which is gone
after the step where weight decay is coupled. Nothing else in ``torch.optim`` has a bias correction to begin with.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Adamax, NAdam, Optimizer, RAdam

from autogrow.network.optimizer.cohorts import CohortMap, pieces, to_device
from autogrow.network.optimizer.optimizer_state import groups_of, step_count

GROWN_UP = 1e-7
"""Relative difference between an entry's corrections and its parameter's below which it is young no longer."""

ADULT_STEPS = 100
"""Updates after which an entry's moments stand for its gradients well enough to be taken for a long history."""

Terms = tuple[Tensor, Tensor, Tensor | None]
"""(n, e, p) at each age: the optimizer moves an entry by lr * m * (n / (d + e) + p); None stands for p = 0."""

_log = logging.getLogger(__name__)


class Ages:
    """Gives the entries of one optimizer's parameters updates of their own age.

    Containers are replaced and never changed in place, so that a reference to them is a snapshot.
    """

    def __init__(self) -> None:
        self.births: dict[nn.Parameter, dict[int, int]] = {}
        """By parameter and cohort: the parameter's step count when the cohort was born, where it was not 0."""
        self._maps: dict[nn.Parameter, CohortMap] = {}
        self._births_by_class: dict[nn.Parameter, Tensor] = {}
        self._warned = False

    def carry(self, old: nn.Parameter, new: nn.Parameter) -> None:
        self.births = {new if parameter is old else parameter: births for parameter, births in self.births.items()}

    def start(self, parameter: nn.Parameter, cohort: int, state: Mapping[str, Any], optimizer: Optimizer) -> None:
        """Count the age of entries of `cohort` from now on; they have joined a parameter whose state is `state`."""
        step = step_count(state)
        if step > 0 and _rule_of(optimizer) is not None:
            self.births = {**self.births, parameter: {**self.births.get(parameter, {}), cohort: step}}
        elif step > 0 and isinstance(optimizer, NAdam) and not self._warned:
            self._warned = True
            _log.warning("NAdam: new entries get the bias corrections of old ones, so that their first updates are "
                         "up to 6 learning rates; Adam, AdamW, RAdam and Adamax are corrected")  # fmt: skip

    def let_come_of_age(
        self,
        state: dict[str, Any],
        original: nn.Parameter,
        optimizer: Optimizer,
        maps: Mapping[nn.Parameter, CohortMap],
    ) -> None:
        """Scale the moments in a copied state so that the entries that are young in its original are not in it."""
        births, rule = self.births.get(original), _rule_of(optimizer)
        if births and rule is not None and rule.is_adam and original in maps:
            step = step_count(state)
            young = {cohort: birth for cohort, birth in births.items() if birth < step}
            _carry_in_moments(state, groups_of(optimizer)[original], maps[original], young, step)

    def forget(self, parameters: Iterable[nn.Parameter]) -> None:
        """These parameters start afresh, so all their entries are of one age."""
        gone = set(parameters)
        self.births = {parameter: births for parameter, births in self.births.items() if parameter not in gone}

    @torch.no_grad()
    def grow_up(self, optimizer: Optimizer, maps: Mapping[nn.Parameter, CohortMap]) -> bool:
        """Drop birth steps that make no difference any more, or that moments can carry from here on.

        Returns whether there were any. Reads step counts, so it waits for the device.
        """
        rule = _rule_of(optimizer)
        if rule is None or not self.births:
            return False
        kept: dict[nn.Parameter, dict[int, int]] = {}
        for parameter, group in groups_of(optimizer).items():
            births = self.births.get(parameter, {})
            step = step_count(optimizer.state.get(parameter, {})) + 1 if births else 0
            young = {cohort: birth for cohort, birth in births.items() if rule.differs(step, step - birth, group)}
            adult = {cohort: birth for cohort, birth in young.items() if step - birth > ADULT_STEPS}
            if adult and rule.is_adam and parameter in maps:
                _carry_in_moments(optimizer.state[parameter], group, maps[parameter], adult, step - 1)
                young = {cohort: birth for cohort, birth in young.items() if cohort not in adult}
            if young:
                kept[parameter] = young
        has_changed = kept != self.births
        self.births = kept
        return has_changed

    def prepare_steps(self, maps: Mapping[nn.Parameter, CohortMap], optimizer: Optimizer) -> None:
        """Look up what every step needs, after births, shapes or cohorts changed."""
        self._maps, self._births_by_class = {}, {}
        self.births = {parameter: births for parameter, births in self.births.items() if parameter in maps}
        if _rule_of(optimizer) is None:
            return
        for parameter, births in self.births.items():
            young = {cohort: birth for cohort, birth in births.items() if cohort in maps[parameter].cohorts}
            step = optimizer.state.get(parameter, {}).get("step")
            if young and isinstance(step, Tensor):
                table = [float(young.get(cohort, 0)) for cohort in range(maps[parameter].num_cohorts)] * 2
                self._births_by_class[parameter] = torch.tensor(table, dtype=torch.float64, device=step.device)
                self._maps[parameter] = maps[parameter]

    @torch.no_grad()
    def correct(self, optimizer: Optimizer) -> None:
        """After a step: give back the difference between the shared correction and that of each entry's own age.

        With m the first moment, d the root of the second one and (n, e, p) the terms at the shared step count t or at
        the entry's age a, the update lr * m * (n_t / (d + e_t) + p_t) becomes lr * m * (n_a / (d + e_a) + p_a).
        """
        rule = _rule_of(optimizer)
        if rule is None or not self._births_by_class:
            return
        for group in optimizer.param_groups:
            young = [each for each in group["params"] if each in self._births_by_class and each.grad is not None]
            if not young:
                continue
            tables = self._tables_now(young, optimizer, group, rule)
            for numbers, rows, spread in pieces([self._maps[each] for each in young], tables):
                states = [optimizer.state[young[number]] for number in numbers]
                denominators = rule.denominators([state[rule.second_key(group)][rows] for state in states])
                returned = _shares(denominators, [terms[0] for terms in spread])
                torch._foreach_sub_(returned, _shares(denominators, [terms[1] for terms in spread]))
                moments = [state["exp_avg"][rows] for state in states]
                torch._foreach_addcmul_([young[number][rows] for number in numbers], moments, returned)

    def _tables_now(
        self, parameters: list[nn.Parameter], optimizer: Optimizer, group: Mapping[str, Any], rule: "_Rule"
    ) -> list[Tensor]:
        """For each parameter (2, 2 or 3, classes): the terms at its own step count, and at the age of each class."""
        steps = torch.stack([optimizer.state[parameter]["step"] for parameter in parameters]).double()[:, None]
        births = torch.stack([self._births_by_class[parameter] for parameter in parameters])
        ages = torch.stack([steps.expand_as(births), steps - births], dim=1).clamp(min=1)
        rate = _rate(optimizer, group, steps.device)
        numerator, epsilon, plain = rule.terms(ages, group)
        rows = [numerator * rate, epsilon] if plain is None else [numerator * rate, epsilon, plain * rate]
        table = torch.stack(rows, dim=2)
        moved = {}
        for kind in {(parameter.device, parameter.dtype) for parameter in parameters}:
            moved[kind] = to_device(table, kind[0]).to(kind[1])
        return [moved[parameter.device, parameter.dtype][index] for index, parameter in enumerate(parameters)]


@dataclass(frozen=True)
class _Rule:
    """How one class of optimizers turns its moments into an update."""

    terms: Callable[[Tensor, Mapping[str, Any]], Terms]
    second_moment: str = "exp_avg_sq"
    """The state that d comes from."""
    is_squared: bool = True
    is_adam: bool = False
    """Whether both moments are divided by 1 - beta^t and nothing else depends on t."""

    def second_key(self, group: Mapping[str, Any]) -> str:
        return "max_exp_avg_sq" if group.get("amsgrad") else self.second_moment

    def denominators(self, seconds: list[Tensor]) -> list[Tensor]:
        """d of every entry."""
        return list(torch._foreach_sqrt(seconds)) if self.is_squared else seconds

    def differs(self, step: int, age: int, group: Mapping[str, Any]) -> bool:
        """Whether an entry of this age (at least 1) is corrected noticeably otherwise than its parameter at `step`."""
        ages = torch.tensor([step, age], dtype=torch.float64)
        pairs = [term.tolist() for term in self.terms(ages, group) if term is not None]
        return any(abs(own - shared) > GROWN_UP * abs(shared) for shared, own in pairs)


def _adam(ages: Tensor, group: Mapping[str, Any]) -> Terms:
    """Algorithm 1 with the order of section 2: n = sqrt(1 - beta2^a) / (1 - beta1^a), e = eps * sqrt(1 - beta2^a)."""
    root = (1 - float(group["betas"][1]) ** ages).sqrt()
    return root / (1 - float(group["betas"][0]) ** ages), group["eps"] * root, None


def _adamax(ages: Tensor, group: Mapping[str, Any]) -> Terms:
    """Kingma and Ba 2015, algorithm 2: n = 1 / (1 - beta1^a); d is the infinity norm, which needs no correction."""
    return 1 / (1 - float(group["betas"][0]) ** ages), torch.zeros_like(ages), None


def _radam(ages: Tensor, group: Mapping[str, Any]) -> Terms:
    """Liu et al. 2020, arXiv 1908.03265, algorithm 2: Adam times a rectification, without d while that is undefined."""
    beta1, beta2 = (float(beta) for beta in group["betas"])
    remaining = 1 - beta2**ages
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * ages * beta2**ages / remaining
    share = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    mean = 1 / (1 - beta1**ages)
    is_defined = length > 5
    rectified = torch.where(is_defined, (share * remaining).clamp(min=0).sqrt() * mean, 0.0)
    return rectified, torch.full_like(ages, group["eps"]), torch.where(is_defined, 0.0, mean)


_RULES: dict[type[Optimizer], _Rule] = {
    Adam: _Rule(_adam, is_adam=True),
    RAdam: _Rule(_radam),
    Adamax: _Rule(_adamax, "exp_inf", is_squared=False),
}


def _carry_in_moments(
    state: dict[str, Any], group: Mapping[str, Any], found: CohortMap, births: Mapping[int, int], step: int
) -> None:
    """Scale the moments of cohorts born at `births` so that the corrections of `step` fit them; tensors are new."""
    for key, beta in (("exp_avg", 0), ("exp_avg_sq", 1), ("max_exp_avg_sq", 1)):
        if key not in state:
            continue
        decay = float(group["betas"][beta])
        factors = [
            (1 - decay**step) / (1 - decay ** (step - births[cohort])) if cohort in births else 1.0
            for cohort in range(found.num_cohorts)
        ]
        table = torch.tensor(factors * 2, dtype=state[key].dtype, device=state[key].device)
        state[key] = torch.where(found.spread(table) == 1, state[key], state[key] * found.spread(table))


def _rule_of(optimizer: Optimizer) -> _Rule | None:
    return next((rule for kind, rule in _RULES.items() if isinstance(optimizer, kind)), None)


def _rate(optimizer: Optimizer, group: Mapping[str, Any], device: torch.device) -> float | Tensor:
    """The learning rate, times 0 where a gradient scaler made a fused step do nothing (its flag is on the device)."""
    rate: float | Tensor = group["lr"]
    found_inf: Tensor | None = getattr(optimizer, "found_inf", None)
    if found_inf is not None:
        rate = rate * (1 - found_inf.double())
    return rate.to(device) if isinstance(rate, Tensor) else rate


def _shares(denominators: list[Tensor], terms: list[Tensor]) -> list[Tensor]:
    """n / (d + e) + p of every entry."""
    sums = torch._foreach_add(denominators, [rows[1] for rows in terms])
    shares = list(torch._foreach_div([rows[0] for rows in terms], sums))
    if len(terms[0]) > 2:
        torch._foreach_add_(shares, [rows[2] for rows in terms])
    return shares
