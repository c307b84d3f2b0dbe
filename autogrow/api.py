"""The Python interface: what ``import autogrow`` offers. The command line calls the same functions."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from torch import nn

from autogrow.data.arrays import Layout
from autogrow.data.dataset import Dataset
from autogrow.data.python_data import DEFAULT_NAME
from autogrow.errors import UsageError, shortened
from autogrow.experiments.comparison import KIND, compare_policy
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.confirmation import DEFAULT_SEEDS, DEFAULT_TOP, Confirmation, confirm_policies
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.results import Results
from autogrow.experiments.running import OnRun
from autogrow.export.evaluation import evaluate_network
from autogrow.export.policies import export_policy
from autogrow.export.prepared_network import PreparedNetwork
from autogrow.export.retraining import TrainResult, train_policy
from autogrow.export.saved_network import load_network
from autogrow.inputs import (
    DataLike,
    open_data,
    read_before,
    resolve_data_dir,
    resolve_device,
    resolve_model,
    training_settings,
)
from autogrow.keywords import refuses_unknown
from autogrow.models.building import ModelSpec
from autogrow.paths import resolved, resolved_dataset
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.reading.arrays import Array
from autogrow.study.finding_runs import find_run, named_run, next_run_name
from autogrow.study.monitor import SearchMonitor
from autogrow.study.objectives import OBJECTIVES, parse_objectives
from autogrow.study.planning import SearchPlan, plan_search, resume_settings, with_measured_packing
from autogrow.study.resuming import RESUMABLE_SETTINGS, refuse_changes
from autogrow.study.run_folder import RunFolder
from autogrow.study.search import SearchResult, read_result, run_search
from autogrow.study.search_space import read_space
from autogrow.study.settings import DEFAULT_OBJECTIVES, DEFAULT_TRIALS, SearchSettings, parse_duration
from autogrow.study.study_database import StudyDatabase
from autogrow.study.warm_start import read_warm_start
from autogrow.tasks import TASKS
from autogrow.training.evaluation import Metrics
from autogrow.training.trainer import Signal

logger = logging.getLogger(__name__)
DEFAULT_DATASET = "digits"


def _settings_of_a_search() -> list[str]:
    """What `search` and `plan_new_search` take beside their own arguments."""
    decided_here = {"fingerprint", "working_directory", "num_validation", "largest_class_share"}
    return [name for name in (*SearchSettings.model_fields, *_ARGUMENTS_OF_A_SEARCH) if name not in decided_here]


_ARGUMENTS_OF_A_SEARCH = ("model_options", "epochs", "batch_size", "learning_rate", "time_budget_seconds")


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
        objectives = tuple(OBJECTIVES[name] for name in self.run.settings().objectives)
        return StudyDatabase.open(self.run.study_location(), objectives).study

    @refuses_unknown()
    def best_policy(self, prefer: str = "accuracy") -> GrowthPolicy:
        """The policy of the best trial: by "accuracy", "gap", "speed" or "knee"."""
        return export_policy(self.run, prefer=prefer)

    @refuses_unknown()
    def confirm(
        self,
        *,
        top: int = DEFAULT_TOP,
        seeds: int = DEFAULT_SEEDS,
        prefer: str = "accuracy",
        model: str | None = None,
        data_dir: str | Path | None = None,
        device: str = "auto",
        out: str | Path | None = None,
        jobs: int = 1,
        on_run: OnRun | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> Confirmation | None:
        """The best policies trained again on other seeds, beside the default one; see ``autogrow confirm --help``."""
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


@refuses_unknown(_settings_of_a_search)
def search(
    dataset: DataLike | None = None,
    model: str | ModelSpec | None = None,
    *,
    trials: int | None = None,
    time_budget: str | None = None,
    name: str | None = None,
    out: str | Path = "results",
    resume: bool = False,
    monitor: SearchMonitor | None = None,
    **settings: Any,
) -> Study:
    """Search for a growth policy; see ``autogrow search --help`` for the settings, which have the same names here.

    With `resume`, the run of that `name` goes on with its own settings; only its budget and where it runs may change.
    A run with a network of one's own needs its `model` named again: what a folder holds is never imported.
    Raises `autogrow.errors.AutogrowError` with one line for anything that a user can mend.
    """
    folder = named_run(out, next_run_name(out, _stem_of(dataset)) if name is None else name)
    seconds = parse_duration(time_budget) if time_budget is not None else None
    if resume:
        if name is None:
            raise UsageError("resume needs the name of the run to go on with")
        given = {"dataset": dataset, "model": model, **settings}
        plan = plan_resumed_search(folder, trials=trials, time_budget_seconds=seconds, **given)
    else:
        chosen = DEFAULT_TRIALS if trials is None else trials
        data = DEFAULT_DATASET if dataset is None else dataset
        plan = plan_new_search(data, model or "auto", trials=chosen, time_budget_seconds=seconds, **settings)
    return Study(run_search(plan, folder, resume=resume, monitor=monitor))


def _stem_of(dataset: DataLike | None) -> str:
    """What a run is named after where its caller gives no name."""
    if dataset is None:
        return DEFAULT_DATASET
    if isinstance(dataset, Dataset):
        return dataset.name
    return os.fspath(dataset) if isinstance(dataset, str | os.PathLike) else DEFAULT_NAME


@refuses_unknown(_settings_of_a_search)
def plan_resumed_search(folder: RunFolder, **settings: Any) -> SearchPlan:
    """Check a run that is to go on. Raises `UsageError` for a setting that is not the run's own and would change it.

    The settings are those of `plan_new_search`; what is None is not given. Only `RESUMABLE_SETTINGS` may change.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    changes = {name: given.pop(name) for name in RESUMABLE_SETTINGS if name in given}
    before = folder.settings()
    if not isinstance(given.get("dataset", ""), str):
        given["dataset"] = open_data(given["dataset"], before.data_dir, before.task, before.layout).name
    refuse_changes(before, given)
    if "data_dir" in changes:
        changes["data_dir"] = str(resolve_data_dir(changes["data_dir"]))
    model = given.get("model")
    return plan_search(*resume_settings(folder, model.name if isinstance(model, ModelSpec) else model, **changes))


