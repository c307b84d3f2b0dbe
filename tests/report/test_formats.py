"""Names and policies as they are written everywhere."""

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_depth_policy
from autogrow.report import formats


def test_a_long_name_keeps_both_ends():
    name = "encoder.layers.11.attention.output.dense"
    short = formats.short_name(name)
    assert len(short) == 22
    assert short.startswith("encode") and short.endswith("output.dense")
    assert formats.short_name("layer1.0.conv1") == "layer1.0.conv1"


def test_a_policy_of_an_unknown_kind_is_still_described():
    recipe = {
        "initial_fraction": 0.5,
        "chunk_fraction": 0.25,
        "max_fraction": 1.0,
        "trigger": {"kind": "new", "threshold": 0.123456},
        "layer_selection": {"kind": "all"},
        "initialization": "xavier",
        "freeze": {"kind": "old"},
        "optimizer_state": "reset",
    }
    assert formats.policy_line(recipe, {"epochs": 3}) == (
        "50 % to 100 % by 25 %, new (threshold 0.123), all, xavier, freeze old, optimizer reset, epochs 3"
    )


def test_depth_is_part_of_the_line():
    recipe = default_depth_policy().recipe()
    assert formats.policy_line(recipe, {"learning_rate": 0.004}) == (
        "100 % of full width throughout, depth from 1 block, times 2 at 7.5, 20, 50 % of the compute, stack, "
        "learning_rate 0.004"
    )
    depth = {**recipe["depth"], "trigger": {"kind": "compute_shares", "first": 0.1, "ratio": 4.0}, "max_fraction": 0.5}
    assert "depth from 1 block to 50 %, times 2 at 10, 40 % of the compute" in formats.policy_line(
        {**recipe, "depth": depth}, {}
    )
    static = GrowthPolicy.from_dict({"initial_fraction": 1.0, "depth": {"initial_fraction": 0.5, "max_fraction": 0.5}})
    assert formats.policy_line(static.recipe(), {}) == "100 % of full width throughout, 50 % of the blocks throughout"
    widened = GrowthPolicy.from_dict({"depth": {"initial_fraction": 0.34, "trigger": {"kind": "schedule", "every": 5}}})
    assert formats.policy_line(widened.recipe(), {}).endswith(
        "depth from 34 % of the blocks, +1 by schedule (every 5), zero"
    )


def test_a_policy_line_says_how_it_shrinks():
    policy = GrowthPolicy.from_dict({"initial_fraction": 1.0, "shrink": {"final_fraction": 0.25, "score": "fisher"}})
    assert formats.policy_line(policy.recipe(), {}) == (
        "100 % of full width throughout, "
        "shrunk to 25 % of the units by 12 %, by schedule (every 5), fisher, least_squares"
    )
