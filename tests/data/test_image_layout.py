"""Where the channels of images are: decided where the shape allows one answer, else one line."""

import numpy as np
import pytest

from autogrow.data.image_layout import channels_first, decide_layout
from autogrow.errors import DataError


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((32, 32, 3), "channels_last"), ((3, 32, 32), "channels_first"),
        ((32, 48, 3), "channels_last"), ((3, 32, 48), "channels_first"),
        ((28, 28, 1), "channels_last"), ((1, 28, 28), "channels_first"),
        ((16, 16, 13), "channels_last"), ((13, 16, 16), "channels_first"),
        ((16, 20, 2), "channels_last"), ((2, 16, 20), "channels_first"),
        ((32, 32, 6), "channels_last"), ((6, 32, 32), "channels_first"),
        ((8, 8, 64), "channels_last"), ((64, 8, 8), "channels_first"),
        ((5, 4, 3), "channels_last"), ((3, 4, 5), "channels_first"),
    ],
)  # fmt: skip
def test_a_clear_shape(shape, layout):
    assert decide_layout((6, *shape), None, "x_train", "a file") == layout


@pytest.mark.parametrize(
    "shape", [(4, 12, 3), (3, 4, 3), (3, 5, 4), (7, 4, 5), (8, 8, 8), (1, 1, 64), (3, 3, 5), (1, 20, 2), (1, 12, 3)]
)
def test_an_unclear_shape_asks(shape):
    with pytest.raises(DataError, match=r"a file: x_train of shape .* say which with --layout"):
        decide_layout((6, *shape), None, "x_train", "a file")
    for layout in ("channels_first", "channels_last"):
        assert decide_layout((6, *shape), layout, "x_train", "a file") == layout


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 4)])
def test_a_layout_that_the_shape_cannot_have(shape):
    with pytest.raises(DataError, match="not the layout channels_last"):
        decide_layout(shape, "channels_last", "x_train", "a file")


def test_channels_come_first():
    images = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert channels_first(images, "channels_last")[1, 2, 0, 3] == images[1, 0, 3, 2]
    assert channels_first(images[0], "grey_images").shape == (3, 1, 4, 5)
