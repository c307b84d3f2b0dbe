"""The page: complete, offline, escaped. How it looks is looked at, not tested."""

import re
from html.parser import HTMLParser

import pytest

from autogrow.errors import RunFolderError
from autogrow.report.figure_records import trial_points
from autogrow.report.html import html_report, write_html_report
from autogrow.report.search_figures import pareto_figure
from autogrow.study.run_folder import RunFolder
from autogrow.study.trial_result import CompleteTrial
from tests.report.conftest import EVERY_OBJECTIVE, metrics_of

pytestmark = pytest.mark.slow

FIGURES = ["pareto", "progress", "accuracy", "growth", "importances", "slices", "spans"]
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """The page's elements, and its text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts, self._inside = [], "", [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.text += data


@pytest.fixture(scope="module")
def text(full_run):
    return html_report(full_run.folder)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def identifiers(page):
    return [attributes["id"] for tag, attributes in page.elements if tag == "figure"]


def test_holds_tables_and_figures(page):
    for part in (
        "Growing (trial 22) is higher than the static control by 16 of 1,000 examples, one seed: run autogrow confirm",
        "Pareto front",
        "Growth of trial 22",
        "CUDA out of memory",
        "One seed",
    ):
        assert part in page.text
    assert identifiers(page) == FIGURES
    assert "Not drawn" not in page.text
    assert sum("Plotly.newPlot" in script and len(script) < 1e6 for script in page.scripts) == 7


def test_plotly_is_in_it_once(page):
    assert sum(len(script) > 1e6 for script in page.scripts) == 1


def test_nothing_is_loaded_from_anywhere(text, page):
    assert not [entry for entry in page.elements if LOADING & set(entry[1])]
    assert not [entry for entry in page.elements if entry[0] in ("link", "iframe", "object", "embed", "base", "img")]
    assert not re.search(r"@import|url\(", "".join(re.findall(r"<style>(.*?)</style>", text, re.S)))
    policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")
    assert "http" not in policies[0]


def test_every_table_and_figure_can_be_read_aloud(page):
    tags = [tag for tag, _ in page.elements]
    assert tags.count("table") == tags.count("caption")
    assert all(a.get("scope") in ("col", "row") for tag, a in page.elements if tag == "th")
    plots = [a for tag, a in page.elements if a.get("class") == "plot"]
    assert len(plots) == 7
    assert all(a["role"] == "img" and a["aria-label"] for a in plots)


def test_text_of_a_run_is_escaped(make_run):
    run = make_run("a-<b>name", dataset="<script>alert(1)</script>.npz")
    run.controls()
    run.fail("ValueError: <img src=x onerror=alert(2)>")
    text = html_report(run.folder)
    page = Page(text)
    assert "<script>alert" not in text
    assert "onerror" not in "".join(str(entry) for entry in page.elements)
    assert "<script>alert(1)</script>.npz" in page.text
    assert "<img src=x onerror=alert(2)>" in page.text


def test_a_channel_group_with_html_in_its_name_is_escaped(make_run):
    run = make_run()
    run.controls()
    folder = run.folder.trial(1)
    for path in folder.path.glob("events.jsonl"):
        path.write_text(path.read_text().replace("features.0", "<b>x</b></script>"))
    text = html_report(run.folder)
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text


def test_no_complete_trial(make_run):
    run = make_run()
    run.fail("RuntimeError: broken")
    page = Page(html_report(run.folder))
    assert "No verdict yet" in page.text
    assert page.text.count("Not drawn") == 6


def test_numbers_in_a_legend_are_not_taken_for_colours(full_summary):
    """plotly.js does so with a colour axis, and warns of each in the browser's console."""
    figure = pareto_figure(
        trial_points(full_summary), full_summary.judged_by, full_summary.metrics["generalization_gap"]
    )
    assert not any(key.startswith("coloraxis") and value for key, value in figure.layout.to_plotly_json().items())
    assert all(trace.marker.colorscale and trace.marker.coloraxis is None for trace in figure.data)
    assert len({(trace.marker.cmin, trace.marker.cmax) for trace in figure.data}) == 1
    assert sum(trace.marker.showscale is True for trace in figure.data) == 1


def test_figures_are_painted_by_the_page_that_knows_light_and_dark(page):
    figures = [script for script in page.scripts if "Plotly.newPlot" in script and len(script) < 1e6]
    assert all('"paper_bgcolor":"rgba(0,0,0,0)"' in script for script in figures)
    assert any("prefers-color-scheme: dark" in script and "Plotly.relayout" in script for script in page.scripts)


def test_only_the_controls(make_run):
    run = make_run()
    run.controls()
    page = Page(html_report(run.folder))
    assert "Importances need 8 complete searched trials to mean anything; this run has 0" in page.text
    assert "Growth of trial 1" in page.text


def test_best_trial_that_never_grew(make_run):
    run = make_run()
    run.complete(0.9)
    proposal = run.start()
    run.write_records(proposal.root, 0.91, grows=False)
    run.database.tell_result(proposal.number, CompleteTrial(metrics=metrics_of(0.91, num_events=0)))
    page = Page(html_report(run.folder))
    assert "The best trial never grew." in page.text


def test_regression(make_run):
    run = make_run(dataset="sine")
    run.controls(static=-0.5, default=0.25, thesis=0.9)
    page = Page(html_report(run.folder))
    assert "Validation R² over training compute" in page.text
    assert "Validation accuracy" not in page.text


def test_one_objective(make_run):
    run = make_run(objectives=("accuracy",))
    run.controls()
    page = Page(html_report(run.folder))
    assert identifiers(page) == FIGURES
    assert "The best validation accuracy so far" in page.text
    labels = [a["aria-label"] for tag, a in page.elements if a.get("class") == "plot"]
    assert any(label.endswith("over 3 finished trials, from 88 to 88.") for label in labels)


def test_the_hypervolume_says_what_it_is_relative_to(page):
    assert "Hypervolume of the Pareto front so far" in page.text
    assert "the reference point at accuracy" in page.text
    labels = [a["aria-label"] for tag, a in page.elements if a.get("class") == "plot"]
    assert any(label.startswith("Step plot of the hypervolume (share) over 23 finished trials") for label in labels)


def test_stopped_trials_are_drawn_apart(page, make_run):
    assert any("stopped early" in script and "yaxis2" in script for script in page.scripts if len(script) < 1e6)
    run = make_run()
    run.controls()
    scripts = [
        script for script in Page(html_report(run.folder)).scripts if 'id="accuracy' in script or len(script) < 1e6
    ]
    assert not any("stopped early" in script for script in scripts)


@pytest.mark.parametrize("dataset", ["digits", "sine"])
def test_seven_objectives(make_run, dataset):
    run = make_run(dataset=dataset, objectives=EVERY_OBJECTIVE)
    for index in range(5):
        run.complete(0.8 + 0.01 * index, latency_ms=1.0 + index)
    page = Page(html_report(run.folder))
    assert identifiers(page) == FIGURES
    assert "latency (ms)" in page.text


def test_while_a_search_runs(make_run):
    run = make_run()
    run.controls()
    run.start()
    with run.folder.locked():
        assert "The search is running:" in Page(html_report(run.folder)).text


def test_is_written_whole_or_not_at_all(full_run, tmp_path):
    target = tmp_path / "deep" / "report.html"
    write_html_report(full_run.folder, target)
    assert target.stat().st_size < 6e6
    assert target.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert list(target.parent.iterdir()) == [target]
    with pytest.raises(RunFolderError):
        write_html_report(RunFolder(tmp_path / "missing"), target)
    assert target.exists()
