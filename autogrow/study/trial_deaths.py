"""Why a trial's process died, from what it and Ray Tune left behind."""

import faulthandler
import re
from contextlib import suppress
from pathlib import Path

from autogrow.errors import as_line

MAX_FAILURES = 2
"""How often a trial whose process died is started again, from its checkpoint."""


def keep_crashes(folder: Path, number: int) -> None:
    """Have the interpreter write down where it crashes, if it does: in native code, for example."""
    if folder.is_dir():  # on the machine of the driver
        faulthandler.enable(_crash_file(folder, number).open("a"), all_threads=False)


def why_it_died(folder: Path, number: int, errors: str) -> str:
    """What is known of a trial that Ray Tune gave up, in one line.

    errors: What Ray Tune wrote down of its failures, one below the other; may be empty.
    """
    with suppress(OSError):
        crash = _crash_file(folder, number).read_text(encoding="utf-8", errors="replace")
        if kind := re.search("Fatal Python error: (.+)", crash):
            place = re.search('File "(.+)", line ([0-9]+) in (.+)', crash)
            where = f" at line {place[2]} of {place[1]}, in {place[3]}" if place else ""
            return f"its process crashed {MAX_FAILURES + 1} times: {kind[1]}{where}"
    return _raised(errors) or (
        f"its process ended {MAX_FAILURES + 1} times without a word: it was killed (if for lack of memory, set "
        "--memory-per-trial), or its code ended it, as os._exit does"
    )


def _raised(errors: str) -> str:
    """The last error that was raised in the process: what stands below the last frame of its traceback, if any."""
    _, _, last_failure = errors.rpartition("\nFailure # ")
    lines = last_failure.splitlines()
    below = 0
    for number, line in enumerate(lines, 1):
        # Ray begins a traceback with what was called where, and leaves out frames of its own: all of them, sometimes.
        if line.startswith('  File "') or ("ray::" in line and "(pid=" in line):
            below = number
    if below == 0:
        return ""
    while below < len(lines) and lines[below].startswith("    "):  # the frame's source, and marks below it
        below += 1
    end = lines.index("", below) if "" in lines[below:] else len(lines)  # Ray may add words of its own
    return as_line("\n".join(lines[below:end]))


def _crash_file(folder: Path, number: int) -> Path:
    return folder / f"crash-{number}.txt"
