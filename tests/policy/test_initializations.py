import pytest

from autogrow.errors import PolicyError
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.initializations import INITIALIZATIONS, GradientMax, Paired, Split, Tiny, parse_initialization


@pytest.mark.parametrize("name", list(INITIALIZATIONS))
class TestEveryInitialization:
    def test_stands_in_a_policy_by_its_bare_name_where_nothing_is_set(self, name):
        assert GrowthPolicy(initialization=name).recipe()["initialization"] == name

    def test_units_come_in_whole_numbers(self, name):
        assert INITIALIZATIONS[name].unit_multiple >= 1


NUMBERS = [
    (name, field) for name, kind in INITIALIZATIONS.items() for field, value in kind() if type(value) is not bool
]


@pytest.mark.parametrize(("name", "field"), NUMBERS)
def test_has_settings_between_limits_alone(name, field):
    with pytest.raises(PolicyError, match=f"{field} is -1"):
        parse_initialization({"kind": name, field: -1})


def test_what_keeps_the_outputs_and_what_needs_examples():
    assert [name for name, kind in INITIALIZATIONS.items() if not kind.keeps_outputs] == ["tiny", "xavier"]
    assert [name for name, kind in INITIALIZATIONS.items() if kind.needs_batch] == ["gradient_max", "tiny"]
    assert [name for name, kind in INITIALIZATIONS.items() if kind.unit_multiple > 1] == ["paired"]


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (Paired(scale=0.5), {"kind": "paired", "variance_rescaling": True, "scale": 0.5}),
        (GradientMax(iterations=3), {"kind": "gradient_max", "scale": 1.0, "iterations": 3}),
        (Split(noise=0.0), {"kind": "split", "noise": 0.0}),
        (Tiny(halvings=0), {"kind": "tiny", "scale": 1.0, "halvings": 0}),
    ],
)
def test_with_settings_it_stands_as_a_mapping(part, written):
    policy = GrowthPolicy(initialization=part)
    assert policy.recipe()["initialization"] == written
    assert GrowthPolicy.from_dict(policy.recipe()) == policy


def test_a_policy_starts_new_units_at_zero_fan_out():
    assert GrowthPolicy().initialization == parse_initialization("zero_fan_out")
