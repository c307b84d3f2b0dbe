"""What networks can be trained for, one file each: `TASKS["regression"]`. See `autogrow.tasks.base` for a new one."""

from autogrow.tasks import (  # noqa: F401  (registers the built-in tasks)
    classification,
    multi_label,
    reconstruction,
    regression,
    text,
)
from autogrow.tasks.base import EncodedTargets, StreamingScore, Task, WantedOutputs
from autogrow.tasks.registry import TASKS

__all__ = ["TASKS", "EncodedTargets", "StreamingScore", "Task", "WantedOutputs"]
