"""The controls are what they are called: same examples, same order, and the one difference that each stands for."""

import json

import pytest
import torch

from autogrow.errors import RunFolderError, RunFolderInUseError, TrainingDivergedError, UsageError
from autogrow.experiments import workers
from autogrow.experiments.comparison import KIND, compare_policy
from autogrow.experiments.controls import (
    COMPARISON,
    FINAL,
    FULL,
    GROWN,
    GROWN_AND_CONTROLS,
    PLACEBO,
    SAME_COMPUTE,
    SMALL,
)
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.running import experiment_settings, run_experiment
from autogrow.experiments.tables import results_tables
from autogrow.models.building import ModelSpec, build_model
from autogrow.training import ending

from . import conftest

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = [condition.name for condition in GROWN_AND_CONTROLS]


@pytest.fixture
def by_condition(watched, compare):
    """The results, and of the one seed what every condition's training run did."""
    results = compare(1)
    return results, dict(zip(NAMES, watched.results, strict=True))


@pytest.mark.slow
def test_every_condition_trains_on_the_same_batches_of_a_seed(watched, compare):
    compare(2)
    assert watched.num_runs == 12
    for seed in (0, 1):
        batches = watched.batches[6 * seed : 6 * seed + 5]  # the placebo's come after them
        lengths = [len(each) for each in batches]
        longest = max(batches, key=len)
        assert all(each == longest[: len(each)] for each in batches)
        assert [length == len(longest) for length in lengths] == [True, True, True, False, True]
    assert watched.batches[0] != watched.batches[6]
    assert [plan[3] for plan in watched.plans] == [0] * 6 + [1] * 6


@pytest.mark.slow
def test_the_test_split_is_opened_once_per_run_and_at_its_end(watched, compare):
    compare(2)
    assert watched.opened == list(range(1, 13))
    assert watched.steps == [result.steps for result in watched.results] == [len(each) for each in watched.batches]


@pytest.mark.slow
def test_the_final_control_has_the_grown_runs_widths(by_condition):
    _, runs = by_condition
    assert runs[GROWN].events
    assert runs[FINAL].widths == runs[GROWN].widths == {"1": 24, "4": 18}
    assert runs[FINAL].parameters == runs[GROWN].parameters < runs[FULL].parameters
    assert not runs[FINAL].events
    assert {sample.parameters for sample in runs[FINAL].samples} == {runs[FINAL].parameters}


@pytest.mark.slow
def test_the_final_controls_weights_are_fresh(watched, compare, digits):
    compare(1)
    module, grown = watched.plans[2][0], watched.results[0].module
    full = build_model(conftest.SMALL, digits.input_shape, digits.num_outputs, 0)
    first, wider = module[1].weight, full[1].weight
    assert torch.equal(first, wider[:24])
    assert not torch.isclose(first, grown[1].weight).all()
    assert torch.allclose(module[4].weight, full[4].weight[:18, :24] * (32 / 24) ** 0.5)


@pytest.mark.slow
def test_the_same_compute_is_within_a_step_of_the_grown_runs(by_condition):
    results, runs = by_condition
    full, short = runs[FULL], runs[SAME_COMPUTE]
    step = full.training_flops / full.steps
    assert abs(short.training_flops - runs[GROWN].training_flops) <= step / 2 * (1 + 1e-9)
    assert short.widths == full.widths
    assert short.steps < full.steps
    assert results.values(SAME_COMPUTE, "compute") == pytest.approx([short.steps / full.steps])


@pytest.mark.slow
def test_the_shortened_runs_schedule_spans_it(watched, compare):
    compare(1)
    assert watched.plans[3][2].steps == watched.results[3].steps
    assert watched.results[3].samples[-1].learning_rate == pytest.approx(0)


@pytest.mark.slow
def test_the_small_control_never_grows(by_condition):
    _, runs = by_condition
    assert not runs[SMALL].events
    assert runs[SMALL].widths == {"1": 8, "4": 6}
    assert runs[SMALL].samples[0].parameters == runs[GROWN].samples[0].parameters == runs[SMALL].parameters
    assert runs[SMALL].samples[0].train_loss == runs[GROWN].samples[0].train_loss
    assert runs[SMALL].steps == runs[GROWN].steps


