"""What reports say where policies were trained on several seeds."""

import json
from io import StringIO

import pytest
from rich.console import Console

from autogrow.export.policies import export_policy
from autogrow.report.figure_records import curves_of, importances, slices, trial_points
from autogrow.report.html import html_report
from autogrow.report.search_figures import pareto_figure
from autogrow.report.snapshot import read_snapshot
from autogrow.report.summary import status_content, summarize
from autogrow.report.tables import all_trials_table, best_and_controls, objectives_table, pareto_front_table
from autogrow.report.terminal import render
from autogrow.report.training_figures import curves_figure
from autogrow.study.warm_start import read_warm_start

from .conftest import SPACE, MadeRun

LUCKY, SURE = 3, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trial 3 was lucky on the first seed, trial 4 is ahead of the default policy on all four."""
    run = MadeRun(tmp_path_factory.mktemp("runs") / "raced")
    run.controls()
    run.complete(0.950)
    run.complete(0.940, num_events=1)
    for accuracy in (0.86, 0.87, 0.88, 0.89, 0.87, 0.88, 0.90):
        run.complete(accuracy)
    for seed, (lucky, sure, default) in enumerate([(0.88, 0.94, 0.88), (0.89, 0.94, 0.88), (0.88, 0.95, 0.89)], 1):
        run.replicate(LUCKY, lucky, seed)
        run.replicate(SURE, sure, seed, num_events=1)
        run.replicate(1, default, seed)
    return run


@pytest.fixture(scope="module")
def summary(run):
    return summarize(run.folder)


def text_of(summary):
    console = Console(file=StringIO(), width=200)
    console.print(render(summary))
    return console.file.getvalue()


@pytest.mark.slow
def test_the_best_is_that_of_the_best_mean(run, summary):
    assert summary.preferred_trial.number == SURE
    assert status_content(summary)["best"]["accuracy"]["trial"] == SURE
    assert export_policy(run.folder).found_by["trial"] == SURE
    assert [row.number for row in summary.trials if row.replicate_of == SURE] == [13, 16, 19]


def test_a_policy_file_says_what_the_seeds_say(run):
    said = export_policy(run.folder).found_by["over_seeds"]
    assert (said["metric"], said["num_seeds"]) == ("validation_score", 4)
    assert 0.93 < said["mean"] < 0.9425
    assert 0 < said["standard_error"] < 0.01


def test_the_verdict_says_mean_error_seeds_and_how_sure_that_is(summary):
    first, over_seeds, default, static, noise, *_ = summary.verdict.details
    assert first.startswith("Trial 4 has 94.00 % validation accuracy on seed 0, the static control 90.00 %")
    assert over_seeds.startswith("Over 4 seeds, trial 4 has 93.39 % validation accuracy")
    assert "standard error 0." in over_seeds
    assert "better than the default policy; seed by seed it is ahead of the default policy by 6.00 points" in default
    assert "(standard error 0.00, 4 paired seeds)" in default
    assert "higher than the static control by 40 of 1,000 examples, one seed" in static
    assert noise.startswith("Noise floor: by how policies vary from seed to seed, chance alone makes up to")
    assert "the best of 12 finished policies" in summary.verdict.caveat  # of 21 trials
    assert summary.verdict.kind == "higher"
    against = {each.role: each.probability for each in summary.over_seeds.against}
    assert against["default"] > 0.999
    assert 0.9 < against["static"] < 0.96  # of one seed
    assert default.startswith("With a probability of over 99 % it is better than the default policy")
    assert static.startswith("With a probability of 94 % it is better than the static control")


@pytest.mark.slow
def test_level_is_said_of_what_three_seeds_do_not_tell_apart(tmp_path, monkeypatch):
    """Whatever else is asked of the best."""
    monkeypatch.setattr("autogrow.study.racing.SURE_ENOUGH", 0.5)
    run = MadeRun(tmp_path / "level")
    run.controls(default=0.90)
    run.complete(0.91)
    for seed, (ours, theirs) in enumerate([(0.90, 0.91), (0.92, 0.90)], 1):
        run.replicate(3, ours, seed)
        run.replicate(1, theirs, seed)
    said = summarize(run.folder).over_seeds
    assert said.paired("default").kind == "level"
    assert "level with the default policy: +0.67 points" in said.against[0].sentence
    assert 0.5 < said.against[0].probability < 1


@pytest.mark.slow
def test_the_default_policy_is_the_best_where_another_is_only_luckier(tmp_path):
    run = MadeRun(tmp_path / "luckier")
    run.controls(default=0.90)
    run.complete(0.91)
    for accuracy in (0.80, 0.81, 0.84, 0.86, 0.82):
        run.complete(accuracy)
    for seed, (ours, default) in enumerate([(0.90, 0.91), (0.91, 0.90), (0.89, 0.89)], 1):
        run.replicate(3, ours, seed)
        run.replicate(1, default, seed)
    found = summarize(run.folder)
    assert found.preferred_trial.number == 1
    assert "It is the default policy: trial 3 has a better mean, and is better than it" in found.over_seeds.best
    assert found.over_seeds.best.endswith("where 90 % are asked for.")


class TestNoiseFloor:
    """The best is 1.0 points ahead of the default policy, in every seed; another policy has as many seeds."""

    OURS, DEFAULT = (0.930, 0.934, 0.931), (0.920, 0.923, 0.922)

    def said_of(self, path, other):
        run = MadeRun(path)
        run.controls(default=self.DEFAULT[0])
        run.complete(self.OURS[0])
        run.complete(other[0])
        for seed in (1, 2):
            run.replicate(3, self.OURS[seed], seed)
            run.replicate(4, other[seed], seed)
            run.replicate(1, self.DEFAULT[seed], seed)
        return summarize(run.folder).over_seeds

    @pytest.mark.slow
    def test_a_difference_above_what_replicates_vary_by_is_ahead(self, tmp_path):
        said = self.said_of(tmp_path / "calm", (0.910, 0.912, 0.911))
        assert said.floor.of_mean(3) < 0.01
        assert said.paired("default").kind == "ahead"
        assert "chance alone makes up to 0." in said.noise

    @pytest.mark.slow
    def test_one_below_it_is_level(self, tmp_path):
        said = self.said_of(tmp_path / "noisy", (0.900, 0.921, 0.911))
        assert said.floor.of_mean(3) > 0.01
        assert said.paired("default").kind == "level"
        sentence = said.against[0].sentence
        assert sentence.startswith("Seed by seed it is level with the default policy: +1.")
        assert "below the noise floor of" in sentence
        assert "that its mean is the better one has a probability of" in sentence  # and not that it is better
        assert said.sentences[-1] == said.noise


def test_the_default_policy_is_not_compared_with_itself(tmp_path):
    run = MadeRun(tmp_path / "default")
    run.controls(static=0.8, default=0.95)
    run.replicate(1, 0.94, 1)
    said = summarize(run.folder).over_seeds
    assert [each.role for each in said.against] == ["static"]


class TestTables:
    def test_every_trial_has_its_row_and_its_seed(self, summary):
        table = all_trials_table(summary)
        titles = [column.title for column in table.columns]
        rows = [dict(zip(titles, row, strict=True)) for row in table.rows]
        assert len(rows) == 21
        assert [row["seed"] for row in rows] == ["0"] * 12 + [seed for seed in "123" for _ in range(3)]
        assert rows[13]["policy"] == "that of trial 4"
        assert rows[13]["accuracy"] == "94.00"

    def test_the_front_and_the_best_are_means_with_their_seeds(self, summary):
        for table in (pareto_front_table(summary), best_and_controls(summary)):
            titles = [column.title for column in table.columns]
            rows = [dict(zip(titles, row, strict=True)) for row in table.rows]
            own = next(row for row in rows if row["trial"] == str(SURE))
            assert own["seeds"] == "4"
            assert 93.0 < float(own["accuracy"]) < 94.25
            assert "Means over seeds" in table.note
        controls = {row["what"]: row["seeds"] for row in rows}
        assert (controls["static control"], controls["default policy"]) == ("1", "4")

    def test_objectives_are_those_of_the_means(self, summary):
        row = objectives_table(summary).rows[0]
        assert row[-2] == str(SURE)
        assert 93.0 < float(row[-3]) < 94.25

    def test_nothing_of_it_is_said_of_a_search_with_one_seed(self, full_summary):
        assert full_summary.over_seeds is None
        for table in (
            pareto_front_table(full_summary),
            best_and_controls(full_summary),
            all_trials_table(full_summary),
        ):
            assert not {"seed", "seeds"} & {column.title for column in table.columns}
            assert "Means over seeds" not in table.note
        assert "One seed (0)" in full_summary.verdict.caveat


class TestFigures:
    def test_policies_are_points_with_error_bars(self, summary):
        points = trial_points(summary)
        assert [point.trial for point in points] == list(range(12))
        assert all(point.standard_error > 0 for point in points)
        own = next(point for point in points if point.trial == SURE)
        assert own.standard_error < points[-1].standard_error  # of one seed
        assert any(
            trace.error_y.array
            for trace in pareto_figure(points, summary.judged_by, summary.metrics["generalization_gap"]).data
        )

    def test_there_are_none_where_there_is_one_seed(self, full_summary):
        points = trial_points(full_summary)
        assert {point.standard_error for point in points} == {None}
        assert all(
            trace.error_y.array is None
            for trace in pareto_figure(points, full_summary.judged_by, full_summary.metrics["generalization_gap"]).data
        )

    def test_curves_of_the_best_and_the_controls_have_their_other_seeds_beside_them(self, run, summary):
        curves = curves_of(read_snapshot(run.folder), summary)
        beside = {curve.kind: 0 for curve in curves}
        for curve in curves:
            beside[curve.kind] += curve.replicate_of is not None
        assert beside == {"static": 0, "default": 3, "thesis": 0, "best": 3}
        assert len({trace.name for trace in curves_figure(curves, summary.judged_by).data if trace.showlegend}) <= 6

    def test_importances_and_slices_look_at_every_policy_once(self, run):
        snapshot = read_snapshot(run.folder)
        assert importances(snapshot)[0]
        assert all(len(panel.trials) == 9 for panel in slices(snapshot, "validation_score"))

    def test_slices_show_means_over_seeds(self, run, summary):
        means = {each.trial: each.means["validation_score"] for each in summary.over_seeds.policies}
        for panel in slices(read_snapshot(run.folder), "validation_score"):
            reached = dict(zip(panel.trials, panel.reached, strict=True))
            assert reached == pytest.approx({trial: means[trial] for trial in panel.trials})
            assert reached[LUCKY] < 0.94 < 0.95  # which its first seed had

    @pytest.mark.slow
    def test_importances_go_by_means_over_seeds(self, tmp_path):
        run = MadeRun(tmp_path / "alike on the first seed")
        run.controls()
        for _ in range(9):
            run.complete(0.9)
        assert importances(read_snapshot(run.folder))[1].startswith("The trials do not differ")
        for seed in (1, 2):
            for number in range(3, 12):
                run.replicate(number, 0.85 + 0.01 * number, seed)
        (found,) = importances(read_snapshot(run.folder))[0]
        assert found.objective == "validation accuracy"

    def test_progress_ends_at_the_means(self, summary):
        assert len(summary.progress.trials) == 12


@pytest.mark.slow
def test_page_and_terminal_have_it(run, summary):
    assert "Over 4 seeds, trial 4 has" in text_of(summary)
    page = html_report(run.folder)
    assert "Over 4 seeds, trial 4 has" in page
    assert "bars are standard errors" in page
    assert json.dumps(summary.to_dict())


@pytest.mark.slow
def test_another_search_begins_with_policies_and_not_with_replicates(run):
    entries = read_warm_start(str(run.folder.path), SPACE)
    assert {entry["origin"] for entry in entries} <= {f"raced, trial {number}" for number in range(12)}
    assert f"raced, trial {SURE}" in {entry["origin"] for entry in entries}
