"""Targets that are all the same: nothing to regress, and R² is not defined."""

from torch import Tensor

from autogrow.data.splits import Examples, ValidationSplit
from autogrow.errors import DataError
from autogrow.training.task import Task


def refuse_constant_targets(task: Task, examples: Examples, indices: Tensor | None = None, which: str = "") -> None:
    """Raise `DataError` where the targets of a regression, (N, width), are all the same.

    Args:
        indices: Look at these examples alone, which the message calls `which`.
    """
    targets = examples.targets if indices is None else examples.targets[indices.cpu().numpy()]
    if task.kind != "regression" or not bool((targets == targets[0]).all()):
        return
    split = "validation" if isinstance(examples, ValidationSplit) else "training"
    if len(targets) == 1:
        raise DataError(f"there is only one {split} example{which}: R² needs two with different targets, give more")
    values = ", ".join(f"{value:g}" for value in targets[0].flatten().tolist()[:3])
    raise DataError(
        f"the target is {values} in all {len(targets)} {split} examples{which}: nothing to regress; check the data"
    )
