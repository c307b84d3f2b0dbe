"""What is proposed next: from the queue, from a sampler, and the same whether or not the search was interrupted."""

from contextlib import suppress

import optuna
import pytest
from optuna.trial import TrialState

from autogrow.errors import UsageError
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import SizeLimits
from autogrow.policy.presets import CONTROLS
from autogrow.study.constraints import constraints_of
from autogrow.study.run_folder import RunFolder
from autogrow.study.sampling import SAMPLERS, Proposer
from autogrow.study.search_space import SearchSpace
from autogrow.study.study_database import Queued, StudyDatabase
from autogrow.study.trial_record import TrialRecord
from autogrow.study.warm_start import TRANSFERRED

from .conftest import controls_are_due
from .made_results import complete, failed

ONE = {"format": "autogrow-space/1", "policy": {"initial_fraction": {"low": 0.1, "high": 1.0}}}


def metrics_of(policy):
    """Whatever a training would give: it depends on the policy alone."""
    accuracy = 1 - (policy.initial_fraction - 0.4) ** 2
    return {"validation_score": accuracy, "generalization_gap": policy.chunk_fraction, "train_seconds": 1.0}


class OneSlot:
    """A search with one slot and one trial queued ahead, without training."""

    def __init__(self, path, objectives, space, settings):
        path.mkdir(exist_ok=True)
        self.folder = RunFolder(path)
        self.database = StudyDatabase.create(self.folder.database, objectives)
        self.proposer = Proposer(self.database, space, settings, 100)
        self.live = []

    def run(self, num_ends):
        """Until so many more trials have ended; then everything is lost that is not in the database."""
        for _ in range(num_ends):
            self._fill()
            if not self.live:
                break
            proposal = self.live.pop(0)
            self.database.tell_result(proposal.number, complete(metrics_of(proposal.policy)))
        self._fill()
        self.database.reconcile(self.folder)

    def _fill(self):
        while len(self.live) < 2 and (proposal := self.proposer.next()) is not None:
            self.live.append(proposal)

    def tried(self):
        """Policies in the order of their roots."""
        trials = [trial for trial in self.database.trials() if TrialRecord(trial).policy is not None]
        return {trial.user_attrs.get("root", trial.number): TrialRecord(trial).policy for trial in trials}


WITH_TRIALS = [pytest.param(name, 16, marks=pytest.mark.slow) if name == "gp" else (name, 24) for name in SAMPLERS]
"""A Gaussian process takes seconds for a proposal."""


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "trials"), WITH_TRIALS)
def test_an_interrupted_search_tries_what_an_undisturbed_one_does(
    sampler, trials, tmp_path, objectives, default_space, search_settings
):
    settings = search_settings(sampler=sampler, trials=trials)
    whole = OneSlot(tmp_path / "whole", objectives, default_space, settings)
    whole.run(trials)
    for ends in (1, 9, 2, 1, trials):  # also while the deferred controls are trained
        parts = OneSlot(tmp_path / "parts", objectives, default_space, settings)
        parts.run(ends)
    assert list(parts.tried().values()) == list(whole.tried().values())
    assert len(parts.tried()) == trials
    assert TrialState.RUNNING not in {trial.state for trial in parts.database.trials()}


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "trials"), WITH_TRIALS)
def test_no_point_is_proposed_twice(sampler, trials, tmp_path, objectives, default_space, search_settings):
    search = OneSlot(tmp_path / "run", objectives, default_space, search_settings(sampler=sampler, trials=trials))
    search.run(trials)
    points = [trial.params for trial in search.database.trials() if trial.user_attrs["role"] == "searched"]
    assert len(points) == trials - 3
    assert all(point not in points[:index] for index, point in enumerate(points))


POINT = {"initial_fraction": 0.25}
"""Of the default space, as users of Optuna enqueue it: what it leaves open is asked for."""
WRITES = (
    "set_trial_param",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_state_values",
    "create_new_trial",
)
"""What changes a trial in an Optuna storage; each is whole or not at all."""


class Died(BaseException):
    """The driver was killed."""


def dying_at(storage, number, monkeypatch):
    """Die instead of making the n-th of all changes, counted from 1; returns what counts them."""
    made = []

    def mortal(original):
        def change(*arguments, **options):
            made.append(original.__name__)
            if len(made) == number:
                raise Died
            return original(*arguments, **options)

        return change

    for name in WRITES:
        monkeypatch.setattr(storage, name, mortal(getattr(storage, name)))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("first", [*CONTROLS, TRANSFERRED, "a point", "enqueued", "searched"])
