import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import autogrow.data
from autogrow.data import open_dataset
from autogrow.data.test_split import TestSplit, open_test_split
from autogrow.errors import DataError


def test_the_split_is_a_type_of_its_own(data_dir):
    split = open_test_split(open_dataset("digits", data_dir))
    assert type(split) is TestSplit
    assert not isinstance(split, autogrow.data.TrainSplit | autogrow.data.ValidationSplit)
    assert not TestSplit.__test__


def test_test_arrays_are_memory_mapped_and_read_only(data_dir):
    split = open_test_split(open_dataset("sine", data_dir))
    for array in (split.inputs, split.targets):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable


def test_a_dataset_without_test_split(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=np.zeros((4, 2)), y_train=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"mine\.npz' has no test split: add x_test and y_test"):
        open_test_split(open_dataset(str(path)))


def test_no_attribute_of_a_dataset_holds_arrays(data_dir):
    dataset = open_dataset("digits", data_dir)
    assert not any(isinstance(value, np.ndarray) for value in vars(dataset).values())


def test_splitting_never_opens_the_test_arrays(data_dir):
    dataset = open_dataset("digits", data_dir)
    for name in ("x_test", "y_test"):
        (dataset.arrays_folder / f"{name}.npy").unlink()
    train, validation = dataset.split(seed=0)
    assert len(train) + len(validation) == dataset.num_train


def test_no_other_module_of_the_package_imports_it():
    folder = Path(autogrow.data.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert "autogrow.data.test_split" not in names, path


@pytest.mark.slow
def test_the_package_loads_neither_torch_nor_the_test_split():
    code = (
        "import sys, autogrow.data\n"
        "assert 'numpy' not in sys.modules\n"
        "autogrow.data.DATASET_NAMES\n"
        "assert 'numpy' not in sys.modules\n"
        "for name in autogrow.data.__all__: getattr(autogrow.data, name)\n"
        "for name in ('torch', 'sklearn', 'rich', 'autogrow.data.test_split'): assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_an_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="has no attribute 'TestSplit'"):
        _ = autogrow.data.TestSplit
