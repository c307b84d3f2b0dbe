"""``killed_at.py MODULE:NAME N ARGUMENTS``: runs ``autogrow`` and kills it at the n-th call of that function.

The kill is a SIGKILL, so that nothing of what the process would still do happens. With N of 0 it is not killed. With
the variable `TRIALS_HERE` in the environment, searches run their trials in this process, not on Ray.
"""

import importlib
import os
import signal
import sys

TRIALS_HERE = "AUTOGROW_TEST_TRIALS_HERE"


def have_trials_here() -> None:
    from autogrow.study.in_process_executor import InProcessExecutor
    from autogrow.study.ray_executor import RayExecutor

    setattr(RayExecutor, "of", lambda settings: InProcessExecutor())  # noqa: B010


def kill_at(place: str, call: int) -> None:
    """Die instead of making this call of the function at `place`, such as ``optuna.study:Study.tell``."""
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    owner = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = 0

    def mortal(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, mortal)


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    if TRIALS_HERE in os.environ:
        have_trials_here()
    from autogrow.cli.main import main

    main(sys.argv[3:])
