"""A study: alternatives for a growth policy, everything else equal, on several data sets; one table and what it says.

Results are read on validation data, since defaults are chosen by them: the test split stays closed.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.pages import Pages
from autogrow.experiments.reproduction.base import Place, Report, Reproduction, Request
from autogrow.experiments.reproduction.study_tables import STATIC, findings, study_table, tables_of_grounds
from autogrow.experiments.results import Results
from autogrow.experiments.running import run_experiment
from autogrow.experiments.tables import markdown_page
from autogrow.files import write_text_atomically
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings

KIND = "study"


@dataclass(frozen=True)
class Ground:
    """A data set, and how networks are trained on it."""

    dataset: str
    model: ModelSpec
    training: TrainingSettings
    train_size: int | None = None
    needs_gpu: bool = False
    """Whether it is left out on a CPU."""

    def shortened(self) -> "Ground":
        """For `--quick`: a few steps on a few examples."""
        training = {"epochs": 1, "steps": 40, "batch_size": 32, "sample_every": 1}
        return replace(self, training=self.training.model_copy(update=training), train_size=200)


@dataclass(frozen=True)
class Choice:
    """One of the alternatives: the fields in which its policy differs from the study's base."""

    name: str
    summary: str
    fields: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    """Training settings in which it differs from its ground."""

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class Study(Reproduction):
    """Alternatives for one choice, and the one that the others are compared with."""

    name: str
    summary: str
    base: dict[str, Any]
    """Fields of the policy that all alternatives share."""
    choices: tuple[Choice, ...]
    baseline: str
    grounds: tuple[Ground, ...]
    place: Place = "studies"

    def needed_data(self, device: str) -> tuple[str, ...]:
        return tuple(ground.dataset for ground in self._grounds_on(device))

    def _grounds_on(self, device: str) -> list[Ground]:
        return [ground for ground in self.grounds if device != "cpu" or not ground.needs_gpu]

    def run(self, request: Request) -> Report | None:
        grounds = self._grounds_on(request.device)
        datasets = [open_dataset(ground.dataset, request.data_dir) for ground in grounds]
        found: dict[str, Results] = {}
        for ground, dataset in zip(grounds, datasets, strict=True):
            results = self._run_on(ground.shortened() if request.quick else ground, dataset, request)
            if results is None:
                return None
            found[ground.dataset] = results
        said = findings(found)
        page = request.out / "table.md"
        write_text_atomically(page, markdown_page(f"{request.out.name}: {self.summary}", (study_table(found),), said))
        written = (page, *(self._folder(request, ground.dataset).result_file for ground in grounds))
        succeeded = any(results.of_condition(self.baseline) for results in found.values())
        return Report(self.summary, tables_of_grounds(found), request.out, written, said, succeeded)

    def _run_on(self, ground: Ground, dataset: Dataset, request: Request) -> Results | None:
        experiment = Experiment(
            dataset,
            ground.model,
            self.policy(self._baseline_choice),
            ground.training,
            train_size=ground.train_size,
            device=request.device,
            execution=request.execution,
            keeps_validation_apart=True,
            standardizes_targets=False,  # so that what is published of sine and friedman can be measured again
        )
        return run_experiment(
            experiment,
            self.design(ground),
            request.num_seeds,
            folder=self._folder(request, ground.dataset),
            on_run=request.on_run,
            interrupted=request.interrupted,
            jobs=request.jobs,
            pages=lambda results, heading: Pages(None),
        )

    def _folder(self, request: Request, dataset: str) -> ExperimentFolder:
        return ExperimentFolder(request.out / dataset, KIND)

    def design(self, ground: Ground) -> Design:
        """What is compared on one data set."""
        static = Condition.fixed(STATIC, "static", "full size from the first step", FixedPlan(static_policy()))
        grown = (
            Condition.fixed(choice.name, choice.title, choice.summary, self._plan(choice, ground))
            for choice in self.choices
        )
        return Design((static, *grown), subject=self.baseline, unit=STATIC, split="validation")

    def _plan(self, choice: Choice, ground: Ground) -> FixedPlan:
        training = ground.training.model_copy(update=choice.training) if choice.training else None
        return FixedPlan(self.policy(choice), None, training)

    def policy(self, choice: Choice) -> GrowthPolicy:
        """The policy of an alternative."""
        return GrowthPolicy.from_dict({**self.base, **choice.fields})

    @property
    def _baseline_choice(self) -> Choice:
        return next(choice for choice in self.choices if choice.name == self.baseline)