@refuses_unknown(_settings_of_a_search)
def plan_new_search(
    dataset: DataLike,
    model: str | ModelSpec = "auto",
    *,
    trials: int = DEFAULT_TRIALS,
    space: str | Mapping[str, Any] = "default",
    model_options: Mapping[str, Any] | None = None,
    objectives: str | Sequence[str] = DEFAULT_OBJECTIVES,
    training: TrainingSettings | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
    warm_start: str | Sequence[str] = (),
    **settings: Any,
) -> SearchPlan:
    """Resolve and check every setting of a new search.

    training: in place of the defaults for a data set of this size; `epochs`, `batch_size` and `learning_rate` stand in
        place of what it says.
    warm_start: runs, and policy files, to begin with.
    """
    data_dir = resolve_data_dir(data_dir)
    if not isinstance(training, TrainingSettings | None):
        raise UsageError(f"training is {shortened(repr(training), 80)}: write TrainingSettings(...)")
    content = read_space(space)
    opened = open_data(dataset, data_dir, task, layout)
    spec = resolve_model(model, opened, model_options)
    fields = {
        "dataset": resolved_dataset(opened.name),
        "data_dir": str(data_dir),
        "fingerprint": opened.fingerprint,
        "task": opened.task,
        "layout": opened.layout,
        "standardizes_targets": TASKS[opened.task].standardizes_targets,
        "model": spec.name,
        "model_options": dict(spec.options),
        "space": content,
        "trials": trials,
        "objectives": tuple(objective.name for objective in parse_objectives(objectives)),
        "training": training_settings(opened, training, epochs, batch_size, learning_rate),
        "working_directory": os.getcwd(),
        "warm_start": read_warm_start(warm_start, content, settings.get("storage")),
        **settings,
    }
    return plan_search(*with_measured_packing(fields, "search", spec))


