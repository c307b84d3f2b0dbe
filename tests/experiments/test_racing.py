"""Searches replayed on tables of policies by seeds."""

import math
from dataclasses import replace

import numpy as np
import pytest

from autogrow.errors import RunFolderError
from autogrow.experiments.reproduction.racing.drawn_policies import RandomPoint, draw_policies
from autogrow.experiments.reproduction.racing.judging import BASELINE, Replayed, chosen_way, replay_all
from autogrow.experiments.reproduction.racing.replay import (
    DEFAULT,
    FULL,
    NUM_POINTS,
    STOPPING,
    Drawn,
    Outcomes,
    Search,
    replay,
)
from autogrow.experiments.reproduction.racing.rules import RULES
from autogrow.experiments.reproduction.racing.seed_table import SeedTable
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.search_space import SearchSpace, find_space

POLICIES, SEEDS = 30, 12


def synthetic(noise: float, *, spread: float = 1.0, seed: int = 0, failing: tuple[int, ...] = ()) -> Drawn:
    """Policies whose true values are known, read with noise; the default policy lies in the middle."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(0.0, spread, POLICIES)
    truth[DEFAULT] = np.median(truth)
    values = truth[:, None] + generator.normal(0.0, noise, (POLICIES, SEEDS))
    values[list(failing)] = math.nan
    shape = POLICIES, SEEDS, NUM_POINTS
    shares = np.arange(1, NUM_POINTS + 1) / NUM_POINTS
    along = values[:, :, None] - 3.0 * (1.0 - shares)
    return Drawn(
        "loss", values, values, truth, np.ones((POLICIES, SEEDS)), {"loss": along, "score": along},
        np.broadcast_to(shares, shape), np.ones(shape, dtype=bool),
        tuple({"rate": float(value), "kind": "a" if value > 0 else "b"} for value in truth),
    )  # fmt: skip


@pytest.mark.parametrize("name", RULES)
class TestAnyRule:
    @pytest.mark.slow
    def test_finds_the_best_where_seeds_do_not_differ(self, name):
        table = synthetic(noise=1e-9)
        found = replay(table, RULES[name](table), 8 * POLICIES, 5, seed=1)
        assert found.regret == pytest.approx(0.0, abs=1e-6)
        assert found.worse_than_default == 0

    def test_keeps_to_its_budget(self, name):
        table = synthetic(noise=0.5)
        search = Search(table, list(range(POLICIES)), list(range(SEEDS)), budget=10.0)
        RULES[name](table)(search)
        assert 9 <= search.used <= 11  # a run that was begun is finished

    def test_what_fails_is_not_chosen(self, name):
        best = int(np.argmax(synthetic(noise=0.1).truth))
        table = synthetic(noise=0.1, failing=(best,))
        search = Search(table, [DEFAULT, best, *range(2, 20)], list(range(SEEDS)), budget=200.0)
        assert RULES[name](table)(search) != best

    def test_chooses_something_in_a_budget_of_one_run(self, name):
        table = synthetic(noise=0.1)
        assert replay(table, RULES[name](table), 1, 3, seed=0).regret < math.inf


class TestReplay:
    @pytest.mark.slow
    @pytest.mark.parametrize("better", ["halving over seeds", "bandit by shrunken means"])
    def test_several_seeds_choose_better_than_one_where_one_says_little(self, better):
        table = synthetic(noise=1.5)
        one, several = (replay(table, RULES[name](table), 40, 100, seed=2) for name in ("one seed", better))
        assert several.regret < one.regret
        assert several.worse_than_default < one.worse_than_default

    def test_the_full_network_is_no_policy_to_fall_short_of(self):
        table = synthetic(noise=1e-9)
        table.truth[FULL] = table.values[FULL] = 100.0
        found = replay(table, RULES["one seed"](table), 8 * POLICIES, 5, seed=1)
        assert found.regret == pytest.approx(0.0, abs=1e-6)
        assert found.default_regret < 10

    def test_a_policy_that_fails_where_it_is_judged_is_as_bad_as_the_worst(self):
        shape = (3, 4)
        losses = np.array([[1.0] * 4, [2.0] * 4, [0.5, 0.5, 0.5, math.nan]])
        ends = {"validation_loss": losses, "test_loss": losses, "training_flops": np.ones(shape)}
        along = {
            key: np.ones((*shape, NUM_POINTS)) for key in ("validation_loss", "validation_score", "training_flops")
        }
        judged, names = np.ones((*shape, NUM_POINTS), dtype=bool), ("default", "full", "policy_0")
        table = SeedTable("made", {}, names, ({},) * 3, ({},) * 3, (0, 1, 2, 3), ends, along, judged)
        assert list(Drawn.of(table, "loss", "test_loss", 2).truth) == [-1.0, -2.0, -2.0]

    @pytest.mark.slow
    def test_stopping_early_leaves_room_for_more_runs(self):
        table = synthetic(noise=0.1)
        runs = {how: replay(table, RULES["one seed"](table), 12, 20, seed=3, stopping=how).num_runs for how in STOPPING}
        assert runs["none"] < runs["half of eight, by loss"] < runs["half of any, by loss"]

    @pytest.mark.slow
    def test_says_how_often_it_stopped_one_of_the_best(self):
        """Here the best are ahead from the first point on: none is ever stopped."""
        table = synthetic(noise=1e-9)
        assert (
            replay(table, RULES["one seed"](table), 60, 20, seed=4, stopping="half of any, by loss").stopped_good == 0
        )
        crossed = Drawn(**{**vars(table), "along": {"loss": -table.along["loss"], "score": table.along["score"]}})
        stopped = {
            metric: replay(crossed, RULES["one seed"](table), 60, 20, seed=4, stopping=f"half of any, by {metric}")
            for metric in ("loss", "score")
        }
        assert stopped["loss"].stopped_good > 0.5
        assert stopped["score"].stopped_good == 0

    @pytest.mark.slow
    def test_several_processes_find_the_same(self):
        table = synthetic(noise=0.5)
        several, one = (replay_all("made", table, 10, 2, 1, jobs) for jobs in (2, 1))
        assert repr(several) == repr(one)  # what is not a number equals nothing

    @pytest.mark.slow
    def test_the_default_policy_is_the_answer_unless_another_is_better(self):
        table = synthetic(noise=1.5)
        bold, guarded = (
            replay(table, RULES[name](table), 40, 100, seed=2)
            for name in ("bandit by shrunken means", "bandit, else default, 90 %")
        )
        assert guarded.worse_than_default < bold.worse_than_default
        clear = synthetic(noise=0.05)
        assert replay(clear, RULES["bandit, else default, 90 %"](clear), 40, 15, seed=5).worse_than_default == 0
        assert replay(clear, RULES["bandit, else default, 90 %"](clear), 40, 15, seed=5).claimed > 0.9

    def test_claims_are_right_where_seeds_agree(self):
        table = synthetic(noise=0.05)
        found = replay(table, RULES["bandit by shrunken means"](table), 40, 15, seed=5)
        assert found.claimed > 0.9
        assert found.claimed_rightly == 1.0


def outcomes(worse: float, regret: float) -> Outcomes:
    return Outcomes(worse, regret, 1.0, 0.5, 1.0, 40, 0.0)


class TestChoosing:
    def test_is_the_least_regret_among_those_seldom_worse_than_the_default(self):
        safe, bold, poor = ("safe", "none"), ("bold", "none"), ("poor", "none")
        found = {
            BASELINE: outcomes(0.5, 1.0),
            safe: outcomes(0.05, 0.3),
            bold: outcomes(0.3, 0.1),
            poor: outcomes(0.05, 0.6),
        }
        tables = {"a": Replayed("a", found), "b": Replayed("b", found)}
        assert chosen_way(tables) == safe
        assert tables["a"].meets_goals(safe) and not tables["a"].meets_goals(bold)
        assert not tables["a"].meets_goals(poor)

    def test_is_the_least_often_worse_where_all_are_often(self):
        found = {BASELINE: outcomes(0.5, 1.0), ("other", "none"): outcomes(0.4, 2.0)}
        assert chosen_way({"a": Replayed("a", found)}) == ("other", "none")


class TestSeedTable:
    def table(self) -> SeedTable:
        ends = {"validation_loss": np.array([[0.5, math.nan], [0.25, 0.125]])}
        along = {"validation_loss": np.arange(48.0).reshape(2, 2, NUM_POINTS)}
        judged = np.tile(np.arange(NUM_POINTS) > 3, (2, 2, 1))
        names, recipes = ("default", "full"), ({"chunk_fraction": 0.5}, {})
        return SeedTable("digits", {"model": "mlp"}, names, recipes, ({}, {}), (0, 1), ends, along, judged)

    def test_is_read_as_it_was_written(self, tmp_path):
        table, path = self.table(), tmp_path / "digits.json"
        table.write(path)
        again = SeedTable.read(path)
        for kept in ("ends", "along"):
            np.testing.assert_array_equal(
                getattr(again, kept)["validation_loss"], getattr(table, kept)["validation_loss"]
            )
        np.testing.assert_array_equal(again.may_be_judged, table.may_be_judged)
        assert (again.policies, again.seeds) == (table.policies, table.seeds)
        policies = [("default", {"chunk_fraction": 0.5}, {}), ("full", {}, {})]
        assert again.is_of({"model": "mlp"}, policies)
        assert not again.is_of({"model": "gpt"}, policies)

    def test_of_before_is_known_by_the_present_names_of_settings(self):
        before = replace(self.table(), settings={"training": {"decays": "all"}})
        policies = [("default", {"chunk_fraction": 0.5}, {}), ("full", {}, {})]
        assert before.is_of({"training": {"weight_decay_of": "all"}}, policies)

    def test_another_file_is_none(self, tmp_path):
        (tmp_path / "other.json").write_text('{"format": "something/1"}')
        with pytest.raises(RunFolderError, match="something/1"):
            SeedTable.read(tmp_path / "other.json")


class TestDrawnPolicies:
    def test_are_the_spaces_first_points_and_then_others(self):
        space = SearchSpace.load(find_space("default"))
        drawn = draw_policies(space, TrainingSettings(), 12, seed=7)
        for point, each in zip(space.first_points, drawn, strict=False):
            assert point.items() <= each.point.items()
        assert len({str(each.point) for each in drawn}) == 12
        assert drawn == draw_policies(space, TrainingSettings(), 12, seed=7)

    def test_values_keep_to_their_ranges(self):
        for seed in range(50):
            point = RandomPoint(np.random.default_rng(seed))
            assert 0.1 <= point.suggest_float("a", 0.1, 0.9, step=None, log=True) <= 0.9
            assert point.suggest_float("b", 0.25, 1.0, step=0.25, log=False) in (0.25, 0.5, 0.75, 1.0)
            assert point.suggest_int("c", 2, 6, step=2, log=False) in (2, 4, 6)
            assert point.suggest_categorical("d", ["x", "y"]) in ("x", "y")
