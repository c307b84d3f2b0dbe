"""Policies that look good are trained on other seeds: as trials like any other, which budgets and kills know of."""

import sqlite3

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from autogrow.errors import PolicyError
from autogrow.metrics.objectives import OBJECTIVES
from autogrow.policy.presets import STATIC, default_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.search_plans import plan_new_search
from autogrow.study.candidates import Candidates
from autogrow.study.choosing import best_trial, pareto_front
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import TrialRecord, proposed, replicated

from .conftest import settings_on_digits
from .made_results import complete, failed
from .test_sampling import OneSlot

TRIALS, SEEDS, OWN_SEED = 24, 4, 7


def metrics_of(proposal):
    """Best at a fraction of 0.4, and some luck that is each seed's own."""
    luck = np.random.default_rng([proposal.seed, int(1e6 * proposal.policy.initial_fraction)]).normal(0, 0.01)
    loss = (proposal.policy.initial_fraction - 0.4) ** 2 + luck
    return {"validation_score": 1 - loss, "validation_loss": loss, "generalization_gap": 0.0, "train_seconds": 1.0}


class Race(OneSlot):
    """Such a search without training; `started` has what was proposed, in that order."""

    def __init__(self, path, objectives, space, settings):
        super().__init__(path, objectives, space, settings)
        self.started = []

    def result_of(self, proposal):
        return complete(metrics_of(proposal))

    def run(self, num_ends):
        for _ in range(num_ends):
            self.end_one()
        self._fill()
        self.database.reconcile(self.folder)

    def end_one(self):
        self._fill()
        if self.live:
            proposal = self.live.pop(0)
            self.database.tell_result(proposal.number, self.result_of(proposal))

    def _fill(self):
        before = len(self.live)
        super()._fill()
        self.started += self.live[before:]


@pytest.fixture(scope="module")
def race(tmp_path_factory, objectives, default_space):
    """Makes a search, or goes on with the one in the `folder`."""

    def make(kind=Race, folder=None, **changes):
        fields = {"trials": TRIALS, "seeds_per_policy": SEEDS, "seed": OWN_SEED, "sampler": "random", **changes}
        path = tmp_path_factory.mktemp("race") if folder is None else folder
        return kind(path, objectives, default_space, settings_on_digits(default_space, **fields))

    return make


@pytest.fixture(scope="module")
def raced(race):
    search = race()
    search.run(TRIALS)
    return search


def replicates(search):
    return [record for record in map(TrialRecord, search.database.trials()) if record.replicate_of is not None]


class TestReplicates:
    @pytest.mark.slow
    def test_they_count_as_trials_of_the_budget(self, raced):
        assert len(raced.database.trials()) == TRIALS
        assert 3 < len(replicates(raced)) <= TRIALS / 2
        assert raced.database.num_proposed() == raced.database.num_ended() == TRIALS

    def test_they_train_the_same_on_seeds_that_all_share(self, raced):
        trials = raced.database.trials()
        for candidate in Candidates(trials).all:
            first, *others = map(TrialRecord, candidate.trials)
            seeds = [first.seed, *(each.seed for each in others)]
            assert seeds == list(range(OWN_SEED, OWN_SEED + len(seeds)))
            assert len(seeds) <= SEEDS
            for each in others:
                assert (each.policy, each.training, each.role) == (first.policy, first.training, first.role)
                assert (each.trial.params, each.trial.distributions) == (first.trial.params, first.trial.distributions)
                assert each.metrics["validation_loss"] != first.metrics["validation_loss"]

    def test_proposals_say_seed_and_first_trial(self, raced):
        for proposal in raced.started:
            record = TrialRecord(raced.database.trials()[proposal.number])
            assert (proposal.seed, proposal.replicate_of) == (record.seed, record.replicate_of)
            assert proposal.root == proposal.number

    def test_the_static_control_is_trained_once_and_the_default_policy_as_often_as_the_best(self, raced):
        by_role = {each.role: len(each.trials) for each in Candidates(raced.database.trials()).all}
        most = max(len(each.trials) for each in Candidates(raced.database.trials()).all)
        assert by_role[STATIC] == 1
        assert by_role["default"] >= most - 1 > 1

    def test_what_is_trained_again_is_what_looked_good(self, raced):
        candidates = [each for each in Candidates(raced.database.trials()).all if each.role == "searched"]
        again = [each.trials[0].values[0] for each in candidates if len(each.trials) > 1]
        once = [each.trials[0].values[0] for each in candidates if len(each.trials) == 1]
        assert np.mean(again) > np.mean(once)

    @pytest.mark.slow
    def test_seeds_end_where_numbers_do(self, race):
        search = race(seed=2**32 - 2, trials=10)
        search.run(10)
        assert {each.seed for each in replicates(search)} == {2**32 - 1}

    @pytest.mark.slow
    @pytest.mark.parametrize("changes", [{"seeds_per_policy": 1, "trials": 10}, {"trials": 7}])
    def test_there_are_none_without_a_race(self, race, changes):
        search = race(**changes)
        search.run(TRIALS)
        assert not replicates(search)
        assert len(search.database.trials()) == changes["trials"]

    def test_plain_optuna_opens_the_study(self, raced):
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{raced.folder.database}")
        assert len(study.trials) == TRIALS
        assert all(len(trial.values) == 3 for trial in study.trials)
        named = {trial.user_attrs["replicate_of"] for trial in study.trials if "replicate_of" in trial.user_attrs}
        assert named == {each.replicate_of for each in replicates(raced)}


