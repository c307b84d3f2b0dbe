"""Runs an experiment: on every seed every condition, what is finished is not repeated.

It knows nothing of which conditions there are: that is a `Design`. Where several processes train at a time, a run
starts as soon as those of its seed that it needs are finished.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any

from autogrow.errors import ExperimentError, UsageError
from autogrow.experiments.conditions import Condition, Design, Experiment, TrainingPlan
from autogrow.experiments.drawing import score_pictures
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.records import FailedRun, Outcome, RunRecord
from autogrow.experiments.results import Results
from autogrow.experiments.tables import markdown
from autogrow.experiments.workers import Workers, open_workers
from autogrow.metrics.metric import LOSS, SCORE
from autogrow.tasks import TASKS

POLL_SECONDS = 0.2
MOST_SEEDS = 1000


@dataclass(frozen=True)
class FinishedRun:
    """A run of an experiment that is finished, for whoever shows how far it is."""

    outcome: Outcome
    experiment: Experiment
    design: Design
    num_seeds: int
    trained_now: bool
    """Or found in the folder."""

    @property
    def place(self) -> int:
        """Which of the seeds it has, from 1."""
        return self.outcome.seed - self.design.first_seed + 1

    @property
    def title(self) -> str:
        """Of its condition."""
        return self.design.title(self.outcome.condition)

    @property
    def reached(self) -> str:
        """What it has of what its task prefers, in words; empty where it failed."""
        if isinstance(self.outcome, FailedRun):
            return ""
        if self.outcome.undefined is not None:
            return self.outcome.undefined
        task, split = TASKS[self.experiment.dataset.task], self.design.split
        metric = (SCORE if task.prefers_score else LOSS).of(task.score)
        value = getattr(self.outcome, metric.name.replace("validation", split))
        return f"{metric.title.replace('validation', split)} {metric.with_unit(value)}"


OnRun = Callable[[FinishedRun], None]


def check_num_seeds(number: int) -> None:
    """Raises `UsageError` for a number of seeds that is out of range."""
    if not 1 <= number <= MOST_SEEDS:
        raise UsageError(f"seeds is {number}, not between 1 and {MOST_SEEDS}: give for example 5")


def design_in(folder: ExperimentFolder, experiment: Experiment, design: Design) -> Design:
    """The design that a folder goes on with: what was begun before there were placebos stays without one."""
    plain = design.without_placebo
    return plain if folder.was_begun_with(experiment_settings(experiment, plain)) else design


def default_pages(results: Results, heading: str) -> Pages:
    """All tables, and the score over compute."""
    return Pages(markdown(results, heading), score_pictures(results, heading))


def run_experiment(
    experiment: Experiment,
    design: Design,
    num_seeds: int,
    *,
    folder: ExperimentFolder | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
    jobs: int = 1,
    pages: Callable[[Results, str], Pages] = default_pages,
    earlier: ExperimentFolder | None = None,
) -> Results | None:
    """Train every condition of a design on every seed; None when `interrupted` said so.

    With `folder`, finished runs and results are written there, and what is there already is not trained again. `jobs`
    processes train at a time; with one, it is this process. `pages` makes of the results and a heading what is
    written for readers. Runs that `earlier` has of the same experiment, under the same recipe, are not trained again.

    Raises `RunFolderError` when the folder holds something else, `RunFolderInUseError` when another process has it.
    """

    def train(folder: ExperimentFolder | None) -> Results | None:
        outcomes = run_conditions(
            experiment, design, num_seeds, folder=folder, on_run=on_run, interrupted=interrupted, jobs=jobs
        )
        if outcomes is None:
            return None
        dataset = experiment.dataset
        return Results.of(dataset.task, design, outcomes, bytes_per_token=dataset.bytes_per_token)

    if folder is None:
        return train(None)
    design = design_in(folder, experiment, design)
    settings = experiment_settings(experiment, design)
    folder.check(settings)
    with folder.locked():
        folder.begin(settings)
        if earlier is not None:
            folder.take_runs(earlier, settings)
        results = train(folder)
        if results is not None:
            heading = f"{folder.path.name}: {experiment.model.name} on {experiment.dataset_name}"
            folder.finish(settings, results.to_dict(), pages(results, heading), results.curves())
    return results


def experiment_settings(experiment: Experiment, design: Design) -> dict[str, Any]:
    """What decides the results, as plain data: a folder is gone on with by an equal experiment alone."""
    settings = experiment.settings()
    if design.first_seed:
        settings["first_seed"] = design.first_seed
    if design.is_open:
        return settings
    settings["conditions"] = [condition.name for condition in design.conditions]
    return settings if not design.recipes() else {**settings, "recipes": design.recipes()}


def run_conditions(
    experiment: Experiment,
    design: Design,
    num_seeds: int,
    *,
    folder: ExperimentFolder | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
    jobs: int = 1,
) -> tuple[Outcome, ...] | None:
    """Train every condition on `num_seeds` seeds, from the design's first; None when `interrupted` said so.

    The test split is read once per run, at its end. With `folder`, finished runs are taken from there, an unfinished
    one goes on from its checkpoint, and every run is written when it is finished. Returned in the order of seeds, in
    each in that of the conditions.
    """
    schedule = _Schedule(experiment, design, num_seeds, folder, on_run)
    asked = interrupted or (lambda: False)
    with open_workers(experiment, jobs, asked, split=design.split, keeps_curves=design.keeps_curves) as workers:
        running: dict[Future[Outcome | None], Condition] = {}
        is_over = False
        while True:
            if not is_over:
                running |= schedule.start(workers, workers.number - len(running))
            if not running:
                break
            done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            if asked():
                workers.stop()
            for future in done:
                del running[future]
                outcome = _outcome(future)
                if outcome is None:
                    is_over = True  # saved, to be gone on with; the others are saving themselves, too
                else:
                    schedule.finish(outcome, trained_now=True)
    return None if is_over else schedule.outcomes()


def _outcome(future: Future[Outcome | None]) -> Outcome | None:
    """Raises `ExperimentError` where the process that trained it is gone."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ExperimentError(
            "a process that trained was killed, perhaps for want of memory: the same command with fewer --jobs goes on"
        ) from error


