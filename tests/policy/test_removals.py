"""What can be removed, as a record: documented, frozen, the same after a file; and in which order blocks go."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from autogrow.errors import PolicyError
from autogrow.policy.changes import Narrow, Shorten
from autogrow.policy.removals import REMOVALS, parse_removal
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.unit_removal import Candidates, RemovalOrder, is_named

NAMES = [*REMOVALS]


@pytest.mark.parametrize("name", NAMES)
class TestEveryRemoval:
    def test_is_documented(self, name):
        removal = REMOVALS[name]
        assert removal.kind == name and removal.source
        assert 10 < len(removal.summary) <= 100 and "\n" not in removal.summary
        assert [field for field, info in removal.model_fields.items() if not info.description] == []

    def test_is_chosen_by_its_name_and_survives_json(self, name):
        assert parse_removal(name) == parse_removal({"kind": name}) == REMOVALS[name]()
        shrinking = Shrinking(remove=name)
        assert Shrinking(**json.loads(json.dumps(shrinking.model_dump(mode="json")))) == shrinking
        assert parse_removal(shrinking.model_dump()["remove"]) == REMOVALS[name]()

    def test_is_frozen_and_knows_its_own_fields_only(self, name):
        with pytest.raises(ValidationError, match="frozen"):
            REMOVALS[name]().anything = 1
        with pytest.raises(PolicyError, match="unknown field 'no_such_field'"):
            parse_removal({"kind": name, "no_such_field": 1})


def test_settings_survive_and_are_checked():
    removal = parse_removal({"kind": "both", "score": "similarity"})
    assert parse_removal(json.loads(json.dumps(removal.describe()))) == removal
    with pytest.raises(PolicyError, match="score is 'los'"):
        parse_removal({"kind": "blocks", "score": "los"})
    with pytest.raises(PolicyError, match="unknown removal 'block'.*did you mean 'blocks'"):
        parse_removal("block")


def test_blocks_go_by_scores_as_they_are_and_each_stage_keeps_one():
    scores = {"one": np.array([0.3, 0.1, 0.2]), "two": np.array([9.0, 8.0])}
    candidates = Candidates.blocks(RemovalOrder(), scores)
    assert candidates.entries == (("one", 1), ("one", 2), ("two", 1))
    assert candidates.changes(2) == [Shorten({"one": [1, 2]})]
    assert candidates.changes(0) == []


def test_blocks_that_cannot_go_stay_whatever_the_others_are_worth():
    scores = {"one": np.array([np.nan, 0.1, np.nan]), "two": np.array([np.nan])}
    assert Candidates.blocks(RemovalOrder(), scores).entries == (("one", 1),)
    assert len(Candidates.blocks(RemovalOrder(), {"two": np.array([np.nan])})) == 0


def test_units_go_with_the_compensation_that_is_asked_for():
    candidates = Candidates.units(RemovalOrder(), {"a": np.array([1.0, 3.0, 2.0])})
    assert candidates.changes(2, "constants") == [Narrow({"a": [0, 2]}, "constants")]


@pytest.mark.parametrize(
    ("patterns", "named"),
    [
        ([], {"layer1.0.conv1", "layer1.1.conv1", "layer10.0.conv1", "head"}),
        (["layer1"], {"layer1.0.conv1", "layer1.1.conv1"}),
        (["layer1.1.conv1", "head"], {"layer1.1.conv1", "head"}),
        (["layer*.0"], {"layer1.0.conv1", "layer10.0.conv1"}),
        (["*.conv1"], {"layer1.0.conv1", "layer1.1.conv1", "layer10.0.conv1"}),
        (["conv1"], set()),
    ],
)
def test_groups_are_named_by_themselves_by_what_is_around_them_or_by_patterns(patterns, named):
    names = ["layer1.0.conv1", "layer1.1.conv1", "layer10.0.conv1", "head"]
    assert {name for name in names if is_named(name, patterns)} == named
