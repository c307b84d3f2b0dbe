"""Growing a transformer deeper by stacking copies of its blocks, beside the same network at every depth throughout.

All runs spend the same training FLOPs, those of the full depth for a number of steps, under a constant rate that decays
at the end. Each condition has the rate that is best for it on other seeds, read on validation; the test split is opened
by the compared runs alone. Besides what all compute comes to, one run asks how little of it reaches the full depth's.
"""

from dataclasses import dataclass, field

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.experiments.drawing import CurvePicture, draw_curves
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.base import KIND, REPRODUCTIONS, Reproduction, ReproductionReport, Request
from autogrow.experiments.reproduction.stacking.comparing import (
    COMPARED,
    MAIN,
    QUICK,
    QUICK_RATE,
    RATES,
    Setting,
    choose_rates,
    compare,
    design,
)
from autogrow.experiments.reproduction.stacking.contestants import CONTESTANTS, STACKED, STATICS, Contestant
from autogrow.experiments.reproduction.stacking.findings import findings
from autogrow.experiments.reproduction.stacking.full_parts import RESIDUAL, run_parts, second_text
from autogrow.experiments.reproduction.stacking.rates import Rates
from autogrow.experiments.results import Results
from autogrow.experiments.tables import markdown_page, results_tables
from autogrow.files import write_text_atomically
from autogrow.report.tables import Table

LOSS_PICTURE = CurvePicture(
    "training_flops", "validation_loss", "validation loss", "training FLOPs", logarithmic=True
)  # fmt: skip


@dataclass(frozen=True)
class Stacking(Reproduction):
    """One text; rates are chosen first, then all contestants are compared."""

    name: str = "stacking"
    summary: str = "Depth by stacking: a transformer that is doubled as it trains, beside every depth throughout"
    setting: Setting = MAIN
    contestants: tuple[Contestant, ...] = CONTESTANTS
    rates: tuple[float, ...] = RATES
    pictures: dict[str, CurvePicture] = field(default_factory=lambda: {"validation-loss": LOSS_PICTURE})

    has_full: bool = True

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return (self.setting.dataset, *((second_text(), RESIDUAL.dataset) if full else ()))

    def run(self, request: Request) -> ReproductionReport | None:
        setting = QUICK if request.quick else self.setting
        dataset = open_dataset(setting.dataset, request.data_dir)
        chosen = self._choose_rates(setting, dataset, request)
        if chosen is None:
            return None
        rates, tables = chosen

        def pages(results: Results, heading: str) -> Pages:
            return Pages(None, self._figures(results, heading), {"rates": rates})

        results = compare(setting, dataset, request, COMPARED, design(rates, setting, self.contestants), pages)
        if results is None:
            return None
        said, tables = findings(results, STATICS), (*tables, *results_tables(results))
        if request.full:
            parts = run_parts(request, rates, results)
            if parts is None:
                return None
            said = (*said, *(each for part in parts for each in part.findings))
            tables = (*tables, *(each for part in parts for each in part.tables))
        page = request.out / "table.md"
        write_text_atomically(page, markdown_page(f"{request.out.name}: {self.summary}", tables, said))
        written = (page, *ExperimentFolder(request.out / COMPARED, KIND).written)
        succeeded = bool(results.of_condition(STACKED))
        return ReproductionReport(self.summary, tables, request.out, written, said, succeeded)

    def _choose_rates(
        self, setting: Setting, dataset: Dataset, request: Request
    ) -> tuple[Rates, tuple[Table, ...]] | None:
        """Every contestant's learning rate, and the table of how it was chosen; None when interrupted."""
        if request.quick:
            return dict.fromkeys((each.name for each in self.contestants), QUICK_RATE), ()
        return choose_rates(setting, self.contestants, self.rates, dataset, request, "rates")

    def _figures(self, results: Results, heading: str) -> dict[str, str]:
        if not results.runs:
            return {}
        return {name: draw_curves(results, picture, heading) for name, picture in self.pictures.items()}


REPRODUCTIONS.register("stacking")(Stacking())
