"""How the state that a stock optimizer keeps for a parameter follows that parameter to another shape.

- A state tensor of the parameter's shape (momentum, Adam's moments, Adagrad's sum) is carried entry by entry. New
  entries hold what the class starts with: zero, but for Rprop's step sizes and Adagrad's sum.
- Scalars (a step count, ASGD's averaging coefficient) are kept.
- Anything else cannot follow: tensors of another shape (Adafactor's row and column factors, LBFGS's flat history) or
  of another class (torchao's 8 bits), codes (bitsandbytes), other objects. There the whole state of the parameter is
  dropped, so that it starts afresh; for LBFGS that is the state of all parameters.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adagrad, Optimizer, Rprop

from autogrow.network.resizing.companions import laid_out_like
from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.running.copying import copied

State = dict[str, Any]
OptimizerState = Mapping[str, State]
"""By the name of each parameter that has a state."""

_START_SETTINGS: dict[type[Optimizer], dict[str, str]] = {
    Rprop: {"step_size": "lr"},
    Adagrad: {"sum": "initial_accumulator_value"},
}
"""State tensors that do not start with zero, and the setting of the parameter group that they start with."""

_FACTORS = ("row_var", "col_var")
"""Adafactor's: a mean over one dimension each, which only looks like the parameter's shape where that has size 1."""


def groups_of(optimizer: Optimizer) -> dict[nn.Parameter, dict[str, Any]]:
    """The parameter group that every parameter of the optimizer is in."""
    return {parameter: group for group in optimizer.param_groups for parameter in group["params"]}


def carried_state(optimizer: Optimizer, group: Mapping[str, Any], change: TensorChange) -> State | None:
    """The state of the changed parameter, or None where it cannot follow. The optimizer is left as it is.

    Not for LBFGS, whose one state is about all parameters.
    """
    starts = next((names for kind, names in _START_SETTINGS.items() if isinstance(optimizer, kind)), {})
    carried: State = {}
    for key, value in optimizer.state.get(change.old, {}).items():
        if isinstance(value, Tensor) and not _is_plain(value):
            return None
        if isinstance(value, Tensor) and value.dim() > 0:
            if value.shape != change.old.shape or key in _FACTORS or not _has_values(value, change.old):
                return None
            start = float(group[starts[key]]) if key in starts else 0.0
            carried[key] = laid_out_like(change.new, change.carry(value, start))
        elif isinstance(value, Tensor | int | float | str | None):
            carried[key] = value
        else:
            return None
    return carried


def give_state(optimizer: Optimizer, module: nn.Module, states: OptimizerState) -> None:
    """Have a fresh optimizer of a module's parameters go on with these states, which are copied.

    A parameter without a state starts afresh. Settings, such as the learning rate, stay those of the optimizer.
    """
    names = {parameter: name for name, parameter in module.named_parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = {number: copied(states[names[each]]) for number, each in enumerate(held) if names.get(each) in states}
    groups = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})
    for group, own in zip(optimizer.param_groups, groups, strict=True):
        group.update(own)  # a rate that lies on the device stays the same tensor


def _is_plain(value: Tensor) -> bool:
    """Whether a state is a tensor of PyTorch's own class, and not one of 8 bits or one that lies on many machines."""
    return type(value) in (Tensor, nn.Parameter) and value.layout is torch.strided


def _has_values(value: Tensor, parameter: Tensor) -> bool:
    """Whether the numbers of a state are values; whole numbers kept for a parameter of floats are codes for values."""
    return value.is_floating_point() or value.is_complex() or not parameter.is_floating_point()


def start_afresh(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
    """Drop the state of these parameters, so that it is made again as for any new one.

    Two classes need help with that: Adagrad makes its state when it is built, and fused SGD wants momentum either of
    all parameters of a group or of none.
    """
    fresh = set(parameters)
    for parameter in fresh:
        optimizer.state.pop(parameter, None)
    for group in optimizer.param_groups:
        members = [parameter for parameter in group["params"] if parameter in fresh]
        for parameter in members:
            if isinstance(optimizer, Adagrad):
                settings = {key: group[key] for key in ("lr", "initial_accumulator_value", "fused")}
                optimizer.state[parameter] = Adagrad([parameter], **settings).state[parameter]
            elif isinstance(optimizer, SGD) and group["fused"] and _has_momentum(optimizer, group):
                optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}


