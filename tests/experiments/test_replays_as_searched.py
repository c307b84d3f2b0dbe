"""Searches replayed as they are run, and what ``confirm`` would say of their reports."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from autogrow.experiments.reproduction.racing.as_searched import BEFORE, NOW, SEARCHES, ranked, replay_searches
from autogrow.experiments.reproduction.racing.first_line import FreshSeeds, first_line
from autogrow.experiments.reproduction.racing.racing import as_searched_tables
from autogrow.experiments.reproduction.racing.replay import DEFAULT, FULL, NUM_POINTS, Drawn, Search, replay
from autogrow.experiments.reproduction.racing.rules import RULES
from autogrow.experiments.reproduction.racing.searched_tables import replay_as_searched
from autogrow.experiments.reproduction.racing.seed_table import SeedTable
from autogrow.report.judging import Yardstick

POLICIES, SEEDS = 8, 24
IMAGES = Yardstick("classification", "score", num_examples=1000, chance_level=0.1)
TEXT = Yardstick("text", "loss", num_examples=1000, chance_level=5.0)
BY_LOSS = "bandit, new after 4, else default, 90 %"
"""The rule that is built in, as it goes by loss alone."""


def made(scores, losses, noise: float = 0.002, seed: int = 0, fresh_scores=None, fresh_losses=None) -> SeedTable:
    """A table of policies that reach this on average, read with noise; on the second half of the seeds something else
    where that is said. Policy 0 is the default policy, 1 the full network."""
    generator = np.random.default_rng(seed)

    def columns(drawn, fresh) -> np.ndarray:
        means = np.repeat(np.array([drawn, drawn if fresh is None else fresh], dtype=float).T, SEEDS // 2, axis=1)
        return means + generator.normal(0.0, noise, means.shape)

    score, loss = columns(scores, fresh_scores), columns(losses, fresh_losses)
    shape = score.shape
    ends = {
        f"{split}_{name}": read for split in ("validation", "test") for name, read in (("score", score), ("loss", loss))
    }
    ends["training_flops"] = np.ones(shape)
    shares = np.broadcast_to(np.arange(1, NUM_POINTS + 1) / NUM_POINTS, (*shape, NUM_POINTS))
    along = {
        "training_flops": shares,
        "validation_loss": np.repeat(loss[:, :, None], NUM_POINTS, axis=2),
        "validation_score": np.repeat(score[:, :, None], NUM_POINTS, axis=2),
    }
    number = len(score)
    names = tuple(f"policy_{each}" for each in range(number))
    points = tuple({"place": each} for each in range(number))
    return SeedTable("made", {}, names, points, points, tuple(range(SEEDS)), ends, along, shares > 0)


def drawn(table: SeedTable, metric: str = "score") -> Drawn:
    return Drawn.of(table, metric, f"test_{metric}", SEEDS // 2)


def fresh(table: SeedTable, yardstick: Yardstick = IMAGES) -> FreshSeeds:
    return FreshSeeds.of(table, yardstick, "loss" if yardstick.objective == "loss" else "score", SEEDS // 2)


def flat(value: float, **others: float) -> list[float]:
    """The same of all policies but of some, by their places: `flat(0.9, p3=0.95)`."""
    found = [value] * POLICIES
    for name, other in others.items():
        found[int(name[1:])] = other
    return found


def answers(table: SeedTable, name: str = NOW, yardstick: Yardstick = IMAGES, runs: int = 24, number: int = 10):
    metric = "loss" if yardstick.objective == "loss" else "score"
    return replay_searches(drawn(table, metric), fresh(table, yardstick), name, runs, number, seed=1)


class TestChoosing:
    def test_goes_by_accuracy_where_that_and_the_loss_disagree(self):
        table = made(flat(0.9, p3=0.95), flat(0.3, p4=0.1))
        by_loss = replay_searches(drawn(table, "loss"), fresh(table), NOW, 24, 10, seed=1)
        assert {each.chosen for each in answers(table)} == {3}
        assert {each.chosen for each in by_loss} == {4}

    @pytest.mark.slow
    def test_near_ties_are_told_apart_by_loss(self):
        scores = flat(0.9, p3=0.95, p4=0.95, p5=0.95)
        shares = {
            loss: np.mean([each.chosen == 4 for each in answers(made(scores, flat(0.3, p4=loss)), number=30)])
            for loss in (0.3, 0.1)
        }
        assert shares[0.1] > max(0.6, 1.5 * shares[0.3])

    def test_one_seed_each_tells_equals_apart_by_compute(self):
        table = made(flat(0.9, p3=0.95, p4=0.95), flat(0.3, p4=0.1), noise=0.0)
        table.ends["training_flops"][3] = 0.5
        assert {each.chosen for each in answers(table, BEFORE)} == {3}

    @pytest.mark.slow
    def test_the_default_policy_is_the_answer_where_no_other_is_surely_better(self):
        table = made(flat(0.9), flat(0.3), noise=0.01)
        found = answers(table, number=30)
        assert np.mean([each.is_another for each in found]) < 0.3
        assert np.mean([each.is_another for each in answers(table, BEFORE, number=30)]) > 0.5

    @pytest.mark.slow
    def test_to_be_better_by_loss_alone_is_enough(self):
        level, better = (answers(made(flat(0.9), flat(0.3, p4=loss)), runs=40, number=30) for loss in (0.3, 0.1))
        assert np.mean([each.chosen == 4 for each in level]) < 0.2
        assert np.mean([each.chosen == 4 for each in better]) > 0.6
        assert all(each.is_sure for each in better if each.chosen == 4)

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "rule"), [(BEFORE, "one seed"), (NOW, BY_LOSS)])
    def test_by_loss_alone_the_answers_are_those_of_the_rule(self, name, rule):
        losses = np.random.default_rng(3).normal(0.3, 0.02, 20)
        table = drawn(made([0.9] * 20, losses, noise=0.01), "loss")
        as_rule = replay(table, RULES[rule](table), 24, 20, 1, SEARCHES[name][1])
        ours = replay_searches(table, fresh(made([0.9] * 20, losses)), name, 24, 20, seed=1)
        chosen = [each.chosen for each in ours]
        assert np.mean(table.truth[chosen] < table.truth[DEFAULT]) == as_rule.worse_than_default
        assert np.mean([each.is_sure for each in ours]) == (as_rule.claimed if name == NOW else 0)

    def test_what_fails_on_any_seed_is_not_chosen(self):
        table = made(flat(0.9, p3=0.95), flat(0.3))
        table.ends["validation_loss"][3, 1::2] = math.nan
        assert 3 not in {each.chosen for each in answers(table, runs=40)}


class TestFirstLine:
    def test_one_that_claims_wrongly_is_taken_back(self):
        table = made(flat(0.9, p1=0.8), flat(0.3), fresh_scores=flat(0.9, p1=0.95))
        for name in SEARCHES:
            found = answers(table, name)
            assert all(each.said == 1 and each.confirmed == -1 for each in found)
            assert all(each.is_taken_back and each.is_turned_round for each in found)

    def test_one_that_other_seeds_find_level_is_taken_back_and_not_turned_round(self):
        table = made(flat(0.9, p1=0.8), flat(0.3), fresh_scores=flat(0.9))
        found = [each for each in answers(table, BEFORE) if each.confirmed == 0]
        assert found
        assert all(each.is_taken_back and not each.is_turned_round for each in found)

    def test_one_that_claims_rightly_is_not_taken_back(self):
        table = made(flat(0.9, p1=0.8), flat(0.3))
        assert all(each.said == each.confirmed == 1 and not each.is_taken_back for each in answers(table))

    def test_one_that_claims_nothing_is_not_taken_back(self):
        table = made(flat(0.9), flat(0.3), noise=0.0, fresh_scores=flat(0.9, p1=0.95))
        found = answers(table)
        assert all(each.said == 0 and each.confirmed == -1 and not each.is_taken_back for each in found)

    @pytest.mark.slow
    def test_what_chance_alone_makes_is_claimed_by_one_seed_each_and_not_by_a_race(self):
        table = made(flat(0.9), flat(0.3), noise=0.01)
        claims = {name: np.mean([each.said != 0 for each in answers(table, name, number=30)]) for name in SEARCHES}
        assert claims[BEFORE] > 0.8
        assert claims[NOW] < 0.3
        assert not any(each.has_floor for each in answers(table, BEFORE))
        assert np.mean([each.has_floor for each in answers(table, number=30)]) > 0.8

    def test_where_nothing_was_learned_nothing_is_claimed(self):
        table = made(flat(0.9, p1=0.1), flat(0.3))
        assert {each.said for each in answers(table)} == {0}
        assert {each.confirmed for each in answers(table)} == {0}

    def test_of_losses_the_lower_one_is_better(self):
        table = made(flat(0.5), flat(2.0, p1=2.2), fresh_losses=flat(2.0, p1=1.8))
        found = answers(table, yardstick=TEXT)
        assert all(each.said == 1 and each.confirmed == -1 for each in found)

    @pytest.mark.slow
    def test_what_other_seeds_say_of_the_answer_beside_the_default_policy(self):
        better = flat(0.9, p3=0.95)
        kept, lost = (made(better, flat(0.3), fresh_scores=scores) for scores in (better, flat(0.9, p3=0.85)))
        assert {each.against_default for each in answers(kept)} == {1}
        assert {each.against_default for each in answers(lost)} == {-1}
        assert {each.against_default for each in answers(made(flat(0.8, p0=0.9), flat(0.3)))} == {0}

    def test_a_full_network_that_failed_is_nothing_to_compare_with(self):
        table = made(flat(0.9, p1=0.8), flat(0.3))
        for values in table.ends.values():
            values[FULL] = math.nan
        search = Search(drawn(table), list(range(POLICIES)), list(range(SEEDS // 2)), budget=20.0)
        chosen = SEARCHES[NOW][0](search)
        assert chosen == ranked(search)[0].number
        assert first_line(search, chosen, fresh(table), None) == 0
        assert fresh(table).confirm(chosen, FULL, frozenset((0, 1, chosen))) == 0


class TestTables:
    def tables(self) -> tuple[dict[str, SeedTable], dict[str, Yardstick]]:
        images = made(flat(0.9, p1=0.8), flat(0.3), fresh_scores=flat(0.9, p1=0.95))
        text = replace(made(flat(0.5), flat(2.0, p1=2.2)), name="text")
        return {"made": images, "text": text}, {"made": IMAGES, "text": TEXT}

    @pytest.mark.slow
    def test_say_how_many_were_taken_back(self):
        choosing, lines = as_searched_tables(*self.tables(), 4, jobs=1)
        assert {row[:2] for row in choosing.rows} == {("made", "loss"), ("made", "accuracy"), ("text", "loss")}
        place = [column.title for column in lines.columns].index("taken back")
        assert {row[0]: row[place] for row in lines.rows} == {"made": "100%", "text": "0%"}
        assert len(lines.rows) == 2 * 2 * 2  # tables, searches, budgets

    def test_what_was_replayed_can_come_from_another_process(self):
        replayed = replay_as_searched(*self.tables(), 1, seed=1)
        assert [each.answers for each in pickle.loads(pickle.dumps(replayed))] == [each.answers for each in replayed]
