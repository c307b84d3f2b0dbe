"""The structure of a network with more or fewer blocks, derived from that of the network as its author wrote it.

Nothing is traced again: a copy of a block has the layouts of its original under other names. The groups that lie
within the block are copied, those that reach beyond it (the residual stream) get more members. As everything is
derived from the one structure that was traced, removing a block and adding it again changes nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import TypeVar

from autogrow.network.depth.stages import Row, StageDesign
from autogrow.network.structure.channel_groups import (
    AttributeLayout,
    ChannelGroup,
    FixedGroup,
    Member,
    Structure,
    TensorLayout,
)
from autogrow.network.structure.layout import Layout

Entry = TypeVar("Entry")


def with_depth(full: Structure, designs: Mapping[str, StageDesign], num_children: Mapping[str, int]) -> Structure:
    """The structure when the container of every stage has this many children; widths of copies are their originals'."""
    structure = full
    for name, design in designs.items():
        authored, wanted = len(design.keys), num_children[name]
        if wanted < authored:
            structure = _without([design.prefix(place) for place in range(wanted, authored)], structure)
        elif wanted > authored:
            added = [design.prefix(place) for place in range(authored, wanted)]
            structure = _with_copies(design.prefix(authored - 1), added, structure)
    return structure


def with_widths_of(
    structure: Structure, present: Structure, designs: Mapping[str, StageDesign], rows: Mapping[str, Row]
) -> Structure:
    """The structure with the present widths, wherever blocks have moved to; copies are as wide as their originals.

    Blocks that are drawn anew are as wide as the ones before them. That means: the group of the same name in the block
    before sets the share of the full width; where that has no such group, the mean over its groups does. `rows` says
    for every stage what stands where.
    """
    widths = {name: group.width for name, group in present.groups.items() if name in structure.groups}
    for name, design in designs.items():
        for place, source in enumerate(rows[name]):
            if source == place:
                continue
            here, like = design.prefix(place), design.prefix(place - 1 if source is None else source)
            for group in own_groups(structure, here) & structure.groups.keys():
                if source is not None:
                    widths[group] = present.groups[renamed(group, here, like)].width
                    continue
                full = structure.groups[group].full_width
                share = _share(structure, widths, renamed(group, here, like), like)
                widths[group] = max(1, floor(share * full + 0.5))
    return structure.with_widths(widths)


def are_alike(full: Structure, one: str, other: str) -> bool:
    """Whether two blocks, as their author wrote them, differ in nothing but their names."""
    own, theirs = (own_groups(full, block) & full.groups.keys() for block in (one, other))
    renaming = _Renaming(one, other, frozenset(own))
    copied = dict(renaming.tensor(item) for item in full.tensors.items() if is_part(item[0], one))
    others = {name: layout for name, layout in full.tensors.items() if is_part(name, other)}
    widths = {renaming.group_name(name): full.groups[name].full_width for name in own}
    return copied == others and widths == {name: full.groups[name].full_width for name in theirs}


def _share(structure: Structure, widths: Mapping[str, int], like: str, block: str) -> float:
    """Share of its full width that a group of the block before has, or that its groups have on average."""
    shares = {name: widths[name] / structure.groups[name].full_width for name in widths if is_part(name, block)}
    return shares.get(like, sum(shares.values()) / len(shares) if shares else 1.0)


def block_structure(full: Structure, prefix: str, widths: Mapping[str, int]) -> Structure:
    """The layouts of one block, under the names that they have within it, when the groups have these widths."""
    within = len(prefix) + 1
    tensors = {name[within:]: layout for name, layout in full.tensors.items() if is_part(name, prefix)}
    attributes = tuple(
        replace(entry, attribute=replace(entry.attribute, layer=entry.attribute.layer[within:]))
        for entry in full.attributes
        if is_part(entry.attribute.layer, prefix)
    )
    return Structure(full.with_widths(widths).groups, full.fixed, tensors, attributes)


def own_groups(structure: Structure, prefix: str) -> frozenset[str]:
    """The groups that lie within one block."""
    elsewhere = _groups_in(layout for name, layout in structure.tensors.items() if not is_part(name, prefix))
    return frozenset(name for name in structure.widths if is_part(name, prefix)) - elsewhere


def is_part(name: str, prefix: str) -> bool:
    """Whether `name` is that of the module `prefix`, of something in it, or of a group named after one of these."""
    return name == prefix or (name.startswith(prefix) and name[len(prefix)] in ".[#")


def renamed(name: str, old: str, new: str) -> str:
    return new + name[len(old) :] if is_part(name, old) else name


def _groups_in(layouts: Iterable[TensorLayout]) -> frozenset[str]:
    segments = (segment for layout in layouts for dim in layout.dims.values() for segment in dim)
    return frozenset(segment.group for segment in segments if segment.group is not None)


