"""The conditions of ``autogrow compare``: a policy, and what a sceptic would compare it with; and the placebo.

One of them is a network in the shape that another ended with, not trained yet, as if its author had written it in that
shape (`build_in_shape`). It is not for loading weights into, which `NetworkShape.give_to` is for: there the values mean
nothing.
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import nn

from autogrow.experiments.conditions import Condition, Design, Experiment, Finished, TrainingPlan
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shape import NetworkShape
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.training.batches import stream_seed
from autogrow.training.example_input import Described, example_of
from autogrow.training.placebo import Placebo

CPU = torch.device("cpu")

GROWN, FULL, FINAL, SAME_COMPUTE, SMALL = "grown", "full", "final", "same_compute", "small"
PLACEBO = "placebo"
NEVER = 1e-12
"""Share of a run that is over before its first sample."""


def plan_grown(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """The policy itself."""
    return TrainingPlan(experiment.model, experiment.policy, experiment.training)


def plan_full(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """Full size from the first step."""
    return TrainingPlan(experiment.model, static_policy(), experiment.training)


def plan_final(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan | str:
    """The shape that the grown network ended with, from fresh weights."""
    grown, full = finished[GROWN], finished[FULL]
    if (grown.shape.widths, grown.parameters) == (full.shape.widths, full.parameters):
        return FULL
    module = build_in_shape(experiment.model, experiment.dataset, grown.shape, seed)
    return TrainingPlan(module, static_policy(), experiment.training)


def plan_same_compute(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """Full size, as many steps as the grown network's training FLOPs pay for: within half a step of them."""
    grown, full = finished[GROWN], finished[FULL]
    steps = max(1, round(grown.training_flops / full.training_flops * full.steps))
    training = experiment.training.model_copy(update={"steps": steps})
    return TrainingPlan(experiment.model, static_policy(), training)


def plan_small(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """The network that the policy starts with, its limits included, and no growth event."""
    policy = experiment.policy.model_copy(update={"grow_until": NEVER})
    return TrainingPlan(experiment.model, policy, experiment.training)


@dataclass(frozen=True)
class PlaceboPlan:
    """The plan of a network that keeps its size, with an event that adds nothing when the subject's first comes.

    Where the subject never grew, nothing happens either: the run is the one that it copies.
    """

    copies: str
    subject: str

    def of(self, experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan | str:
        """The run of any seed."""
        copied, first_growth = finished[self.copies], finished[self.subject].first_growth
        if first_growth is None or copied.steps < 2:
            return self.copies
        step = min(max(1, round(first_growth * copied.steps)), copied.steps - 1)
        resets = experiment.policy.events_reset_optimizer
        return TrainingPlan(experiment.model, static_policy(), experiment.training, Placebo(step, resets))


def placebo_of(full: str, subject: str) -> Condition:
    """The placebo of an experiment that has a network at full size by the name `full`, and a `subject` that grows."""
    as_full, grows = (name.replace("_", " ") for name in (full, subject))
    summary = f"as {as_full}, but when {grows} grows first, an event adds nothing: the examples' order is another then"
    return Condition(PLACEBO, PLACEBO, summary, PlaceboPlan(full, subject).of, (full, subject), copies=full)


GROWN_AND_CONTROLS = (
    Condition(GROWN, "grown", "by the policy", plan_grown),
    Condition(FULL, "full", "full size from the first step", plan_full),
    Condition(FINAL, "final", "the grown network's last shape, from fresh weights", plan_final, (GROWN, FULL)),
    Condition(
        SAME_COMPUTE,
        "same compute",
        "full size, as many steps as the grown run's FLOPs pay for",
        plan_same_compute,
        (GROWN, FULL),
    ),
    Condition(SMALL, "small", "the policy's small start, never grown", plan_small),
    placebo_of(FULL, GROWN),
)
"""Grown first, since the others' runs depend on it."""

COMPARISON = Design(GROWN_AND_CONTROLS, subject=GROWN, unit=FULL)


def comparison_of(policy: GrowthPolicy) -> Design:
    """What a policy is compared with. One that stays small is its own small start, and has its final shape at once."""
    if policy.grows:
        return COMPARISON
    kept = tuple(condition for condition in GROWN_AND_CONTROLS if condition.name not in (FINAL, SMALL, PLACEBO))
    return Design(kept, subject=GROWN, unit=FULL)


def build_in_shape(spec: ModelSpec, data: Described, shape: NetworkShape, seed: int) -> nn.Module:
    """A plain module of this shape for these data, on the CPU, its weights drawn from `seed`.

    It begins as the network at full size does under the same seed. Groups that are narrower keep the first units, with
    the weight variance that their width asks for, just as a network that is to grow starts. Groups that are wider, and
    stages that are deeper, than their author wrote them are drawn after those that he did write. Settings that growing
    changed to keep a function the same (norms' eps) are the author's.
    """
    module = build_model(spec, data.input_shape, data.num_outputs, seed)
    network = ExpandableNetwork(module, example_of(data, CPU))
    generator = torch.Generator().manual_seed(stream_seed(seed, "fresh network", 0))
    if shape.blocks:
        _set_blocks(network, shape, generator)
    present = network.widths
    network.start_small({name: min(width, present[name]) for name, width in shape.widths.items()})
    if any(width > present[name] for name, width in shape.widths.items()):
        _widen(network, shape, generator)
    return module


def _set_blocks(network: ExpandableNetwork, shape: NetworkShape, generator: torch.Generator) -> None:
    network.add_stages(shape.blocks)
    present = network.blocks
    network.start_shallow({name: min(number, present[name]) for name, number in shape.blocks.items()})
    more = {name: number - present[name] for name, number in shape.blocks.items() if number > present[name]}
    if more:
        network.deepen_stages(more, initialization="random", generator=generator)


def _widen(network: ExpandableNetwork, shape: NetworkShape, generator: torch.Generator) -> None:
    """Widen beyond what the author wrote: every tensor that changes is drawn anew from the values it had.

    How the author draws them cannot be known; drawing from their values keeps their distribution, whatever it is
    (zeros of biases, ones of norms), and the fan-in gives weights their scale, as in `start_small`.
    """
    before = {name: parameter.detach().clone() for name, parameter in network.module.named_parameters()}
    network.set_widths(shape.widths)
    with torch.no_grad():
        for name, parameter in network.module.named_parameters():
            old = before[name]
            if old.shape == parameter.shape:
                continue
            drawn = old.flatten()[torch.randint(old.numel(), parameter.shape, generator=generator)]
            layout = network.structure.tensors.get(name)
            if layout is not None and layout.in_dim is not None:
                drawn *= sqrt(old.shape[layout.in_dim] / parameter.shape[layout.in_dim])
            parameter.copy_(drawn)
