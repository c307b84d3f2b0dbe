"""Run folders made by hand: no training, no Ray, metrics that are consistent with each other."""

import itertools
from pathlib import Path

import pytest
import yaml

from autogrow.metrics.objectives import OBJECTIVES
from autogrow.metrics.scores import SCORES
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report.summary import summarize
from autogrow.study.run_folder import RunFolder
from autogrow.study.sampling import Proposer
from autogrow.study.search_space import SearchSpace
from autogrow.study.settings import SearchSettings, versions
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import TrialRecord, replicated
from autogrow.study.trial_result import CompleteTrial, StoppedTrial, TrialMetrics

SPACE = {
    "format": "autogrow-space/1",
    "policy": {"chunk_fraction": {"low": 0.1, "high": 0.5}, "initialization": ["zero_fan_out", "xavier"]},
    "training": {"learning_rate": {"low": 0.0005, "high": 0.005, "log": True}},
}
NUM_STEPS = 100
FULL_FLOPS = 1e12
"""Training FLOPs of a static run."""


def metrics_of(accuracy, *, gap=0.02, seconds=10.0, compute=0.6, parameters=300_000, num_events=2, **measured):
    """What a finished trial reports; `measured` is what only some do, as `latency_ms`."""
    found = {
        "validation_score": accuracy,
        "validation_loss": 0.4,
        "train_score": accuracy + gap,
        "train_loss": 0.3,
        "generalization_gap": gap,
        "train_seconds": seconds,
        "training_flops": compute * FULL_FLOPS,
        "compute": compute,
        "parameters": parameters,
        "flops": 6.0 * parameters,
        "num_events": num_events,
        "steps": NUM_STEPS,
        **measured,
    }
    return TrialMetrics(**found)


def sample(index, accuracy, flops):
    return Sample(
        index=index,
        step=10 * (index + 1),
        epoch=float(index + 1),
        train_loss=1.0 / (index + 1),
        validation_loss=1.1 / (index + 1),
        train_score=accuracy + 0.01,
        validation_score=accuracy,
        train_seconds=index + 1.0,
        training_flops=flops,
        parameters=300_000,
        learning_rate=0.001,
    )


def growth_event(index, at_sample, added, widths, parameters):
    return GrowthEvent(
        index=index,
        step=10 * (at_sample + 1),
        sample=at_sample,
        added_units=added,
        widths=widths,
        parameters_before=parameters[0],
        parameters_after=parameters[1],
        flops_before=2.0 * parameters[0],
        flops_after=2.0 * parameters[1],
        trigger_value=0.5,
        trigger_reason="4 of 4 measurements since the last event",
        largest_output_change=1e-6,
        seconds=0.01,
    )


_EMPTY_DATABASES: dict[tuple, bytes] = {}


def _new_database(path, objectives):
    """As `StudyDatabase.create`, which takes most of a test's time: made once, then copied."""
    if objectives not in _EMPTY_DATABASES:
        StudyDatabase.create(path, objectives)
        _EMPTY_DATABASES[objectives] = path.read_bytes()
    path.write_bytes(_EMPTY_DATABASES[objectives])
    return StudyDatabase.open(path, objectives)


EVERY_OBJECTIVE = tuple(name for name in OBJECTIVES if name not in SCORES)


