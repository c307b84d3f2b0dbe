"""Files of before hold names that are others today."""

from autogrow.former_names import with_present_chance, with_present_names
from autogrow.policy.growth_policy import GrowthPolicy


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
