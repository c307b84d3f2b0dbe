"""An objective: what a search optimizes, of what trials measure anyway."""

from autogrow.metrics.metric import Metric
from autogrow.metrics.objectives import Objective

overfitting = Objective(
    "overfitting",
    "minimize",
    Metric(
        "overfitting",
        "validation loss minus train loss",
        read=lambda metrics: metrics["validation_loss"] - metrics["train_loss"],
    ),
)
