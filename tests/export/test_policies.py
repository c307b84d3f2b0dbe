import pytest

from autogrow.errors import PolicyError, UsageError
from autogrow.export.policies import export_policy, save_policy
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import TrialRecord

from ..study.finished_run import ENDINGS, FASTEST, KNEE, MOST_ACCURATE, SMALLEST_GAP

pytestmark = pytest.mark.slow


def recorded(run, objectives, number):
    return TrialRecord(StudyDatabase.open(run.database, objectives).trials()[number])


@pytest.mark.parametrize("number", [0, KNEE, 5])
def test_a_policy_by_trial_is_the_one_that_was_tried(number, finished_run):
    policy = export_policy(finished_run, trial=number)
    record = recorded(finished_run, (), number)
    assert policy.recipe() == record.policy
    assert policy.training.model_dump() == record.training


@pytest.mark.parametrize(
    ("preference", "number"),
    [(None, MOST_ACCURATE), ("accuracy", MOST_ACCURATE), ("gap", SMALLEST_GAP), ("speed", FASTEST), ("knee", KNEE)],
)
def test_a_policy_by_preference(preference, number, finished_run):
    assert export_policy(finished_run, prefer=preference).found_by["trial"] == number


def test_a_policy_says_where_it_was_found(finished_run, digits):
    found = export_policy(finished_run, trial=MOST_ACCURATE).found_by
    assert (found["study"], found["trial"], found["role"]) == ("done", MOST_ACCURATE, "searched")
    assert (found["dataset"], found["fingerprint"]) == ("digits", digits.fingerprint)
    assert found["model"] == "mlp"
    assert found["metrics"]["validation_score"] == ENDINGS[MOST_ACCURATE][1]
    assert {"autogrow", "torch", "optuna"} <= found["versions"].keys()


def test_a_policy_comes_back_from_its_file_as_it_was(finished_run, tmp_path):
    policy = export_policy(finished_run, prefer="knee")
    save_policy(policy, tmp_path / "policy.yaml", overwrite=False)
    again = GrowthPolicy.load(tmp_path / "policy.yaml")
    assert again == policy
    assert again.training is not None
    assert again.found_by is not None


def test_a_file_is_only_replaced_when_told_so(finished_run, tmp_path):
    path = tmp_path / "policy.yaml"
    first, second = (export_policy(finished_run, trial=number) for number in (FASTEST, KNEE))
    save_policy(first, path, overwrite=False)
    with pytest.raises(UsageError, match="exists: choose another --to, or add --overwrite"):
        save_policy(second, path, overwrite=False)
    assert GrowthPolicy.load(path) == first
    save_policy(second, path, overwrite=True)
    assert GrowthPolicy.load(path) == second


def test_only_one_way_to_choose(finished_run):
    with pytest.raises(UsageError, match="both choose the trial"):
        export_policy(finished_run, trial=1, prefer="knee")


@pytest.mark.parametrize("field", ["model", "import", "factory", "dataset"])
def test_a_policy_file_names_no_code_and_no_data(field, finished_run, tmp_path):
    path = tmp_path / "policy.yaml"
    export_policy(finished_run).save(path)
    path.write_text(path.read_text() + f"\n{field}: os:system\n")
    with pytest.raises(PolicyError, match=f"unknown field '{field}'"):
        GrowthPolicy.load(path)
