"""The end of the way: train one network by a policy on train + validation, open the test split once, save it."""

import functools
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.data.preprocessing import Normalization
from autogrow.data.splits import merge_splits
from autogrow.data.tokenizers import TokenRecord
from autogrow.errors import RunFolderError, TrainingDivergedError, one_line
from autogrow.export.prepared_network import PreparedNetwork
from autogrow.export.saved_network import CONFIG, TRUNK, WEIGHTS, add_metrics, network_config, save_network
from autogrow.export.testing import NOT_READ, bits_per_byte_of, plain_test_metrics, read_test_split, unread
from autogrow.export.trunk import TRUNK_FILES, check_trunk, discard_trunk, has_trunk, save_trunk, trunk_shape
from autogrow.export.weights import check_weights
from autogrow.files import refuse_folder, write_json_atomically
from autogrow.former_names import with_present_names
from autogrow.locking import LOCK, FolderLock
from autogrow.models.building import ModelSpec
from autogrow.network.shape import NetworkShape
from autogrow.paths import resolved_dataset
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.reading.fields import check_seed
from autogrow.reading.json_files import read_json
from autogrow.removal import refuse_links, temporary_names
from autogrow.study.settings import SPLIT_SEED, versions
from autogrow.tasks import TASKS
from autogrow.training.assembly import assemble, fresh_network
from autogrow.training.ending import Signal, TrainingOutcome
from autogrow.training.evaluation import Metrics
from autogrow.training.placebo import Placebo
from autogrow.training.records import TrialFolder
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData

REQUEST = "request.json"
logger = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


@dataclass(frozen=True)
class TrainResult:
    """A trained network and how it came about. `test` is None where no test split was there, or was to be read."""

    module: nn.Module
    """Plain, on the CPU, in eval mode."""
    policy: GrowthPolicy
    train: Metrics
    validation: Metrics | None
    """None where training took the validation examples too."""
    test: Metrics | None
    """One that is undefined is NaN, and `undefined` says why; so are all where the split could not be read."""
    steps: int
    """Training steps taken."""
    parameters: int
    shape: NetworkShape
    train_seconds: float
    training_flops: float
    compute: float
    """Training FLOPs as a share of what the network at full width would have taken."""
    events: tuple[GrowthEvent, ...]
    samples: tuple[Sample, ...]
    growth_ended_by: str
    """Why the network grew no more, in words."""
    normalization: Normalization
    target_scale: Normalization | None
    """Of a regression's standardized targets: the network's outputs times std plus mean are in the user's unit."""
    prepared: PreparedNetwork
    """The module with the preprocessing in it: takes inputs as they lie in the user's file."""
    held_out_validation: bool
    """Whether validation was kept apart, because the policy's trigger watches it or the caller said so."""
    tokens: TokenRecord | None = None
    """Of text: what its tokens stand for."""
    flops: float | None = None
    """Training FLOPs of one example at the end."""

    @property
    def widths(self) -> dict[str, int]:
        """Units of every channel group at the end."""
        return self.shape.widths

    def metrics(self) -> dict[str, Any]:
        """Plain numbers, as config.json and ``--json`` give them; None for what is undefined, with a word why."""
        tested = {} if self.test is None else plain_test_metrics(self.test, self.train)
        return {
            "train_score": self.train.score,
            "train_loss": self.train.loss,
            **tested,
            **bits_per_byte_of({"train_loss": self.train.loss, **tested}, self.tokens),
            "parameters": self.parameters,
            "train_seconds": self.train_seconds,
            "training_flops": self.training_flops,
            "compute": self.compute,
            "num_events": len(self.events),
            "growth_ended_by": self.growth_ended_by,
        }


