"""Files of before hold names that are others today."""

import pytest

from autogrow.errors import RunFolderError
from autogrow.export.retraining import REQUEST, check_folder
from autogrow.former_names import with_present_chance, with_present_names
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings, text_training
from autogrow.study.settings import SearchSettings, experiment_digest


def test_a_record_has_the_names_of_today_at_every_depth():
    before = {"train_accuracy": 0.5, "runs": {"1": {"validation_accuracy": 0.25, "loss": 2.0}}}
    assert with_present_names(before) == {"train_score": 0.5, "runs": {"1": {"validation_score": 0.25, "loss": 2.0}}}


def test_a_text_that_names_a_metric_has_its_name_of_today():
    policy = {"trigger": {"kind": "plateau", "metric": "validation_accuracy"}, "initialization": "zero_fan_out"}
    after = {"trigger": {"kind": "plateau", "metric": "validation_score"}, "initialization": "zero_fan_out"}
    assert with_present_names(policy) == after


def test_what_is_no_record_stays():
    assert with_present_names(None) is None
    assert with_present_names([1, "train_accuracy"]) == [1, "train_accuracy"]


def test_a_policy_says_with_todays_names_what_it_was_found_by():
    before = GrowthPolicy(found_by={"study": "digits-1", "trial": 3, "metrics": {"validation_accuracy": 0.9}})
    after = GrowthPolicy(found_by={"study": "digits-1", "trial": 3, "metrics": {"validation_score": 0.9}})
    assert before == after
    assert before.found_by == {"study": "digits-1", "trial": 3, "metrics": {"validation_score": 0.9}}


def test_what_chance_was_judged_by_has_its_names_of_today():
    paired = {"task": "classification", "score": 0.9, "other_score": 0.8, "largest_class_share": 0.1}
    assert with_present_chance(paired) == {
        "task": "classification", "value_against_chance": 0.9, "other_value_against_chance": 0.8, "chance_level": 0.1,
    }  # fmt: skip
    assert with_present_chance({"task": "text", "largest_class_share": 0.1}) == {"task": "text", "chance_level": None}
    assert with_present_chance({"chance_level": 3.2, "score": 1.0}) == {"chance_level": 3.2, "score": 1.0}


def test_what_weight_decay_is_for_has_its_name_of_today(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(
        "format: autogrow-policy/1\ntraining: {weight_decay: 0.1, decays: matrices, decay: one_minus_sqrt}\n"
    )
    training = GrowthPolicy.load(path).training
    assert (training.weight_decay_of, training.decay) == ("matrices", "one_minus_sqrt")
    GrowthPolicy(training=training).save(path)
    assert "weight_decay_of: matrices" in path.read_text()
    assert "decays" not in path.read_text()
    assert with_present_names({"training": {"decays": "matrices"}}) == {"training": {"weight_decay_of": "matrices"}}


def test_drivers_of_before_and_of_today_agree_in_what_a_search_of_text_is():
    """Its digest is the one that was written into shared studies under the former name."""
    settings = SearchSettings(
        dataset="book.txt",
        data_dir=".",
        fingerprint="f",
        task="text",
        model="gpt",
        space={},
        objectives=("loss",),
        training=text_training(100),
        working_directory=".",
    )
    assert settings.training.weight_decay_of == "matrices"
    assert experiment_digest(settings) == "ce3730edcc73351a"
    former = TrainingSettings(**{**text_training(100).model_dump(exclude={"weight_decay_of"}), "decays": "matrices"})
    assert former == settings.training


def test_training_that_was_interrupted_under_the_former_name_goes_on(tmp_path):
    (tmp_path / REQUEST).write_text('{"training": {"decays": "matrices"}}')
    check_folder(tmp_path, {"training": {"weight_decay_of": "matrices"}})
    with pytest.raises(RunFolderError, match="with other settings"):
        check_folder(tmp_path, {"training": {"weight_decay_of": "all"}})
