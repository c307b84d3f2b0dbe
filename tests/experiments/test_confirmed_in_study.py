"""What a confirmation trains counts in the study of its search: as other seeds of its policies, once, and for nothing
else."""

import json
import shutil
import sqlite3
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

import autogrow
from autogrow.data import open_dataset
from autogrow.errors import RunFolderError, TrainingDivergedError
from autogrow.experiments import confirmation_replicates, workers
from autogrow.experiments.confirmation import confirm_policies
from autogrow.export.retraining import train_policy
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report.summary import summarize
from autogrow.study.candidates import Candidates
from autogrow.study.choosing import best_trial
from autogrow.study.finding_runs import find_run
from autogrow.study.in_process_executor import InProcessExecutor
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial import run_trial
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_record import TrialRecord, replicated
from autogrow.training.ending import Signal
from autogrow.training.evaluation import Metrics
from tests.processes import Records, check_ended

from ..study.finished_run import ENDINGS, MOST_ACCURATE, make_finished_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
SEED = 7
SMALL = {"model": "mlp", "model_options": {"hidden": (8,)}, "train_size": 60}
PER_SEED = 3
"""Of the conditions of one candidate, those that the search has tried: not the full network with its settings."""


@pytest.fixture
def run(tmp_path, data_dir):
    return make_finished_run(tmp_path / "run", data_dir, seed=SEED, **SMALL)


@pytest.fixture(scope="module")
def trained(data_dir):
    """One network, trained in a moment."""
    settings = TrainingSettings(epochs=1)
    spec = ModelSpec(SMALL["model"], SMALL["model_options"])
    dataset = open_dataset("digits", data_dir)
    return train_policy(
        spec, dataset, default_policy(), settings, train_size=60, hold_out_validation=True, reads_test=False
    )


@pytest.fixture
def reading(monkeypatch, trained):
    """Nothing is trained, and accuracies are what a function of policy and seed says, None that the run diverges.

    Gives what would have been trained, as pairs of recipe and seed.
    """
    seeds = []

    def install(read=lambda policy, seed: 0.5):
        def faked(model, dataset, policy, settings, *, seed, **options):
            if options["interrupted"]():
                return None
            seeds.append((repr((policy.recipe(), settings)), seed))
            accuracy = read(policy, seed)
            if accuracy is None:
                raise TrainingDivergedError("the loss is nan at step 3 of 14")
            return replace(trained, policy=policy, validation=Metrics(1 - accuracy, accuracy))

        monkeypatch.setattr(workers, "train_policy", faked)
        return seeds

    return install


def database_of(run):
    return StudyDatabase.open(run.study_location(), run.settings().chosen_objectives)


def trials_of(run):
    return database_of(run).trials()


def added_to(run):
    return [record for record in map(TrialRecord, trials_of(run)) if record.is_by_confirm]


def pairs(run):
    """Which policies have been confirmed on which seeds, in the order in which they were added."""
    return [(record.replicate_of, record.seed) for record in added_to(run)]


