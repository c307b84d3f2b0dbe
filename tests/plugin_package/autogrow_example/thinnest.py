"""A unit score: the largest weight that reads a unit."""

from typing import ClassVar, Literal

from autogrow.policy.unit_scores import UnitScore


class Thinnest(UnitScore):
    kind: ClassVar[str] = "thinnest"
    summary: ClassVar[str] = "the largest weight that reads the unit"
    takes: ClassVar[Literal["weights", "inputs", "loss"]] = "weights"

    def make_measure(self):
        from autogrow.network.shrinking.unit_places import reader_weights

        def measure(network, groups, batches, seed):
            found = {}
            for (weight, dim), columns in reader_weights(network.structure, groups).items():
                sizes = network.module.get_parameter(weight).detach().abs().movedim(dim, 0).flatten(1).amax(1)
                for group, index in columns.items():
                    found[group] = sizes[index].amax(1).maximum(found.get(group, sizes.new_zeros(())))
            return found

        return measure
