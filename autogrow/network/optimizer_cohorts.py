"""Keeps a stock PyTorch optimizer right while the network under it changes shape.

- Growing: moments of old entries are carried to the new parameters, new entries start with zeros.
- Age: Adam divides its moments by corrections for their start at zero. One shared step count gives an entry that is
  born late the corrections of an old one: its first update is 3.2 learning rates instead of 1, and the twelfth
  6.6. After each step the update of young entries is replaced by the one that their own age asks for.
- Freezing: entries of frozen cohorts, and the statistics of their norms, are put back after each step, so that they
  stay bit-identical under any optimizer, with momentum and weight decay.

It works through step hooks on the optimizer that the user made, so any ``torch.optim`` class can be used. Carrying
works for every optimizer whose state tensors have the parameter's shape; ages are kept for Adam and AdamW, and count
the optimizer's steps: a parameter that sits some of them out (without a gradient) is taken to be older than it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from autogrow.network.cohorts import Cohorts
from autogrow.network.resizing import TensorChange


@dataclass(frozen=True)
class _Frozen:
    """A tensor of which some entries are held: where `mask` is true it keeps `values`."""

    tensor: Tensor
    mask: Tensor
    values: Tensor


class OptimizerCohorts:
    """The hooks on one optimizer. Made by `ExpandableNetwork.attach`; `detach` removes them."""

    def __init__(self, optimizer: Optimizer, model: nn.Module, cohorts: Cohorts) -> None:
        self.optimizer = optimizer
        self.steps = _steps_taken(optimizer)
        """Optimizer steps since its state was fresh."""
        self.birth_steps = [0] * (cohorts.num_events + 1)
        """For each cohort, the value of `steps` when it was born."""
        self.first_trained_cohort = 0
        self._model = model
        self._cohorts = cohorts
        self._young: dict[nn.Parameter, Tensor] = {}
        self._frozen: list[_Frozen] = []
        self._handle = optimizer.register_step_post_hook(self._after_step)
        self.refresh()

    def detach(self) -> None:
        """Leave the optimizer as a stock one: young entries and frozen ones are no longer looked after."""
        self._handle.remove()

    def prepare(self, changes: Iterable[TensorChange], reset: bool) -> dict[nn.Parameter, dict[str, Any]]:
        """The optimizer state of the new parameters; with `reset` every state is dropped."""
        if reset:
            return {}
        return {
            cast(nn.Parameter, change.new): _carried_state(self.optimizer.state.get(change.old, {}), change)
            for change in changes
            if isinstance(change.old, nn.Parameter)
        }

    def commit(
        self, changes: Iterable[TensorChange], states: Mapping[nn.Parameter, dict[str, Any]], reset: bool
    ) -> None:
        """Point the optimizer at the new parameters. Called after the cohorts have moved on to the event."""
        replaced = {change.old: change.new for change in changes if isinstance(change.old, nn.Parameter)}
        for group in self.optimizer.param_groups:
            group["params"] = [replaced.get(parameter, parameter) for parameter in group["params"]]
        for old, new in replaced.items():
            self.optimizer.state.pop(old, None)
            if states.get(cast(nn.Parameter, new)):
                self.optimizer.state[new] = states[cast(nn.Parameter, new)]
        if reset:
            self.optimizer.state.clear()
            self.steps = 0
            self.birth_steps = [0] * (self._cohorts.num_events + 1)
        else:
            self.birth_steps += [self.steps] * (self._cohorts.num_events + 1 - len(self.birth_steps))
        self.refresh()

    def freeze_before(self, cohort: int) -> None:
        """Hold every entry of an earlier cohort at the value it has now; 0 holds nothing."""
        self.first_trained_cohort = cohort
        self.refresh()

    def refresh(self) -> None:
        """Look up again which entries are young and which are frozen, and at which values."""
        in_optimizer = {parameter for group in self.optimizer.param_groups for parameter in group["params"]}
        self._young = {
            parameter: self._cohorts.of(name, parameter).long()
            for name, parameter in self._model.named_parameters()
            if parameter in in_optimizer and self._cohorts.is_mixed(name)
        }
        self._frozen = []
        if self.first_trained_cohort == 0:
            return
        buffers = [(name, buffer) for name, buffer in self._model.named_buffers() if buffer.is_floating_point()]
        for name, tensor in [*self._model.named_parameters(), *buffers]:
            mask = self._cohorts.of(name, tensor) < self.first_trained_cohort
            if mask.any():
                self._frozen.append(_Frozen(tensor, mask, tensor.detach().clone()))

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "birth_steps": list(self.birth_steps),
            "first_trained_cohort": self.first_trained_cohort,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; the network's weights must have been loaded before."""
        self.steps = state["steps"]
        self.birth_steps = list(state["birth_steps"])
        self.first_trained_cohort = state["first_trained_cohort"]
        self.refresh()

    @torch.no_grad()
    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.steps += 1
        if isinstance(optimizer, Adam) and self._young:
            self._correct_young(optimizer)
        for frozen in self._frozen:
            torch.where(frozen.mask, frozen.values, frozen.tensor, out=frozen.tensor.detach())

    def _correct_young(self, optimizer: Adam) -> None:
        """Replace the shared bias correction of young entries by that of their own age (Kingma and Ba 2015, alg. 1).

        Adam moves an entry by lr * s(t) * m / (sqrt(v) + eps'), with s(t) = sqrt(1 - beta2^t) / (1 - beta1^t) for
        the shared step count t. An entry of age a should move by s(a) instead, so the difference is given back;
        where a = t it is exactly zero.
        """
        for group in optimizer.param_groups:
            parameters = [
                parameter for parameter in group["params"] if parameter in self._young and parameter.grad is not None
            ]
            beta1, beta2 = (float(beta) for beta in group["betas"])
            shared = _bias_correction(self.steps, beta1, beta2)
            excess = [shared - _bias_correction(self.steps - birth, beta1, beta2) for birth in self.birth_steps]
            if not parameters or max(map(abs, excess)) < 1e-7:
                continue
            rate = float(group["lr"]) * (-1.0 if group["maximize"] else 1.0)
            second = "max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"
            states = [optimizer.state[parameter] for parameter in parameters]
            denominators = torch._foreach_sqrt([state[second] for state in states])
            torch._foreach_add_(denominators, group["eps"] * sqrt(1 - beta2**self.steps))
            returned = torch._foreach_div([state["exp_avg"] for state in states], denominators)
            table = torch.tensor(excess, dtype=parameters[0].dtype, device=parameters[0].device) * rate
            torch._foreach_mul_(returned, [table[self._young[parameter]] for parameter in parameters])
            torch._foreach_add_(parameters, returned)


def _bias_correction(age: int, beta1: float, beta2: float) -> float:
    """s(age) above; an entry of age 0 has not been updated yet."""
    return sqrt(1 - beta2**age) / (1 - beta1**age) if age > 0 else 0.0


def _carried_state(state: Mapping[str, Any], change: TensorChange) -> dict[str, Any]:
    """State tensors of the parameter's shape follow its entries; anything else (a step count) is kept."""
    return {
        key: change.carry(value, 0.0) if isinstance(value, Tensor) and value.shape == change.old.shape else value
        for key, value in state.items()
    }


def _steps_taken(optimizer: Optimizer) -> int:
    """The optimizer's own step count, for one that has been used before it was attached."""
    counts = [int(state["step"]) for state in optimizer.state.values() if "step" in state]
    return max(counts, default=0)
