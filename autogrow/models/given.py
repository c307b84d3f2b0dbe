"""Networks given in Python as an object: a function that makes one, or an `nn.Module` as it is.

Their name, ``<given>:LABEL-DIGEST``, is all that files hold of them, and no file can bring them back: whoever goes on
with a run, or loads what was trained, gives the object again. Other processes of the same user and machine (Ray's
workers) find it, pickled by value, at ``autogrow-given/models/`` in the user's cache, which nothing is read from
because a run's folder says so. The digest is of the network that is drawn from seed 0: its structure and weights.
"""

import hashlib
import os
import pickle
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from autogrow.data.locations import default_data_dir, disk_errors, unfinished_path
from autogrow.errors import RAISED_BY_OTHERS, NetworkError, one_line

PREFIX = "<given>"
"""In place of a package: no module can have that name."""
KEPT_DAYS = 14
"""After which a pickled network that no process has read is deleted."""


@dataclass(frozen=True, eq=False)
class GivenModel:
    """What a caller has given; pickled by value, so that functions without an import path travel, too."""

    value: Callable[..., Any] | nn.Module

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.pickled(),)

    @property
    def label(self) -> str:
        """What it is called in names: the function's, or the module's class."""
        named = type(self.value) if isinstance(self.value, nn.Module) else self.value
        name = getattr(named, "__name__", type(named).__name__)
        return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or "model"

    def pickled(self) -> bytes:
        """Raises `NetworkError` for what cannot be pickled."""
        import cloudpickle  # where it is needed: most networks go by name

        try:
            content: bytes = cloudpickle.dumps(self.value)
        except RAISED_BY_OTHERS as error:
            raise NetworkError(
                f"model {self.label!r} cannot be handed to other processes ({one_line(error)}): give it as "
                "package.module:factory"
            ) from error
        return content


def _restored(content: bytes) -> GivenModel:
    return GivenModel(pickle.loads(content))


def given_name(given: GivenModel, module: nn.Module) -> str:
    """The name of a given network; `module` is what it gives from seed 0."""
    return f"{PREFIX}:{given.label}-{network_digest(module)[:12]}"


def network_digest(module: nn.Module) -> str:
    """Hexadecimal digits that tell networks apart by their structure and weights."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {() if is_lazy(tensor) else tuple(tensor.shape)}\n".encode())
        if not is_lazy(tensor):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def is_given_name(name: str) -> bool:
    return name.startswith(f"{PREFIX}:")


def hand_over(name: str, given: GivenModel) -> Path:
    """Put a given network where other processes of this user and machine find it by its name."""
    folder = _folder()
    path = folder / _file_name(name)
    fresh = unfinished_path(path)
    with disk_errors(path):
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(given.pickled())
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    _remove_old(folder)
    return path


def handed_over(name: str) -> GivenModel:
    """The network that another process has put there. Raises `NetworkError` where there is none."""
    path = _folder() / _file_name(name)
    try:
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        raise not_kept(name, "what was recorded") from None
    try:
        return _restored(content)
    except RAISED_BY_OTHERS as error:
        raise NetworkError(f"model {name!r} cannot be unpickled here: {one_line(error)}") from error


def not_kept(name: str, where: str) -> NetworkError:
    """The error for a given network that somebody wants to have from a file."""
    return NetworkError(
        f"{where} has the network {name.removeprefix(f'{PREFIX}:')!r}, which was given as an object of Python and is "
        "in no file: give the same object again, as model="
    )


def _folder() -> Path:
    """Of this user alone. Raises `NetworkError` for one that others may write to."""
    folder = default_data_dir() / "autogrow-given" / "models"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise NetworkError(f"{folder} is not this user's alone to write to: remove it, or set XDG_CACHE_HOME")
    return folder


def _file_name(name: str) -> str:
    """Raises `NetworkError` for a name that `given_name` does not make: none leads out of the folder."""
    plain = name.removeprefix(f"{PREFIX}:")
    if not re.fullmatch(r"[A-Za-z0-9_]+-[0-9a-f]{12}", plain):
        raise not_kept(name, "what was recorded")
    return f"{plain}.pickle"


def _remove_old(folder: Path) -> None:
    for path in folder.glob("*.pickle"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT_DAYS * 86_400:
                path.unlink()
