import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from autogrow.errors import UsageError
from autogrow.metrics.objectives import KNEE, OBJECTIVES, parse_objectives, preferences
from autogrow.study.choosing import (
    best_trial,
    evidence,
    is_feasible,
    measured_preferences,
    pareto_front,
    ranked,
    trial_by_number,
)

ALL = parse_objectives("accuracy,generalization_gap,train_seconds")
TWO = parse_objectives("accuracy,train_seconds")


def trial(number, accuracy, gap, seconds, *, role="searched", state=TrialState.COMPLETE, constraints=None, **more):
    metrics = {"validation_score": accuracy, "generalization_gap": gap, "train_seconds": seconds, **more}
    values = [accuracy, gap, seconds] if state == TrialState.COMPLETE else None
    attributes = {"role": role, "metrics": metrics}
    made = create_trial(state=state, values=values, user_attrs=attributes, constraints=constraints)
    made.number = number
    return made


def numbers(trials):
    return [trial.number for trial in trials]


MOST_ACCURATE = trial(0, 0.95, 0.04, 10.0)
SMALLEST_GAP = trial(1, 0.90, 0.01, 12.0)
FASTEST = trial(2, 0.80, 0.05, 2.0)
BALANCED = trial(3, 0.94, 0.015, 3.0)
BEATEN = trial(4, 0.89, 0.02, 13.0)
FIVE = [MOST_ACCURATE, SMALLEST_GAP, FASTEST, BALANCED, BEATEN]


def test_the_front_holds_what_nothing_beats_oldest_first():
    assert numbers(pareto_front(FIVE, ALL)) == [0, 1, 2, 3]
    assert numbers(pareto_front(FIVE, TWO)) == [0, 2, 3]
    assert numbers(pareto_front(FIVE, (OBJECTIVES["accuracy"],))) == [0]


@pytest.mark.parametrize(("preference", "number"), [("accuracy", 0), ("gap", 1), ("speed", 2), ("knee", 3)])
def test_each_preference_chooses_its_trial(preference, number):
    assert best_trial(FIVE, ALL, preference).number == number


def test_preferences_do_not_depend_on_the_order_of_trials():
    for preference in ("accuracy", "gap", "speed", "knee"):
        assert best_trial(FIVE[::-1], ALL, preference) is best_trial(FIVE, ALL, preference)


def test_a_preference_may_ask_for_a_metric_that_was_no_objective():
    assert best_trial(FIVE, (OBJECTIVES["accuracy"],), "speed") is FASTEST


@pytest.mark.parametrize(
    ("preference", "better", "worse"),
    [
        ("accuracy", (0.9, 0.5, 2.0), (0.9, 0.1, 3.0)),  # the faster one, whatever the gap
        ("accuracy", (0.9, 0.1, 2.0), (0.9, 0.2, 2.0)),  # then the smaller gap
        ("gap", (0.9, 0.1, 9.0), (0.8, 0.1, 2.0)),  # the more accurate one
        ("speed", (0.9, 0.5, 2.0), (0.8, 0.1, 2.0)),
    ],
)
def test_ties_are_told_apart(preference, better, worse):
    trials = [trial(0, *worse), trial(1, *better)]
    assert best_trial(trials, ALL, preference).number == 1
    assert best_trial(trials[::-1], ALL, preference).number == 1


def test_equal_trials_are_all_on_the_front():
    twins = [trial(0, 0.9, 0.1, 2.0), trial(1, 0.9, 0.1, 2.0)]
    assert numbers(pareto_front(twins, ALL)) == [0, 1]
    assert best_trial(twins, ALL, "accuracy").number == best_trial(twins, ALL, "knee").number == 0


@pytest.mark.parametrize("preference", ["accuracy", "gap", "speed", "knee"])
def test_neither_the_static_control_nor_an_unfinished_trial_is_ever_chosen(preference):
    perfect = (1.0, -1.0, 0.001)
    never = [
        trial(5, *perfect, role="static"),
        trial(6, *perfect, state=TrialState.PRUNED),
        trial(7, *perfect, state=TrialState.FAIL),
        trial(8, *perfect, state=TrialState.RUNNING),
    ]
    assert pareto_front(never, ALL) == []
    assert best_trial(never, ALL, preference) is None
    assert numbers(pareto_front([*never, BEATEN], ALL)) == [BEATEN.number]
    assert best_trial([*never, BEATEN], ALL, preference) is BEATEN


def test_the_growing_controls_are_candidates():
    controls = [trial(1, 0.9, 0.1, 2.0, role="default"), trial(2, 0.95, 0.1, 2.0, role="thesis")]
    assert best_trial(controls, ALL, "accuracy").number == 2