class TestPlacebo:
    @pytest.mark.slow
    def test_it_is_full_up_to_the_first_event_and_another_run_from_there_on(self, by_condition, watched):
        _, runs = by_condition
        first = runs[GROWN].events[0].step
        full, placebo = (watched.batches[NAMES.index(name)] for name in (FULL, PLACEBO))
        assert 0 < first < len(full)
        assert [one == other for one, other in zip(full, placebo, strict=True)] == [
            step < first for step in range(len(full))
        ]
        losses = [[sample.train_loss for sample in runs[name].samples] for name in (FULL, PLACEBO)]
        equal = [sample.step <= first for sample in runs[FULL].samples]
        assert [one == other for one, other in zip(*losses, strict=True)] == equal

    @pytest.mark.slow
    def test_it_has_the_size_and_the_compute_of_full(self, by_condition):
        _, runs = by_condition
        full, placebo = runs[FULL], runs[PLACEBO]
        assert not placebo.events
        for name in ("parameters", "training_flops", "steps", "widths"):
            assert getattr(placebo, name) == getattr(full, name)
        assert placebo.test.loss != full.test.loss

    @pytest.mark.slow
    def test_differences_are_of_the_same_seeds(self, compare):
        results = compare(2)
        own, full = (results.by_seed(name, "test_loss") for name in (PLACEBO, FULL))
        difference = results.placebo_difference("test_loss")
        assert difference.num_seeds == 2
        assert difference.mean == pytest.approx(sum(own[seed] - full[seed] for seed in (0, 1)) / 2)

    @pytest.mark.slow
    def test_where_events_reset_the_optimizer_it_is_reset(self, compare, experiment, watched):
        compare(1, the_experiment=experiment(optimizer_state="reset"))
        assert [plan[1].events_reset_optimizer for plan in watched.plans][0]
        assert [each and each.resets_optimizer for each in watched.placebos] == [None] * 5 + [True]

    @pytest.mark.slow
    def test_at_equal_compute_it_comes_at_the_same_share_of_it(self, compare, experiment, watched):
        compare(1, the_experiment=experiment(training={"length": "compute"}))
        grown, full = watched.results[0], watched.results[1]
        progress = grown.samples[grown.events[0].sample].progress
        assert watched.placebos[-1].step == max(1, round(progress * full.steps)) < grown.events[0].step

    @pytest.mark.slow
    def test_one_that_is_interrupted_goes_on_and_comes_to_the_same(self, compare, watched, tmp_path, monkeypatch):
        compare(1, "whole")
        monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)

        def is_past_its_event():
            return watched.placebos[-1] is not None and len(watched.batches[-1]) > watched.placebos[-1].step + 1

        assert compare(1, "parts", interrupted=is_past_its_event) is None
        assert (tmp_path / "parts" / "runs" / "0-placebo").is_dir()
        compare(1, "parts")
        assert [placebo is not None for placebo in watched.placebos[6:]] == [False] * 5 + [True] * 2
        assert len(watched.batches[-1]) < len(watched.batches[5])  # it went on
        assert results_of(tmp_path / "parts") == results_of(tmp_path / "whole")

    @pytest.mark.slow
    def test_what_was_begun_without_one_goes_on_without(self, compare, experiment, watched, tmp_path):
        folder = ExperimentFolder(tmp_path / "compared", KIND)
        before = COMPARISON.without_placebo
        run_experiment(experiment(), before, 1, folder=folder)
        results = compare(2)
        assert watched.num_runs == 10
        assert [run.condition for run in results.runs] == [name for name in NAMES if name != PLACEBO] * 2
        assert results.noise_floor("test_loss") is None


@pytest.mark.slow
def test_a_network_that_grew_to_full_size_has_its_control_already(watched, compare, experiment):
    results = compare(1, the_experiment=experiment(max_fraction=1.0, trigger={"kind": "schedule", "every": 2}))
    full, final = results.of_condition(FULL)[0], results.of_condition(FINAL)[0]
    assert watched.num_runs == 5
    assert (final.same_run_as, final.test_loss) == (FULL, full.test_loss)
    assert results.repeated() == {FINAL: (FULL, [0])}


@pytest.mark.slow
def test_validation_is_kept_apart_for_all_or_for_none(watched, compare, experiment, digits):
    watching = {"kind": "plateau", "metric": "validation_loss", "window": 1, "patience": 1, "max_wait": 3}
    compare(1, "watching", experiment(trigger=watching))
    compare(1, "not watching")
    train, validation = digits.split(seed=0, train_size=60)
    apart, together = watched.results[:5], watched.results[5:]  # the first never grows: its placebo is full's run
    assert len(together) == 6
    assert all(result.held_out_validation for result in apart)
    assert not any(result.held_out_validation for result in together)
    for batches, most in ((watched.batches[0], len(train)), (watched.batches[5], len(train) + len(validation))):
        assert max(max(batch) for batch in batches) < most


