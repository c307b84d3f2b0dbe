"""The conditions of ``autogrow compare``: a policy, and what a sceptic would train beside it."""

from autogrow.experiments.conditions import Condition, Design, Experiment, Finished, TrainingPlan
from autogrow.experiments.fresh_networks import build_in_shape
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy

GROWN, FULL, FINAL, SAME_COMPUTE, SMALL = "grown", "full", "final", "same_compute", "small"
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
    grown, full, dataset = finished[GROWN], finished[FULL], experiment.dataset
    if (grown.shape.widths, grown.parameters) == (full.shape.widths, full.parameters):
        return FULL
    module = build_in_shape(experiment.model, dataset.input_shape, dataset.num_outputs, grown.shape, seed)
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
)
"""Grown first, since the others' runs depend on it."""

COMPARISON = Design(GROWN_AND_CONTROLS, subject=GROWN, unit=FULL)


def comparison_of(policy: GrowthPolicy) -> Design:
    """What a policy is compared with. One that stays small is its own small start, and has its final shape at once."""
    if policy.grows:
        return COMPARISON
    kept = tuple(condition for condition in GROWN_AND_CONTROLS if condition.name not in (FINAL, SMALL))
    return Design(kept, subject=GROWN, unit=FULL)