SIZES = {"validation_loss": 0.5, "parameters": 1000, "flops": 6e3}
SMALL = trial(0, 0.8, 0.0, 2.0, **{**SIZES, "parameters": 10}, latency_ms=3.0)
LIGHT = trial(1, 0.8, 0.0, 2.0, **{**SIZES, "flops": 60.0}, latency_ms=4.0)
SURE = trial(2, 0.8, 0.0, 2.0, **{**SIZES, "validation_loss": 0.1}, latency_ms=5.0)
QUICK = trial(3, 0.8, 0.0, 2.0, **SIZES, latency_ms=0.5)


@pytest.mark.parametrize(("preference", "number"), [("size", 0), ("flops", 1), ("loss", 2), ("latency", 3)])
def test_sizes_and_loss_can_be_preferred(preference, number):
    assert best_trial([QUICK, SURE, LIGHT, SMALL], ALL, preference).number == number


def test_a_metric_that_was_not_measured_is_refused_with_those_that_were():
    sized = [trial(0, 0.9, 0.1, 2.0, **SIZES)]
    assert measured_preferences(sized) == ["score", "gap", "speed", "loss", "size", "flops", "knee"]
    with pytest.raises(UsageError) as caught:
        best_trial(sized, ALL, "latency")
    assert str(caught.value) == (
        "no trial of this study has measured latency_ms, which 'latency' goes by: prefer one of score, gap, speed, "
        "loss, size, flops, knee, or search with latency_ms among the --objectives"
    )
    assert best_trial([*sized, QUICK], ALL, "latency") is QUICK


def test_before_any_trial_has_finished_every_preference_is_open():
    assert measured_preferences([]) == [*preferences(), KNEE]
    assert {best_trial([], ALL, preference) for preference in [*preferences(), KNEE]} == {None}


def test_a_trial_without_a_value_in_an_objective_is_not_on_the_front():
    both = parse_objectives("accuracy,latency_ms")
    assert numbers(pareto_front([trial(7, 0.99, 0.0, 1.0), QUICK], both)) == [QUICK.number]


@pytest.mark.parametrize(
    ("constraints", "feasible"),
    [(None, True), ({"max_parameters": 0.0, "max_flops": -5.0}, True), ({"max_parameters": -1.0, "x": 1e-9}, False)],
)
def test_a_constraint_above_zero_takes_a_trial_from_the_front(constraints, feasible):
    better = trial(9, 1.0, -1.0, 0.1, constraints=constraints)
    assert is_feasible(better) is feasible
    assert numbers(pareto_front([BALANCED, better], ALL)) == ([9] if feasible else [3])
    for preference in ("accuracy", "gap", "speed", "knee"):
        assert best_trial([BALANCED, better], ALL, preference).number == (9 if feasible else 3)


def test_seven_objectives_keep_what_is_best_in_any():
    seven = parse_objectives("accuracy,generalization_gap,train_seconds,loss,parameters,flops,latency_ms")
    beaten = trial(4, 0.8, 0.0, 2.0, **SIZES, latency_ms=5.0)
    assert numbers(pareto_front([SMALL, LIGHT, SURE, QUICK, beaten], seven)) == [0, 1, 2, 3]


def test_an_unknown_preference_names_those_that_exist():
    with pytest.raises(UsageError, match="known are accuracy, f1, flops, gap, knee, .*; did you mean 'accuracy'"):
        best_trial(FIVE, ALL, "acuracy")


def test_a_trial_by_number_has_ended_well():
    pruned, failed = trial(5, 0.5, 0, 1, state=TrialState.PRUNED), trial(6, 0.5, 0, 1, state=TrialState.FAIL)
    assert trial_by_number([*FIVE, pruned, failed], 5) is pruned
    for number in (6, 7, -1):
        with pytest.raises(UsageError, match=f"trial {number} .*finished are 0, 1, 2, 3, 4, 5"):
            trial_by_number([*FIVE, pruned, failed], number)
    with pytest.raises(UsageError, match="finished are none"):
        trial_by_number([], 0)


def is_beaten(one, others):
    """Straight from the definition, for values of which more accuracy, less gap and less time are better."""
    return any(
        other[0] >= one[0]
        and other[1] <= one[1]
        and other[2] <= one[2]
        and (other[0] > one[0] or other[1] < one[1] or other[2] < one[2])
        for other in others
    )


