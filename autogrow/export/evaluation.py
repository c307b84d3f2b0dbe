"""Reading a saved network on a data set's test split."""

from pathlib import Path

from autogrow.data.dataset import Dataset
from autogrow.data.tokenizers import TokenRecord
from autogrow.errors import NetworkError
from autogrow.export.saved_network import SavedNetwork
from autogrow.export.testing import read_test_split
from autogrow.tasks.labels import shown_classes
from autogrow.training.evaluation import Metrics


def evaluate_network(saved: SavedNetwork, dataset: Dataset, folder: Path) -> Metrics:
    """Test metrics of a saved network; one that is undefined is NaN, and `undefined` says why.

    Raises `NetworkError` when it was made for other inputs or outputs, `DataError` where there is no test split.
    """
    config = saved.config
    made_for = (config["task"], tuple(config["input_shape"]), config["num_outputs"])
    given = (dataset.task, dataset.input_shape, dataset.num_outputs)
    if made_for != given:
        raise NetworkError(
            f"{folder} takes {made_for[0]} inputs of shape {made_for[1]} with {made_for[2]} outputs, "
            f"{dataset.name!r} has {given[0]}, {given[1]} and {given[2]}"
        )
    if config.get("classes") and list(config["classes"]) != list(dataset.classes):
        raise NetworkError(
            f"{folder} tells classes {shown_classes(config['classes'])}, {dataset.name!r} has "
            f"{shown_classes(dataset.classes)}: give data with the classes that it was trained on"
        )
    if saved.tokens is not None and dataset.tokens is not None:
        _refuse_other_tokens(saved.tokens, dataset.tokens, folder, dataset.name)
    return read_test_split(saved.module, dataset, saved.normalization, saved.target_scale)


def _refuse_other_tokens(own: TokenRecord, given: TokenRecord, folder: Path, name: str) -> None:
    if (own.tokenizer, own.vocabulary) != (given.tokenizer, given.vocabulary):
        kind = "another vocabulary" if own.tokenizer == given.tokenizer else f"the tokenizer {given.tokenizer}"
        raise NetworkError(
            f"{folder} reads tokens of the tokenizer {own.tokenizer}, {name!r} has {kind}: give data with the tokens "
            "that it was trained on"
        )