class TestAdding:
    def test_every_run_of_a_policy_of_the_search_is_a_replicate_of_it(self, run, reading):
        reading(lambda policy, seed: 0.5 + seed / 100)
        confirmation = confirm_policies(run, top=1, num_seeds=2)
        roots = {each.role: each.number for each in Candidates(trials_of(run)).all}
        again = [roots["static"], roots["default"], MOST_ACCURATE]
        assert pairs(run) == [(root, seed) for seed in (SEED + 1, SEED + 2) for root in again]
        assert len(confirmation.confirmed.results.runs) == len(pairs(run)) + 2  # full as trial 3 is no trial
        assert confirmation.note == "6 runs count in the study of run, as other seeds of its policies"
        for record in added_to(run):
            first = TrialRecord(trials_of(run)[record.replicate_of])
            assert (record.policy, record.training, record.role) == (first.policy, first.training, first.role)
            assert (record.trial.params, record.trial.distributions) == (first.trial.params, first.trial.distributions)
            assert record.metrics["validation_score"] == pytest.approx(0.5 + record.seed / 100)
            assert record.metrics["compute"] > 0

    def test_plain_optuna_sees_them(self, run, reading):
        reading()
        confirm_policies(run, top=1, num_seeds=1)
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{run.database}")
        found = [trial for trial in study.trials if trial.user_attrs.get("trained_by") == "confirm"]
        assert len(found) == PER_SEED
        for trial in found:
            assert (trial.state, trial.values[0]) == (TrialState.COMPLETE, 0.5)
            assert trial.values[1:] == [trial.user_attrs[name] for name in ("generalization_gap", "train_seconds")]
            assert trial.user_attrs["replicate_of"] < len(ENDINGS)

    def test_they_count_for_no_budget_and_have_no_folder(self, run, reading):
        reading()

        def counted():
            database = database_of(run)
            return database.num_proposed(), database.num_ended(), database.trial_seconds()

        before = counted()
        confirm_policies(run, top=2, num_seeds=2)
        assert counted() == before
        assert len(trials_of(run)) == len(ENDINGS) + 2 * (PER_SEED + 1)
        assert not run.trials.exists()
        result = autogrow.Study.load(run.path).result
        assert result.complete + result.pruned + result.failed == len(ENDINGS)

    def test_the_same_command_adds_nothing_and_more_seeds_or_policies_only_theirs(self, run, reading):
        seeds = reading()
        confirm_policies(run, top=1, num_seeds=1)
        once = pairs(run)
        note = confirm_policies(run, top=1, num_seeds=1).note
        assert (pairs(run), note) == (once, "3 runs count in the study of run, as other seeds of its policies")
        confirm_policies(run, top=1, num_seeds=2)
        confirm_policies(run, top=2, num_seeds=2)
        assert pairs(run)[: len(once)] == once
        assert len(pairs(run)) == len(set(pairs(run))) == 2 * (PER_SEED + 1)
        assert len(seeds) == len(set(seeds))

    def test_what_is_confirmed_is_chosen_by_the_search_alone(self, run, reading):
        """Else the same command would go on with other policies than it has begun with."""
        reading(lambda policy, seed: 0.9 if policy.recipe() == default_policy().recipe() else 0.1)
        first, again = (confirm_policies(run, top=2, num_seeds=1).confirmed for _ in range(2))
        assert first.candidates == again.candidates
        assert first.searched == again.searched
        assert first.findings() == again.findings()

    def test_another_folder_has_other_seeds(self, run, reading, tmp_path):
        seeds = reading()
        confirm_policies(run, top=1, num_seeds=2)
        confirm_policies(run, top=1, num_seeds=1, out=tmp_path / "other")
        assert {seed for _, seed in seeds} == {SEED + 1, SEED + 2, SEED + 3}
        assert len(pairs(run)) == 3 * PER_SEED

    def test_a_seed_that_the_search_has_taken_since_is_not_confirmed(self, run, reading, tmp_path):
        reading()
        confirm_policies(run, top=1, num_seeds=1)
        database = database_of(run)
        first = TrialRecord(database.trials()[MOST_ACCURATE])
        number = database.add_running(first.trial.params, first.trial.distributions, replicated(first, SEED + 2), {})
        database.tell_failed(number, "out of luck")
        with pytest.raises(
            RunFolderError, match=f"has seeds from {SEED + 1} on, .* on seed {SEED + 2}: choose another"
        ):
            confirm_policies(run, top=1, num_seeds=2)
        assert len(pairs(run)) == PER_SEED


def test_a_run_is_what_the_trial_would_have_been(tmp_path, data_dir):
    """So that means over both mean something."""
    study = autogrow.search(
        "digits", trials=4, epochs=2, seeds_per_policy=1, name="run", out=tmp_path, objectives="accuracy,flops",
        data_dir=data_dir, executor=InProcessExecutor(), **SMALL,
    )  # fmt: skip
    confirm_policies(study.run, top=1, num_seeds=1)
    settings = study.run.settings()
    assert len(added_to(study.run)) == PER_SEED
    for record in added_to(study.run):
        config = TrialConfig.of(
            settings,
            ModelSpec(settings.model, settings.model_options),
            number=record.number,
            role=record.role,
            policy=GrowthPolicy.from_dict(record.needed_policy()),
            training=TrainingSettings.model_validate(record.needed_training()),
            seed=record.seed,
            device="cpu",
            gpu_memory_fraction=None,
            folder=str(tmp_path / "trials" / f"{record.number:05d}"),
            interrupt_file=str(tmp_path / "interrupt"),
            num_reports=3,
        )
        trial = run_trial(config, lambda report: Signal.CONTINUE)
        expected = {name: value for name, value in trial.metrics.by_name().items() if name != "train_seconds"}
        assert {name: record.metrics.get(name) for name in expected} == pytest.approx(expected)
        assert record.trial.values == [expected["validation_score"], expected["flops"]]


