"""What files of before call otherwise: scores, say, which were all called accuracy until every task named its own."""

from collections.abc import Mapping
from typing import Any

FORMER_METRICS = {
    "train_accuracy": "train_score",
    "validation_accuracy": "validation_score",
    "test_accuracy": "test_score",
    "train_minus_test_accuracy": "train_minus_test_score",
    "train_minus_validation_accuracy": "train_minus_validation_score",
    "static_accuracy": "static_score",
}
FORMER_SETTINGS = {"decays": "weight_decay_of"}
"""Of training: what weight decay is for, which was too like `decay`, the shape of the learning rate's fall."""
FORMER_FIELDS = {
    **FORMER_METRICS,
    "accuracy": "score",
    "other_accuracy": "other_score",
    "accuracy_difference": "score_difference",
    **FORMER_SETTINGS,
}
FORMER_WORDS = {"carried": "carry"}
"""Of settings: what becomes of the optimizer's state of blocks."""
_AGAINST_CHANCE = {
    "largest_class_share": "chance_level",
    "score": "value_against_chance",
    "other_score": "other_value_against_chance",
}
"""What results were compared with chance by, which was always the score."""


def with_present_names(record: Any) -> Any:
    """A record as it would be written today, and the records inside it; what is no record comes back as it is.

    So does a text that names a metric: what a trigger watches, for example.
    """
    if isinstance(record, str):
        return FORMER_METRICS.get(record, record)
    if not isinstance(record, Mapping):
        return record
    return {FORMER_FIELDS.get(name, name): with_present_names(value) for name, value in record.items()}


def with_present_settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings as they are called today."""
    return {FORMER_SETTINGS.get(name, name): value for name, value in training.items()}


def with_former_settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings as they were called at first: digests of them stay what they were."""
    former = {now: before for before, now in FORMER_SETTINGS.items()}
    return {former.get(name, name): value for name, value in training.items()}


def with_present_word(value: Any) -> Any:
    """A setting's value as it is called today."""
    return FORMER_WORDS.get(value, value) if isinstance(value, str) else value


def with_present_chance(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a run's settings, or of its confirmation, with what is said of chance named as today.

    Of text, which is judged by its loss, scores say nothing, and are left out.
    """
    if "chance_level" in record:
        return dict(record)
    is_text = record.get("task") == "text"
    return {
        _AGAINST_CHANCE.get(name, name): None if is_text and name in _AGAINST_CHANCE else value
        for name, value in record.items()
    }
