"""What every registered method of every kind must be: documented, frozen, and the same after a policy file."""

import json
import re

import pytest
import yaml
from pydantic import ValidationError

from autogrow.errors import PolicyError
from autogrow.policy.depth import DEPTH_GROWTHS, parse_depth
from autogrow.policy.freezing import FREEZINGS, parse_freezing
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.initializations import INITIALIZATIONS, parse_initialization
from autogrow.policy.layer_selection import LAYER_SELECTIONS, parse_layer_selection
from autogrow.policy.triggers import TRIGGERS, parse_trigger
from autogrow.policy.width_shrinking import WIDTH_SHRINKINGS, parse_width_shrinking

KINDS = {
    "trigger": (TRIGGERS, parse_trigger),
    "layer_selection": (LAYER_SELECTIONS, parse_layer_selection),
    "initialization": (INITIALIZATIONS, parse_initialization),
    "freeze": (FREEZINGS, parse_freezing),
    "depth": (DEPTH_GROWTHS, parse_depth),
    "shrink": (WIDTH_SHRINKINGS, parse_width_shrinking),
}
"""Field of a policy, with the registry of what may stand there and its parser."""
METHODS = [(field, name) for field, (registry, _) in KINDS.items() for name in registry]
WITH_FIELDS = [(field, name) for field, name in METHODS if KINDS[field][0][name].model_fields]
WITHOUT_FORMULA = {"all", "random", "none", "old"}
"""Methods that have no numbers in them."""


def altered(part):
    """The part with every number, flag and list changed to another value that is allowed."""
    changes = {}
    for field, value in part:
        if isinstance(value, bool):
            changes[field] = not value
        elif isinstance(value, int):
            changes[field] = value + 1
        elif isinstance(value, float):
            changes[field] = value / 2 if value < 1 else value
        elif isinstance(value, tuple):
            changes[field] = value[:-1]
    return type(part).model_validate({**{field: value for field, value in part}, **changes})


@pytest.mark.parametrize(("field", "name"), METHODS)
class TestEveryMethod:
    def test_is_documented(self, field, name):
        part = KINDS[field][0][name]
        assert part.kind == name
        assert 10 < len(part.summary) <= 100 and "\n" not in part.summary
        assert part.source and "\n" not in part.source
        assert bool(part.formula) == (name not in WITHOUT_FORMULA)

    def test_every_field_says_what_it_is_for(self, field, name):
        fields = KINDS[field][0][name].model_fields
        assert [field_name for field_name, info in fields.items() if not info.description] == []

    def test_a_formula_names_only_fields_that_exist(self, field, name):
        part = KINDS[field][0][name]
        assert set(re.findall(r"\b[a-z]{3,}_[a-z_]{3,}\b", part.formula)) <= set(part.model_fields)

    def test_is_chosen_by_its_name_alone(self, field, name):
        policy = GrowthPolicy.from_dict({field: name})
        assert policy == GrowthPolicy.from_dict({field: {"kind": name}})
        assert getattr(policy, field) == KINDS[field][1](name)

    def test_survives_json_and_yaml(self, field, name):
        policy = GrowthPolicy.from_dict({field: name})
        assert GrowthPolicy.from_dict(json.loads(json.dumps(policy.recipe()))) == policy
        assert GrowthPolicy.from_dict(yaml.safe_load(yaml.safe_dump(policy.recipe()))) == policy

    def test_is_frozen(self, field, name):
        part = KINDS[field][0][name]()
        # A kind without settings takes no attribute of anybody's either.
        for field_name in (*type(part).model_fields, "anything"):
            with pytest.raises(ValidationError, match="frozen"):
                setattr(part, field_name, getattr(part, field_name, 1))

    def test_knows_its_own_fields_only(self, field, name):
        with pytest.raises(PolicyError, match="unknown field 'no_such_field'"):
            GrowthPolicy.from_dict({field: {"kind": name, "no_such_field": 1}})


@pytest.mark.parametrize(("field", "name"), WITH_FIELDS)
def test_settings_other_than_the_defaults_survive_a_file(field, name, tmp_path):
    part = altered(KINDS[field][0][name]())
    policy = GrowthPolicy(**{field: part})
    assert part != KINDS[field][0][name]()
    policy.save(tmp_path / "policy.yaml")
    assert getattr(GrowthPolicy.load(tmp_path / "policy.yaml"), field) == part


@pytest.mark.parametrize("field", KINDS)
def test_a_misspelt_name_is_refused_with_the_nearest(field):
    registry, parse = KINDS[field]
    name = max(registry, key=len)
    with pytest.raises(PolicyError, match=f"unknown {registry.kind} '{name}x'.*did you mean '{name}'"):
        parse(f"{name}x")
