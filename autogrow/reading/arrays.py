"""Arrays of numbers and texts in NumPy's ``.npz`` archives. Nothing is unpickled."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from autogrow.errors import AutogrowError, one_line

Array = np.ndarray[Any, np.dtype[Any]]
SUFFIX = ".npy"


def read_npz(
    path: Path, needed: Sequence[str], optional: Sequence[str], error: type[AutogrowError]
) -> dict[str, Array]:
    """Those of the named arrays that an archive holds, in this order.

    Raises `error` for what is no archive, lacks a `needed` one, or has a member of these names that is no array. No
    memory is taken for numbers that a member says it has and has not.
    """
    example = ", ".join(f"{name}=..." for name in needed)
    try:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                raise error(f"{path}: a single array, not an .npz archive: save it with numpy.savez")
            with zipfile.ZipFile(file) as archive:
                present = [name.removesuffix(SUFFIX) for name in archive.namelist()]
                missing = [name for name in needed if name not in present]
                if missing:
                    raise error(
                        f"{path}: holds {', '.join(present) or 'nothing'}, but no {' and no '.join(missing)}: save it "
                        f"with numpy.savez(path, {example})"
                    )
                wanted = [name for name in (*needed, *optional) if name in present]
                return {name: _read_member(archive, name, path, error) for name in wanted}
    except AutogrowError:
        raise
    except Exception as failure:  # noqa: BLE001 - a damaged archive can raise anything
        raise error(f"{path}: cannot be read as .npz ({one_line(failure)}): save it with numpy.savez") from failure


def _read_member(archive: zipfile.ZipFile, name: str, path: Path, error: type[AutogrowError]) -> Array:
    try:
        member = archive.getinfo(f"{name}{SUFFIX}")
        with archive.open(member) as content:
            stated = _stated_bytes(content)
            if stated is not None and stated != member.file_size - content.tell():
                raise ValueError(f"its header says {stated} bytes, it has {member.file_size - content.tell()}")
        with archive.open(member) as content:
            array: Array = np.lib.format.read_array(content, allow_pickle=False)
            return array
    except Exception as failure:  # noqa: BLE001 - so can a damaged member; among them one that would need a pickle
        cause = "it is no array" if isinstance(failure, KeyError) else one_line(failure)
        raise error(f"{path}: {name} cannot be read ({cause}): save plain numbers with numpy.savez") from failure


def _stated_bytes(content: IO[bytes]) -> int | None:
    """How much an array's header says that follows it; None where NumPy is going to say why it does not."""
    version = np.lib.format.read_magic(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        return None
    shape, _, dtype = readers[version](content)
    return None if dtype.hasobject else math.prod(shape) * dtype.itemsize