class TestInterrupted:
    @pytest.mark.slow
    def test_a_search_tries_what_an_undisturbed_one_does(self, race):
        whole = race(sampler="tpe", trials=16)
        whole.run(16)
        folder = None
        for ends in (1, 7, 2, 16):
            parts = race(folder=folder, sampler="tpe", trials=16)
            parts.run(ends)
            folder = parts.folder.path
        assert replicates(whole)
        assert self.lines(parts) == self.lines(whole)
        assert len(parts.database.trials()) > len(self.lines(parts)) == 16

    def lines(self, search):
        """What was tried on which seed, in the order of their roots: numbers differ by those that were resumed."""
        roots = [record for record in map(TrialRecord, search.database.trials()) if record.is_root]
        return [(record.policy, record.seed, record.role) for record in roots]

    @pytest.mark.slow
    def test_a_replicate_goes_on_as_another_trial_of_its_line_on_the_same_seed(self, race):
        search = race(trials=12)
        while not any(each.replicate_of is not None for each in search.live):
            search.end_one()
        lost = next(each for each in search.live if each.replicate_of is not None)
        search.database.reconcile(search.folder)
        again = race(folder=search.folder.path, trials=12)
        again.end_one()
        went_on = next(each for each in again.started if each.root == lost.number)
        assert went_on.number != lost.number
        assert (went_on.seed, went_on.replicate_of) == (lost.seed, lost.replicate_of)
        record = TrialRecord(again.database.trials()[went_on.number])
        assert (record.seed, record.replicate_of, record.root) == (lost.seed, lost.replicate_of, lost.number)
        assert record.policy == lost.policy.recipe()
        again.run(12)
        trials = again.database.trials()
        assert again.database.num_proposed() == again.database.num_ended() == 12
        assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.FAIL}

    @pytest.mark.slow
    def test_a_run_from_before_goes_on_with_a_race(self, race):
        before = race(seeds_per_policy=1, trials=12)
        before.run(7)
        with sqlite3.connect(before.folder.database) as connection:  # as it was written then
            connection.execute("DELETE FROM trial_user_attributes WHERE key = 'seed'")
        after = race(folder=before.folder.path, trials=12)
        after.run(12)
        assert replicates(after)
        assert {each.seed for each in replicates(after)} <= set(range(OWN_SEED + 1, OWN_SEED + SEEDS))


class FailsOnItsThirdSeed(Race):
    """Every searched policy fails on the second seed after the run's own: it diverges, or memory is too small."""

    def result_of(self, proposal):
        if proposal.seed == OWN_SEED + 2 and proposal.role == "searched":
            too_large = {"memory_bytes": 2**40, "parameters": 10**6}
            return failed("out of memory", too_large) if len(self.started) % 2 else failed("the loss became NaN")
        return super().result_of(proposal)


@pytest.fixture(scope="module")
def half_failed(race):
    search = race(kind=FailsOnItsThirdSeed, seeds_per_policy=9)
    search.run(TRIALS)
    return search


