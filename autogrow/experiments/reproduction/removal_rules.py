"""Which units go at the end of a cycle of training, by their scores: a threshold, or a share of the weakest."""

from torch import Tensor


def units_to_remove(scores: Tensor, share: float) -> list[int]:
    """Numbers of the units of one group that go, the weakest first, never all of them.

    Args:
        scores: (width,) larger stays.
        share: Of the units that go, at least one does; 0: all those whose score is not above 0.
    """
    weakest = scores.argsort(stable=True)[:-1]
    if not share:
        return [int(unit) for unit in weakest if scores[unit] <= 0]
    number = max(1, int(share * len(scores)))
    return [int(unit) for unit in weakest[:number]]
