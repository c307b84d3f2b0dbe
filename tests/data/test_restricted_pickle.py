import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from autogrow.data import restricted_pickle
from autogrow.data.restricted_pickle import load_cifar_pickle
from autogrow.errors import DataError

from .official_files import cifar_pickle

ORIGIN = Path("/data/cifar-100-python/train")


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_arrays_and_lists_are_read():
    images = np.arange(12, dtype=np.uint8).reshape(3, 4)
    loaded = load_cifar_pickle(cifar_pickle(images, np.array([2, 0, 1]), b"labels"), ORIGIN)
    assert np.array_equal(loaded[b"data"], images)
    assert loaded[b"labels"] == [2, 0, 1]


def test_a_fortran_ordered_array_keeps_its_values():
    images = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert np.array_equal(load_cifar_pickle(cifar_pickle(images, np.arange(3), b"l"), ORIGIN)[b"data"], images)


@pytest.mark.parametrize("function", [os.system, eval, getattr, open, __import__, np.load, np.fromfile])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_every_other_callable_is_refused_unexecuted(function, protocol):
    content = pickle.dumps({"data": Calls(function, "/nonexistent")}, protocol=protocol)
    with pytest.raises(DataError, match=rf"names \S*{function.__name__}, .*may be malicious; delete it"):
        load_cifar_pickle(content, ORIGIN)


@pytest.mark.parametrize(
    "name", ["numpy.core.multiarray\nfromfile", "numpy\nload", "numpy\nndarray.tofile", "builtins\nexec"]
)
def test_neighbours_of_the_admitted_names_are_refused(name):
    with pytest.raises(DataError, match="may be malicious"):
        load_cifar_pickle(b"\x80\x02c" + name.encode() + b"\n.", ORIGIN)


@pytest.mark.parametrize(
    "array",
    [
        np.array([print, 1], dtype=object),
        np.arange(4, dtype=np.int64),
        np.array(["text"]),
    ],
)
def test_arrays_of_other_types_are_refused(array):
    with pytest.raises(DataError, match="not a CIFAR pickle|may be malicious"):
        load_cifar_pickle(cifar_pickle(array, np.arange(2), b"labels"), ORIGIN)


@pytest.mark.parametrize("shape", [(5,), (-4, -1), (2.0, 2)])
def test_a_shape_that_disagrees_with_the_bytes(shape):
    content = cifar_pickle(np.zeros(4, np.uint8), np.arange(1), b"labels")
    old, new = pickle.dumps((4,), protocol=3)[2:-1], pickle.dumps(shape, protocol=3)[2:-1]
    memoized = old[: old.index(b"q")] if b"q" in old else old
    assert memoized in content
    forged = content.replace(memoized, new[: new.rindex(b"q")], 1)
    with pytest.raises(DataError, match="not a CIFAR pickle"):
        load_cifar_pickle(forged, ORIGIN)


def test_the_stand_ins_cannot_be_changed_by_a_pickle():
    for stand_in in (b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n"):
        before = {name: dict(vars(getattr(restricted_pickle, name))) for name in ("_ArrayType", "_ByteType")}
        content = b"\x80\x02" + stand_in + b"N}X\x04\x00\x00\x00evilK\x01s\x86b."
        with pytest.raises(DataError, match="not a CIFAR pickle"):
            load_cifar_pickle(content, ORIGIN)
        assert before == {name: dict(vars(getattr(restricted_pickle, name))) for name in before}


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", b"not a pickle\nat all", pickle.dumps([1, 2]), b"\x80\x02}q\x00"]
)
def test_damaged_pickles_give_one_line(content):
    with pytest.raises(DataError, match="not a CIFAR pickle") as caught:
        load_cifar_pickle(content, ORIGIN)
    assert "\n" not in str(caught.value)
