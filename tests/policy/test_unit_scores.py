"""What every unit score must be as a record: documented, frozen, and the same after a file."""

import json
import re

import pytest
from pydantic import ValidationError

from autogrow.errors import PolicyError
from autogrow.policy.unit_scores import UNIT_SCORES, UnitScore, parse_unit_score

NAMES = [*UNIT_SCORES]
OTHER_SETTINGS = {
    "activation_count": {"threshold": 0.1},
    "activation_outliers": {"threshold": 0.1, "deviations": 1.5},
    "magnitude": {"norm": 1, "readers": True},
    "optimal_brain_surgeon": {"damping": 1e-3},
    "sensitivity": {"absolute": True},
}


@pytest.mark.parametrize("name", NAMES)
class TestEveryScore:
    def test_is_documented(self, name):
        score = UNIT_SCORES[name]
        assert score.kind == name and score.takes in ("weights", "inputs", "loss")
        assert 10 < len(score.summary) <= 100 and "\n" not in score.summary
        assert score.source and "\n" not in score.source
        assert bool(score.formula) == (name != "random")
        assert [field for field, info in score.model_fields.items() if not info.description] == []

    def test_a_formula_names_only_fields_that_exist(self, name):
        score = UNIT_SCORES[name]
        assert set(re.findall(r"\b[a-z]{3,}_[a-z_]{3,}\b", score.formula)) <= set(score.model_fields)

    def test_is_chosen_by_its_name_and_survives_json(self, name):
        score = parse_unit_score(name)
        assert score == parse_unit_score({"kind": name}) == UNIT_SCORES[name]()
        other = parse_unit_score({"kind": name, **OTHER_SETTINGS.get(name, {})})
        assert OTHER_SETTINGS.get(name, {}).keys() == set(type(score).model_fields)
        assert all(getattr(other, field) != value for field, value in score)
        assert parse_unit_score(json.loads(json.dumps(other.describe()))) == other

    def test_is_frozen_and_knows_its_own_fields_only(self, name):
        for field in (*UNIT_SCORES[name].model_fields, "anything"):
            with pytest.raises(ValidationError, match="frozen"):
                setattr(UNIT_SCORES[name](), field, 1)
        with pytest.raises(PolicyError, match="unknown field 'no_such_field'"):
            parse_unit_score({"kind": name, "no_such_field": 1})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("taylr", "unknown unit score 'taylr'.*did you mean 'taylor'"),
        ({"kind": "magnitude", "norm": 3}, "norm is 3"),
        ({"kind": "activation_count", "threshold": -1}, "threshold is -1"),
        ({"kind": "optimal_brain_surgeon", "damping": 0}, "damping is 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(value, message):
    with pytest.raises(PolicyError, match=message) as raised:
        parse_unit_score(value)
    assert "\n" not in str(raised.value)


def test_a_score_without_a_measure_says_so():
    class Empty(UnitScore):
        kind, summary, takes = "empty", "nothing", "weights"

    with pytest.raises(PolicyError, match=r"'empty' measures nothing: its make_measure\(\) is missing"):
        Empty().make_measure()