class MadeRun:
    """Writes a run through the interfaces that a search uses."""

    def __init__(self, path: Path, *, dataset="digits", trials=50, objectives=None, **config):
        self.settings = SearchSettings(
            dataset=dataset,
            data_dir="data",
            fingerprint="0123456789abcdef",
            task={"sine": "regression", "book.txt": "text"}.get(dataset, "classification"),
            model="mlp",
            space=SPACE,
            trials=trials,
            objectives=objectives or ("score", "generalization_gap", "train_seconds"),
            training=TrainingSettings(epochs=10),
            num_validation=1000,
            chance_level={"sine": None, "book.txt": 3.0}.get(dataset, 0.11),
            bytes_per_token=2.0 if dataset == "book.txt" else None,
            working_directory=".",
        )
        self.objectives = self.settings.chosen_objectives
        self.folder = RunFolder(path)
        self.folder.create({**self.settings.model_dump(mode="json"), "versions": versions(), **config})
        self.database = _new_database(self.folder.database, self.objectives)
        self.proposer = Proposer(self.database, SearchSpace(SPACE, "space"), self.settings, 100, lambda: 1.0)

    def start(self):
        """The next trial, running: the controls first."""
        proposal = self.proposer.next()
        assert proposal is not None
        return proposal

    def write_records(self, root, final_score, grows=True, num_samples=10):
        """Ten samples, one per epoch, that end at the accuracy, and two growth events."""
        folder = self.folder.trial(root)
        folder.rewrite([], [])
        for index in range(num_samples):
            accuracy = final_score - 0.03 * (num_samples - 1 - index)
            folder.append_sample(sample(index, accuracy, (index + 1) * 0.06 * FULL_FLOPS))
        if grows:
            first, second = {"features.0": 8, "features.3": 4}, {"features.0": 8, "features.3": 0}
            folder.rewrite_events(
                [
                    growth_event(1, 2, first, {"features.0": 24, "features.3": 20}, (1000, 2000)),
                    growth_event(2, 5, second, {"features.0": 32, "features.3": 20}, (2000, 3500)),
                ]
            )

    def complete(self, accuracy, **metrics):
        proposal = self.start()
        grows = proposal.role != "static"
        self.write_records(proposal.root, accuracy, grows)
        defaults = {} if grows else {"compute": 1.0, "num_events": 0, "parameters": 400_000}
        self.database.tell_result(
            proposal.number, CompleteTrial(metrics=metrics_of(accuracy, **{**defaults, **metrics}))
        )
        return proposal.number

    def replicate(self, of, accuracy, seed, **metrics):
        """The policy of a trial on another seed, to its end."""
        first = self.database.trials()[of]
        attributes = replicated(TrialRecord(first), seed)
        number = self.database.add_running(first.params, first.distributions, attributes, {})
        self.write_records(number, accuracy)
        self.database.tell_result(number, CompleteTrial(metrics=metrics_of(accuracy, **metrics)))
        return number

    def prune(self, accuracy, **metrics):
        proposal = self.start()
        self.write_records(proposal.root, accuracy, grows=False, num_samples=3)
        reached = metrics_of(accuracy, **{"compute": 0.18, "seconds": 3.0, **metrics})
        self.database.tell_result(proposal.number, StoppedTrial(metrics=reached, progress=0.3))
        return proposal.number

    def complete_infeasible(self, accuracy, constraints, **metrics):
        """A trial that was trained to its end and breaks those constraints that are above 0."""
        proposal = self.start()
        storage, study = self.database.study._storage, self.database.study._study_id
        trial = storage.get_trial_id_from_study_id_trial_number(study, proposal.number)
        for name, value in constraints.items():
            storage.set_trial_system_attr(trial, f"constraints:{name}", value)
        self.write_records(proposal.root, accuracy)
        self.database.tell_result(proposal.number, CompleteTrial(metrics=metrics_of(accuracy, **metrics)))
        return proposal.number

    def fail(self, reason):
        proposal = self.start()
        self.database.tell_failed(proposal.number, reason)
        return proposal.number

    def controls(self, static=0.90, default=0.88, thesis=0.86):
        return [self.complete(accuracy) for accuracy in (static, default, thesis)]

    def edit_config(self, **fields):
        content = yaml.safe_load(self.folder.config_file.read_text(encoding="utf-8"))
        self.folder.config_file.write_text(yaml.safe_dump({**content, **fields}), encoding="utf-8")


@pytest.fixture
def make_run(tmp_path):
    """A function that makes an empty run; its arguments are those of `MadeRun`."""
    numbers = itertools.count()

    def make(name=None, **settings):
        return MadeRun(tmp_path / (name or f"run-{next(numbers)}"), **settings)

    return make


@pytest.fixture(scope="session")
def full_run(tmp_path_factory):
    """A run with controls, complete, pruned and failed trials, in which growing is ahead. Only read it."""
    run = MadeRun(tmp_path_factory.mktemp("runs") / "full")
    run.controls()
    for index in range(20):
        run.complete(0.85 + 0.0035 * index, gap=0.01 + 0.002 * (index % 5), seconds=8.0 + 0.5 * (index % 7))
    run.prune(0.95)
    run.fail("TrainingDivergedError: the loss is nan at step 20 of 100")
    run.fail("TrainingDivergedError: the loss is inf at step 35 of 100")
    run.fail("RuntimeError: CUDA out of memory")
    return run


@pytest.fixture(scope="session")
def full_summary(full_run):
    return summarize(full_run.folder)
