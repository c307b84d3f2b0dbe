"""The folder that a network is shrunk into: its record, what it goes on from, and in the end the network.

::

    request.json        what was asked for, while it is not done
    shrink.json         a `ShrinkStep` for the network before, and one for each step
    after-00003/        the network that the next step begins with, by the step that it is of, while it is not done, and
                        what its optimizer has learnt
    recovery-00004/     the checkpoint of a training that was interrupted, by its step
    SHARE/              a network of a family
    model.safetensors, config.json
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from torch import nn

from autogrow.errors import RunFolderError
from autogrow.export.network_record import read_record
from autogrow.export.optimizer_state import OPTIMIZER, load_optimizer_state, save_optimizer_state
from autogrow.export.saved_network import CONFIG, WEIGHTS, save_network
from autogrow.export.weights import load_weights
from autogrow.files import refuse_folder, write_json_atomically
from autogrow.locking import LOCK
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.optimizer.optimizer_state import OptimizerState
from autogrow.network.shape import NetworkShape
from autogrow.paths import shown
from autogrow.policy.shrink_records import ShrinkStep
from autogrow.reading.json_files import read_json
from autogrow.reading.typed import typed
from autogrow.removal import refuse_links, remove_emptied, remove_written, temporary_names
from autogrow.training.records import TrialFolder

REQUEST = "request.json"
RECORD = "shrink.json"
FORMAT = "autogrow-shrink/1"
AFTER, RECOVERY = "after", "recovery"
_NETWORK_FILES = "|".join(map(re.escape, (WEIGHTS, CONFIG, OPTIMIZER)))
_NETWORK = (_NETWORK_FILES, temporary_names(_NETWORK_FILES))
_UNFINISHED = (
    temporary_names("|".join(map(re.escape, (WEIGHTS, CONFIG, REQUEST, RECORD)))),
    r"[\d.e-]+/" + temporary_names(f"{re.escape(WEIGHTS)}|{re.escape(CONFIG)}"),  # of a network of a family
)
"""What writers leave that are killed."""
LAST = 99_999
"""The largest number of a step that a folder's name can have."""
FIX = "remove the folder, or choose another --out"


class _Content(BaseModel):
    """What is read of shrink.json again; all else in it is for readers."""

    steps: tuple[ShrinkStep, ...]
    test_readings: int = Field(default=0, strict=True, ge=0)


