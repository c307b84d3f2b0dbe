"""Limits as Optuna's constraints: the same names in every trial of a study, in a form that its dashboard reads too."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from autogrow.policy.limits import SizeLimits
from autogrow.study.choosing import is_feasible
from autogrow.study.constraints import UNLIMITED, all_attributes, constraint_names, constraints_of
from autogrow.study.sampling import Proposer
from autogrow.study.search_space import SearchSpace
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import TrialRecord

from .conftest import controls_are_due
from .made_results import complete, failed

SPACE = {
    "format": "autogrow-space/1",
    "policy": {
        "initial_fraction": {"low": 0.1, "high": 1.0},
        "limits": {"max_parameters": [None, 1000], "max_latency_ms": None},
    },
}


def size(policy):
    """A network grows to twice what it begins with."""
    return {"parameters": int(1600 * policy.initial_fraction), "flops": 1.0}


def run(database, proposer, number):
    for _ in range(number):
        proposal = proposer.next()
        metrics = {"validation_score": proposal.policy.initial_fraction, "generalization_gap": 0.0}
        metrics |= {"train_seconds": 1.0, **size(proposal.policy)}
        database.tell_result(proposal.number, complete(metrics, proposal.policy.limits.excess(metrics)))


def study_of(folder, objectives, settings):
    space = SearchSpace(settings.space, "space")
    limited = constraint_names(settings, space)
    database = StudyDatabase.create(folder.database, objectives, limited=limited)
    return database, Proposer(database, space, settings, 100, controls_are_due)


def test_the_names_are_those_that_any_trial_may_be_limited_in(search_settings):
    space = SearchSpace(SPACE, "space")
    assert constraint_names(search_settings(space=SPACE), space) == ("parameters",)
    settings = search_settings(space=SPACE, limits={"max_memory_bytes": 10**9})
    assert constraint_names(settings, space) == ("memory_bytes", "parameters")
    given = {"origin": "a.yaml", "policy": {"limits": {"max_flops": 1e6, "max_parameters": None}}, "params": {}}
    settings = search_settings(space=SPACE, warm_start=(given, {**given, "policy": {}}))
    assert constraint_names(settings, space) == ("flops", "parameters")


@pytest.mark.slow
def test_a_study_without_limits_has_no_constraints(folder, objectives, search_settings):
    database, proposer = study_of(folder, objectives, search_settings())
    run(database, proposer, 3)
    assert [trial.constraints for trial in database.trials()[:3]] == [{}] * 3


@pytest.mark.slow
def test_every_trial_has_all_of_them_sorted(folder, objectives, search_settings):
    settings = search_settings(space=SPACE, trials=12, sampler="random", limits={"max_flops": 10.0})
    database, proposer = study_of(folder, objectives, settings)
    run(database, proposer, 12)
    found = [constraints_of(trial) for trial in database.trials()]
    assert {tuple(each) for each in found} == {("flops", "parameters")}
    for trial, constraints in zip(database.trials(), found, strict=True):
        limits = SizeLimits.model_validate(TrialRecord(trial).policy["limits"])
        assert constraints == {"flops": pytest.approx(-0.9), "parameters": UNLIMITED} | limits.excess(
            TrialRecord(trial).metrics
        )
        assert is_feasible(trial) == (max(constraints.values()) <= 0)
    assert {is_feasible(trial) for trial in database.trials()} == {True, False}


@pytest.mark.slow
def test_a_study_in_which_trials_lack_them_goes_on(folder, objectives, search_settings):
    """As runs of 0.1.0 do, where only trials that had a limit had a constraint."""
    settings = search_settings(space=SPACE, trials=40, sampler="random")
    database, proposer = study_of(folder, objectives, settings)
    database._limited = ()
    run(database, proposer, 8)
    assert {tuple(constraints_of(trial)) for trial in database.trials()} == {(), ("parameters",)}
    database, proposer = study_of(folder, objectives, settings)
    run(database, proposer, 1)
    seen = [trial for trial in proposer._memory.trials if trial.state == TrialState.COMPLETE]
    assert len(seen) > 4
    assert {tuple(trial.constraints) for trial in seen} == {("parameters",)}


@pytest.mark.slow
def test_they_have_a_form_without_names_too(folder, objectives, search_settings):
    settings = search_settings(space=SPACE, trials=9, limits={"max_parameters": 1, "max_flops": 10.0})
    database, proposer = study_of(folder, objectives, settings)
    run(database, proposer, 1)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder.database}")
    assert study.trials[0].system_attrs["constraints"] == list(constraints_of(study.trials[0]).values())
    assert study.trials[0].system_attrs["constraints"][1] > 0


@pytest.mark.slow
def test_a_trial_that_ran_out_of_memory_breaks_one_besides(folder, objectives, search_settings):
    database, proposer = study_of(folder, objectives, search_settings(space=SPACE))
    size = {"memory_bytes": 2**30, "parameters": 100}
    database.tell_result(proposer.next().number, failed("out of memory", size))
    assert constraints_of(database.trials()[0]) == {"memory": 3.0, "parameters": UNLIMITED}


def test_the_attributes_are_those_that_optuna_writes_and_reads():
    constraints = {"flops": 0.5, "parameters": -0.25}
    ours = create_trial(value=1.0, system_attrs=all_attributes(constraints))
    theirs = create_trial(value=1.0, constraints=constraints)
    assert {**ours.system_attrs, **theirs.system_attrs} == ours.system_attrs
    assert theirs.constraints.items() <= ours.constraints.items()
    assert constraints_of(theirs) == constraints


@pytest.mark.slow
def test_a_gaussian_process_takes_searched_limits(folder, objectives, search_settings):
    settings = search_settings(space=SPACE, trials=12, sampler="gp")
    database, proposer = study_of(folder, objectives, settings)
    run(database, proposer, 12)
    limits = {TrialRecord(trial).policy["limits"]["max_parameters"] for trial in database.trials()}
    assert limits == {None, 1000}
    assert all(trial.state == TrialState.COMPLETE for trial in database.trials())
