"""Results of trials that nobody has trained, for tests of what is done with them."""

from autogrow.study.trial_result import CompleteTrial, FailedTrial, OutOfMemory, StoppedTrial, TrialMetrics, TrialReport

METRICS = {
    "validation_score": 0.9,
    "validation_loss": 0.3,
    "train_score": 0.91,
    "train_loss": 0.2,
    "generalization_gap": 0.01,
    "train_seconds": 3.0,
    "training_flops": 1e9,
    "compute": 0.5,
    "parameters": 5000,
    "num_events": 2,
    "steps": 100,
}
SECONDS = 7.5
"""How long every trial took."""


def metrics(**changes):
    """Those above but for what is given."""
    return TrialMetrics(**{**METRICS, **changes})


def complete(changes=None, constraints=None):
    return CompleteTrial(metrics=metrics(**(changes or {})), constraints=constraints or {}, trial_seconds=SECONDS)


def stopped(changes=None, progress=0.3):
    return StoppedTrial(metrics=metrics(**(changes or {})), progress=progress, trial_seconds=SECONDS)


def failed(reason="out of luck", infeasible=None, trial_seconds=None):
    size = None if infeasible is None else OutOfMemory(**infeasible)
    return FailedTrial(reason=reason, infeasible=size, trial_seconds=trial_seconds)


def report(changes=None, *, progress=0.25, may_grow=True, trial_seconds=5.0):
    return TrialReport(
        metrics=metrics(**(changes or {})), progress=progress, may_grow=may_grow, trial_seconds=trial_seconds
    )
