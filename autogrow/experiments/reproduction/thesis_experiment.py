"""One of the thesis' experiments: its networks and policies, and today's best policy, on one data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autogrow.data.opening import open_dataset
from autogrow.experiments.drawing import CurvePicture, draw_curves, score_pictures
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.last_samples import last_samples_table, to_dict
from autogrow.experiments.matched_metrics import Matching, matched_tables
from autogrow.experiments.reproduction.base import KIND, BuildExperiment, Reproduction, ReproductionReport, Request
from autogrow.experiments.results import Results
from autogrow.experiments.running import run_experiment
from autogrow.experiments.tables import markdown_page, results_tables
from autogrow.report.tables import Table


@dataclass(frozen=True)
class ThesisExperiment(Reproduction):
    """Runs one design on one data set, and writes tables and curves like the thesis' own."""

    name: str
    summary: str
    dataset: str
    build: BuildExperiment
    columns: Mapping[str, str]
    """Columns of curves whose last measurements are compared, with their titles."""
    pictures: Mapping[str, CurvePicture]
    """By file name, without the ending."""
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The thesis' mean and deviation of the last ten measurements, by condition."""
    published_column: str = "train_loss"
    """The column that they are compared with."""
    matchings: tuple[Matching, ...] = ()
    """Metrics at whose equal values others are read."""
    note: str = ""
    """What the thesis reports otherwise."""
    needs_gpu: bool = False

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return (self.dataset,)

    def run(self, request: Request) -> ReproductionReport | None:
        designed = self.build(open_dataset(self.dataset, request.data_dir), request)
        folder = ExperimentFolder(request.out, KIND)
        results = run_experiment(
            designed.experiment,
            designed.design,
            request.num_seeds,
            folder=folder,
            on_run=request.on_run,
            interrupted=request.interrupted,
            jobs=request.jobs,
            pages=self._pages,
        )
        if results is None:
            return None
        succeeded = bool(results.of_condition(designed.design.subject))
        tables = self._tables(results)
        return ReproductionReport(self.summary, tables, folder.path, folder.written, self._paragraphs, succeeded)

    @property
    def _paragraphs(self) -> tuple[str, ...]:
        return (self.note,) if self.note else ()

    def _tables(self, results: Results) -> tuple[Table, ...]:
        last = (
            last_samples_table(results, column, title, self.published if column == self.published_column else {})
            for column, title in self.columns.items()
        )
        matched = (table for matching in self.matchings for table in matched_tables(results, matching))
        return *last, *results_tables(results), *matched

    def _pages(self, results: Results, heading: str) -> Pages:
        figures = score_pictures(results, heading)
        if results.runs:
            figures |= {name: draw_curves(results, picture, heading) for name, picture in self.pictures.items()}
        page = markdown_page(heading, self._tables(results), (self.summary, *self._paragraphs))
        return Pages(page, figures, {"last_samples": to_dict(results, tuple(self.columns))})