# Few different values, so that ties and equal trials are common.
VALUES = st.tuples(
    st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([-0.1, 0.0, 0.2]), st.sampled_from([1.0, 2.0, 8.0])
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(VALUES, st.sampled_from(["searched", "static", "pruned", "infeasible"])), max_size=12))
def test_front_and_knee_against_brute_force(drawn):
    trials, candidates = [], {}
    for number, (values, kind) in enumerate(drawn):
        state = TrialState.PRUNED if kind == "pruned" else TrialState.COMPLETE
        role, constraints = "static" if kind == "static" else "searched", {"limit": float(kind == "infeasible")}
        trials.append(trial(number, *values, role=role, state=state, constraints=constraints))
        if kind == "searched":
            candidates[number] = values
    expected = [number for number, values in candidates.items() if not is_beaten(values, candidates.values())]
    assert numbers(pareto_front(trials, ALL)) == expected
    knee = best_trial(trials, ALL, "knee")
    assert knee is None if not expected else knee.number == nearest_to_ideal({n: candidates[n] for n in expected})


def nearest_to_ideal(front):
    """The first of the trials nearest to the best value of each objective, every objective scaled to the front."""
    columns = list(zip(*front.values(), strict=True))
    ideal = (max(columns[0]), min(columns[1]), min(columns[2]))
    spread = [(max(column) - min(column)) or 1.0 for column in columns]

    def distance(values):
        return math.hypot(*((value - best) / width for value, best, width in zip(values, ideal, spread, strict=True)))

    smallest = min(map(distance, front.values()))
    return next(number for number, values in front.items() if distance(values) <= smallest + 1e-12)


class TestSeveralSeeds:
    """Trials 0 to 9 are policies; those that follow are replicates."""

    OTHERS = [trial(n, 0.90 + 0.002 * (n % 3), 0.02, 5.0, validation_loss=0.3) for n in range(2, 10)]

    def replicate(self, number, of, accuracy, *, gap=0.02, seconds=5.0, **more):
        made = trial(number, accuracy, gap, seconds, **more)
        made.set_user_attr("replicate_of", of)
        made.set_user_attr("seed", number)
        return made

    @pytest.fixture
    def study(self):
        """Policy 0 was lucky once, policy 1 is better on every seed."""
        lucky = trial(0, 0.96, 0.02, 5.0, validation_loss=0.3)
        sure = trial(1, 0.95, 0.02, 5.0, validation_loss=0.2)
        again = [self.replicate(10 + n, 0, value, validation_loss=0.4) for n, value in enumerate((0.90, 0.91, 0.90))]
        steady = [self.replicate(20 + n, 1, value, validation_loss=0.2) for n, value in enumerate((0.95, 0.94, 0.95))]
        return [lucky, sure, *self.OTHERS, *again, *steady]

    def test_the_best_is_the_first_trial_of_the_best_mean(self, study):
        assert best_trial(study, ALL, "accuracy").number == 1
        assert [each.number for each in ranked(study, "accuracy")][0] == 1
        assert 0 in numbers(ranked(study, "accuracy"))

    def test_replicates_are_not_chosen_and_not_on_the_front(self, study):
        assert all(number < 10 for number in [*numbers(ranked(study, "accuracy")), *numbers(pareto_front(study, ALL))])
        assert numbers(pareto_front(study, (OBJECTIVES["accuracy"],))) == [1]

    def test_many_seeds_of_a_policy_do_not_depend_on_the_order_of_trials(self, study):
        assert best_trial(study[::-1], ALL, "accuracy") is best_trial(study, ALL, "accuracy")

    @pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.COMPLETE])
    def test_one_that_failed_or_broke_a_limit_on_any_seed_is_not_chosen(self, study, state):
        constraints = {"parameters": 0.5} if state == TrialState.COMPLETE else None
        study.append(self.replicate(30, 1, 0.95, state=state, constraints=constraints))
        assert best_trial(study, ALL, "accuracy").number != 1
        assert 1 not in numbers(pareto_front(study, ALL))

    @pytest.mark.parametrize(("preference", "accuracy"), [("loss", 0.97), ("accuracy", 0.1), ("knee", 0.1)])
    @pytest.mark.parametrize("loss", [10.0, 1e30])
    def test_one_that_diverged_on_one_seed_of_three_is_not_chosen(self, preference, accuracy, loss):
        """Though it was ahead on the two others, and comes first."""
        diverged = [trial(0, 0.97, 0.02, 5.0, validation_loss=0.1)]
        diverged.append(self.replicate(10, 0, 0.97, validation_loss=0.1))
        diverged.append(self.replicate(11, 0, accuracy, validation_loss=loss))
        steady = [trial(1, 0.95, 0.02, 5.0, validation_loss=0.2)]
        steady += [self.replicate(20 + n, 1, 0.95, validation_loss=0.2) for n in range(2)]
        others = [trial(n, 0.90 + 0.002 * (n % 3), 0.02, 5.0, validation_loss=0.3 + 0.01 * n) for n in range(2, 10)]
        found = best_trial([*diverged, *others, *steady], parse_objectives("accuracy,loss"), preference)
        assert found.number == 1

    def test_a_seed_that_is_still_trained_changes_nothing(self, study):
        running = self.replicate(30, 1, 0.1, state=TrialState.RUNNING)
        assert best_trial([*study, running], ALL, "accuracy").number == 1

    def test_scores_that_cannot_be_told_apart_are_by_the_loss(self):
        ahead = [trial(0, 0.951, 0.02, 5.0, validation_loss=0.3)]
        ahead += [self.replicate(10 + n, 0, value, validation_loss=0.3) for n, value in enumerate((0.93, 0.97))]
        surer = [trial(1, 0.950, 0.02, 5.0, validation_loss=0.1)]
        surer += [self.replicate(20 + n, 1, value, validation_loss=0.1) for n, value in enumerate((0.93, 0.97))]
        assert best_trial([*ahead, *surer, *self.OTHERS], ALL, "accuracy").number == 1
        assert best_trial([ahead[0], surer[0], *self.OTHERS], ALL, "accuracy").number == 0  # one seed each: as it was

    @pytest.mark.parametrize("preference", ["accuracy", "loss"])
    def test_the_default_policy_is_the_answer_unless_another_is_probably_better(self, study, preference):
        def with_default(losses, accuracies):
            default = trial(40, accuracies[0], 0.02, 5.0, role="default", validation_loss=losses[0])
            again = [
                self.replicate(40 + n, 40, value, role="default", validation_loss=loss)
                for n, (value, loss) in enumerate(zip(accuracies, losses, strict=True))
                if n
            ]
            return best_trial([*study, default, *again], ALL, preference).number

        assert with_default([0.21, 0.2, 0.2, 0.21], [0.947, 0.944, 0.951, 0.945]) == 40  # as good but for luck
        assert with_default([0.4, 0.4, 0.4, 0.4], [0.91, 0.90, 0.92, 0.91]) == 1

    def test_one_seed_each_says_too_little_to_prefer_the_default_policy(self):
        ahead = trial(0, 0.951, 0.02, 5.0, validation_loss=0.3)
        default = trial(1, 0.950, 0.02, 5.0, role="default", validation_loss=0.31)
        assert best_trial([ahead, default, *self.OTHERS], ALL, "accuracy").number == 0

    def test_what_the_seeds_say_is_in_the_policy_file(self, study):
        said = evidence(study, study[1], OBJECTIVES["accuracy"])
        assert (said["metric"], said["num_seeds"]) == ("validation_score", 4)
        assert 0.91 < said["mean"] < 0.9475  # drawn towards what all reach
        assert 0 < said["standard_error"] < 0.01
        assert evidence(FIVE, FIVE[0], OBJECTIVES["accuracy"]) is None


