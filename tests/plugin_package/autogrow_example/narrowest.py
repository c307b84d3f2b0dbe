"""A layer selection: which channel groups grow."""

from autogrow.policy.layer_selection import LayerSelection


class Narrowest(LayerSelection):
    """Grows the group with the fewest units."""

    kind = "narrowest"
    summary = "the group with the fewest units"

    def select(self, groups, random):
        return [min(groups, key=lambda group: group.width).name]
