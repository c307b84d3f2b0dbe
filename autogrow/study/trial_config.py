"""What a trial is told: the configuration that a driver makes, an executor passes on and `run_trial` reads."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from autogrow.data.arrays import Layout
from autogrow.models.building import ModelSpec
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.reading.fields import PlainTable
from autogrow.study.settings import SPLIT_SEED, SearchSettings


class TrialConfig(BaseModel):
    """What a worker needs to run a trial. Frozen records, which travel as JSON and come back equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    role: str
    replicate_of: int | None = None
    """The root of the first trial of its policy, where that was another one, on another seed."""
    policy: GrowthPolicy
    training: TrainingSettings
    dataset: str
    data_dir: str
    task: str | None = None
    layout: Layout | None = None
    standardizes_targets: bool = True
    model: str
    model_options: PlainTable
    train_size: int | None
    split_seed: int
    seed: int
    device: str
    num_threads: int
    execution: Execution = Execution()
    gpu_memory_fraction: float | None
    memory_bytes: int | None = None
    """What the trial may allocate on the CPU beyond what its process has; None: no limit."""
    folder: str
    interrupt_file: str
    working_directory: str
    num_reports: int
    measured: tuple[str, ...] = ()
    """Metrics to measure at the end, which takes time: see `objectives.metrics_to_measure`. What the policy's limits
    look at is measured anyway."""
    scratch: str | None = None
    """A folder of the search for what goes with it, on the machine of its driver."""
    umask: int = 0o022
    """Whom the trial's files are not open to: as the driver's own, though Ray's processes keep theirs to the user."""
    forks: str | None = None
    """Folder of the forks that the search's trials leave each other; None where every trial starts from scratch."""

    @classmethod
    def of(cls, settings: SearchSettings, model: ModelSpec, **own: Any) -> Self:
        """A trial of a search: what all its trials have in common, and this one's `own`.

        Raises `NetworkError` for a network of the user's own that nobody has named: the trial's process takes its
        configuration for the word of whoever started the search.
        """
        model.refuse_unnamed()
        common = {
            "dataset": settings.dataset,
            "data_dir": settings.data_dir,
            "task": settings.task,
            "layout": settings.layout,
            "standardizes_targets": settings.standardizes_targets,
            "model": model.name,
            "model_options": dict(model.options),
            "train_size": settings.train_size,
            "split_seed": SPLIT_SEED,
            "seed": settings.seed,
            "num_threads": settings.cpus_per_trial,
            "execution": settings.execution,
            "working_directory": settings.working_directory,
        }
        return cls(**{**common, **own})

    @property
    def root(self) -> int:
        """The number of the first trial of this one's line, by which its folder is named."""
        return int(self.folder.rpartition("/")[2])
