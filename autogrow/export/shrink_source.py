"""What `autogrow shrink` begins with: a trained network, and what is known of how it was trained."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.data.preprocessing import Normalization, measure_normalization, measure_target_scale
from autogrow.data.splits import TrainSplit, ValidationSplit, merge_splits, num_among
from autogrow.errors import NetworkError, UsageError
from autogrow.export.saved_network import SavedNetwork
from autogrow.export.trunk import Trunk
from autogrow.models.building import ModelSpec
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput
from autogrow.paths import resolved_dataset, shown
from autogrow.policy.part import validated
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.settings import SPLIT_SEED
from autogrow.tasks import TASKS
from autogrow.training.training_data import TrainingData

HOLD_OUT = "train it again with --hold-out-validation, or give --holdout DATA that it has not seen"


@dataclass(frozen=True)
class ShrinkSource:
    """A trained network and its origins."""

    module: nn.Module
    spec: ModelSpec
    trained_with: TrainingSettings
    normalization: Normalization
    target_scale: Normalization | None
    held_out_validation: bool
    """Whether training has not seen the validation examples."""
    blocks: Mapping[str, int] = field(default_factory=dict)
    """Blocks by stage, where its record has any."""
    train_size: int | None = None
    split_seed: int = SPLIT_SEED
    origin: Mapping[str, Any] = field(default_factory=dict)
    """What config.json says of it that stays true of smaller ones: policy, training, seed, data set."""
    test_readings: int = 0
    """How often the test split was read on the way to this network."""
    expandable: ExpandableNetwork | None = None
    """Of the module, where its stages cannot all be found in it again: of one block, say."""
    trunk: Trunk | None = None
    """The network before its rate fell, where that was kept."""

    def network(self, example: ModelInput, device: torch.device) -> ExpandableNetwork:
        """A copy of the module that can be changed."""
        module = copied(self.module).to(device)
        return ExpandableNetwork(module, example) if self.expandable is None else self.expandable.twin(module)

    @classmethod
    def of_saved(
        cls, saved: SavedNetwork, folder: Path, dataset: Dataset, trunk: Trunk | None = None
    ) -> "ShrinkSource":
        """A network that `autogrow train` or `shrink` has saved. Raises `NetworkError` for one of other data."""
        config = saved.config
        _refuse_other_data(config, dataset, folder)
        kept = ("dataset", "policy", "training", "seed", "classes", "layout", "takes_bytes", "tokens", "split_seed")
        lineage = config.get("lineage") or {}
        was_tested = "test_score" in (config.get("metrics") or {})
        return cls(
            module=saved.module,
            spec=ModelSpec.from_dict(config["model"]),
            trained_with=_settings_in(config, folder),
            normalization=saved.normalization,
            target_scale=saved.target_scale,
            held_out_validation=bool(config.get("held_out_validation")),
            blocks=config.get("blocks") or {},
            train_size=(config.get("dataset") or {}).get("train_size"),
            split_seed=config.get("split_seed") or SPLIT_SEED,
            origin={name: config[name] for name in kept if name in config},
            test_readings=int(lineage.get("test_readings", was_tested)),
            expandable=saved.expandable if config.get("blocks") else None,
            trunk=trunk,
        )

    @classmethod
    def of_module(
        cls, module: nn.Module, spec: ModelSpec, dataset: Dataset, settings: TrainingSettings, *, held_out: bool
    ) -> "ShrinkSource":
        """A module that the caller has trained, on inputs that are standardized as autogrow does it."""
        train, validation = dataset.split(seed=SPLIT_SEED)
        learnt = train if held_out else merge_splits(train, validation)
        scales = TASKS[dataset.task].standardizes_targets
        return cls(
            module=module,
            spec=spec,
            trained_with=settings,
            normalization=measure_normalization(learnt),
            target_scale=measure_target_scale(learnt) if scales else None,
            held_out_validation=held_out,
            origin={
                "dataset": {
                    "name": resolved_dataset(dataset.name),
                    "fingerprint": dataset.fingerprint,
                    "train_size": None,
                },
                "training": settings.model_dump(mode="json"),
                "layout": dataset.layout,
                "classes": dataset.classes,
                "takes_bytes": learnt.inputs.dtype == np.uint8 and dataset.tokens is None,
                **({} if dataset.tokens is None else {"tokens": asdict(dataset.tokens)}),
            },
        )

    def data(self, dataset: Dataset, holdout: Dataset | None) -> TrainingData:
        """What it recovers and is judged on. Decisions look at examples alone that no training has seen.

        Raises `UsageError` where there are none.
        """
        train, validation = dataset.split(seed=self.split_seed, train_size=self.train_size)
        if holdout is not None:
            _refuse_different(dataset, holdout)
            validation = _all_of(holdout)
            if not self.held_out_validation:
                train = merge_splits(*dataset.split(seed=self.split_seed, train_size=self.train_size))
            _refuse_seen(holdout.name, validation, train)
        elif not self.held_out_validation:
            raise UsageError(f"the network has learnt from its validation examples: {HOLD_OUT}")
        return TrainingData(
            task=TASKS[dataset.task],
            train=train,
            validation=validation,
            normalization=self.normalization,
            augmentation=dataset.augmentation,
            target_scale=self.target_scale,
            num_outputs=dataset.num_outputs,
        )


def _all_of(holdout: Dataset) -> ValidationSplit:
    """All examples of a data set that are not its test split."""
    if holdout.tokens is None:  # nothing is to be divided, so that a few are enough
        inputs, targets = holdout.training_arrays()
        everything = np.arange(len(inputs), dtype=np.int64)
        return ValidationSplit(inputs, targets, everything).at(everything)
    found: TrainSplit = merge_splits(*holdout.split(seed=SPLIT_SEED))
    return ValidationSplit(found.inputs, found.targets, found.indices, found.streams)


def _refuse_different(dataset: Dataset, holdout: Dataset) -> None:
    own, other = (
        (each.task, tuple(each.input_shape), each.num_outputs, list(each.classes)) for each in (dataset, holdout)
    )
    if own != other:
        raise UsageError(
            f"--holdout {holdout.name} has {other[0]}, inputs {other[1]} and {other[2]} outputs, {dataset.name} has "
            f"{own[0]}, {own[1]} and {own[2]}: give examples of the same kind"
        )
    read = [
        None if each.tokens is None else (each.tokens.tokenizer, each.tokens.vocabulary) for each in (dataset, holdout)
    ]
    if read[0] != read[1]:
        raise UsageError(
            f"--holdout {holdout.name} has other tokens than {dataset.name}: give a text of the same characters"
        )
    if holdout.fingerprint == dataset.fingerprint:
        raise UsageError(
            f"--holdout {holdout.name} are the data that the network was trained on: give others, or leave it out"
        )


def _refuse_seen(name: str, held_out: ValidationSplit, train: TrainSplit) -> None:
    """Raises `UsageError` for examples that are mostly those of training. Some may be alike where inputs are few."""
    seen = num_among(held_out, train)
    if 2 * seen >= len(held_out):
        raise UsageError(
            f"--holdout {name}: {seen} of its {len(held_out)} examples are among those that the network was trained "
            "on: give others"
        )


def _refuse_other_data(config: Mapping[str, Any], dataset: Dataset, folder: Path) -> None:
    made_for = (config["task"], tuple(config["input_shape"]), config["num_outputs"])
    given = (dataset.task, tuple(dataset.input_shape), dataset.num_outputs)
    if made_for != given:
        raise NetworkError(
            f"{shown(folder)} takes {made_for[0]} inputs of shape {made_for[1]} with {made_for[2]} outputs, "
            f"{dataset.name!r} has {given[0]}, {given[1]} and {given[2]}"
        )
    fingerprint = (config.get("dataset") or {}).get("fingerprint")
    if fingerprint is not None and fingerprint != dataset.fingerprint:
        raise UsageError(
            f"{shown(folder)} was trained on other data than {dataset.name!r} (fingerprint {fingerprint}, not "
            f"{dataset.fingerprint}): which of these it has learnt from is not known; give those that it was trained on"
        )


def _settings_in(config: Mapping[str, Any], folder: Path) -> TrainingSettings:
    if not isinstance(config.get("training"), dict):
        raise NetworkError(f"{shown(folder)} does not say how it was trained: restore its config.json from a copy")
    return validated(TrainingSettings, dict(config["training"]), f"{shown(folder)}: training")
