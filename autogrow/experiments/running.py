"""Runs an experiment: seed by seed, in each the conditions in their order; what is finished is not repeated.

It knows nothing of which conditions there are: that is a `Design`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from autogrow.errors import TrainingDivergedError
from autogrow.experiments.conditions import Condition, Design, Experiment, TrainingPlan
from autogrow.experiments.drawing import draw_results
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.records import RunRecord
from autogrow.experiments.results import Results
from autogrow.experiments.tables import markdown
from autogrow.export.retraining import train_policy

OnRun = Callable[[RunRecord, bool], None]
"""Told of every run in order, and whether it was trained now (or found in the folder)."""


def run_experiment(
    experiment: Experiment,
    design: Design,
    num_seeds: int,
    *,
    folder: ExperimentFolder | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> Results | None:
    """Train every condition of a design on every seed; None when `interrupted` said so.

    With `folder`, finished runs and results are written there, and what is there already is not trained again.

    Raises `RunFolderError` when the folder holds something else, `RunFolderInUseError` when another process has it.
    """

    def train(folder: ExperimentFolder | None) -> Results | None:
        runs = run_conditions(
            experiment, design.conditions, num_seeds, folder=folder, on_run=on_run, interrupted=interrupted
        )
        return None if runs is None else Results(experiment.dataset.task, design, runs)

    if folder is None:
        return train(None)
    settings = {**experiment.settings(), "conditions": [condition.name for condition in design.conditions]}
    folder.check(settings)
    with folder.locked():
        folder.begin(settings)
        results = train(folder)
        if results is not None:
            heading = f"{folder.path.name}: {experiment.model.name} on {settings['dataset']['name']}"
            folder.finish(settings, results.to_dict(), markdown(results, heading), draw_results(results, heading))
    return results


def run_conditions(
    experiment: Experiment,
    conditions: Sequence[Condition],
    num_seeds: int,
    *,
    folder: ExperimentFolder | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> tuple[RunRecord, ...] | None:
    """Train every condition on the seeds 0 to `num_seeds` - 1; None when `interrupted` said so.

    The test split is read once per run, at its end. With `folder`, finished runs are taken from there, an unfinished
    one goes on from its checkpoint, and every run is written when it is finished.
    """
    records: list[RunRecord] = []
    for seed in range(num_seeds):
        finished: dict[str, RunRecord] = {}
        for condition in conditions:
            found = folder.record(seed, condition.name) if folder is not None else None
            record = found or _run(experiment, condition, seed, finished, folder, interrupted)
            if record is None:
                return None
            finished[condition.name] = record
            if on_run is not None:
                on_run(record, found is None)
        records += finished.values()
    return tuple(records)


def _run(
    experiment: Experiment,
    condition: Condition,
    seed: int,
    finished: dict[str, RunRecord],
    folder: ExperimentFolder | None,
    interrupted: Callable[[], bool] | None,
) -> RunRecord | None:
    plan = condition.plan(experiment, seed, finished)
    if isinstance(plan, str):
        record: RunRecord | None = replace(finished[plan], condition=condition.name, same_run_as=plan)
    else:
        record = _train(experiment, condition.name, plan, seed, folder, interrupted)
    if record is not None and folder is not None:
        folder.write_record(record)
    return record


def _train(
    experiment: Experiment,
    condition: str,
    plan: TrainingPlan,
    seed: int,
    folder: ExperimentFolder | None,
    interrupted: Callable[[], bool] | None,
) -> RunRecord | None:
    try:
        result = train_policy(
            plan.model,
            experiment.dataset,
            plan.policy,
            plan.training,
            seed=seed,
            train_size=experiment.train_size,
            hold_out_validation=experiment.holds_out_validation,
            device=experiment.device,
            execution=experiment.execution,
            out=folder.place_of_run(seed, condition) if folder is not None else None,
            interrupted=interrupted,
        )
    except TrainingDivergedError as error:
        raise TrainingDivergedError(f"seed {seed}, {condition.replace('_', ' ')}: {error}") from error
    return None if result is None else RunRecord.of(seed, condition, result, experiment.circumstances())
