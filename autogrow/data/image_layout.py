"""Which axis of four-dimensional inputs holds the channels: decided where a shape allows one answer, else asked for."""

from autogrow.data.arrays import Layout
from autogrow.errors import DataError
from autogrow.reading.arrays import Array

_OF_DIMENSIONS: dict[int, tuple[Layout, ...]] = {
    2: ("features",),
    3: ("grey_images",),
    4: ("channels_first", "channels_last"),
}
_USUAL_CHANNELS = (1, 3, 4)
"""Grey, colour, colour with transparency."""
_CLEARLY_FEWER = 4
"""How many times as long both other axes must be for an axis to hold the channels for its length alone."""

_LONGEST_PICTURE = 8
"""Sides of pictures are seldom farther apart."""


def decide_layout(shape: tuple[int, ...], wanted: Layout | None, name: str, origin: str) -> Layout:
    """The layout of an array of this `shape`, the one that is `wanted` where it fits.

    Raises `DataError` (naming `origin` and the array's `name`) where it does not fit, or nothing decides.
    """
    if len(shape) not in _OF_DIMENSIONS:
        raise DataError(
            f"{origin}: {name} has {len(shape)} dimensions {shape}: give (N, features), (N, H, W), (N, C, H, W) or "
            "(N, H, W, C)"
        )
    possible = _OF_DIMENSIONS[len(shape)]
    if wanted is not None:
        if wanted not in possible:
            raise DataError(f"{origin}: {name} of shape {shape} is {' or '.join(possible)}, not the layout {wanted}")
        return wanted
    if len(possible) == 1:
        return possible[0]
    votes = _votes(*shape[1:])
    if len(votes) != 1:
        raise DataError(
            f"{origin}: {name} of shape {shape} may be (N, C, H, W) or (N, H, W, C): say which with --layout "
            "channels_first or channels_last"
        )
    return votes.pop()


def channels_first(array: Array, layout: Layout) -> Array:
    """Inputs of a layout as (N, features) or (N, C, H, W)."""
    if layout == "grey_images":
        return array[:, None]
    return array.transpose(0, 3, 1, 2) if layout == "channels_last" else array


def _votes(first: int, middle: int, last: int) -> set[Layout]:
    """What speaks for either layout: equal sides of the picture, a usual number of channels, clearly the fewest."""
    votes: set[Layout] = set()
    sides: tuple[tuple[Layout, int, int], ...] = (("channels_first", first, last), ("channels_last", last, first))
    for layout, channels, side in sides:
        is_square = 1 < side == middle != channels
        is_usual = channels in _USUAL_CHANNELS and side not in _USUAL_CHANNELS and channels <= min(middle, side)
        is_picture = max(middle, side) <= _LONGEST_PICTURE * min(middle, side)
        if is_square or is_usual and is_picture or _CLEARLY_FEWER * channels <= min(middle, side):
            votes.add(layout)
    return votes
