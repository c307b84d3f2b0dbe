"""What a trial takes of its process and gives back: threads, import path, umask, random state, memory, the log.

Trials of one executor follow each other in a process, so each leaves it as it was.
"""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from autogrow.models.building import ModelSpec
from autogrow.study.process_state import kept_process_state, random_state_of
from autogrow.study.trial_config import TrialConfig
from autogrow.training.records import TrialFolder

logger = logging.getLogger(__name__)


@contextmanager
def files_open_to(umask: int) -> Iterator[None]:
    """Files that are written inside the block are open to whom this umask leaves them."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def warnings_kept(folder: TrialFolder) -> Iterator[list[str]]:
    """Keeps the trial's warnings: in its log at once, and in a list for its result. A worker's own log is lost."""
    kept: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())
            folder.log(f"warning: {record.getMessage()}")

    keeper = Keeper(logging.WARNING)
    logger = logging.getLogger("autogrow")
    logger.addHandler(keeper)
    try:
        yield kept
    finally:
        logger.removeHandler(keeper)


@contextmanager
def own_settings(config: TrialConfig) -> Iterator[None]:
    """Threads, import path and GPU memory of this trial; Ray gives its workers one thread whatever they asked for."""
    threads, path = torch.get_num_threads(), list(sys.path)
    torch.set_num_threads(config.num_threads)
    if ":" in config.model and config.working_directory not in sys.path:
        sys.path.insert(0, config.working_directory)
    if config.gpu_memory_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(config.gpu_memory_fraction)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        sys.path[:] = path


@contextmanager
def undisturbed(config: TrialConfig) -> Iterator[None]:
    """What trials of a process share is put back, with a warning that says what the model changed of it.

    Our own models change nothing, so only a user's is watched.
    """
    changed: list[str] = []
    try:
        with ExitStack() as stack:
            changed = stack.enter_context(kept_process_state()) if not ModelSpec(config.model).is_ours else []
            stack.enter_context(random_state_of(config.seed))
            yield
    finally:
        if changed:
            logger.warning(f"the model changed what it shares with other trials: {', '.join(changed)} (put back)")


def release_memory() -> None:
    """Give back what the trial took; called when nothing refers to its network any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # glibc keeps what was freed in pieces of every shape that the network had: 1.0 GB after six ResNet trials, 0.4 GB
    # when it is asked to give it back.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
