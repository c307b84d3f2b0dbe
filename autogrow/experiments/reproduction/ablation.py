"""An ablation: alternatives for a growth policy, all else equal, on several data sets; one table and what it says.

Results are read on validation data, since defaults are chosen by them: the test split stays closed.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.controls import placebo_of
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.ablation_tables import (
    STATIC,
    ablation_findings,
    ablation_table,
    tables_by_dataset,
)
from autogrow.experiments.reproduction.base import Reproduction, ReproductionReport, Request, ResultsFolder
from autogrow.experiments.results import Results
from autogrow.experiments.running import run_experiment
from autogrow.experiments.tables import markdown_page
from autogrow.files import write_text_atomically
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings

KIND = "study"
"""As files of results call it."""


@dataclass(frozen=True)
class Workload:
    """A data set, and how networks are trained on it."""

    dataset: str
    model: ModelSpec
    training: TrainingSettings
    train_size: int | None = None
    needs_gpu: bool = False
    """Whether it is left out on a CPU."""
    quick_model: ModelSpec | None = None
    """What `--quick` trains in place of a model whose steps take long."""

    def shortened(self) -> "Workload":
        """For `--quick`: a few steps on a few examples, as many measurements as growing on a schedule waits for."""
        few = {"epochs": 1, "steps": 40, "batch_size": 16, "sample_every": 1, "sample_size": 32}
        training, model = self.training.model_copy(update=few), self.quick_model or self.model
        return replace(self, model=model, training=training, train_size=200)


@dataclass(frozen=True)
class Alternative:
    """One of the alternatives: the fields in which its policy differs from the ablation's base."""

    name: str
    summary: str
    fields: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    """Training settings in which it differs from its workload."""

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Ablation(Reproduction):
    """Alternatives for one choice, and the one that the others are compared with."""

    name: str
    summary: str
    base: dict[str, Any]
    """Fields of the policy that all alternatives share."""
    alternatives: tuple[Alternative, ...]
    baseline: str
    workloads: tuple[Workload, ...]
    place: ResultsFolder = "studies"

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return tuple(workload.dataset for workload in self._workloads_on(device))

    def _workloads_on(self, device: str) -> list[Workload]:
        return [workload for workload in self.workloads if device != "cpu" or not workload.needs_gpu]

    def run(self, request: Request) -> ReproductionReport | None:
        workloads = self._workloads_on(request.device)
        datasets = [open_dataset(workload.dataset, request.data_dir) for workload in workloads]
        found: dict[str, Results] = {}
        for workload, dataset in zip(workloads, datasets, strict=True):
            results = self._run_on(workload.shortened() if request.quick else workload, dataset, request)
            if results is None:
                return None
            found[workload.dataset] = results
        said = ablation_findings(found)
        page = request.out / "table.md"
        write_text_atomically(
            page, markdown_page(f"{request.out.name}: {self.summary}", (ablation_table(found),), said)
        )
        written = (page, *(self._folder(request, workload.dataset).result_file for workload in workloads))
        succeeded = any(results.of_condition(self.baseline) for results in found.values())
        return ReproductionReport(self.summary, tables_by_dataset(found), request.out, written, said, succeeded)

    def _run_on(self, workload: Workload, dataset: Dataset, request: Request) -> Results | None:
        experiment = Experiment(
            dataset,
            workload.model,
            self.policy(self._baseline_alternative),
            workload.training,
            train_size=workload.train_size,
            device=request.device,
            execution=request.execution,
            keeps_validation_apart=True,
            standardizes_targets=False,  # so that what is published of sine and friedman can be measured again
        )
        return run_experiment(
            experiment,
            self.design(workload),
            request.num_seeds,
            folder=self._folder(request, workload.dataset),
            on_run=request.on_run,
            interrupted=request.interrupted,
            jobs=request.jobs,
            pages=lambda results, heading: Pages(None),
        )

    def _folder(self, request: Request, dataset: str) -> ExperimentFolder:
        return ExperimentFolder(request.out / dataset, KIND)

    def design(self, workload: Workload) -> Design:
        """What is compared on one data set. The placebo, which is made from the baseline's run, comes last."""
        static = Condition.fixed(STATIC, "static", "full size from the first step", FixedPlan(static_policy()))
        grown = (
            Condition.fixed(alternative.name, alternative.title, alternative.summary, self._plan(alternative, workload))
            for alternative in self.alternatives
        )
        conditions = static, *grown, placebo_of(STATIC, self.baseline)
        return Design(conditions, subject=self.baseline, unit=STATIC, split="validation")

    def _plan(self, alternative: Alternative, workload: Workload) -> FixedPlan:
        training = workload.training.model_copy(update=alternative.training) if alternative.training else None
        return FixedPlan(self.policy(alternative), None, training)

    def policy(self, alternative: Alternative) -> GrowthPolicy:
        """The policy of an alternative."""
        return GrowthPolicy.from_dict({**self.base, **alternative.fields})

    @property
    def _baseline_alternative(self) -> Alternative:
        return next(alternative for alternative in self.alternatives if alternative.name == self.baseline)