def test_a_driver_may_die_at_any_write_of_a_trial_that_it_starts(
    first, tmp_path, objectives, default_space, search_settings, monkeypatch
):
    """What it was about to try is tried, whole, by the next one."""
    settings = search_settings()
    policy = GrowthPolicy(initial_fraction=0.3).model_dump(mode="json", exclude={"found_by"})
    queues = {
        TRANSFERRED: [Queued(TRANSFERRED, "found.yaml", given_policy=policy)],
        "a point": [Queued(TRANSFERRED, "before, trial 5", POINT)],
        **{role: [Queued(role)] for role in CONTROLS},
    }
    wanted, number = None, 0
    while True:
        (tmp_path / f"{number}").mkdir()
        folder = RunFolder(tmp_path / f"{number}")
        database = StudyDatabase.create(folder.database, objectives, queues.get(first, []))
        if first == "enqueued":
            database.study.enqueue_trial(POINT)
        proposer = Proposer(database, default_space, settings, 100, controls_are_due)
        with monkeypatch.context() as patch:
            made = dying_at(database.study._storage, number, patch)
            with suppress(Died):
                undisturbed = proposer.next()
        if number == 0:  # counted from 1, so nobody has died
            wanted = undisturbed
        if number > len(made):
            break
        after = StudyDatabase.open(folder.database, objectives)
        after.reconcile(folder)
        found = Proposer(after, default_space, settings, 100, controls_are_due).next()
        if first in ("a point", "enqueued"):  # what was left open may be another one
            assert after.trials()[found.number].params["initial_fraction"] == POINT["initial_fraction"], made
        else:
            assert (found.role, found.policy, found.training) == (wanted.role, wanted.policy, wanted.training), made
        reasons = {TrialRecord(trial).reason for trial in after.trials()}
        assert reasons <= {None, "interrupted"}
        number += 1
    assert number >= 2


def test_an_unknown_sampler_is_named():
    with pytest.raises(UsageError, match="unknown sampler 'tbe': known are .*did you mean 'tpe'"):
        SAMPLERS["tbe"]


@pytest.mark.slow
def test_samplers_learn(tmp_path, objectives, search_settings):
    """On a function with its best at 0.4, later points are nearer to it than random ones."""
    distances = {}
    space = SearchSpace(ONE, "space")
    for sampler in ("tpe", "gp", "random"):
        settings = search_settings(sampler=sampler, trials=28, objectives=("accuracy",))
        search = OneSlot(tmp_path / sampler, objectives[:1], space, settings)
        search.run(28)
        tried = [policy["initial_fraction"] for policy in search.tried().values()]
        distances[sampler] = sum(abs(each - 0.4) for each in tried[-10:]) / 10
    assert distances["tpe"] < 0.5 * distances["random"]
    assert distances["gp"] < 0.5 * distances["random"]


class TestInfeasible:
    """Networks too large for the memory: their trials fail, and the sampler keeps away from them."""

    @pytest.mark.slow
    def test_the_sampler_learns_of_it(self, database, search_settings):
        space = SearchSpace(ONE, "space")
        proposer = Proposer(database, space, search_settings(trials=40), 100)
        searched = []
        for _ in range(40):
            proposal = proposer.next()
            fraction = proposal.policy.initial_fraction
            if proposal.role == "searched":
                searched.append(fraction)
            if proposal.role == "searched" and fraction > 0.5:
                infeasible = {"parameters": int(1e6 * fraction), "memory_bytes": 10**9}
                database.tell_result(proposal.number, failed("out of memory", infeasible))
            else:
                metrics = {**metrics_of(proposal.policy), "validation_score": fraction}
                database.tell_result(proposal.number, complete(metrics))
        first, last = searched[:12], searched[-12:]
        assert sum(each > 0.5 for each in last) < sum(each > 0.5 for each in first)
        ended = [trial for trial in database.trials() if trial.state == TrialState.FAIL]
        assert ended
        assert all(trial.constraints["memory"] > 0 and TrialRecord(trial).metrics["memory_bytes"] for trial in ended)

    @pytest.mark.slow
    def test_a_trial_beyond_a_limit_is_marked_for_optuna_too(self, database, folder, propose):
        number = propose(database).number
        metrics = metrics_of(GrowthPolicy())
        constraints = SizeLimits(max_parameters=100, max_flops=1e6).excess({"parameters": 150, "flops": 5e5})
        database.tell_result(number, complete(metrics, constraints))
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder.database}")
        assert constraints_of(study.trials[0]) == {"parameters": 0.5, "flops": -0.5}
        assert study.best_trials == []


