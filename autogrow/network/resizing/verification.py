"""Checking by experiment that a structure grows exactly: widen a copy, compare outputs.

A trace can be wrong about code that depends on sizes (a constant in a slice, say). So every group is widened, alone and
together with others, before it is offered; what changes the outputs is listed with the reason instead.
"""

from torch import nn

from autogrow.network.resizing.group_trials import inexact_groups
from autogrow.network.resizing.probe import Probe
from autogrow.network.running.model_input import ModelInput
from autogrow.network.structure.channel_groups import Structure, find_structure
from autogrow.network.structure.recording import Guesses
from autogrow.network.structure.tracing import trace


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
    found = trace(model, example_input, guesses)
    structure = find_structure(model, found)
    probe = Probe(model, structure, example_input, found.training_input)
    return structure, structure.without(inexact_groups(probe, list(structure.groups)))


def _num_growable_members(structure: Structure) -> int:
    """How much of the network can grow, counted in layers that can: two choices may differ in numbers of units."""
    return sum(len(group.members) for group in structure.groups.values())
