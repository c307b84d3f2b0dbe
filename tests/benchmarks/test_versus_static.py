from dataclasses import replace

import pytest

from autogrow.data.opening import open_dataset
from autogrow.inputs import training_settings
from autogrow.models.building import ModelSpec
from autogrow.training.training_data import TrainingData
from tests.benchmarks.contests import Contest, Found, Trial
from tests.benchmarks.static_networks import train_network
from tests.benchmarks.versus_static import AUTOGROW, STATIC, _finds, rows_of

CONTEST = Contest(dataset="digits", train_size=None, seconds=60, num_seeds=1)


LOSS = Contest(dataset="sine", train_size=None, seconds=60, num_seeds=1, metric="loss")


def trial(seconds, score, state="complete", role="searched", grows=True):
    return Trial(seconds, state, score, 0.5, role, {}, grows)


def search(*trials, ready=5.0):
    return Found(ready, tuple(trial(*each) for each in trials))


@pytest.fixture
def static():
    return search((20, 0.90), (45, 0.95))


def test_ratio_of_the_times_until_the_static_best(static):
    best, since_ready, half, *_ = rows_of(CONTEST, [{STATIC: static, AUTOGROW: search((8, 0.91), (15, 0.96), ready=7)}])
    assert best.measured == "15.0 (15.0 to 15.0) s, static 45.0 (45.0 to 45.0) s; ratio 0.33 (0.33 to 0.33), n=1"
    assert best.reached
    assert since_ready.measured.startswith("8.0 (8.0 to 8.0) s, static 40.0 ")
    assert half.measured.startswith("8.0 (8.0 to 8.0) s, static 20.0 ")


@pytest.mark.parametrize("late", [(61, 0.99), (15, 0.99, "stopped"), (15, 0.99, "complete", "static"), (15, 0.94)])
def test_neither_late_nor_stopped_nor_static_nor_worse_trials_reach_it(static, late):
    best, *_ = rows_of(CONTEST, [{STATIC: static, AUTOGROW: search(late)}])
    assert best.measured.startswith("never (never to never) s, static 45.0 ")
    assert best.reached is False


def test_a_row_of_its_own_counts_the_static_control(static):
    control = search((15, 0.99, "complete", "static"))
    counted = [row for row in rows_of(CONTEST, [{STATIC: static, AUTOGROW: control}]) if "counted" in row.what]
    assert [row.measured.partition(" s,")[0] for row in counted] == ["15.0 (15.0 to 15.0)"]


def test_where_the_static_search_has_nothing_by_half_of_the_time_nothing_is_compared():
    pair = {STATIC: search((45, 0.95)), AUTOGROW: search((15, 0.96))}
    best, _, half, *_ = rows_of(CONTEST, [pair])
    assert best.reached
    assert (half.measured, half.reached) == ("the static search finished no trial by then", None)


def test_best_accuracies_and_numbers_of_trials(static):
    stopped = search((8, 0.91), (9, 0.5, "stopped"), (61, 0.99))
    row = next(
        row for row in rows_of(CONTEST, [{STATIC: static, AUTOGROW: stopped}] * 2) if row.what.endswith(AUTOGROW)
    )
    assert row.measured == (
        "91.00%, std 0.00%, n=2; trials complete 1, 1 of 0.5 (0.5 to 0.5) s each; stopped early 1, 1; "
        "first proposed after 5.0 (5.0 to 5.0) s"
    )


def row_about(rows, words):
    return next(row for row in rows if words in row.what)


def test_what_never_grows_has_no_part_in_the_row_of_policies_that_grow(static):
    never = search((15, 0.99, "complete", "searched", False), (30, 0.97))
    rows = rows_of(CONTEST, [{STATIC: static, AUTOGROW: never}])
    assert rows[0].measured.startswith("15.0 ")
    assert row_about(rows, "by policies that grow").measured.startswith("30.0 ")


@pytest.mark.parametrize(("seconds", "reached"), [(19, True), (21, False)])
def test_after_a_third_of_the_wall_time(static, seconds, reached):
    rows = rows_of(CONTEST, [{STATIC: static, AUTOGROW: search((5, 0.9), (seconds, 0.95))}])
    row = row_about(rows, "of the wall time")
    assert row.reached is reached
    assert row.measured == f"reached in {reached:d} of 1 searches ({'95.00%' if reached else '90.00%'} for 95.00%)"


def test_a_loss_is_the_better_the_lower_it_is():
    assert LOSS.unit.score(0.25) == -0.25
    pair = {STATIC: search((20, -0.5), (45, -0.2)), AUTOGROW: search((8, -0.4), (15, -0.1))}
    rows = rows_of(LOSS, [pair])
    assert rows[0].measured.startswith("15.0 (15.0 to 15.0) s, static 45.0 ")
    assert row_about(rows, "of the wall time").measured == "reached in 1 of 1 searches (0.10000 for 0.20000)"
    assert row_about(rows, f"best validation loss, {AUTOGROW}").measured.startswith("0.10000, std -, n=1;")


def test_what_each_side_found_is_trained_again(static):
    chosen = Found(5.0, (trial(9, 0.9),), {"name": "best"}, {"name": "sure"}, {"best": "trial_7@12ab", "seconds": 3.0})
    pairs = [{STATIC: static, AUTOGROW: chosen}, {STATIC: search(), AUTOGROW: search()}]
    finds = _finds(CONTEST, pairs)
    assert (finds.best, finds.confirmed, finds.static) == ([{"name": "best"}], [{"name": "sure"}], [{}])
    row = row_about(rows_of(CONTEST, pairs[:1]), "chosen by autogrow confirm")
    assert row.measured == "trial 7; in 3.0 (3.0 to 3.0) s"


def test_the_best_trial_is_complete_and_in_time(static):
    late = search((20, 0.90), (70, 0.99), (30, 0.98, "stopped"), (40, 0.95))
    assert late.best(60).seconds == 40
    assert search().best(60) is None


def test_a_contest_may_ask_for_a_share_of_the_searches():
    often = replace(CONTEST, goal=1 / 2, goal_share=0.8)
    static, quick, slow = search((40, 0.95)), search((19, 0.96)), search((21, 0.96))
    pairs = [{STATIC: static, AUTOGROW: side} for side in (quick, quick, quick, quick, slow)]
    assert rows_of(often, pairs)[0].reached
    assert not rows_of(often, pairs[1:])[0].reached
    assert rows_of(often, pairs)[0].goal == "ratio at most 0.5 in 80% of searches"


@pytest.mark.slow
def test_a_static_network_of_less_depth_gets_as_many_steps_as_the_compute_of_the_full_one_allows():
    dataset = open_dataset("stdlib?mebibytes=1&context=16", None)
    train, validation = dataset.split(seed=0, train_size=40)
    data, spec = TrainingData.of(dataset, train, validation), ModelSpec("gpt", {"layers": 4, "width": 16})
    settings = training_settings(dataset, None, epochs=1, batch_size=8)
    steps = {}
    for depth in (1, 4):
        config = {"depth": depth, "learning_rate": 1e-3, "decay": "linear", "decay_fraction": 0.2}
        taken = []
        shape = dataset.input_shape, dataset.num_outputs
        train_network(config, data, shape, spec, settings, 0, lambda step, *_: taken.append(step))  # noqa: B023
        steps[depth] = taken[-1]
    assert steps[4] == 5
    assert 5 < steps[1] < 20