@refuses_unknown()
def train(
    model: str | ModelSpec | nn.Module,
    dataset: DataLike | None,
    policy: GrowthPolicy | str | Path,
    *,
    seed: int = 0,
    epochs: int | None = None,
    train_size: int | None = None,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
    device: str = "auto",
    execution: Execution = Execution(),
    out: str | Path | None = None,
    on_sample: Callable[[Sample], Signal] | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> TrainResult | None:
    """Train a network by a policy on train + validation and read the test split once.

    `model` is a name, a `ModelSpec`, ``package.module:factory``, or a module at full width, which is copied. The
    policy's own training settings are used, with `epochs` in their place where given, and where `dataset` is None the
    data that it was found with.
    """
    policy = policy if isinstance(policy, GrowthPolicy) else GrowthPolicy.load(policy)
    opened = open_data(dataset, data_dir, task, layout, read_before(policy, dataset))
    if isinstance(model, nn.Module):
        chosen: ModelSpec | nn.Module = model
        if out is not None:
            raise UsageError("out needs a model by name, so that it can be loaded again; save result.module yourself")
    else:
        chosen = resolve_model(model, opened, None)
    settings = training_settings(opened, policy.training, epochs)
    if opened.num_test == 0:
        logger.warning(f"data set {opened.name} has no test split: the network is not tested")
    return train_policy(
        chosen,
        opened,
        policy,
        settings,
        seed=seed,
        train_size=train_size,
        device=resolve_device(device),
        execution=execution,
        out=resolved(out) if out is not None else None,
        on_sample=on_sample,
        interrupted=interrupted,
    )


@refuses_unknown()
def compare(
    model: str | ModelSpec,
    dataset: DataLike | None,
    policy: GrowthPolicy | str | Path,
    *,
    seeds: int = 5,
    epochs: int | None = None,
    train_size: int | None = None,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
    device: str = "auto",
    execution: Execution = Execution(),
    out: str | Path | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> Results | None:
    """A network grown by a policy against four controls, paired over seeds; see ``autogrow compare --help``.

    The model goes by name, since every seed draws weights of its own; a `dataset` that is None is the one that the
    policy was found with. With `out`, results are written there, and what
    is there already is not trained again. `interrupted` is asked between steps whether to save and end: then there is
    no result yet.
    """
    if isinstance(model, nn.Module):
        raise UsageError("compare needs a model by name or package.module:factory: every seed draws weights of its own")
    policy = policy if isinstance(policy, GrowthPolicy) else GrowthPolicy.load(policy)
    opened = open_data(dataset, data_dir, task, layout, read_before(policy, dataset))
    experiment = Experiment(
        opened,
        resolve_model(model, opened, None),
        policy,
        training_settings(opened, policy.training, epochs),
        train_size=train_size,
        device=resolve_device(device),
        execution=execution,
    )
    folder = ExperimentFolder(Path(out), KIND) if out is not None else None
    return compare_policy(experiment, seeds, folder=folder, on_run=on_run, interrupted=interrupted)


@refuses_unknown()
def load(folder: str | Path, model: str | None = None) -> PreparedNetwork:
    """The network that `train` saved in `folder`, on the CPU, in eval mode, with its preprocessing in it.

    It takes inputs as they lie in the user's file and returns logits, or values in the user's unit; `predict` takes
    arrays and returns names of classes. Its `network` is the plain module, which takes standardized inputs.
    """
    saved = load_network(folder, model)
    return PreparedNetwork.of(saved.module, saved.config, str(folder)).eval()


@refuses_unknown()
def predict(
    network: str | Path | PreparedNetwork, inputs: Any, *, probabilities: bool = False, model: str | None = None
) -> Array:
    """What a network makes of examples; see `PreparedNetwork.predict`. `network` is a folder, or comes from `load`."""
    loaded = network if isinstance(network, PreparedNetwork) else load(network, model)
    return loaded.predict(inputs, probabilities=probabilities)


@refuses_unknown()
def evaluate(
    folder: str | Path,
    dataset: DataLike | None = None,
    *,
    model: str | None = None,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
) -> Metrics:
    """Metrics of a saved network on a data set's test split, which is read as the network's own data were.

    By default that data set is the one that it was trained with.

    A metric that is undefined there is NaN, and `undefined` says why.
    """
    saved = load_network(folder, model)
    opened = open_data(dataset, data_dir, task, layout, saved.config)
    return evaluate_network(saved, opened, resolved(folder))