class TestKilled:
    def test_what_was_trained_and_not_told_is_told_the_next_time(self, run, reading, monkeypatch):
        seeds = reading()

        def killed(run, seeds):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(confirmation_replicates, "add_seeds", killed)
            with pytest.raises(KeyboardInterrupt):
                confirm_policies(run, top=1, num_seeds=1)
        assert (len(seeds), pairs(run)) == (1, [])
        confirm_policies(run, top=1, num_seeds=1)
        assert len(pairs(run)) == len(set(pairs(run))) == PER_SEED
        assert len(seeds) == len(set(seeds))

    def test_what_was_told_is_not_told_again(self, run, reading, monkeypatch):
        reading()

        def killed(self):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(RunFolder, "publish", killed)
            with pytest.raises(KeyboardInterrupt):
                confirm_policies(run, top=1, num_seeds=1)
        assert len(pairs(run)) == 1
        confirm_policies(run, top=1, num_seeds=1)
        assert len(pairs(run)) == len(set(pairs(run))) == PER_SEED

    def test_an_interrupted_one_has_told_what_it_has(self, run, reading):
        seeds = reading()
        assert confirm_policies(run, top=1, num_seeds=2, interrupted=lambda: len(seeds) == 2) is None
        assert 0 < len(pairs(run)) < PER_SEED
        confirm_policies(run, top=1, num_seeds=2)
        assert len(pairs(run)) == len(set(pairs(run))) == 2 * PER_SEED

    def test_a_confirmation_from_before_is_taken_in(self, run, reading, monkeypatch):
        seeds = reading()
        with monkeypatch.context() as patched:  # as it was: the study was told nothing
            patched.setattr(confirmation_replicates, "add_seeds", lambda run, seeds: None)
            confirm_policies(run, top=1, num_seeds=2)
        assert pairs(run) == []
        confirm_policies(run, top=1, num_seeds=2)
        assert len(pairs(run)) == 2 * PER_SEED
        assert len(seeds) == 2 * (PER_SEED + 1)


class TestNotAdded:
    def test_while_somebody_searches_and_then_it_is(self, run, reading):
        reading()
        with RunFolder(run.path).locked():
            note = confirm_policies(run, top=1, num_seeds=1).note
        assert pairs(run) == []
        assert note.startswith("0 runs count in the study of run, as other seeds of its policies; 3 do not yet: run ")
        assert "is in use by process" in note
        assert note.endswith("wait, or stop it; the same command adds them")
        confirm_policies(run, top=1, num_seeds=1)
        assert len(pairs(run)) == PER_SEED
        with RunFolder(run.path).locked():  # what has been told is not waiting any more
            note = confirm_policies(run, top=1, num_seeds=1).note
        assert note == "3 runs count in the study of run, as other seeds of its policies"

    def test_of_a_default_policy_that_was_another_then(self, run, reading):
        """As of a run from before: what is trained here is today's."""
        reading()
        other = {**default_policy().recipe(), "initial_fraction": 0.125}
        with sqlite3.connect(run.database) as connection:
            connection.execute(
                "UPDATE trial_system_attributes SET value_json = ? WHERE key = 'autogrow:policy' AND trial_id = "
                "(SELECT trial_id FROM trial_user_attributes WHERE key = 'role' AND value_json = '\"default\"')",
                [json.dumps(other)],
            )
        confirm_policies(run, top=1, num_seeds=1)
        assert sorted(record.role for record in added_to(run)) == ["searched", "static"]

    def test_where_several_drivers_share_the_study(self, tmp_path, data_dir, reading):
        reading()
        folder = tmp_path / "shared"
        folder.mkdir()
        study = autogrow.search(
            "digits", trials=3, epochs=1, seeds_per_policy=1, name="shared", out=tmp_path,
            storage=f"sqlite:///{folder / 'drivers.db'}", data_dir=data_dir, executor=InProcessExecutor(), **SMALL,
        )  # fmt: skip
        before = len(trials_of(study.run))
        confirmation = confirm_policies(study.run, top=1, num_seeds=1)
        assert confirmation.note == "no run counts in the study of shared: several drivers share it"
        assert len(trials_of(study.run)) == before

    def test_where_an_objective_is_not_measured_here(self, tmp_path, data_dir, reading):
        reading()
        run = make_finished_run(tmp_path / "run", data_dir, seed=SEED, limits={"max_latency_ms": 1000.0}, **SMALL)
        confirmation = confirm_policies(run, top=1, num_seeds=1)
        assert pairs(run) == []
        assert "others do not, since its trials have latency_ms, which was not measured here" in confirmation.note