class ShrinkFolder:
    """See the module's text."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, request: Mapping[str, Any], *, resume: bool) -> list[ShrinkStep]:
        """Make the folder of a new run, or take up one that was interrupted: the steps that it has taken.

        Raises `RunFolderError` where there is something else, or nothing to resume, or what was asked for is another.
        """
        refuse_folder(self.path)
        begun = self.path / REQUEST
        if begun.exists():
            if not resume:
                raise RunFolderError(
                    f"{shown(self.path)} holds a network that is not shrunk to its end: go on with --resume, or choose "
                    "another --out"
                )
            refuse_links(self.path.glob("**/*"))
            self._refuse_other(read_json(begun, "shrinking's record", RunFolderError, fix=FIX), _plain(request))
            return self.steps()
        if (self.path / RECORD).exists():
            raise RunFolderError(f"{shown(self.path)} holds what was shrunk to its end: choose another --out")
        if resume:
            raise RunFolderError(f"nothing to resume at {shown(self.path)}: leave out --resume")
        if any(not _may_lie_there(entry.name) for entry in self.path.iterdir()):
            raise RunFolderError(f"{shown(self.path)} is not empty: choose another --out")
        write_json_atomically(begun, dict(request))
        return []

    def _refuse_other(self, begun: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        other = sorted(name for name in {*begun, *asked} if begun.get(name) != asked.get(name))
        if other:
            raise RunFolderError(
                f"{shown(self.path)} was begun with other settings ({', '.join(other)}): give the same ones, or choose "
                "another --out"
            )

    def steps(self) -> list[ShrinkStep]:
        """Those that are recorded. Raises `RunFolderError` for a damaged record."""
        path = self.path / RECORD
        if not path.exists():
            return []
        return list(self._content().steps)

    def test_readings(self) -> int:
        """How often the test split has been read, as far as is recorded: also by a run that was killed then."""
        return self._content().test_readings

    def _content(self) -> "_Content":
        path = self.path / RECORD
        content = read_json(path, "record of shrinking", RunFolderError, fix=FIX)
        if content.get("format") != FORMAT:
            raise RunFolderError(f"{path}: format is {content.get('format')!r}, this autogrow reads {FORMAT!r}: {FIX}")
        found = typed(_Content, content, f"{path} is damaged, {FIX}", RunFolderError)
        if found.steps and not found.steps[0].is_kept:
            raise RunFolderError(f"{path} is damaged, its first step is none to go on from: {FIX}")
        return found

    def write(self, content: Mapping[str, Any]) -> None:
        """Write down all steps until now, and what else there is to say."""
        write_json_atomically(self.path / RECORD, {"format": FORMAT, **content})

    def recovery(self, number: int) -> TrialFolder:
        """Where the training of a step leaves its checkpoints."""
        return TrialFolder(self.path / f"{RECOVERY}-{number:05d}")

    def keep(self, number: int, module: nn.Module, config: Mapping[str, Any], optimizer_state: OptimizerState) -> None:
        """Save the network after a step, before the step is recorded: until then it counts for nothing."""
        if optimizer_state:
            save_optimizer_state(self._after(number) / OPTIMIZER, optimizer_state)
        save_network(self._after(number), module, config)

    def take_up(self, number: int, network: ExpandableNetwork) -> OptimizerState:
        """Bring a network to the shape and weights of the one after a step; returns what its optimizer has learnt."""
        folder = self._after(number)
        if not all((folder / name).exists() for name in (WEIGHTS, CONFIG)):
            folder = self.path  # killed at the very end, while that was removed: it is the result that lies here
        take_up_network(folder, network)
        found = folder / OPTIMIZER
        return load_optimizer_state(found, network.module) if found.exists() else {}

    def finish_step(self, number: int, last_kept: int) -> None:
        """Remove what only steps up to this one needed, and networks before the last one that is kept."""
        self._discard_recoveries(number)
        self._discard_networks(last_kept - 1)

    def finish(self) -> None:
        """Remove what only going on would need, and what killed writers left; what says that it goes on goes last."""
        self._discard_recoveries()
        self._discard_networks()
        remove_written(self.path, _UNFINISHED)
        remove_written(self.path, re.escape(REQUEST))

    def abandon(self) -> None:
        """Remove all that a run has written which came to nothing."""
        self.finish()
        remove_written(self.path, re.escape(RECORD))

    def _discard_recoveries(self, last: int = LAST) -> None:
        for number in self._numbers(RECOVERY, last):
            self.recovery(number).discard()
            remove_emptied(self.recovery(number).path, self.path)

    def _discard_networks(self, last: int = LAST) -> None:
        for number in self._numbers(AFTER, last):
            remove_written(self._after(number), _NETWORK, self.path)
            remove_emptied(self._after(number), self.path)

    def _numbers(self, kind: str, last: int) -> list[int]:
        """Of the folders of a kind that are there, up to the last; a killed run may have left more than it meant to."""
        found = (re.fullmatch(rf"{kind}-(\d{{5}})", entry.name) for entry in self.path.iterdir())
        return sorted(int(match[1]) for match in found if match is not None and int(match[1]) <= last)

    def _after(self, number: int) -> Path:
        return self.path / f"{AFTER}-{number:05d}"


def take_up_network(folder: Path, network: ExpandableNetwork) -> None:
    """Bring a network of the same factory to the shape and weights that are saved in a folder."""
    _, config = read_record(folder / CONFIG)
    NetworkShape.from_dict(config).give_to(network)
    load_weights(folder / WEIGHTS, network.module)
    network.settle()


def _may_lie_there(name: str) -> bool:
    """Whether a folder with that in it is as good as empty: who is killed while it begins may leave it."""
    return name == LOCK or re.fullmatch(temporary_names(re.escape(REQUEST)), name) is not None


def _plain(request: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(request))
    return plain
