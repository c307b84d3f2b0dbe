"""Names and policies as they are written everywhere."""

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