class TestFailures:
    @pytest.mark.slow
    def test_a_policy_that_failed_on_a_seed_is_trained_on_no_other(self, half_failed):
        candidates = [each for each in Candidates(half_failed.database.trials()).all if each.has_failed]
        assert candidates
        assert all(len(each.trials) <= 4 for each in candidates)  # one may have been running by then

    def test_the_best_is_none_of_them(self, half_failed, objectives):
        trials = half_failed.database.trials()
        candidates = [each for each in Candidates(trials).all if each.role != STATIC]
        means = {each.number: np.mean(each.values(OBJECTIVES["loss"])) for each in candidates if each.finished}
        failures = {each.number for each in candidates if each.has_failed}
        assert max(means, key=means.get) in failures  # it would have been chosen
        for preference in ("loss", "score", "knee"):
            assert best_trial(trials, objectives, preference).number not in failures
        assert not failures & {trial.number for trial in pareto_front(trials, objectives)}

    def test_the_sampler_takes_it_for_one_of_the_worst(self, half_failed):
        half_failed.proposer._memory.catch_up()
        half_failed.proposer._memory._average()
        seen = {tuple(each.params.items()): each for each in half_failed.proposer._memory._memory.trials}
        for each in Candidates(half_failed.database.trials()).all:
            if each.first.params:
                state = seen[tuple(each.first.params.items())].state
                assert state == (TrialState.PRUNED if each.has_failed else TrialState.COMPLETE)


def test_the_sampler_sees_one_trial_for_a_policy_with_its_mean(raced):
    memory = raced.proposer._memory
    memory.catch_up()
    memory._average()
    candidates = [each for each in Candidates(raced.database.trials()).all if each.first.params]
    seen = {tuple(trial.params.items()): trial for trial in memory._memory.trials}
    assert len(memory._memory.trials) == len(candidates) == len(seen)
    read = np.array([each.first.values[0] for each in candidates])
    means = np.array([np.mean([trial.values[0] for trial in each.trials]) for each in candidates])
    sampled = np.array([seen[tuple(each.first.params.items())].values[0] for each in candidates])
    replicated = np.array([len(each.trials) > 1 for each in candidates])
    assert np.all(np.abs(sampled - means)[replicated] < np.abs(read - means)[replicated] + 0.01)
    assert np.std(sampled[~replicated]) < np.std(read[~replicated])  # drawn towards the mean of all


class TestSharedStudies:
    def test_two_drivers_do_not_train_a_policy_on_one_seed_twice(self, tmp_path, objectives, monkeypatch):
        database = StudyDatabase.create(tmp_path / "study.db", objectives, [])
        attributes = proposed("searched", default_policy().recipe(), TrainingSettings().model_dump(), 0)
        number = database.add_running({}, {}, attributes, {})
        database.tell_result(number, complete())
        monkeypatch.setattr(StudyDatabase, "is_shared", True)
        first = TrialRecord(database.trials()[0])
        ours = database.add_running({}, {}, replicated(first, 5), {})
        theirs = database.add_running({}, {}, replicated(first, 5), {})
        assert not database.gave_back_duplicate(ours)
        assert database.gave_back_duplicate(theirs)
        assert database.num_proposed() == 2
        assert len(Candidates(database.trials()).all[0].trials) == 2


class TestSettings:
    def test_a_budget_that_is_too_small_for_it_is_said_in_one_line(self, data_dir):
        plan = plan_new_search("digits", "mlp", trials=7, seeds_per_policy=3, epochs=20, data_dir=data_dir)
        assert [note for note in plan.warnings if "7 trials are too few to train a policy on a second seed" in note]
        assert "take 7 of them): all are trained on seed 0 alone; from --trials 9 on" in plan.warnings[0]
        plan = plan_new_search("digits", "mlp", trials=9, seeds_per_policy=3, epochs=20, data_dir=data_dir)
        assert not plan.warnings

    @pytest.mark.parametrize("number", [0, -1, 101])
    def test_what_is_no_number_of_seeds_is_refused(self, number, data_dir):
        with pytest.raises(PolicyError, match=f"seeds_per_policy is {number}"):
            plan_new_search("digits", "mlp", seeds_per_policy=number, data_dir=data_dir)