def replace_parameters(optimizer: Optimizer, replaced: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Put new parameters in the places of old ones. The lists stay the same objects: LBFGS holds a reference."""
    for group in optimizer.param_groups:
        group["params"][:] = [replaced.get(parameter, parameter) for parameter in group["params"]]
    forget_sizes(optimizer)


def snapshot_of(optimizer: Optimizer) -> Callable[[], None]:
    """A function that puts parameter groups and state back as they are now.

    It refers to the present parameters and state tensors, which growth replaces and never changes in place.
    """
    groups = [(group, {**group, "params": list(group["params"])}) for group in optimizer.param_groups]
    states = {parameter: dict(state) for parameter, state in optimizer.state.items()}

    def restore() -> None:
        for group, saved in groups:
            params = group["params"]
            params[:] = saved["params"]
            group.clear()
            group.update(saved, params=params)
        replace_parameters(optimizer, {})
        optimizer.state.clear()
        optimizer.state.update(states)

    return restore


def insert_parameters(
    optimizer: Optimizer, added: Mapping[nn.Parameter, nn.Parameter], named: Mapping[nn.Parameter, str]
) -> None:
    """Let new parameters join, each in the group of the one it is modelled on.

    A group that lists its parameters in the network's order still does so afterwards, because saved optimizer states
    go by position; in any other group a new parameter comes right after its model. Where an optimizer was given names
    too, new ones are called as in the network (`named`, in its order), with the prefix that their model has.
    """
    positions = {parameter: index for index, parameter in enumerate(named)}
    for group in optimizer.param_groups:
        present = list(group["params"])
        joining: dict[nn.Parameter, list[nn.Parameter]] = {}
        for parameter, model in added.items():
            joining.setdefault(model, []).append(parameter)
        grown = [each for parameter in present for each in (parameter, *joining.get(parameter, ()))]
        places = [positions.get(parameter, -1) for parameter in present]
        if len(grown) > len(present) and places == sorted(places) and -1 not in places:
            grown.sort(key=lambda parameter: positions[parameter])
        if "param_names" in group:
            known = dict(zip(present, group["param_names"], strict=True))
            group["param_names"] = [known.get(each) or _name_like(known, each, added, named) for each in grown]
        group["params"][:] = grown
    forget_sizes(optimizer)


def rename_parameters(optimizer: Optimizer, names: Mapping[str, str]) -> None:
    """Let the names that an optimizer was given follow those in the network, whatever prefix stands before them."""
    for group in optimizer.param_groups:
        if "param_names" in group:
            group["param_names"] = [_renamed(name, names) for name in group["param_names"]]


def _renamed(name: str, names: Mapping[str, str]) -> str:
    former = next((each for each in names if name == each or name.endswith(f".{each}")), None)
    return name if former is None else name.removesuffix(former) + names[former]


def _name_like(
    known: Mapping[nn.Parameter, str],
    parameter: nn.Parameter,
    added: Mapping[nn.Parameter, nn.Parameter],
    named: Mapping[nn.Parameter, str],
) -> str:
    model = added[parameter]
    return known[model].removesuffix(named.get(model, known[model])) + named[parameter]


def remove_parameters(optimizer: Optimizer, removed: Iterable[nn.Parameter]) -> None:
    """Take parameters out, with their state."""
    gone = set(removed)
    for group in optimizer.param_groups:
        if "param_names" in group:
            pairs = zip(group["params"], group["param_names"], strict=True)
            group["param_names"] = [name for parameter, name in pairs if parameter not in gone]
        group["params"][:] = [parameter for parameter in group["params"] if parameter not in gone]
    for parameter in gone:
        optimizer.state.pop(parameter, None)
    forget_sizes(optimizer)


def forget_sizes(optimizer: Optimizer) -> None:
    """LBFGS remembers the number of entries."""
    if isinstance(optimizer, LBFGS):
        optimizer._numel_cache = None


def step_count(state: Mapping[str, Any]) -> int:
    """How many updates a parameter has had, by its own state; 0 where the class does not count."""
    return int(state.get("step", 0)) if isinstance(state, Mapping) else 0


def _has_momentum(optimizer: Optimizer, group: Mapping[str, Any]) -> bool:
    states = (optimizer.state.get(parameter, {}) for parameter in group["params"])
    return any(state.get("momentum_buffer") is not None for state in states)
