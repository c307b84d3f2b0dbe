import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogrow.errors import PolicyError
from autogrow.policy.depth import DepthGrowth, parse_depth
from autogrow.policy.growth_policy import GrowthPolicy

FULL = {"stages.0": 10, "stages.1": 4, "stages.2": 1}


def grown(depth, full):
    """The blocks of every stage after each event, the start included."""
    counts = [{name: depth.blocks_at_start(count) for name, count in full.items()}]
    while added := depth.added_blocks(counts[-1], full):
        assert set(added) <= set(full) and min(added.values()) > 0
        counts.append({name: count + added.get(name, 0) for name, count in counts[-1].items()})
        assert len(counts) <= 10_000
    return counts


@given(
    initial=st.floats(0.01, 1.0),
    more=st.floats(0.0, 3.0),
    per_event=st.integers(1, 5),
    selection=st.sampled_from(["all", "round_robin"]),
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_growing_ends_exactly_at_the_maximum(initial, more, per_event, selection, counts):
    depth = DepthGrowth(
        initial_fraction=initial,
        max_fraction=initial + more,
        blocks_per_event=per_event,
        stage_selection=selection,
    )
    full = {f"stages.{index}": count for index, count in enumerate(counts)}
    steps = grown(depth, full)
    assert min(steps[0].values()) >= 1
    assert steps[-1] == {name: depth.max_blocks_of(count) for name, count in full.items()}
    missing = [steps[-1][name] - steps[0][name] for name in full]
    expected = [-(-count // per_event) for count in missing]
    assert len(steps) - 1 == (sum(expected) if selection == "round_robin" else max(expected))


def test_all_stages_grow_at_once():
    steps = grown(DepthGrowth(stage_selection="all", blocks_per_event=2), FULL)
    assert [tuple(step.values()) for step in steps] == [(3, 1, 1), (5, 3, 1), (7, 4, 1), (9, 4, 1), (10, 4, 1)]


def test_round_robin_goes_from_stage_to_stage():
    steps = grown(DepthGrowth(), {"a": 4, "b": 4, "c": 2})
    assert [tuple(step.values()) for step in steps] == [
        (1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2), (3, 2, 2), (3, 3, 2), (4, 3, 2), (4, 4, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("selection", ["all", "round_robin"])
@pytest.mark.parametrize("budget", [1, 5, 8, 13, 15, 99])
def test_a_budget_over_all_stages_is_never_exceeded(selection, budget):
    depth = DepthGrowth(stage_selection=selection, blocks_per_event=3, max_blocks=budget)
    steps = grown(depth, FULL)
    start, end = sum(steps[0].values()), sum(steps[-1].values())
    assert end == max(start, min(budget, sum(FULL.values())))


def test_a_stage_may_become_deeper_than_written():
    assert DepthGrowth(max_fraction=2.0).max_blocks_of(3) == 6


def test_a_factor_multiplies_the_blocks_up_to_the_maximum():
    doubling = DepthGrowth(initial_blocks=1, growth_factor=2.0)
    assert [step["a"] for step in grown(doubling, {"a": 8})] == [1, 2, 4, 8]
    assert [step["a"] for step in grown(doubling, {"a": 11})] == [1, 2, 4, 8, 11]
    slowly = DepthGrowth(initial_blocks=2, growth_factor=1.2, max_fraction=0.5)
    assert [step["a"] for step in grown(slowly, {"a": 12})] == [2, 3, 4, 5, 6]
    assert [step["a"] for step in grown(DepthGrowth(initial_blocks=9, growth_factor=3.0), {"a": 6})] == [6]


def test_a_count_stands_for_the_starting_fraction():
    depth = DepthGrowth(initial_blocks=3, initial_fraction=0.9, max_fraction=0.5)
    assert [depth.blocks_at_start(full) for full in (1, 4, 10)] == [1, 2, 3]
    assert depth.grows and DepthGrowth(initial_blocks=3, max_fraction=0.5).blocks_at_start(4) == 2


def test_copies_leave_one_block_to_copy_at_the_start():
    copying = DepthGrowth(initial_fraction=0.1, initialization="stack")
    assert copying.blocks_at_start(8) == 1
    assert copying.blocks_at_start(8, unrepeatable=1) == 2
    assert DepthGrowth(initial_fraction=0.1).blocks_at_start(8, unrepeatable=1) == 1


def test_policies_without_the_newer_fields_are_written_as_before():
    assert set(DepthGrowth().describe()) == {
        "kind", "initial_fraction", "max_fraction", "blocks_per_event", "stages", "stage_selection", "trigger",
        "initialization", "max_blocks",
    }  # fmt: skip
    assert DepthGrowth().describe()["initialization"] == "zero"


@pytest.mark.parametrize("fields", [{}, {"blocks_per_event": 2, "trigger": {"kind": "schedule", "every": 3}}])
def test_the_kind_may_be_left_out(fields):
    assert parse_depth(fields) == parse_depth({"kind": "blocks", **fields}) == DepthGrowth(**fields)


@pytest.mark.parametrize("value", [None, "none", {"kind": "none"}])
def test_none_stands_for_no_depth_growth(value, tmp_path):
    policy = GrowthPolicy.from_dict({"depth": value})
    assert policy.depth is None
    assert policy == GrowthPolicy()
    policy.save(tmp_path / "policy.yaml")
    assert "depth" not in (tmp_path / "policy.yaml").read_text()


def test_a_network_that_grows_in_depth_alone_grows():
    assert GrowthPolicy(initial_fraction=1.0, depth="blocks").grows
    assert not GrowthPolicy(initial_fraction=1.0, depth="blocks").widens
    assert not GrowthPolicy(initial_fraction=1.0, depth={"initial_fraction": 1.0}).grows


def test_its_trigger_may_watch_validation():
    watching = GrowthPolicy(depth={"trigger": {"kind": "plateau", "metric": "validation_loss"}})
    assert watching.watches_validation
    assert not GrowthPolicy(depth="blocks").watches_validation


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"initial_fraction": 0.8, "max_fraction": 0.5}, "initial_fraction 0.8 is above max_fraction 0.5"),
        ({"blocks_per_event": 0}, "blocks_per_event is 0"),
        ({"stages": []}, "stages"),
        ({"trigger": "platau"}, "did you mean 'plateau'"),
        ({"initialization": "stak"}, "unknown initialization of blocks 'stak'.*did you mean 'stack'"),
        ({"growth_factor": 1.0}, "growth_factor is 1.0"),
        ({"optimizer_state": "keep"}, "optimizer_state is 'keep'"),
    ],
)
def test_bad_depth_growth_is_refused(fields, message):
    with pytest.raises(PolicyError, match=message):
        GrowthPolicy.from_dict({"depth": fields})


def test_the_former_word_for_the_optimizers_state_is_read():
    """Spaces and policies of before say carried, where those of widths always said carry."""
    policy = GrowthPolicy.from_dict({"depth": {"kind": "blocks", "optimizer_state": "carried"}})
    assert policy == GrowthPolicy.from_dict({"depth": {"kind": "blocks", "optimizer_state": "carry"}})
    assert policy.depth.optimizer_state == "carry"