class TestWarmStart:
    def test_policies_come_after_the_controls_with_the_training_they_were_found_with(
        self, tmp_path, objectives, default_space, search_settings
    ):
        given = GrowthPolicy.from_dict({"initial_fraction": 0.3, "training": {"learning_rate": 0.01, "epochs": 99}})
        found = given.model_dump(mode="json", exclude={"found_by"})
        queue = [*map(Queued, CONTROLS), Queued(TRANSFERRED, "found.yaml", given_policy=found)]
        database = StudyDatabase.create(tmp_path / "study.db", objectives, queue)
        settings = search_settings(limits={"max_parameters": 10**6})
        proposer = Proposer(database, default_space, settings, 100, controls_are_due)
        proposals = [proposer.next() for _ in range(5)]
        assert [proposal.role for proposal in proposals] == [*CONTROLS, TRANSFERRED, "searched"]
        found = proposals[3]
        assert found.policy == given.model_copy(update={"training": None}).within(SizeLimits(max_parameters=10**6))
        assert found.training.learning_rate == 0.01
        assert found.training.epochs == search_settings().training.epochs

    @pytest.mark.slow
    def test_points_of_the_same_space_are_tried_as_points(self, tmp_path, objectives, default_space, search_settings):
        before = OneSlot(tmp_path / "before", objectives, default_space, search_settings(seed=1))
        before.run(6)
        best = before.database.trials()[5]
        queue = [Queued(TRANSFERRED, "before, trial 5", best.params)]
        database = StudyDatabase.create(tmp_path / "study.db", objectives, queue)
        proposal = Proposer(database, default_space, search_settings(), 100).next()
        assert proposal.policy == GrowthPolicy.from_dict(TrialRecord(best).policy)
        assert database.trials()[proposal.number].params == best.params

    def test_a_point_that_a_user_of_optuna_has_enqueued_is_tried(self, database, folder, search_settings):
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder.database}")
        study.enqueue_trial({"initial_fraction": 0.25})
        proposer = Proposer(database, SearchSpace(ONE, "space"), search_settings(), 100, controls_are_due)
        proposals = [proposer.next() for _ in range(4)]
        assert proposals[3].policy.initial_fraction == 0.25
        assert study.trials[proposals[3].number].params == {"initial_fraction": 0.25}


def test_a_kill_between_taking_a_control_and_describing_it(database, folder, propose, monkeypatch):
    monkeypatch.setattr(StudyDatabase, "describe", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        propose(database)
    monkeypatch.undo()
    assert database.reconcile(folder) == 1
    proposals = [propose(database, num_trials=3) for _ in range(4)]
    assert [(each.role, each.root) for each in proposals[:3]] == [("static", 0), ("default", 1), ("thesis", 2)]
    assert proposals[3] is None


class TestDeferredControls:
    """The static and the thesis' control are dear, and only the report waits for them."""

    def roles(self, database, space, settings, number, share_used=lambda: 0.0):
        proposer = Proposer(database, space, settings, 100, share_used)
        return [proposal.role if (proposal := proposer.next()) else None for _ in range(number)]

    @pytest.mark.slow
    def test_they_come_after_half_of_the_trials(self, database, default_space, search_settings):
        roles = self.roles(database, default_space, search_settings(trials=8), 9)
        assert roles == ["default", *["searched"] * 3, "static", "thesis", *["searched"] * 2, None]

    @pytest.mark.slow
    @pytest.mark.parametrize("trials", [1, 2, 3, 4])
    def test_they_are_never_left_out(self, trials, tmp_path, objectives, default_space, search_settings):
        queue = [Queued(role) for role in CONTROLS[:trials]]
        database = StudyDatabase.create(tmp_path / "study.db", objectives, queue)
        roles = self.roles(database, default_space, search_settings(trials=trials), trials + 1)
        assert set(CONTROLS[:trials]) <= set(roles)
        assert roles[-1] is None

    def test_they_come_after_half_of_the_time(self, database, default_space, search_settings):
        shares = iter([0.0, 0.1, 0.2, 0.51, 0.52, 0.6])
        roles = self.roles(database, default_space, search_settings(trials=10_000), 6, lambda: next(shares))
        assert roles == ["default", "searched", "searched", "static", "thesis", "searched"]

    def test_one_that_was_interrupted_goes_on_first(self, database, folder, propose, default_space, search_settings):
        assert propose(database).role == "static"
        assert database.reconcile(folder) == 1
        roles = self.roles(database, default_space, search_settings(trials=10_000), 3)
        assert roles == ["static", "default", "searched"]
