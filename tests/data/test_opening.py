import pytest

from autogrow.data import DATASET_NAMES, open_dataset
from autogrow.errors import DataError


@pytest.mark.parametrize("name", ["cifar-100", "CIFAR100", "cifar1000"])
def test_an_unknown_name_lists_the_known_ones_and_the_nearest(name):
    with pytest.raises(DataError) as caught:
        open_dataset(name)
    message = str(caught.value)
    assert repr(name) in message
    assert all(known in message for known in DATASET_NAMES)
    assert ".npz" in message
    assert "\n" not in message


def test_the_nearest_name_is_offered():
    with pytest.raises(DataError, match="did you mean 'fashion-mnist'"):
        open_dataset("fashion_mnist")
