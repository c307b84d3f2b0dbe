"""Targets that are all the same: nothing to regress, and R² is not defined."""

from torch import Tensor

from autogrow.errors import DataError
from autogrow.training.task import Task


def refuse_constant_targets(task: Task, targets: Tensor, split: str, which: str = "") -> None:
    """Raise `DataError` where the targets of a regression, (N, width), are all the same.

    Args:
        split: Whose examples they are of, and `which` of them if not all, as the message calls them.
    """
    if task.kind != "regression" or not bool((targets == targets[0]).all()):
        return
    values = ", ".join(f"{value:g}" for value in targets[0].flatten().tolist()[:3])
    if len(targets) == 1:
        raise DataError(f"there is only one {split} example{which}: R² needs two with different targets, give more")
    raise DataError(
        f"the target is {values} in all {len(targets)} {split} examples{which}: nothing to regress; check the data"
    )
