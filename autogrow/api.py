"""The Python interface: what ``import autogrow`` offers. The command line calls the same functions."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from pydantic import BaseModel

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
from autogrow.export.generation import generate_text
from autogrow.export.policies import export_policy
from autogrow.export.prepared_network import PreparedNetwork
from autogrow.export.retraining import TrainResult, train_policy
from autogrow.export.saved_network import load_network
from autogrow.inputs import (
    DataLike,
    ModelLike,
    open_data,
    read_before,
    resolve_data_dir,
    resolve_device,
    resolve_model,
    training_settings,
)
from autogrow.keywords import checks_types, refuses_unknown
from autogrow.paths import resolved
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import Sample
from autogrow.reading.arrays import Array
from autogrow.reading.fields import parse_bytes
from autogrow.search_plans import plan_new_search, plan_resumed_search, settings_of_a_search
from autogrow.study.finding_runs import find_run, named_run, next_run_name
from autogrow.study.monitor import SearchMonitor
from autogrow.study.run_folder import RunFolder
from autogrow.study.search import SearchResult, read_result, run_search
from autogrow.study.settings import parse_duration, parse_timeout
from autogrow.study.study_database import StudyDatabase
from autogrow.training.ending import Signal
from autogrow.training.evaluation import Metrics

logger = logging.getLogger(__name__)
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
    def best_policy(self, prefer: str = "score") -> GrowthPolicy:
        """The policy of the best trial: by "score", "gap", "speed", "knee", or any objective's preference."""
        return export_policy(self.run, prefer=prefer)

    @refuses_unknown()
    def confirm(
        self,
        *,
        top: int = DEFAULT_TOP,
        seeds: int = DEFAULT_SEEDS,
        prefer: str = "score",
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


@refuses_unknown(settings_of_a_search)
@checks_types("dataset", "model")
def search(
    dataset: DataLike | None = None,
    model: ModelLike | None = None,
    *,
    trials: int | None = None,
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
    monitor: SearchMonitor | None = None,
    **settings: Any,
) -> Study:
    """Search for a growth policy, on Ray. Every option of ``autogrow search`` has its name here.

    Args:
        dataset: A name, the path of an ``.npz`` file, a `Dataset`, arrays as (X, y) or (X, y, X_test, y_test), or
            anything with ``__len__`` and ``__getitem__`` that gives pairs (input, target).
        model: "auto", a name, ``package.module:factory``, a `ModelSpec`; a function that makes a network, called for
            every seed; or an `nn.Module`, used with the weights that it has. Where the last two cannot be imported,
            they run on this machine alone and are given again to go on with the run.
        trials: How many policies to try; 20 by default.
        time_budget: Start no trial after this time, as in "30m" or "1h30m"; what runs is saved.
        compute_budget: The same for the core-time (GPU-time) of all trials together.
        name: Of the run's folder in `out`; by default the data set's with a number.
        out: Folder or URL that runs are kept in.
        resume: Go on with the run of that `name` with its own settings; only budget and place may change.
        space: Search space: a shipped name, the path of a YAML file, or its content.
        objectives: What to optimize: names, in a sequence or separated by commas.
        sampler: What proposes policies: "tpe", "nsga2", "gp" or "random".
        early_stopping: What trials have used when they are compared and the worse half is stopped.
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
        "max_memory_bytes": _bytes(max_memory, "max_memory"),
        "max_latency_ms": max_latency_ms,
    }
    renamed = {
        "time_budget_seconds": None if time_budget is None else parse_duration(time_budget),
        "compute_budget_seconds": None if compute_budget is None else parse_duration(compute_budget),
        "trial_timeout_seconds": None if trial_timeout is None else parse_timeout(trial_timeout),
        "memory_per_trial_bytes": _bytes(memory_per_trial, "memory_per_trial"),
        "limits": _merged(settings.get("limits"), limits),
        "execution": _merged(settings.get("execution"), {"precision": precision, "compile": compile}),
    }
    settings = {**settings, **own, **{key: value for key, value in renamed.items() if value is not None}}
    place = os.fspath(out)
    folder = named_run(place, next_run_name(place, _stem_of(dataset)) if name is None else name)
    if resume:
        if name is None:
            raise UsageError("resume needs the name of the run to go on with")
        plan = plan_resumed_search(folder, dataset=dataset, model=model, **settings)
    else:
        data = DEFAULT_DATASET if dataset is None else dataset
        plan = plan_new_search(data, "auto" if model is None else model, **settings)
    return Study(run_search(plan, folder, resume=resume, monitor=monitor))


_PASSED_ON = (
    "trials", "space", "objectives", "sampler", "early_stopping", "warm_start", "epochs", "batch_size", "learning_rate",
    "train_size", "gpus_per_trial", "cpus_per_trial", "max_concurrent", "max_consecutive_failures", "fork_at_growth",
    "seed", "data_dir", "task", "layout", "address", "storage",
)  # fmt: skip
"""Arguments of `search` that planning takes as they are."""


def _bytes(size: str | int | None, name: str) -> int | None:
    return parse_bytes(size, name) if isinstance(size, str) else size


def _merged(given: Any, more: Mapping[str, Any]) -> Any:
    """A record or mapping with what stands in place of its fields; as it is where nothing does."""
    changes = {key: value for key, value in more.items() if value is not None}
    if not changes or not isinstance(given, BaseModel | Mapping | None):
        return given
    before = given.model_dump() if isinstance(given, BaseModel) else dict(given or {})
    return {**before, **changes}


def _stem_of(dataset: DataLike | None) -> str:
    """What a run is named after where its caller gives no name."""
    if dataset is None:
        return DEFAULT_DATASET
    if isinstance(dataset, Dataset):
        return dataset.name
    return os.fspath(dataset) if isinstance(dataset, str | os.PathLike) else DEFAULT_NAME


@refuses_unknown()
@checks_types("model", "dataset")
def train(
    model: ModelLike,
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

    Args:
        model: As `search` takes it; a module is copied.
        dataset: As `search` takes it; None: the data that the policy was found with. Without a test part nothing is
            split off: a line says that the network is not tested.
        policy: The policy, or the path of its file. Its own training settings are used.
        seed: Of the weights and of the order of batches.
        epochs: In place of those of the policy's training settings.
        train_size: Train on a stratified subset of this number of examples.
        data_dir: Where data sets lie, and where data that are given as arrays are kept.
        task: What the targets of a user's own data are for; decided by them where None.
        layout: Of a user's own images; decided by their shape where None.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        execution: Precision of the arithmetic, and whether networks are compiled.
        out: Folder that the network and the record of its training are saved in; an interrupted run goes on there.
        on_sample: Called with each measurement; says whether training goes on.
        interrupted: Asked between steps whether to save and end.

    Returns:
        The trained network and how it came about; None where `interrupted` said to end.

    Raises:
        AutogrowError: With one line for anything that a user can mend: `UsageError`, `DataError`, `NetworkError`,
            `RunFolderError` (of `out`), `TrainingDivergedError`.
    """
    policy = policy if isinstance(policy, GrowthPolicy) else GrowthPolicy.load(policy)
    opened = open_data(dataset, data_dir, task, layout, read_before(policy, dataset))
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
@checks_types("model", "dataset")
def compare(
    model: ModelLike,
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

    Args:
        model: As `search` takes it; every seed draws weights of its own, but for an `nn.Module`, which has its own.
        dataset: As `search` takes it, with a test part; None: the data that the policy was found with.
        policy: The policy, or the path of its file.
        seeds: How many.
        out: Folder that results are written to; what is there already is not trained again.
        on_run: Called with each finished run.
        interrupted: Asked between steps whether to save and end.
        epochs, train_size, data_dir, task, layout, device, execution: As `train` takes them.

    Returns:
        The results; None where `interrupted` said to end.

    Raises:
        AutogrowError: With one line for anything that a user can mend.
    """
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
@checks_types()
def load(folder: str | Path, model: str | Callable[..., Any] | None = None) -> PreparedNetwork:
    """The network that `train` saved in `folder`, on the CPU, in eval mode, with its preprocessing in it.

    It takes inputs as they lie in the user's file and returns logits, or values in the user's unit; `predict` takes
    arrays and returns names of classes. Its `network` is the plain module, which takes standardized inputs.
    """
    saved = load_network(folder, model)
    return PreparedNetwork.of(saved.module, saved.config, str(folder)).eval()


@refuses_unknown()
@checks_types("network", "inputs")
def predict(
    network: str | Path | PreparedNetwork,
    inputs: Any,
    *,
    probabilities: bool = False,
    model: str | Callable[..., Any] | None = None,
) -> Array:
    """What a network makes of examples; see `PreparedNetwork.predict`. `network` is a folder, or comes from `load`."""
    loaded = network if isinstance(network, PreparedNetwork) else load(network, model)
    return loaded.predict(inputs, probabilities=probabilities)


@refuses_unknown()
@checks_types()
def generate(
    folder: str | Path,
    prompt: str,
    *,
    num_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    seed: int = 0,
    model: str | Callable[..., Any] | None = None,
) -> str:
    """A text continued by the network that `train` saved in `folder`: the same text for the same seed.

    Args:
        folder: Of a network that was trained on text.
        prompt: The beginning.
        num_tokens: Tokens to go on with.
        temperature: Logits are divided by it; 0 takes the likeliest token each time.
        top_k: Draw among so many of the likeliest tokens; among all where None.
        seed: Of the draws.
        model: A network that is not built in, see `load`.

    Raises:
        DataError: For characters that the vocabulary has no token for, and an empty prompt.
        NetworkError: For a network that was not trained on text.
        UsageError: For numbers out of range.
    """
    return generate_text(
        load_network(folder, model),
        str(folder),
        prompt,
        num_tokens=num_tokens,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    )


@refuses_unknown()
@checks_types("dataset")
def evaluate(
    folder: str | Path,
    dataset: DataLike | None = None,
    *,
    model: str | Callable[..., Any] | None = None,
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
