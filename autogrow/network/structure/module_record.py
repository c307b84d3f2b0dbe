"""What a module consists of, to notice when somebody else has changed that since its structure was found.

Growth goes by names and shapes. A layer that was replaced, a weight that was pruned, parametrized or tied since then
would be grown in part only, and the next forward pass would fail.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

_PRUNED = "_orig"
"""What `torch.nn.utils.prune` adds to the name of a parameter."""

_REMEDY = "build it anew for the network as it is, or change that back"


@dataclass(frozen=True)
class ModuleRecord:
    """Classes of all layers, shapes of all parameters, and the first name of each, which tied ones share."""

    classes: Mapping[str, type[nn.Module]]
    shapes: Mapping[str, tuple[int, ...]]
    first_names: Mapping[str, str]

    @classmethod
    def of(cls, model: nn.Module) -> "ModuleRecord":
        first: dict[int, str] = {}
        shapes, first_names = {}, {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            shapes[name] = tuple(parameter.shape)
            first_names[name] = first.setdefault(id(parameter), name)
        return cls({name: type(layer) for name, layer in model.named_modules()}, shapes, first_names)

    def difference_in(self, model: nn.Module) -> str | None:
        """What is no longer as it was, and what to do; None where nothing is."""
        now = ModuleRecord.of(model)
        if now == self:
            return None
        return f"since ExpandableNetwork was built, {self._first_difference(now)}"

    def _first_difference(self, now: "ModuleRecord") -> str:
        for name in self.shapes:
            if name not in now.shapes:
                if name + _PRUNED in now.shapes:
                    layer, _, attribute = name.rpartition(".")
                    return (
                        f"parameter {name!r} was pruned: make that permanent with prune.remove({layer}, {attribute!r})"
                    )
                return f"parameter {name!r} was taken away or parametrized: {_REMEDY}"
            if now.shapes[name] != self.shapes[name]:
                return f"parameter {name!r} has changed from {self.shapes[name]} to {now.shapes[name]}: {_REMEDY}"
        for name, kind in self.classes.items():
            if name not in now.classes:
                return f"layer {name!r} was taken away: {_REMEDY}"
            if now.classes[name] is not kind:
                return f"layer {name!r} has changed from {kind.__name__} to {now.classes[name].__name__}: {_REMEDY}"
        for name, first in self.first_names.items():
            if now.first_names.get(name, name) != first:
                return f"parameter {name!r} was tied to another or untied: {_REMEDY}"
        added = [*(now.shapes.keys() - self.shapes.keys()), *(now.classes.keys() - self.classes.keys())]
        return f"{min(added)!r} was added: {_REMEDY}"
