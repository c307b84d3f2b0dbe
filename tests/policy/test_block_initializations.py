"""What every registered way to add blocks must be; and the orders that ours give."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogrow.errors import PolicyError
from autogrow.policy.block_initializations import BLOCK_INITIALIZATIONS, parse_block_initialization
from autogrow.policy.growth_policy import GrowthPolicy


@pytest.mark.parametrize("name", list(BLOCK_INITIALIZATIONS))
class TestEveryInitialization:
    def test_is_documented(self, name):
        kind = BLOCK_INITIALIZATIONS[name]
        assert kind.kind == name and isinstance(kind.keeps_outputs, bool)
        assert 10 < len(kind.summary) <= 100 and "\n" not in kind.summary
        assert kind.formula and re.search(r"\d{4}", kind.source)
        assert [field for field, info in kind.model_fields.items() if not info.description] == []

    @pytest.mark.slow
    @given(present=st.integers(1, 12), added=st.integers(1, 30))
    def test_keeps_every_block_in_turn_and_fills_every_place(self, name, present, added):
        kind = BLOCK_INITIALIZATIONS[name]()
        order = kind.order(present, present + added)
        assert len(order) == present + added
        assert list(dict.fromkeys(source for source in order if source is not None)) == list(range(present))
        assert (None in order) != kind.copies

    def test_survives_a_policy_file(self, name, tmp_path):
        policy = GrowthPolicy.from_dict({"depth": {"initialization": name, "optimizer_state": "fresh"}})
        policy.save(tmp_path / "policy.yaml")
        loaded = GrowthPolicy.load(tmp_path / "policy.yaml")
        assert loaded == policy and loaded.depth.initialization == parse_block_initialization({"kind": name})
        assert f"initialization: {name}" in (tmp_path / "policy.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "present", "wanted", "order"),
    [
        ("stack", 3, 6, (0, 1, 2, 0, 1, 2)),
        ("stack", 3, 8, (0, 1, 2, 0, 1, 2, 0, 1)),
        ("interleave", 3, 6, (0, 0, 1, 1, 2, 2)),
        ("interleave", 2, 5, (0, 0, 0, 1, 1)),
        ("copy_last", 3, 5, (0, 1, 2, 2, 2)),
        ("zero", 2, 4, (0, 1, None, None)),
        ("random", 1, 2, (0, None)),
    ],
)
def test_orders(name, present, wanted, order):
    assert BLOCK_INITIALIZATIONS[name]().order(present, wanted) == order


def test_the_nearest_name_is_given():
    with pytest.raises(PolicyError, match="unknown initialization of blocks 'stacks'.*did you mean 'stack'"):
        parse_block_initialization("stacks")