def _holding_its_folder(train: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """The same function, while no other process may train into its `out`."""

    @functools.wraps(train)
    def hold(*arguments: Arguments.args, **options: Arguments.kwargs) -> Returned:
        out = options.get("out")
        if not isinstance(out, Path):
            return train(*arguments, **options)
        refuse_folder(out)
        with FolderLock(out, f"folder {out}").held():
            return train(*arguments, **options)

    return hold


@_holding_its_folder
def train_policy(
    model: ModelSpec | nn.Module,
    dataset: Dataset,
    policy: GrowthPolicy,
    settings: TrainingSettings,
    *,
    seed: int = 0,
    train_size: int | None = None,
    hold_out_validation: bool | None = None,
    device: str = "cpu",
    execution: Execution = Execution(),
    out: Path | None = None,
    on_sample: Callable[[Sample], Signal] | None = None,
    interrupted: Callable[[], bool] | None = None,
    reads_test: bool = True,
    standardizes_targets: bool = True,
    on_start: Callable[[TrainingData], None] | None = None,
    split_seed: int = SPLIT_SEED,
    placebo: Placebo | None = None,
    keep_trunk: bool = False,
) -> TrainResult | None:
    """Train on train + validation, then read the test split, once; None when `interrupted` said so.

    Validation is kept apart only where the policy's trigger watches it, unless `hold_out_validation` says otherwise.
    Without `reads_test` the test split stays closed. `split_seed` draws the validation examples. A regression trains
    on standardized targets, unless they are to be taken as they are; its losses are in the user's unit all the same.
    `on_start` is told of the data, once nothing speaks against starting. `placebo` is an event that adds nothing.
    With `out`, the network and the record of its training are saved there; a run that was interrupted there goes on
    from its checkpoint. `keep_trunk` saves beside it what it was before its rate fell (`export.trunk`).

    Raises `RunFolderError` when `out` holds something else, `RunFolderInUseError` when another process trains there,
    `TrainingDivergedError` when the loss is not finite.
    """
    held_out = policy.watches_validation if hold_out_validation is None else hold_out_validation
    scales_targets = standardizes_targets and TASKS[dataset.task].standardizes_targets
    request = _request(model, dataset, policy, settings, seed, train_size, scales_targets, split_seed)
    if held_out != policy.watches_validation:
        request["held_out_validation"] = held_out  # else what has learnt from validation would go on as if it had not
    if placebo is not None:
        request["placebo"] = placebo.to_dict()
    if keep_trunk:
        check_trunk(settings, out)
        request["keeps_trunk"] = True
    if out is not None:
        check_folder(out, request)
    data = _training_data(dataset, held_out, train_size, scales_targets, split_seed)
    module = fresh_network(model, dataset, seed)
    if out is not None:
        check_weights(module)
    trainer = assemble(
        module,
        dataset,
        data,
        policy,
        settings,
        seed=seed,
        device=torch.device(device),
        folder=TrialFolder(out) if out is not None else None,
        on_sample=on_sample,
        interrupted=interrupted,
        execution=execution,
        placebo=placebo,
        before_fall=_trunk_keeper(out, model, dataset, request) if keep_trunk and out is not None else None,
        checks_outputs=True,
    )
    if out is not None:
        write_json_atomically(out / REQUEST, request)
    if on_start is not None:
        on_start(data)
    result = _trained(trainer, policy, dataset, reads_test and dataset.num_test > 0)
    # Saved before the test split is opened: nothing that reading it does may lose the network.
    if result is not None and out is not None:
        _save(TrialFolder(out), model, dataset, result, request, data)
    return _tested(result, dataset, out) if result is not None and result.test is not None else result


def _trained(trainer: Trainer, policy: GrowthPolicy, dataset: Dataset, reads_test: bool) -> TrainResult | None:
    """The result of a run, whose test metrics, if there will be any, are not read yet; None if it is interrupted."""
    with _discarded_if_it_diverges(trainer.folder.path if trainer.folder else None):
        outcome = trainer.run()
    if outcome.signal is Signal.INTERRUPT:
        return None
    # Read on the device that `evaluate` and users of the saved network read it on: the CPU.
    return _result(trainer, outcome, policy, dataset, NOT_READ if reads_test else None)


@contextmanager
def _discarded_if_it_diverges(out: Path | None) -> Iterator[None]:
    try:
        yield
    except TrainingDivergedError:
        if out is not None:
            discard_training(out)  # nothing in it is worth going on from
        raise


def _trunk_keeper(
    out: Path, model: ModelSpec | nn.Module, dataset: Dataset, request: dict[str, Any]
) -> Callable[[Trainer], None] | None:
    """Saves the trunk of a run; None where one that went on from a checkpoint behind it, or before, has it already."""
    if has_trunk(out):
        return None

    def keep(trainer: Trainer) -> None:
        config = _config(
            model, dataset, request, trainer.metrics.data, trainer.shape, held_out=trainer.holds_out_validation
        )
        save_trunk(out, trainer.network.module, trainer.optimizer_state(), config)

    return keep


def _result(
    trainer: Trainer, outcome: TrainingOutcome, policy: GrowthPolicy, dataset: Dataset, test: Metrics | None
) -> TrainResult:
    assert outcome.train is not None
    module, data = trainer.network.module.cpu().eval(), trainer.metrics.data
    return TrainResult(
        module=module,
        policy=policy,
        train=outcome.train,
        validation=outcome.validation,
        test=test,
        steps=outcome.steps,
        parameters=outcome.parameters,
        shape=outcome.shape,
        train_seconds=outcome.train_seconds,
        training_flops=outcome.training_flops,
        compute=outcome.training_flops / trainer.full_training_flops,
        events=tuple(trainer.events),
        samples=tuple(trainer.samples),
        growth_ended_by=outcome.growth_ended_by,
        normalization=data.normalization,
        target_scale=data.target_scale,
        prepared=PreparedNetwork(
            module,
            data.normalization,
            data.target_scale,
            input_shape=dataset.input_shape,
            layout=dataset.layout,
            task=data.task,
            classes=dataset.classes,
            takes_bytes=_takes_bytes(dataset, data),
            num_tokens=None if dataset.tokens is None else dataset.num_outputs,
        ).eval(),
        held_out_validation=trainer.holds_out_validation,
        tokens=dataset.tokens,
        flops=trainer.growth.training_flops,
    )


def _tested(result: TrainResult, dataset: Dataset, out: Path | None) -> TrainResult:
    """The result with its test metrics, which its folder is told, too."""
    try:
        test = read_test_split(result.module, dataset, result.normalization, result.target_scale)
    except Exception as error:  # noqa: BLE001 - a user's network may raise anything, and what was trained is kept
        test = unread(f"the test split cannot be read: {one_line(error)}")
    result = replace(result, test=test)
    if out is not None:
        add_metrics(out, result.metrics())
    return result


def _training_data(
    dataset: Dataset, hold_out_validation: bool, train_size: int | None, scales_targets: bool, split_seed: int
) -> TrainingData:
    train, validation = dataset.split(seed=split_seed, train_size=train_size)
    if hold_out_validation:
        return TrainingData.of(dataset, train, validation, standardizes_targets=scales_targets)
    return TrainingData.of(dataset, merge_splits(train, validation), None, standardizes_targets=scales_targets)


def _request(
    model: ModelSpec | nn.Module,
    dataset: Dataset,
    policy: GrowthPolicy,
    settings: TrainingSettings,
    seed: int,
    train_size: int | None,
    scales_targets: bool,
    split_seed: int,
) -> dict[str, Any]:
    """What decides a training run; a folder is only continued by an equal one.

    Raises `UsageError` for a seed that there cannot be.
    """
    check_seed(seed)
    content = {
        "model": model.to_dict() if isinstance(model, ModelSpec) else None,
        "dataset": {
            "name": resolved_dataset(dataset.name),
            "fingerprint": dataset.fingerprint,
            "train_size": train_size,
        },
        "policy": policy.recipe(),
        "training": settings.model_dump(),
        "seed": seed,
        **({"standardizes_targets": True} if scales_targets else {}),
        **({"split_seed": split_seed} if split_seed != SPLIT_SEED else {}),
    }
    normalized: dict[str, Any] = json.loads(json.dumps(content))
    return normalized


def check_folder(out: Path, request: dict[str, Any]) -> None:
    """Raises `RunFolderError` unless `out` is empty, or holds an equal training run that was interrupted."""
    record = out / REQUEST
    if (out / CONFIG).exists() or ((out / WEIGHTS).exists() and not record.exists()):
        raise RunFolderError(f"{out} holds a trained network: choose another --out, or remove it")
    if record.exists():
        fix = "remove the folder, or choose another --out"
        begun = read_json(record, "training run's record", RunFolderError, fix=fix)
        if with_present_names(begun) != with_present_names(request):
            raise RunFolderError(f"{out} holds an interrupted training run with other settings: choose another --out")
        refuse_links((*out.iterdir(), *out.glob("checkpoint/*"), *out.glob(f"{TRUNK}/*")))
    elif out.exists() and any(entry.name != LOCK for entry in out.iterdir()):
        raise RunFolderError(f"{out} is not empty: choose another --out")


def discard_training(out: Path) -> None:
    """Remove what a training run has written; what else lies there stays."""
    ours = "|".join(map(re.escape, (REQUEST, WEIGHTS, CONFIG)))
    TrialFolder(out).discard(ours, temporary_names(ours), TRUNK_FILES)


def _save(
    folder: TrialFolder,
    model: ModelSpec | nn.Module,
    dataset: Dataset,
    result: TrainResult,
    request: dict[str, Any],
    data: TrainingData,
) -> None:
    config = _config(model, dataset, request, data, result.shape, held_out=result.held_out_validation)
    if has_trunk(folder.path) and trunk_shape(folder.path) != result.shape:
        discard_trunk(folder.path)
        logger.warning("no trunk is kept: the network has grown since its rate began to fall")
    save_network(folder.path, result.module, {**config, "metrics": result.metrics()})
    (folder.path / REQUEST).unlink(missing_ok=True)
    folder.discard_checkpoints()


def _config(
    model: ModelSpec | nn.Module,
    dataset: Dataset,
    request: dict[str, Any],
    data: TrainingData,
    shape: NetworkShape,
    *,
    held_out: bool,
) -> dict[str, Any]:
    return network_config(
        model if isinstance(model, ModelSpec) else ModelSpec("custom:module"),
        input_shape=dataset.input_shape,
        num_outputs=dataset.num_outputs,
        task=dataset.task,
        shape=shape,
        normalization=data.normalization,
        target_scale=data.target_scale,
        layout=dataset.layout,
        classes=dataset.classes,
        takes_bytes=_takes_bytes(dataset, data),
        **({} if dataset.tokens is None else {"tokens": asdict(dataset.tokens)}),
        dataset=request["dataset"],
        policy=request["policy"],
        training=request["training"],
        seed=request["seed"],
        held_out_validation=held_out,
        **({"split_seed": request["split_seed"]} if "split_seed" in request else {}),
        versions=versions(),
    )


def _takes_bytes(dataset: Dataset, data: TrainingData) -> bool:
    return data.train.inputs.dtype == np.uint8 and dataset.tokens is None
