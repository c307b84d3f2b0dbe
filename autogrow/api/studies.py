"""Searching for a policy, and the study that this leaves."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna

from autogrow.api.options import bytes_of, merged
from autogrow.data.dataset import Dataset
from autogrow.data.python_data import DEFAULT_NAME
from autogrow.errors import UsageError, shortened
from autogrow.experiments.confirmation import DEFAULT_SEEDS, DEFAULT_TOP, Confirmation, confirm_policies
from autogrow.experiments.running import OnRun
from autogrow.export.policies import export_policy
from autogrow.inputs import (
    DataLike,
    ModelLike,
    resolve_data_dir,
    resolve_device,
)
from autogrow.keywords import checks_types, refuses_unknown
from autogrow.paths import resolved
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.search_plans import plan_new_search, plan_resumed_search, settings_of_a_search
from autogrow.study.executor import Executor
from autogrow.study.finding_runs import find_run, named_run, next_run_name
from autogrow.study.monitor import SearchMonitor
from autogrow.study.run_folder import RunFolder
from autogrow.study.search import SearchResult, read_result, run_search
from autogrow.study.settings import parse_duration, parse_timeout
from autogrow.study.study_database import StudyDatabase

DEFAULT_DATASET = "digits"


@dataclass(frozen=True)
class Study:
    """A finished (or interrupted) search: what `search` returns, and what `Study.load` opens."""

    result: SearchResult

    def __post_init__(self) -> None:
        given: object = self.result
        if not isinstance(given, SearchResult):
            place = shortened(repr(given), 80)
            raise UsageError(f"Study({place}) opens nothing: write Study.load({place})")

    @classmethod
    @refuses_unknown()
    def load(cls, run: str | Path, *, storage: str | None = None) -> "Study":
        """The search in a run's folder: a path, a URL, or a bare name under ``results``. It is only read.

        storage: URL of the database that its study is in, where that is not in the folder.
        """
        return cls(read_result(find_run(run, storage)))

    @property
    def run(self) -> RunFolder:
        return self.result.folder

    @property
    def optuna_study(self) -> optuna.Study:
        """The underlying Optuna study, for everything that Optuna can do with one."""
        return StudyDatabase.open(self.run.study_location(), self.run.settings().chosen_objectives).study

    @refuses_unknown()
    def best_policy(self, prefer: str | None = None) -> GrowthPolicy:
        """The policy of the best trial: by "score", "gap", "speed", "knee", or any objective's preference.

        By default by the score, of text by the loss.
        """
        return export_policy(self.run, prefer=prefer)

    @refuses_unknown()
    def confirm(
        self,
        *,
        top: int = DEFAULT_TOP,
        seeds: int = DEFAULT_SEEDS,
        prefer: str | None = None,
        model: str | None = None,
        data_dir: str | Path | None = None,
        device: str = "auto",
        out: str | Path | None = None,
        jobs: int = 1,
        on_run: OnRun | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> Confirmation | None:
        """The best policies trained again on other seeds, as is the default one; see ``autogrow confirm --help``."""
        return confirm_policies(
            self.run,
            top=top,
            num_seeds=seeds,
            prefer=prefer,
            model=model,
            data_dir=None if data_dir is None else resolve_data_dir(data_dir),
            device=resolve_device(device),
            out=None if out is None else resolved(out),
            jobs=jobs,
            on_run=on_run,
            interrupted=interrupted,
        )


@refuses_unknown(settings_of_a_search)
@checks_types("dataset", "model")
def search(
    dataset: DataLike | None = None,
    model: ModelLike | None = None,
    *,
    trials: int | None = None,
    seeds_per_policy: int | None = None,
    time_budget: str | None = None,
    compute_budget: str | None = None,
    name: str | None = None,
    out: str | os.PathLike[str] = "results",
    resume: bool = False,
    space: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    objectives: str | Sequence[str] | None = None,
    sampler: str | None = None,
    early_stopping: Literal["flops", "train_seconds", "none"] | None = None,
    warm_start: str | Sequence[str] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    train_size: int | None = None,
    max_params: int | None = None,
    max_flops: float | None = None,
    max_memory: str | int | None = None,
    max_latency_ms: float | None = None,
    gpus_per_trial: float | Literal["auto"] | None = None,
    cpus_per_trial: int | None = None,
    max_concurrent: int | None = None,
    memory_per_trial: str | int | None = None,
    max_consecutive_failures: int | None = None,
    trial_timeout: str | None = None,
    precision: Literal["auto", "float32", "bfloat16"] | None = None,
    compile: bool | None = None,
    fork_at_growth: bool | None = None,
    seed: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    task: str | None = None,
    layout: Literal["channels_first", "channels_last"] | None = None,
    address: str | None = None,
    storage: str | None = None,
    executor: Executor | None = None,
    monitor: SearchMonitor | None = None,
    **settings: Any,
) -> Study:
    """Search for a growth policy, on Ray or what `executor` is. Every option of ``autogrow search`` has its name here.

    Args:
        dataset: A name, the path of an ``.npz`` file or of a text (``book.txt?context=64``), a `Dataset`, arrays as
            (X, y) or (X, y, X_test, y_test), tokens as whole numbers (number,), or anything with ``__len__`` and
            ``__getitem__`` that gives pairs (input, target).
        model: "auto", a name, ``package.module:factory``, a `ModelSpec`; a function that makes a network, called for
            every seed; or an `nn.Module`, used with the weights that it has. Where the last two cannot be imported,
            they run on this machine alone and are given again to go on with the run.
        trials: Training runs; 20 by default. From 8 on, the policies that look good take some of them on other seeds.
        seeds_per_policy: The most seeds that one policy is trained on; 5 by default, 1 for none but the run's own.
        time_budget: Start no trial after this time, as in "30m" or "1h30m"; what runs is saved.
        compute_budget: The same for the core-time (GPU-time) of all trials together.
        name: Of the run's folder in `out`; by default the data set's with a number.
        out: Folder or URL that runs are kept in.
        resume: Go on with the run of that `name` with its own settings; only budget and place may change.
        space: Search space: a shipped name, the path of a YAML file, or its content.
        objectives: What to optimize: names, in a sequence or separated by commas.
        sampler: What proposes policies: "tpe", "nsga2", "gp" or "random".
        early_stopping: What trials have used when they are compared and the worst third is stopped.
        warm_start: Runs, and policy files, whose best is tried first (``--from``).
        epochs: Of a trial; 15 below 10,000 training examples, else 10.
        batch_size: Examples per training step; 128, fewer on small data sets.
        learning_rate: Where the space does not search it; 0.001.
        train_size: Train on a stratified subset of this number of examples.
        max_params: Most parameters of a network.
        max_flops: Most training FLOPs (forward and backward) of one example.
        max_memory: Most memory of a training step: bytes, or a text such as "800M".
        max_latency_ms: Longest measured forward pass of 128 examples, in milliseconds.
        gpus_per_trial: Share of a GPU, or number of GPUs; "auto" measures how many trials train most together.
        cpus_per_trial: Cores, and threads, of a trial.
        max_concurrent: Trials at a time.
        memory_per_trial: What a trial may take of its machine: bytes, or a text such as "2G".
        max_consecutive_failures: Failed trials in a row after which the search stops; 5.
        trial_timeout: A trial that takes no step for this time fails, as in "30m"; "none": never.
        precision: Of forward passes and gradients.
        compile: Whether networks go through `torch.compile`.
        fork_at_growth: Whether trials that start alike share what they train before they first grow.
        seed: Of the sampler, the networks and the order of batches.
        data_dir: Where data sets lie, and where data that are given as arrays are kept.
        task: What the targets of a user's own data are for; decided by them where None.
        layout: Of a user's own images; decided by their shape where None.
        address: A Ray cluster to join; one is started here where None.
        storage: URL of a database that several drivers share.
        executor: What trials run on: an object with the interface of `autogrow.study.executor.Executor`; Ray where it
            is None. It is not kept: give it again to go on with the run.
        monitor: Is told of everything that happens.
        settings: Those that have another form here: `limits`, `execution`, `training`, `model_options`, and times and
            sizes as numbers (`compute_budget_seconds`, `memory_per_trial_bytes`, ...).

    Returns:
        The study, also where it was interrupted.

    Raises:
        UsageError: For an argument that does not exist, or has a value that it cannot have.
        DataError, NetworkError, PolicyError: For data, a network or a search space that cannot be used.
        RunFolderError: Where the run's folder is taken, missing, or on a full disk.
        NoSuccessfulTrialError: Where no trial finished. All are `AutogrowError`, with one line.
    """
    own = {key: value for key, value in locals().items() if key in _PASSED_ON and value is not None}
    limits = {
        "max_parameters": max_params,
        "max_flops": max_flops,
        "max_memory_bytes": bytes_of(max_memory, "max_memory"),
        "max_latency_ms": max_latency_ms,
    }
    renamed = {
        "time_budget_seconds": None if time_budget is None else parse_duration(time_budget),
        "compute_budget_seconds": None if compute_budget is None else parse_duration(compute_budget),
        "trial_timeout_seconds": None if trial_timeout is None else parse_timeout(trial_timeout),
        "memory_per_trial_bytes": bytes_of(memory_per_trial, "memory_per_trial"),
        "limits": merged(settings.get("limits"), limits),
        "execution": merged(settings.get("execution"), {"precision": precision, "compile": compile}),
    }
    settings = {**settings, **own, **{key: value for key, value in renamed.items() if value is not None}}
    place = os.fspath(out)
    folder = named_run(place, next_run_name(place, _stem_of(dataset)) if name is None else name)
    if resume:
        if name is None:
            raise UsageError("resume needs the name of the run to go on with")
        plan = plan_resumed_search(folder, dataset=dataset, model=model, executor=executor, **settings)
    else:
        data = DEFAULT_DATASET if dataset is None else dataset
        plan = plan_new_search(data, "auto" if model is None else model, executor=executor, **settings)
    return Study(run_search(plan, folder, resume=resume, monitor=monitor))


_PASSED_ON = (
    "trials", "seeds_per_policy", "space", "objectives", "sampler", "early_stopping", "warm_start", "epochs",
    "batch_size", "learning_rate", "train_size", "gpus_per_trial", "cpus_per_trial", "max_concurrent",
    "max_consecutive_failures", "fork_at_growth", "seed", "data_dir", "task", "layout", "address", "storage",
)  # fmt: skip
"""Arguments of `search` that planning takes as they are."""


def _stem_of(dataset: DataLike | None) -> str:
    """What a run is named after where its caller gives no name."""
    if dataset is None:
        return DEFAULT_DATASET
    if isinstance(dataset, Dataset):
        return dataset.name
    return os.fspath(dataset) if isinstance(dataset, str | os.PathLike) else DEFAULT_NAME