class TestCounting:
    def test_a_winner_that_other_seeds_take_back_is_the_best_no_more(self, run, reading):
        chosen = GrowthPolicy.from_dict(TrialRecord(trials_of(run)[MOST_ACCURATE]).needed_policy()).recipe()
        reading(lambda policy, seed: 0.3 if policy.recipe() == chosen else 0.9)
        objectives = run.settings().chosen_objectives
        assert best_trial(trials_of(run), objectives, "score").number == MOST_ACCURATE
        confirm_policies(run, top=2, num_seeds=3)
        best = best_trial(trials_of(run), objectives, "score").number
        assert best != MOST_ACCURATE
        saved = GrowthPolicy.load(run.policy_file)
        assert saved.found_by["trial"] == best
        assert saved.found_by["over_seeds"]["num_seeds"] == 4
        assert autogrow.Study.load(run.path).best_policy() == saved

    def test_a_seed_that_failed_is_a_failed_trial_and_its_policy_out(self, run, reading):
        chosen = GrowthPolicy.from_dict(TrialRecord(trials_of(run)[MOST_ACCURATE]).needed_policy()).recipe()
        reading(lambda policy, seed: None if policy.recipe() == chosen and seed == SEED + 2 else 0.99)
        confirm_policies(run, top=1, num_seeds=2)
        failed = [record for record in added_to(run) if record.trial.state == TrialState.FAIL]
        assert [(each.replicate_of, each.seed) for each in failed] == [(MOST_ACCURATE, SEED + 2)]
        assert "the loss is nan" in failed[0].reason
        best = best_trial(trials_of(run), run.settings().chosen_objectives, "score")
        assert best.number != MOST_ACCURATE

    def test_a_seed_that_breaks_a_limit_takes_its_policy_out(self, tmp_path, data_dir, reading, trained):
        limits = {"max_parameters": trained.parameters - 1}
        run = make_finished_run(tmp_path / "run", data_dir, seed=SEED, limits=limits, **SMALL)
        reading()
        confirm_policies(run, top=1, num_seeds=1)
        broken = trained.parameters / limits["max_parameters"] - 1
        assert [record.trial.constraints["parameters"] for record in added_to(run)] == [pytest.approx(broken)] * 3
        assert best_trial(trials_of(run), run.settings().chosen_objectives, "score").number != MOST_ACCURATE

    def test_seconds_are_the_searchs_own(self, run, reading):
        """The machine was used otherwise: policies that were confirmed are no quicker for it, nor slower."""
        reading()
        fastest = best_trial(trials_of(run), run.settings().chosen_objectives, "speed").number
        confirm_policies(run, top=4, num_seeds=1)
        assert best_trial(trials_of(run), run.settings().chosen_objectives, "speed").number == fastest
        summary = summarize(run)
        for row in summary.trials[: len(ENDINGS)]:
            if row.has_finished:
                assert summary.policy(row.number).metrics["train_seconds"] == row.metrics["train_seconds"]

    def test_reports_count_them_apart(self, run, reading):
        before = summarize(run)
        reading()
        confirm_policies(run, top=1, num_seeds=2)
        after = summarize(run)
        assert (after.counts, after.spending) == (before.counts, before.spending)
        assert after.num_by_confirm == 2 * PER_SEED
        assert after.controls["default"] is not None and after.policy(after.controls["default"].number).num_seeds == 3
        assert after.verdict.source == "confirmation"
        assert after.search_verdict == before.search_verdict

    def test_a_report_of_a_run_confirmed_elsewhere_is_of_all_seeds(self, run, reading, tmp_path):
        reading(lambda policy, seed: 0.9)
        confirm_policies(run, top=1, num_seeds=3, out=tmp_path / "elsewhere")
        verdict = summarize(run).verdict
        assert verdict.source == "search"
        assert any(detail.startswith("Over 4 seeds, trial") for detail in verdict.details)


def test_a_search_goes_on_after_them(tmp_path, data_dir):
    search = {"name": "run", "out": tmp_path, "data_dir": data_dir, "executor": InProcessExecutor()}
    first = autogrow.search("digits", trials=10, seeds_per_policy=3, epochs=1, space="quick", **search, **SMALL)
    before = {record.seed for record in map(TrialRecord, trials_of(first.run))}
    confirm_policies(first.run, top=2, num_seeds=2)
    confirmed = pairs(first.run)
    assert {seed for _, seed in confirmed} == {max(before) + 1, max(before) + 2}
    autogrow.search(trials=16, seeds_per_policy=6, resume=True, **search)
    check_ended(Records(first.run.path), 16)
    assert pairs(first.run) == confirmed
    for candidate in Candidates(trials_of(first.run)).all:
        seeds = [TrialRecord(trial).seed for trial in candidate.trials]
        assert len(seeds) == len(set(seeds))
    later = [
        record for record in map(TrialRecord, trials_of(first.run)) if record.number > added_to(first.run)[-1].number
    ]
    taken = {seed for _, seed in confirmed}
    assert later and not taken & {record.seed for record in later}
    assert best_trial(trials_of(first.run), first.run.settings().chosen_objectives, "score") is not None


def test_those_of_a_run_at_a_url_are_published(run, reading, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reading()
    shutil.copytree(run.path, tmp_path / "bucket" / "run")
    confirm_policies(find_run(f"file://{tmp_path}/bucket/run"), top=1, num_seeds=1)
    there = RunFolder(tmp_path / "bucket" / "run")
    assert len(pairs(there)) == PER_SEED
    assert there.policy_file.exists()
    assert not (there.path / "lock").exists() and not (there.path / "confirmation").exists()