class TestSmallestWithin:
    LARGE = trial(0, 0.95, 0.02, 5.0, validation_loss=0.200, parameters=1000)
    NEAR = trial(1, 0.945, 0.02, 5.0, validation_loss=0.210, parameters=500)
    SMALLER = trial(2, 0.94, 0.02, 5.0, validation_loss=0.201, parameters=300)
    TINY = trial(3, 0.80, 0.02, 5.0, validation_loss=0.900, parameters=10)
    ALL_FOUR = (LARGE, NEAR, SMALLER, TINY)

    @pytest.mark.parametrize(
        ("objectives", "preference", "number"),
        [
            ("accuracy,parameters", "smallest-within 0.006", 1),
            ("accuracy,parameters", "smallest-within 0.02", 2),
            ("accuracy,parameters", "smallest-within=0", 0),
            ("accuracy,parameters", "smallest-within 1", 3),
            ("loss,parameters", "smallest-within 0.01", 2),  # 1% above the lowest loss
            ("loss,parameters", "smallest-within 0", 0),
            ("parameters", "smallest-within 0.006", 1),
        ],
    )
    def test_the_smallest_network_that_is_nearly_as_good_as_the_best(self, objectives, preference, number):
        assert best_trial(self.ALL_FOUR, parse_objectives(objectives), preference).number == number

    def test_there_is_none_before_a_trial_has_finished(self):
        assert best_trial([], ALL, "smallest-within 0.01") is None

    @pytest.mark.parametrize(
        ("preference", "message"),
        [
            ("smallest-within", "it does not say how far: write for example 'smallest-within 0.01'"),
            ("smallest-within much", "'much' is no number from 0 to 1"),
            ("smallest-within -0.1", "'-0.1' is no number from 0 to 1"),
            ("smallest-within nan", "'nan' is no number from 0 to 1"),
        ],
    )
    def test_a_tolerance_is_a_number_from_0_to_1(self, preference, message):
        with pytest.raises(UsageError, match=message):
            best_trial(self.ALL_FOUR, ALL, preference)