class TestGoingOn:
    def interrupt_at(self, monkeypatch, times):
        monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)
        asked = iter(range(10**9))
        return lambda: next(asked) >= times

    @pytest.mark.slow
    def test_no_finished_run_is_repeated_and_the_table_is_the_same(self, watched, compare, tmp_path, monkeypatch):
        compare(2, "whole")
        monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)
        told = []
        for asked in (10, 9, 20, 30, 10**9):
            told.clear()
            before = sorted((tmp_path / "parts" / "runs").glob("*.json"))
            results = compare(
                2,
                "parts",
                interrupted=self.interrupt_at(monkeypatch, asked),
                on_run=lambda run: told.append(run.trained_now),
            )
            assert (results is None) == (asked < 10**9)
            assert told[: len(before)] == [False] * len(before)
            assert all(told[len(before) :])
        assert results_of(tmp_path / "parts") == results_of(tmp_path / "whole")
        finished = [result for result in watched.results[12:] if result is not None]
        assert len(finished) == 12
        assert len(watched.results) == 12 + 12 + 4
        assert quality(tmp_path / "parts") == quality(tmp_path / "whole")
        assert not [path for path in (tmp_path / "parts" / "runs").iterdir() if path.is_dir()]

    @pytest.mark.slow
    def test_a_finished_comparison_trains_nothing(self, watched, compare):
        first = compare(1)
        assert compare(1) == first
        assert watched.num_runs == 6

    @pytest.mark.slow
    def test_more_seeds_may_be_asked_of_it(self, watched, compare):
        first = compare(1)
        more = compare(2)
        assert more.runs[:6] == first.runs
        assert (watched.num_runs, more.seeds) == (12, [0, 1])

    @pytest.mark.slow
    def test_what_a_killed_process_left_of_an_ended_run_is_removed(self, experiment, compare, tmp_path):
        ExperimentFolder(tmp_path / "compared", KIND).begin(experiment_settings(experiment(), COMPARISON))
        place = tmp_path / "compared" / "runs" / "0-grown"
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(b"of a run whose record was not written")
        assert compare(1) is not None
        assert not place.exists()


class TestFolders:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "change", [{"chunk_fraction": 0.5}, {"training": {"epochs": 3}}, {"model": ModelSpec("mlp")}]
    )
    def test_another_comparisons_is_refused_and_left_alone(self, change, compare, experiment, tmp_path):
        compare(1)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(RunFolderError, match="holds results of other settings"):
            compare(1, the_experiment=experiment(**change))
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    def test_one_in_which_a_run_has_begun_is_continued_with_its_settings_alone(self, compare, experiment, tmp_path):
        folder = ExperimentFolder(tmp_path / "compared", KIND)
        folder.begin(experiment_settings(experiment(chunk_fraction=0.5), COMPARISON))
        (folder.place_of_run(0, GROWN) / "checkpoint").mkdir(parents=True)
        with pytest.raises(RunFolderError, match="holds results of other settings"):
            compare(1)

    @pytest.mark.slow
    def test_one_in_which_nothing_has_begun_is_taken(self, compare, experiment, tmp_path):
        ExperimentFolder(tmp_path / "compared", KIND).begin(experiment(chunk_fraction=0.5).settings())
        assert compare(1) is not None

    @pytest.mark.slow
    def test_one_that_another_process_writes_is_left_to_it(self, compare, tmp_path):
        with ExperimentFolder(tmp_path / "compared", KIND).locked(), pytest.raises(RunFolderInUseError, match="in use"):
            compare(1)

    def test_anything_else_is_refused(self, compare, tmp_path):
        (tmp_path / "compared").mkdir()
        (tmp_path / "compared" / "notes.txt").write_text("mine")
        with pytest.raises(RunFolderError, match="is not empty"):
            compare(1)

    @pytest.mark.slow
    @pytest.mark.parametrize("damage", ["", "[]", "{}"])
    def test_a_damaged_record_is_named(self, damage, compare, tmp_path):
        compare(1)
        (tmp_path / "compared" / "runs" / "0-full.json").write_text(damage)
        with pytest.raises(RunFolderError, match=r"0-full\.json"):
            compare(1)

    @pytest.mark.slow
    def test_what_is_written_names_no_place(self, compare, tmp_path):
        compare(1)
        for path in (tmp_path / "compared").rglob("*.*"):
            assert str(tmp_path) not in path.read_text()
        content = json.loads((tmp_path / "compared" / "compare.json").read_text())
        assert content["format"] == "autogrow-compare/1"
        assert {"settings", "runs", "summary"} <= content.keys()
        assert [run["condition"] for run in content["runs"]] == NAMES
        (trained_on,) = content["trained_on"]
        assert trained_on["versions"]["torch"] == torch.__version__
        assert trained_on["machine"].keys() == {"architecture", "cores", "threads", "jobs", "processor", "gpu"}
        assert trained_on["runs"] == [f"0-{name}" for name in NAMES]

    @pytest.mark.slow
    def test_runs_on_another_machine_are_told_apart(self, compare, monkeypatch):
        compare(1)
        monkeypatch.setattr("autogrow.experiments.conditions.available_cores", lambda: 999)
        first, second = compare(2).to_dict()["trained_on"]
        assert (first["runs"][0], second["runs"][0]) == ("0-grown", "1-grown")
        assert second["machine"]["cores"] == 999 != first["machine"]["cores"]