def _without(prefixes: Sequence[str], structure: Structure) -> Structure:
    """The structure without these blocks, and without the groups that only they had."""

    def stays(name: str) -> bool:
        return not any(is_part(name, prefix) for prefix in prefixes)

    tensors = {name: layout for name, layout in structure.tensors.items() if stays(name)}
    used = _groups_in(tensors.values())
    groups = {
        name: replace(group, members=tuple(member for member in group.members if stays(member.layer)))
        for name, group in structure.groups.items()
        if stays(name) or name in used  # a group keeps its name even when the layer that gave it is gone
    }
    fixed = {name: group for name, group in structure.fixed.items() if stays(name) or name in used}
    known = groups.keys() | fixed.keys()
    return Structure(
        groups,
        fixed,
        tensors,
        tuple(entry for entry in structure.attributes if stays(entry.attribute.layer)),
        {number: names & known for number, names in structure.choices.items()},
        {weight: norm for weight, norm in structure.norm_of.items() if stays(weight) and stays(norm)},
    )


def _with_copies(old: str, added: Sequence[str], structure: Structure) -> Structure:
    """The structure with copies of the block `old` after it, which have these names."""
    own = own_groups(structure, old)
    copies = [_Renaming(old, new, own) for new in added]

    def lengthened(members: tuple[Member, ...]) -> tuple[Member, ...]:
        return _spliced(members, lambda member: is_part(member.layer, old), [copy.member for copy in copies])

    groups = _spliced(structure.groups.values(), lambda group: group.name in own, [copy.group for copy in copies])
    fixed = _spliced(structure.fixed.values(), lambda group: group.name in own, [copy.fixed for copy in copies])
    inner = {copy.group_name(name) for copy in copies for name in own} | own
    return Structure(
        {
            group.name: group if group.name in inner else replace(group, members=lengthened(group.members))
            for group in groups
        },
        {group.name: group for group in fixed},
        dict(_spliced(structure.tensors.items(), lambda item: is_part(item[0], old), [copy.tensor for copy in copies])),
        _spliced(
            structure.attributes, lambda entry: is_part(entry.attribute.layer, old), [copy.attribute for copy in copies]
        ),
        {
            number: names.union(*({copy.group_name(name) for name in names} for copy in copies))
            for number, names in structure.choices.items()
        },
        dict(_spliced(structure.norm_of.items(), lambda item: is_part(item[0], old), [copy.pair for copy in copies])),
    )


def _spliced(
    entries: Iterable[Entry], is_original: Callable[[Entry], bool], copies: Sequence[Callable[[Entry], Entry]]
) -> tuple[Entry, ...]:
    """The entries with copies after every run of originals, so that the network's order is kept."""
    result: list[Entry] = []
    run: list[Entry] = []
    for entry in entries:
        if not is_original(entry) and run:
            result += [copy(original) for copy in copies for original in run]
            run = []
        elif is_original(entry):
            run.append(entry)
        result.append(entry)
    return tuple([*result, *(copy(original) for copy in copies for original in run)])


@dataclass(frozen=True)
class _Renaming:
    """What belongs to the block `old`, as what belongs to its copy `new`."""

    old: str
    new: str
    own: frozenset[str]
    """Groups that are copied; others are shared."""

    def name(self, name: str) -> str:
        return renamed(name, self.old, self.new)

    def group_name(self, name: str) -> str:
        return self.name(name) if name in self.own else name

    def layout(self, layout: Layout) -> Layout:
        return tuple(
            segment if segment.group is None else replace(segment, group=self.group_name(segment.group))
            for segment in layout
        )

    def tensor(self, item: tuple[str, TensorLayout]) -> tuple[str, TensorLayout]:
        dims = {dim: self.layout(layout) for dim, layout in item[1].dims.items()}
        return self.name(item[0]), replace(item[1], dims=dims)

    def member(self, member: Member) -> Member:
        return replace(member, layer=self.name(member.layer))

    def group(self, group: ChannelGroup) -> ChannelGroup:
        return replace(group, name=self.name(group.name), members=tuple(map(self.member, group.members)))

    def fixed(self, group: FixedGroup) -> FixedGroup:
        reason = re.sub(rf"(?<![\w.]){re.escape(self.old)}(?=[.\s'\[#])", lambda _: self.new, group.reason)
        return replace(group, name=self.name(group.name), reason=reason, members=tuple(map(self.member, group.members)))

    def attribute(self, entry: AttributeLayout) -> AttributeLayout:
        attribute = replace(entry.attribute, layer=self.name(entry.attribute.layer))
        return AttributeLayout(attribute, self.layout(entry.layout))

    def pair(self, item: tuple[str, str]) -> tuple[str, str]:
        return self.name(item[0]), self.name(item[1])
