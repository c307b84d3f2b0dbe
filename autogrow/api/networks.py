"""Training networks by a policy, comparing them with controls, and using what was trained."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from autogrow.api.options import execution_of, within
from autogrow.data.arrays import Layout
from autogrow.experiments.comparison import KIND, compare_policy
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.results import Results
from autogrow.experiments.running import OnRun
from autogrow.export.evaluation import evaluate_network
from autogrow.export.generation import generate_text
from autogrow.export.prepared_network import PreparedNetwork
from autogrow.export.retraining import TrainResult, train_policy
from autogrow.export.saved_network import load_network
from autogrow.export.text_prediction import TextPrediction
from autogrow.export.text_prediction import predict_text as predict_saved
from autogrow.inputs import (
    DataLike,
    ModelLike,
    open_data,
    read_before,
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
from autogrow.training.ending import Signal
from autogrow.training.evaluation import Metrics

logger = logging.getLogger(__name__)


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
    hold_out_validation: bool = False,
    keep_trunk: bool = False,
    max_params: int | None = None,
    max_flops: float | None = None,
    max_memory: str | int | None = None,
    max_latency_ms: float | None = None,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] | None = None,
    compile: bool | None = None,
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
        hold_out_validation: Keep the validation examples apart, so that `shrink` can be judged by them.
        keep_trunk: Save in `out`, too, what the network and its optimizer were before the rate fell, for `shrink` to
            begin with.
        max_params: Most parameters of the network, if the policy does not say fewer.
        max_flops: Most training FLOPs (forward and backward) of one example.
        max_memory: Most memory of a training step: bytes, or a text such as "800M".
        max_latency_ms: Longest measured forward pass of 128 examples, in milliseconds.
        data_dir: Where data sets lie, and where data that are given as arrays are kept.
        task: What the targets of a user's own data are for; decided by them where None.
        layout: Of a user's own images; decided by their shape where None.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        precision: Of forward passes and gradients; "auto": bfloat16 on GPUs that compute with it.
        compile: Whether networks go through `torch.compile`.
        execution: All choices of how training is executed; `precision` and `compile` stand in place of its own.
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
    policy = within(policy, max_params, max_flops, max_memory, max_latency_ms)
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
        hold_out_validation=hold_out_validation or None,
        keep_trunk=keep_trunk,
        device=resolve_device(device),
        execution=execution_of(execution, precision, compile),
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
    max_params: int | None = None,
    max_flops: float | None = None,
    max_memory: str | int | None = None,
    max_latency_ms: float | None = None,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] | None = None,
    compile: bool | None = None,
    execution: Execution = Execution(),
    out: str | Path | None = None,
    jobs: int = 1,
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
        jobs: Training runs at a time, each in a process of its own.
        epochs, train_size, max_params, max_flops, max_memory, max_latency_ms, data_dir, task, layout, device,
            precision, compile, execution: As `train` takes them.

    Returns:
        The results; None where `interrupted` said to end.

    Raises:
        AutogrowError: With one line for anything that a user can mend.
    """
    policy = policy if isinstance(policy, GrowthPolicy) else GrowthPolicy.load(policy)
    policy = within(policy, max_params, max_flops, max_memory, max_latency_ms)
    opened = open_data(dataset, data_dir, task, layout, read_before(policy, dataset))
    experiment = Experiment(
        opened,
        resolve_model(model, opened, None),
        policy,
        training_settings(opened, policy.training, epochs),
        train_size=train_size,
        device=resolve_device(device),
        execution=execution_of(execution, precision, compile),
    )
    folder = ExperimentFolder(Path(out), KIND) if out is not None else None
    return compare_policy(experiment, seeds, folder=folder, on_run=on_run, interrupted=interrupted, jobs=jobs)


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
def predict_text(
    folder: str | Path, text: str | Path, *, model: str | Callable[..., Any] | None = None
) -> TextPrediction:
    """What a network that was trained on text says of another text: log probabilities, loss, what comes next.

    Args:
        folder: That `train` saved the network in.
        text: The text itself; a `Path` is read as a file.
        model: A network that is not built in, see `load`.

    Raises:
        DataError: For an empty text, characters that the vocabulary has no token for, and a file that cannot be read.
        NetworkError: For a network that was not trained on text.
    """
    return predict_saved(load_network(folder, model), str(folder), text)


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
        top_k: How many of the likeliest tokens are drawn among; all where None.
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