@pytest.mark.parametrize("num_seeds", [0, -1, 1001])
def test_a_number_of_seeds_that_is_none(num_seeds, experiment):
    with pytest.raises(UsageError, match=f"seeds is {num_seeds}"):
        compare_policy(experiment(), num_seeds)


@pytest.mark.slow
def test_a_policy_that_stays_small_is_compared_with_what_is_not_the_same(watched, compare, experiment):
    results = compare(1, the_experiment=experiment(initial_fraction=0.5, max_fraction=0.5))
    assert watched.num_runs == 3
    assert [run.condition for run in results.runs] == [GROWN, FULL, SAME_COMPUTE]
    assert results.of_condition(GROWN)[0].parameters < results.of_condition(FULL)[0].parameters


def test_a_policy_that_does_not_grow_has_nothing_to_compare(experiment):
    with pytest.raises(UsageError, match="grows nothing"):
        compare_policy(experiment(initial_fraction=1.0, max_fraction=1.0), 1)


class TestDivergence:
    """Seed 0's grown run diverges, and what is made from it cannot be."""

    @pytest.fixture
    def diverging(self, monkeypatch):
        train = workers.train_policy

        def diverge(model, dataset, policy, settings, *, seed, **options):
            if seed == 0 and policy.grow_until == 1 and policy.grows:
                raise TrainingDivergedError("the loss is nan at step 3 of 14")
            return train(model, dataset, policy, settings, seed=seed, **options)

        monkeypatch.setattr(workers, "train_policy", diverge)

    @pytest.mark.slow
    def test_it_is_a_result_and_the_other_seeds_count(self, diverging, compare, tmp_path):
        results = compare(2)
        assert [(failure.seed, failure.condition) for failure in results.failures] == [
            (0, GROWN), (0, FINAL), (0, SAME_COMPUTE), (0, PLACEBO),
        ]  # fmt: skip
        assert results.failures[0].reason == "the loss is nan at step 3 of 14"
        assert [run.seed for run in results.of_condition(GROWN)] == [1]
        assert [run.seed for run in results.of_condition(SMALL)] == [0, 1] == results.seeds
        assert results.difference(SMALL, "test_loss").num_seeds == 1
        text = (tmp_path / "compared" / "table.md").read_text()
        assert "Grown failed under seed 0 and counts for nothing: the loss is nan at step 3 of 14" in text
        content = json.loads((tmp_path / "compared" / "compare.json").read_text())
        assert [failure["condition"] for failure in content["failed"]] == [GROWN, FINAL, SAME_COMPUTE, PLACEBO]

    @pytest.mark.slow
    def test_it_is_not_tried_again(self, diverging, watched, compare):
        first = compare(2)
        runs = watched.num_runs
        assert compare(2) == first
        assert watched.num_runs == runs

    def test_where_what_compute_is_measured_by_diverges_there_is_no_figure(self, compare, monkeypatch, tmp_path):
        train = workers.train_policy

        def diverge(model, dataset, policy, settings, *, seed, **options):
            if not policy.grows:
                raise TrainingDivergedError("the loss is nan at step 3 of 14")
            return train(model, dataset, policy, settings, seed=seed, **options)

        monkeypatch.setattr(workers, "train_policy", diverge)
        assert compare(1).spread(GROWN, "test_score") is not None
        written = {path.name for path in (tmp_path / "compared").iterdir()}
        assert written >= {"compare.json", "table.md"} and "figure.svg" not in written

    def test_where_every_seed_diverges_the_table_says_so(self, diverging, compare):
        results = compare(1)
        assert results.spread(GROWN, "test_score") is None
        assert results.difference(FULL, "test_score") is None
        quality, cost, differences = results_tables(results)
        assert quality.rows[0] == ("grown", "–", "–", "–", "–")
        assert set(cost.rows[0][1:]) == {"–"}
        assert differences.rows[0] == ("full", "–", "–", "–", "–", "–", "–", "0")


def results_of(folder):
    """Everything in compare.json but times."""
    content = json.loads((folder / "compare.json").read_text())
    for run in content["runs"]:
        del run["train_seconds"]
    for condition in content["summary"]["conditions"].values():
        del condition["train_seconds"]
    return content


def quality(folder):
    """The part of the table in which no times stand."""
    text = (folder / "table.md").read_text()
    return [part for part in text.partition("\n")[2].split("## ") if not part.startswith("What it took")]
