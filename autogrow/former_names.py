"""What files of before call otherwise: a regression's score, R², was called accuracy until every task named its own."""

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
FORMER_FIELDS = {
    **FORMER_METRICS,
    "accuracy": "score",
    "other_accuracy": "other_score",
    "accuracy_difference": "score_difference",
}


def with_present_names(record: Any) -> Any:
    """A record as it would be written today, and the records inside it; what is no record comes back as it is.

    So does a text that names a metric: what a trigger watches, for example.
    """
    if isinstance(record, str):
        return FORMER_METRICS.get(record, record)
    if not isinstance(record, Mapping):
        return record
    return {FORMER_FIELDS.get(name, name): with_present_names(value) for name, value in record.items()}