class _Schedule:
    """Which runs are left, and which of them can start."""

    def __init__(
        self,
        experiment: Experiment,
        design: Design,
        num_seeds: int,
        folder: ExperimentFolder | None,
        on_run: OnRun | None,
    ) -> None:
        self._experiment = experiment
        self._design, self._num_seeds = design, num_seeds
        self._folder = folder
        self._on_run = on_run
        seeds = range(design.first_seed, design.first_seed + num_seeds)
        self._order = [(seed, condition) for seed in seeds for condition in design.conditions]
        self._waiting = list(self._order)
        self._finished: dict[int, dict[str, Outcome]] = {seed: {} for seed in seeds}

    def start(self, workers: Workers, number: int) -> dict[Future[Outcome | None], Condition]:
        """Start up to `number` runs. What needs no training is finished at once."""
        started: dict[Future[Outcome | None], Condition] = {}
        while len(started) < number and (entry := self._next()) is not None:
            seed, condition = entry
            self._waiting.remove(entry)
            found = self._folder.record(seed, condition.name) if self._folder is not None else None
            if found is not None:
                self.finish(found, trained_now=False)
                continue
            plan = self._plan(seed, condition)
            if isinstance(plan, TrainingPlan):
                place = self._folder.place_of_run(seed, condition.name) if self._folder is not None else None
                started[workers.train(condition.name, plan, seed, place)] = condition
            else:
                self.finish(plan, trained_now=True)
        return started

    def finish(self, outcome: Outcome, *, trained_now: bool) -> None:
        """Keep what came out of a run."""
        if trained_now and self._folder is not None:
            self._folder.write_record(outcome)
        self._finished[outcome.seed][outcome.condition] = outcome
        if self._on_run is not None:
            self._on_run(FinishedRun(outcome, self._experiment, self._design, self._num_seeds, trained_now))

    def outcomes(self) -> tuple[Outcome, ...]:
        return tuple(self._finished[seed][condition.name] for seed, condition in self._order)

    def _next(self) -> tuple[int, Condition] | None:
        """The first run whose needs are finished, if any."""
        ready = (
            (seed, condition)
            for seed, condition in self._waiting
            if all(name in self._finished[seed] for name in condition.needs)
        )
        return next(ready, None)

    def _plan(self, seed: int, condition: Condition) -> TrainingPlan | Outcome:
        """How to train it; or what it came to without, where it is another's run or cannot be made up."""
        finished = self._finished[seed]
        for failed in self._failed(seed, condition.needs):
            return FailedRun(
                seed, condition.name, f"it is made from {failed.condition.replace('_', ' ')}, which failed"
            )
        records = {name: outcome for name, outcome in finished.items() if isinstance(outcome, RunRecord)}
        plan = condition.plan(self._experiment, seed, records)
        if isinstance(plan, TrainingPlan):
            return plan
        return replace(records[plan], condition=condition.name, same_run_as=plan)

    def _failed(self, seed: int, names: tuple[str, ...]) -> Iterator[FailedRun]:
        for name in names:
            if isinstance(outcome := self._finished[seed][name], FailedRun):
                yield outcome
