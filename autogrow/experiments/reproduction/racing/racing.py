"""How to choose by several seeds: tables of policies by seeds, on which thousands of searches are replayed.

Training takes hours, replaying minutes: tables are kept in the results, and the same command replays them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.errors import UsageError
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.reproduction.ablation import KIND, Workload
from autogrow.experiments.reproduction.base import (
    REPRODUCTIONS,
    Reproduction,
    ReproductionReport,
    Request,
    ResultsFolder,
)
from autogrow.experiments.reproduction.racing.drawn_policies import DrawnPolicy, draw_policies
from autogrow.experiments.reproduction.racing.judging import Replayed, left_out_table, replay_all, ways_table
from autogrow.experiments.reproduction.racing.replay import Drawn
from autogrow.experiments.reproduction.racing.searched_tables import (
    choosing_table,
    first_line_table,
    replay_as_searched,
)
from autogrow.experiments.reproduction.racing.seed_table import SeedTable
from autogrow.experiments.running import experiment_settings, run_conditions
from autogrow.experiments.tables import markdown_page
from autogrow.files import write_text_atomically
from autogrow.models.building import ModelSpec
from autogrow.policy.presets import DEFAULT, control_policy, static_policy
from autogrow.policy.training_settings import TEXT_RECIPE, TrainingSettings
from autogrow.report.judging import Yardstick
from autogrow.report.tables import Table
from autogrow.study.search_space import SearchSpace, find_space

POLICY_SEED = 7
NUM_RUNS, NUM_SEARCHES, QUICK_SEARCHES = 40, 500, 20
FEWEST_SEEDS = 4
"""Half of which only judge."""
DEFAULT_POLICY, FULL = "default", "full"


@dataclass(frozen=True)
class TableWorkload:
    """What one table is measured on."""

    workload: Workload
    num_policies: int
    space: str = "default"
    draws_splits: bool = False
    """Whether every seed has a validation split of its own."""

    @property
    def name(self) -> str:
        """Of its folder."""
        plain = self.workload.dataset.partition("?")[0]
        return f"{plain}-splits-drawn" if self.draws_splits else plain

    @property
    def in_depth(self) -> bool:
        return self.space == "depth"

    def shortened(self) -> "TableWorkload":
        """For `--quick`."""
        return TableWorkload(self.workload.shortened(), 4, self.space, self.draws_splits)

    def policies(self) -> tuple[DrawnPolicy, ...]:
        """The default policy, the full network, then those of the space."""
        training = self.workload.training
        default = control_policy(DEFAULT, 100, in_depth=self.in_depth)
        controls = (
            DrawnPolicy(DEFAULT_POLICY, default, training, {}),
            DrawnPolicy(FULL, static_policy(), training, {}),
        )
        return *controls, *draw_policies(
            SearchSpace.load(find_space(self.space)), training, self.num_policies, POLICY_SEED
        )


DIGITS = Workload("digits", ModelSpec("mlp"), TrainingSettings(epochs=15))
FRIEDMAN = Workload("friedman", ModelSpec("mlp", {"batch_norm": False}), TrainingSettings(epochs=15))
TEXT = Workload(
    "stdlib?mebibytes=1&context=64",
    ModelSpec("gpt", {"layers": 4, "width": 16}),
    TrainingSettings(
        steps=300, batch_size=8, learning_rate=4e-3, warmup_steps=20, sample_every=10, sample_size=64, **TEXT_RECIPE
    ),
)
WORKLOADS = (
    TableWorkload(DIGITS, 42),
    TableWorkload(FRIEDMAN, 42),
    TableWorkload(TEXT, 16, "depth"),
    TableWorkload(DIGITS, 42, draws_splits=True),
)


@dataclass(frozen=True)
class Racing(Reproduction):
    """Tables are trained first, then all rules are replayed on them."""

    name: str = "racing"
    summary: str = "How to choose by several seeds: rules replayed on tables of policies by seeds"
    place: ResultsFolder = "studies"
    default_seeds: int = 24
    workloads: tuple[TableWorkload, ...] = WORKLOADS

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return tuple(each.workload.dataset for each in self.workloads)

    def run(self, request: Request) -> ReproductionReport | None:
        if request.quick:
            request = replace(request, num_seeds=max(FEWEST_SEEDS, request.num_seeds))
        if request.num_seeds < FEWEST_SEEDS:
            raise UsageError(
                f"seeds is {request.num_seeds}: racing needs at least {FEWEST_SEEDS}, half of them to judge by"
            )
        tables: dict[str, SeedTable] = {}
        yardsticks: dict[str, Yardstick] = {}
        for each in self.workloads:
            workload = each.shortened() if request.quick else each
            experiment = self._experiment(workload, open_dataset(workload.workload.dataset, request.data_dir), request)
            table = self._table(workload, experiment, request)
            if table is None:
                return None
            tables[workload.name], yardsticks[workload.name] = table, experiment.yardstick("validation")
        searches = QUICK_SEARCHES if request.quick else NUM_SEARCHES
        replayed = {name: self._replay(table, searches, request.jobs) for name, table in tables.items()}
        shown = (
            left_out_table(replayed),
            *as_searched_tables(tables, yardsticks, searches, request.jobs),
            *(ways_table(each, NUM_RUNS, searches) for each in replayed.values()),
        )
        page = request.out / "table.md"
        write_text_atomically(page, markdown_page(f"{request.out.name}: {self.summary}", shown, ()))
        written = (page, *(request.out / f"{name}.json" for name in tables))
        return ReproductionReport(self.summary, shown, request.out, written)

    def _replay(self, table: SeedTable, searches: int, jobs: int) -> Replayed:
        drawn = Drawn.of(table, "loss", "test_loss", len(table.seeds) // 2)
        return replay_all(table.name, drawn, NUM_RUNS, searches, POLICY_SEED, jobs)

    def _table(self, workload: TableWorkload, experiment: Experiment, request: Request) -> SeedTable | None:
        """The table of one workload, from its file where that has all seeds."""
        path = request.out / f"{workload.name}.json"
        policies = workload.policies()
        design = _design(policies)
        rows = [(each.name, _recipe(each), each.point) for each in policies]
        if path.exists():
            table = SeedTable.read(path)
            if len(table.seeds) >= request.num_seeds and table.is_of(experiment.settings(), rows):
                return table
        settings = experiment_settings(experiment, design)
        folder = ExperimentFolder(request.out / "runs" / workload.name, KIND)
        folder.check(settings)
        with folder.locked():
            folder.begin(settings)
            outcomes = run_conditions(
                experiment, design, request.num_seeds,
                folder=folder, on_run=request.on_run, interrupted=request.interrupted, jobs=request.jobs,
            )  # fmt: skip
        if outcomes is None:
            return None
        table = SeedTable.of(workload.name, experiment.settings(), rows, outcomes)
        table.write(path)
        return table

    def _experiment(self, workload: TableWorkload, dataset: Dataset, request: Request) -> Experiment:
        work = workload.workload
        return Experiment(
            dataset, work.model, workload.policies()[0].policy, work.training, train_size=work.train_size,
            device=request.device, execution=request.execution, keeps_validation_apart=True,
            draws_splits=workload.draws_splits,
        )  # fmt: skip


def as_searched_tables(
    tables: Mapping[str, SeedTable], yardsticks: Mapping[str, Yardstick], num_searches: int, jobs: int
) -> tuple[Table, Table]:
    """What searches choose and say when they are replayed as they are run: the part that takes minutes."""
    chosen = replay_as_searched(tables, yardsticks, num_searches, POLICY_SEED, jobs)
    return choosing_table(chosen), first_line_table(chosen)


def _recipe(drawn: DrawnPolicy) -> dict[str, Any]:
    return {**drawn.policy.recipe(), "training": drawn.training.model_dump(mode="json", exclude_unset=True)}


def _design(policies: tuple[DrawnPolicy, ...]) -> Design:
    conditions = tuple(
        Condition.fixed(each.name, each.name.replace("_", " "), each.name, FixedPlan(each.policy, None, each.training))
        for each in policies
    )
    return Design(conditions, subject=DEFAULT_POLICY, unit=FULL, keeps_curves=True)


REPRODUCTIONS.register("racing")(Racing())
