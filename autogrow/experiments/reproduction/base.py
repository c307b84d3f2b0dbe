"""What can be reproduced, by name, and what is asked of all of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.errors import DataError
from autogrow.experiments.conditions import Design, Experiment
from autogrow.experiments.running import OnRun
from autogrow.policy.execution import Execution
from autogrow.registry import Registry
from autogrow.report.tables import Table

KIND = "reproduce"
ResultsFolder = Literal["reproduce", "studies"]


@dataclass(frozen=True)
class Request:
    """How something is to be reproduced."""

    num_seeds: int
    out: Path
    quick: bool = False
    """Short runs on little data: they show that it works, not what comes out."""
    full: bool = False
    """With the parts that take hours."""
    data_dir: Path | None = None
    device: str = "cpu"
    execution: Execution = field(default_factory=Execution)
    jobs: int = 1
    """Training runs at a time."""
    on_run: OnRun | None = None
    interrupted: Callable[[], bool] | None = None


@dataclass(frozen=True)
class ReproductionReport:
    """What came out."""

    heading: str
    tables: tuple[Table, ...]
    folder: Path
    written: tuple[Path, ...]
    paragraphs: tuple[str, ...] = ()
    """Findings in words."""
    succeeded: bool = True
    """Whether any run of what it is about did not fail."""


@dataclass(frozen=True)
class DesignedExperiment:
    """Conditions that are compared on one data set."""

    experiment: Experiment
    design: Design


BuildExperiment = Callable[[Dataset, Request], DesignedExperiment]


class Reproduction(ABC):
    """Something that can be run again from its name alone."""

    name: str
    summary: str
    """What it asks, in a line."""
    place: ResultsFolder = "reproduce"
    """The folder under ``results`` that it is written to."""
    default_seeds: int = 5
    needs_gpu: bool = False
    """Whether its full size is meant for a GPU: on a CPU it takes days."""

    has_full: bool = False
    """Whether it has parts that take hours, and are left out unless they are asked for."""

    @abstractmethod
    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        """The data sets that it opens on such a device; `full` with the parts that take hours."""

    def instead_of(self, dataset: str) -> str | None:
        """The data set that is taken where a needed one is not there; None: no other will do."""
        return None

    def open(self, dataset: str, data_dir: Path | None) -> Dataset:
        """One of the needed data sets, or what is taken instead. Raises `DataError` for the needed one."""
        try:
            return open_dataset(dataset, data_dir)
        except DataError:
            instead = self.instead_of(dataset)
            if instead is None:
                raise
            try:
                return open_dataset(instead, data_dir)
            except DataError:
                pass
            raise

    @abstractmethod
    def run(self, request: Request) -> ReproductionReport | None:
        """Run it, or go on with it; None when `request.interrupted` said so.

        Raises `DataError` for missing data, `RunFolderError` and others with one line for what a user can mend.
        """


REPRODUCTIONS: Registry[Reproduction] = Registry("reproduction")
