"""The folder that a trial writes to: its own, or on this machine a copy of the one at a URL.

A module of its own, so that the processes of trials import nothing of what only drivers need.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from autogrow.paths import is_url
from autogrow.study.remote_folder import RemoteFolder, published
from autogrow.study.session_folder import session_folder
from autogrow.training.records import TrialFolder


@contextmanager
def working_folder(
    folder: str, interrupt: str, scratch: str | None = None
) -> Iterator[tuple[TrialFolder, Callable[[], bool]]]:
    """The folder that a trial writes to, and what tells it to save and end: by the places that its configuration names.

    A folder at a URL is copied to this machine first, and published while the trial trains and when it ends.

    scratch: Where the copy is made, if this machine has that folder; it goes with it, should this process be killed.
    """
    if not is_url(folder):
        yield TrialFolder(Path(folder)), Path(interrupt).exists
        return
    run, _, interrupt_name = interrupt.rpartition("/")
    remote = RemoteFolder(folder)
    with ExitStack() as stack:
        if scratch is not None and Path(scratch).is_dir():
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True)))
        else:
            copy = stack.enter_context(session_folder()) / "trial"
        remote.fetch(copy)
        yield TrialFolder(copy), stack.enter_context(published(remote, copy, RemoteFolder(run), interrupt_name))
