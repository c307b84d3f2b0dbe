"""Checking by experiment that a structure grows exactly: widen a copy, compare outputs.

A trace can be wrong about code that depends on sizes (a constant in a slice, say). So every group is widened once, by
different numbers of units, before it is offered; what changes the outputs is listed with the reason instead.
"""

import copy
from collections.abc import Iterable
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autogrow.errors import NetworkError
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.prepared_resizing import prepare_resizing
from autogrow.network.running.evaluating import evaluating
from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.structure.channel_groups import Structure, find_structure
from autogrow.network.structure.layout import NEW
from autogrow.network.structure.tracing import Guesses, trace
from autogrow.policy.initializations import ZeroFanOut

OUTPUT_TOLERANCE = 1e-5
"""Largest change of an output, relative to the largest output, at which a group counts as growing exactly."""

ASLEEP = 1e-2
"""Share of a fresh layer's usual weight below which a layer passes on too little to judge what lies before it."""


def verified_structure(model: nn.Module, example_input: ModelInput) -> Structure:
    """The structure of `model` with every group that does not grow exactly fixed, and why.

    Where operations left open how they would follow, and groups they touch fail, the other choice is tried too.
    """
    structure, checked = _attempt(model, example_input, Guesses())
    tried = [checked]
    touched = frozenset(number for number, groups in structure.choices.items() if groups & checked.fixed.keys())
    for guesses in (Guesses(follow_attributes=True), Guesses(touched), Guesses(touched, follow_attributes=True)):
        failed = structure.groups.keys() - checked.groups.keys()
        if (failed and guesses.follow_attributes) or touched & guesses.alternatives:
            structure, checked = _attempt(model, example_input, guesses)
            tried.append(checked)
    return max(tried, key=_num_growable_members)


def _attempt(model: nn.Module, example_input: ModelInput, guesses: Guesses) -> tuple[Structure, Structure]:
    """The structure as traced, and with what does not grow exactly fixed."""
    structure = find_structure(model, trace(model, example_input, guesses))
    return structure, structure.without(inexact_groups(model, structure, example_input))


def _num_growable_members(structure: Structure) -> int:
    """How much of the network can grow, counted in layers that can: two choices may differ in numbers of units."""
    return sum(len(group.members) for group in structure.groups.values())


def inexact_groups(model: nn.Module, structure: Structure, example_input: ModelInput) -> dict[str, str]:
    """Groups whose widening changes the outputs, or breaks the forward pass, with the reason.

    All groups are tried at once, which is enough where all are exact; otherwise halves are, down to single groups.
    """
    probe = _Probe(model, structure, example_input)
    found: dict[str, str] = {}
    while True:
        names = [name for name in structure.groups if name not in found]
        if not names or probe.problem_with(names) is None:
            return found
        fresh = _alone_at_fault(probe, names)
        if not fresh:
            return found | dict.fromkeys(names, "the outputs change when it is widened together with others")
        found |= fresh


def _alone_at_fault(probe: "_Probe", names: list[str]) -> dict[str, str]:
    """Those of the groups that cause a problem by themselves, found by halving."""
    problem = probe.problem_with(names)
    if problem is None:
        return {}
    if len(names) == 1:
        return {names[0]: problem}
    middle = len(names) // 2
    return _alone_at_fault(probe, names[:middle]) | _alone_at_fault(probe, names[middle:])


class _Probe:
    """Widens copies of a network whose every weight passes something on."""

    def __init__(self, model: nn.Module, structure: Structure, example_input: ModelInput) -> None:
        self._structure = structure
        self._input = example_input
        self._twin = copy.deepcopy(model)
        _wake(self._twin)
        random = np.random.default_rng(0)
        # Different numbers, so that groups that only fit together by growing alike do not pass for independent.
        self._added = {name: int(random.integers(1, 5)) for name in structure.groups}
        with evaluating(self._twin):
            self._before = _outputs(self._twin, example_input)

    def problem_with(self, names: Iterable[str]) -> str | None:
        """What goes wrong when these groups are widened; None if nothing does."""
        groups = self._structure.groups
        units = {
            name: np.concatenate([np.arange(groups[name].width), np.full(self._added[name], NEW)]) for name in names
        }
        generator = torch.Generator().manual_seed(0)
        resizing = prepare_resizing(self._twin, self._structure, units, make_initializer(ZeroFanOut()), generator)
        resizing.commit()
        try:
            with evaluating(self._twin):
                after = _outputs(self._twin, self._input)
        except Exception as error:  # noqa: BLE001  whatever the user's code raises at another width
            return f"the forward pass fails when it is wider: {' '.join(str(error).split())[:120]}"
        finally:
            resizing.revert()
        return _difference(self._before, after)


def _difference(before: list[Tensor], after: list[Tensor]) -> str | None:
    if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
        return "the network's output takes its width"
    for old, new in zip(before, after, strict=True):
        if old.numel() == 0:
            continue
        change = float((new - old).abs().max() / old.abs().max().clamp(min=torch.finfo(old.dtype).tiny))
        if not change <= OUTPUT_TOLERANCE:
            return f"outputs change by {change:.1e} when it is widened"
    return None


def _outputs(model: nn.Module, example_input: ModelInput) -> list[Tensor]:
    leaves = tree_leaves(run(model, example_input))
    found = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not found:
        kinds = ", ".join(sorted({type(leaf).__name__ for leaf in leaves}))
        raise NetworkError(f"the network returns {kinds}, expected tensors of floating point numbers")
    return found


def _wake(model: nn.Module) -> None:
    """Give weights that are zero, or nearly, the scale of a fresh layer's, and norm gains of zero that of one.

    Behind them any change would stay unseen until they have learnt something else.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rsplit(".", 1)[-1] == "bias":
                continue  # hides nothing
            usual = sqrt(parameter.shape[0] / max(1, parameter.numel())) if parameter.dim() > 1 else 1.0
            if parameter.abs().max() < ASLEEP * usual:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * usual)
