"""Reads the pickles of CIFAR's "python version" without running anything that they name.

Pickles are programs. These files need three globals, under numpy's module path of 2009, to say "a uint8 array of this
shape": `numpy.core.multiarray._reconstruct`, `numpy.ndarray` and `numpy.dtype`. Each is answered with an inert stand-in
that checks and keeps its arguments; every other global is refused. So no code of numpy runs on untrusted state, and
the result does not depend on how today's numpy spells its module path.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any, Literal, Never

import numpy as np

from autogrow.errors import DataError, kind_of, one_line


def load_cifar_pickle(content: bytes, origin: Path) -> dict[bytes, Any]:
    """The dictionary pickled in `content`; its strings are bytes, its arrays uint8 of the pickled shape.

    Raises `DataError` (naming `origin`) for anything but such a dictionary.
    """
    try:
        # The files were written by Python 2, whose strings are bytes: pixels must not be decoded as text.
        loaded = _RestrictedUnpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(loaded, dict):
            raise pickle.UnpicklingError(f"{kind_of(loaded)}, expected a dictionary")
        return {key: value.array() if isinstance(value, _ArrayState) else value for key, value in loaded.items()}
    except _RefusedGlobalError as error:
        raise DataError(
            f"{origin}: the pickle names {error}, which a CIFAR file never does: it may be malicious; delete it"
        ) from error
    except Exception as error:  # noqa: BLE001 - a damaged pickle can raise anything, from IndexError to MemoryError
        raise DataError(f"{origin}: not a CIFAR pickle ({one_line(error)}): delete it") from error


class _RefusedGlobalError(pickle.UnpicklingError):
    pass


class _ArrayType:
    """Stands for the class `numpy.ndarray`, which is only ever passed on to `_reconstruct`."""

    def __init__(self, *_: object) -> Never:
        raise pickle.UnpicklingError("an array that is made directly")

    def __setstate__(self, state: object) -> Never:
        """Without it, a pickle could set attributes of this class."""
        raise pickle.UnpicklingError("a state for an array's class")


class _ByteType:
    """Stands for `numpy.dtype`: only the one of single unsigned bytes."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"an array of type {code!r}, expected 'u1'")

    def __setstate__(self, state: tuple[object, ...]) -> None:
        """Byte order and alignment mean nothing for single bytes."""


class _ArrayState:
    """Stands for an array while its shape and bytes are being read."""

    def __init__(self, kind: object, *_: object) -> None:
        if kind is not _ArrayType:
            raise pickle.UnpicklingError("an array of an unknown class")
        self._shape: tuple[int, ...] = (0,)
        self._content = b""
        self._fortran = False

    def __setstate__(self, state: tuple[int, tuple[int, ...], _ByteType, bool, bytes]) -> None:
        _, shape, element, self._fortran, self._content = state
        if not (isinstance(element, _ByteType) and isinstance(self._content, bytes)):
            raise pickle.UnpicklingError("an array without bytes")
        if math.prod(shape) != len(self._content) or min(shape, default=0) < 0:
            raise pickle.UnpicklingError(f"an array of shape {shape} with {len(self._content)} bytes")
        self._shape = shape

    def array(self) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        order: Literal["C", "F"] = "F" if self._fortran else "C"
        return np.frombuffer(self._content, dtype=np.uint8).reshape(self._shape, order=order)


class _RestrictedUnpickler(pickle.Unpickler):
    _ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"): _ArrayState,
        ("numpy", "ndarray"): _ArrayType,
        ("numpy", "dtype"): _ByteType,
    }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return self._ADMITTED[module_name, global_name]
        except KeyError:
            raise _RefusedGlobalError(f"{module_name}.{global_name}") from None

    def persistent_load(self, pid: Any) -> Never:
        raise _RefusedGlobalError("a persistent object")
