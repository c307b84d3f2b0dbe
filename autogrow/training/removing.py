"""Taking units and blocks away from a network until it keeps to a size: those that matter least, as measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.optim import Optimizer

from autogrow.errors import NetworkError, unknown_name
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.running.undisturbed import evaluating
from autogrow.network.shrinking.loss_scores import loss_of
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.changes import Change, Narrow, Shorten
from autogrow.policy.removals import RemoveBlocks, RemoveBoth, RemoveWeights
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.unit_removal import Candidates, FloatArray, is_named
from autogrow.tasks import Task
from autogrow.training.batches import BatchSource
from autogrow.training.fixed_batch import FixedBatch
from autogrow.training.shrink_targets import UnreachableError, check_reachable, num_to_remove, size_of
from autogrow.training.zeroing import number_of_zeros, prunable, zero_smallest

CALIBRATION_BATCH = 128
"""Examples in one pass when units are scored."""
TIMED_EXAMPLES = 64
NOT_NAMED = "only others were to lose units"


@dataclass(frozen=True)
class Removed:
    """What one removal has taken."""

    units: dict[str, int] = field(default_factory=dict)
    """How many, by group."""
    blocks: dict[str, list[int]] = field(default_factory=dict)
    """Their numbers before, by stage."""
    weights: int = 0
    """That have become zeros."""

    @classmethod
    def by(cls, changes: Sequence[Change]) -> "Removed":
        """What such changes take: a `Narrow` or a `Shorten`, or one of each, with numbers of units and blocks."""
        removed = cls()
        for change in changes:
            if isinstance(change, Narrow):
                counted = {name: len(which) for name, which in change.removed_units.items() if isinstance(which, list)}
                removed = replace(removed, units=counted)
            elif isinstance(change, Shorten):
                numbers = {name: which for name, which in change.removed_blocks.items() if isinstance(which, list)}
                removed = replace(removed, blocks=numbers)
        return removed


class Remover:
    """Removes what `shrinking` says from a network as it is at the time, by the same training examples every time.

    Args:
        examples: Of training.
        task: Of the examples' loss.
        calibration: (number,) those that scores and compensations are measured on.
        seed: Of whatever scores draw.
    """

    def __init__(
        self,
        shrinking: Shrinking,
        examples: BatchSource,
        task: Task,
        calibration: torch.Tensor,
        seed: int,
    ) -> None:
        self._shrinking, self._examples, self._task = shrinking, examples, task
        self._calibration, self._seed = calibration, seed
        self.unscored: tuple[str, ...] = ()
        """What is to be said of groups that had no score when units were scored last."""
        self._known: tuple[tuple[str, ...], dict[str, str]] = ((), {})

    @property
    def inputs(self) -> torch.Tensor:
        """Training inputs on which sizes and latencies are measured."""
        return self._examples.batch(self._calibration[:TIMED_EXAMPLES])[0]

    def fixed(self, network: ExpandableNetwork) -> dict[str, str]:
        """Groups that no unit is taken from, and why; empty where units stay in any case."""
        if not self._shrinking.remove.takes_units:
            return {}
        names = tuple(network.structure.widths)
        if self._known[0] != names:  # other blocks have other groups; what can go from a group does not change
            others = {name: NOT_NAMED for name in names if not is_named(name, self._shrinking.only)}
            reasons = {group.name: group.reason for group in network.fixed} | network.inexact_removals()
            self._known = names, others | reasons
        return self._known[1]

    def check(self, network: ExpandableNetwork) -> None:
        """Raises `NetworkError` where nothing of a network can be removed; says why."""
        self._check_names(network)
        if isinstance(self._shrinking.remove, RemoveWeights):
            if not prunable(network.module, self._shrinking.only):
                raise NetworkError(
                    "the network has no parameter of two dimensions or more, whose weights could be zero"
                )
            return
        if self._shrinking.remove.takes_blocks and not self._shrinking.remove.takes_units:
            self._check_blocks(network)
        elif not self._groups(network) and not (self._shrinking.remove.takes_blocks and network.stages):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(self.fixed(network).items())[:3])
            raise NetworkError(f"no group of the network can lose units ({reasons})")

    def _check_names(self, network: ExpandableNetwork) -> None:
        """Raises `NetworkError` where `only` names nothing, or parts of blocks whose places change as others go."""
        only, takes = self._shrinking.only, self._shrinking.remove
        groups = [*{**network.structure.widths, **network.structure.fixed}] if takes.takes_units else []
        if isinstance(takes, RemoveWeights):
            groups = [*prunable(network.module)]
        stages = [*network.blocks] if takes.takes_blocks else []
        for pattern in only:
            if not any(is_named(name, [pattern]) for name in (*groups, *stages)):
                kind = "weight" if isinstance(takes, RemoveWeights) else "group" if takes.takes_units else "stage"
                raise NetworkError(unknown_name(kind, pattern, groups + stages))
        for stage in stages:
            parts = [name.removeprefix(f"{stage}.").partition(".") for name in groups if is_named(name, [stage])]
            for inner in {inner for *_, inner in parts}:
                if len({is_named(f"{stage}.{block}.{inner}", only) for block, _, other in parts if other == inner}) > 1:
                    raise NetworkError(
                        f"only {', '.join(only)}: tells blocks of the stage {stage!r} apart, whose numbers change as "
                        f"others go; name all of them ({stage}.*.{inner}), or remove units alone (--remove units)"
                    )

    def _check_blocks(self, network: ExpandableNetwork) -> None:
        if not network.stages:
            raise NetworkError(
                "the network has no stage, a row of alike blocks, that could lose some: remove units (--remove units)"
            )
        if not len(self._block_candidates(network)):
            raise NetworkError(
                f"no block of the stages {', '.join(network.blocks)} can go: each is the only one, or none behind it "
                "can take its place; remove units (--remove units)"
            )

    def remove(self, network: ExpandableNetwork, target: Target, optimizer: Optimizer | None = None) -> Removed:
        """Remove the worst until the network keeps to the target; returns what was removed.

        The state of an optimizer follows.

        Raises `UnreachableError` where it cannot be kept to; nothing is removed then.
        """
        remove = self._shrinking.remove
        if isinstance(remove, RemoveWeights):
            return Removed(weights=zero_smallest(network.module, self._shrinking.order, target, self._shrinking.only))
        if isinstance(remove, RemoveBoth):
            changes = self._both(network, target)
        else:
            is_of_blocks = isinstance(remove, RemoveBlocks)
            candidates = self._block_candidates(network) if is_of_blocks else self._unit_candidates(network)
            changes = self._least(network, candidates, target)
        if changes:
            network.apply(changes, optimizer, calibration_input=self._calibration_input)
        return Removed.by(changes)

    def check_reachable(self, network: ExpandableNetwork, target: Target) -> None:
        """Raises `UnreachableError` where not even all removals that are allowed come to the target."""
        if isinstance(self._shrinking.remove, RemoveWeights):
            number_of_zeros(network.module, self._shrinking.order, target, self._shrinking.only)
            return
        batch = self._measured_on(target)
        if self._shrinking.remove.takes_blocks:
            blocks = self._block_candidates(network)
            if not self._shrinking.remove.takes_units:
                return check_reachable(network, blocks, target, batch)
            network = _without(network, blocks.changes(len(blocks)))
        candidates = self._unit_candidates(network)
        try:
            check_reachable(network, candidates, target, batch)
        except UnreachableError as error:
            raise UnreachableError("; ".join([str(error), *self.unscored])) from None

    def _least(self, network: ExpandableNetwork, candidates: Candidates, target: Target) -> list[Change]:
        number = num_to_remove(network, candidates, target, self._measured_on(target))
        return candidates.changes(number, self._shrinking.compensation)

    def _both(self, network: ExpandableNetwork, target: Target) -> list[Change]:
        """As many blocks as leave the smallest loss once units have gone, too; of equal losses the fewest blocks."""
        blocks, batch = self._block_candidates(network), self._measured_on(target)
        found: list[tuple[float, list[Change]]] = []
        unreachable: UnreachableError | None = None
        for number in range(len(blocks) + 1):
            changes = blocks.changes(number)
            shorter = _without(network, changes)
            try:
                changes = changes + self._least(shorter, self._unit_candidates(shorter), target)
            except UnreachableError as error:  # more blocks may do
                unreachable = error
                continue
            smaller = _without(network, changes, self._calibration_input)
            found.append((self._loss(smaller), changes))
            if size_of(shorter.module, target.metric, batch) <= target.value:
                break  # more would be too much
        if not found:
            assert unreachable is not None
            raise unreachable
        return min(found, key=lambda each: each[0])[1]

    def _loss(self, network: ExpandableNetwork) -> float:
        """Of all examples that are measured on, in eval mode; infinite where it is none."""
        with evaluating(network.module):
            losses = [loss_of(network.module, batch, self._seed) * len(batch.inputs) for batch in self._batches()]
        found = sum(losses)
        return found if np.isfinite(found) else np.inf

    def _block_candidates(self, network: ExpandableNetwork) -> Candidates:
        remove = self._shrinking.remove
        assert isinstance(remove, RemoveBlocks | RemoveBoth)
        if not network.stages:
            return Candidates((), are_blocks=True)
        scores = network.measure_block_scores(remove.score, self._batches(), self._seed)
        named = {name: each.numpy() for name, each in scores.items() if is_named(name, self._shrinking.only)}
        return Candidates.blocks(self._shrinking.order, named)

    def _unit_candidates(self, network: ExpandableNetwork) -> Candidates:
        """The units in the order in which they go; notes which groups have no score."""
        scores = self.scores(network)
        names = [name for name, values in scores.items() if np.isnan(values).any()]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        kind = self._shrinking.score.kind
        self.unscored = (f"no score by {kind}, so all units stay ('magnitude' may have one): {shown}",) if names else ()
        return Candidates.units(self._shrinking.order, scores)

    def scores(self, network: ExpandableNetwork) -> dict[str, FloatArray]:
        """One per unit of every group that can lose some."""
        found = measure_unit_scores(self._shrinking.score, network, self._groups(network), self._batches(), self._seed)
        return {name: values.numpy() for name, values in found.items()}

    def _groups(self, network: ExpandableNetwork) -> list[str]:
        fixed = self.fixed(network)
        return [group.name for group in network.groups if group.name not in fixed]

    def _measured_on(self, target: Target) -> torch.Tensor:
        return self.inputs if target.metric == "latency_ms" else self.inputs[:2]

    @property
    def _calibration_input(self) -> torch.Tensor:
        return self._examples.batch(self._calibration)[0]

    def _batches(self) -> list[Batch]:
        parts = [self._examples.batch(part) for part in torch.split(self._calibration, CALIBRATION_BATCH)]
        return [Batch(each.inputs, each.loss) for each in (FixedBatch(*part, self._task) for part in parts)]


def _without(
    network: ExpandableNetwork, changes: Sequence[Change], calibration_input: torch.Tensor | None = None
) -> ExpandableNetwork:
    """A copy after changes."""
    twin = network.twin()
    if changes:
        twin.apply(changes, calibration_input=calibration_input)
    return twin
