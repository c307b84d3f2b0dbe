"""Names of the files that a trial goes on from, for readers of a run that have no need of PyTorch."""

from autogrow.removal import temporary_names

CHECKPOINTS = r"step-\d{10}\.pt"
"""Pattern of the names of checkpoints."""
UNFINISHED_CHECKPOINTS = temporary_names(CHECKPOINTS)
ALIVE = "alive"
"""The file next to them that changes as long as a trial trains."""
ONLY_TO_GO_ON = f"{CHECKPOINTS}|{ALIVE}"
"""Pattern of the names of all that a trial needs only until it has ended."""
