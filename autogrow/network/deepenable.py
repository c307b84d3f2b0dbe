"""The half of `ExpandableNetwork` that is about depth: stages, and how many blocks they have."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from autogrow.errors import NetworkError, PolicyError
from autogrow.network.depth.deepening import prepare_depth, prepare_removal
from autogrow.network.depth.depth_change import Deepening, DepthChange
from autogrow.network.depth.stage_finding import find_stages, with_named_stages
from autogrow.network.depth.stages import StageDesigns
from autogrow.network.measuring.size import check_limits
from autogrow.network.optimizer.attached import Optimizers
from autogrow.network.output_guard import OutputComparison
from autogrow.network.running.model_input import ModelInput, explained, following
from autogrow.network.running.norm_statistics import measure_new_statistics
from autogrow.network.running.plain_mode import in_plain_mode
from autogrow.network.shrinking.block_scores import block_scores
from autogrow.network.shrinking.request import Batch
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.transactional import TransactionalNetwork
from autogrow.policy.block_initializations import BlockInitialization, parse_block_initialization
from autogrow.policy.depth import BlockState
from autogrow.policy.history import Stage
from autogrow.policy.limits import SizeLimits
from autogrow.policy.removals import BlockScore


class DeepenableNetwork:
    """Finds the stages of a plain module and changes their numbers of blocks; made as an `ExpandableNetwork`."""

    limits: SizeLimits
    _state: TransactionalNetwork
    _example_input: ModelInput
    _number_format: torch.dtype | None
    _designs: StageDesigns | None
    """None until stages are asked for."""

    @property
    def module(self) -> nn.Module:
        """The plain module, which is changed in place."""
        return self._state.module

    @property
    def structure(self) -> Structure:
        """Groups and layouts as they are now; a record that no change of the network touches."""
        return self._state.structure

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    @in_plain_mode
    def stages(self) -> tuple[Stage, ...]:
        """The stages that can be deepened, in the network's order; looked for by experiment when first asked for."""
        return self._known_stages().stages(self.module)

    @property
    def blocks(self) -> dict[str, int]:
        """The number of blocks of every stage."""
        return {stage.name: stage.num_blocks for stage in self.stages}

    @in_plain_mode
    def add_stages(self, names: Iterable[str]) -> tuple[Stage, ...]:
        """Take containers for stages by name, as the methods below do, in place of found ones that overlap with them.

        Raises `NetworkError` where no module has the name, or it is no stage, with the reason.
        """
        chosen = list(names)
        known = self._known_stages(chosen)
        return tuple(stage for stage in known.stages(self.module) if stage.name in chosen)

    def deepen(self, stage: Stage | str, num_blocks: int = 1, **options: Any) -> Deepening:
        """Add blocks to one stage; see `deepen_stages` for the options."""
        return self.deepen_stages({stage if isinstance(stage, str) else stage.name: num_blocks}, **options)

    @in_plain_mode
    @explained("the network fails as it changes")
    def deepen_stages(
        self,
        added_blocks: Mapping[str, int],
        *,
        initialization: str | BlockInitialization = "zero",
        optimizer: Optimizers | None = None,
        optimizer_state: BlockState = "carry",
        generator: torch.Generator | None = None,
        calibration_input: ModelInput | None = None,
    ) -> Deepening:
        """Add blocks to stages in one growth event, with optimizer entries and records, or not at all.

        A block that is drawn anew (zero, random) has the form of the one that the network's author put there (of the
        last where there is none), is as wide as the one before it relative to full widths, and has fresh weights; see
        `new_blocks.fresh_block`. One that is copied (stack, interleave, copy_last) has widths, weights and settings of
        its original; blocks behind it move on, with their names.

        Args:
            added_blocks: Blocks to add (at least 1) by stage.
            initialization: A name of `autogrow list block-initializations`, or a record: where new blocks come, how
                they start, and whether outputs stay.
            optimizer_state: "carry" gives copies the state of their originals, "fresh" none; "reset" drops all.
            optimizer: As in `widen_groups`; new parameters join the groups of those that they are most like.
            generator: Where weights are drawn from, on the CPU; a fresh one seeded with 0 if None.
            calibration_input: A batch from which norms of new blocks take their mean and variance; without it they
                start with 0 and 1.

        Raises:
            NetworkError: No such stage, a number below 1, a block that cannot start as the identity or be copied,
                outputs that change, an optimizer that lacks the parameters, or a size above a limit. Everything is as
                it was.
        """
        started, before = time.perf_counter(), self.num_parameters
        settings = _block_initialization(initialization)
        blocks = self._known_stages(added_blocks).deepened(self.module, added_blocks)
        outputs = OutputComparison(self.module, self._batch, settings.keeps_outputs)
        with self._with_blocks(
            blocks,
            generator,
            initialization=settings,
            grows=True,
            optimizer=optimizer,
            optimizer_state=optimizer_state,
        ) as change:
            if calibration_input is not None:
                measure_new_statistics(self.module, change.fresh_channels, calibration_input)
            outputs.check(added_blocks)
            check_limits(self.module, self._batch, self.limits)
        return Deepening(dict(added_blocks), before, self.num_parameters, time.perf_counter() - started)

    def start_shallow(self, blocks: Mapping[str, int]) -> None:
        """Leave stages of a fresh network only their first `blocks`, at least one; as `start_small` does with units."""
        self.set_blocks(self._known_stages(blocks).shallow(self.module, blocks))

    @in_plain_mode
    def set_blocks(self, blocks: Mapping[str, int]) -> None:
        """Give stages the number of blocks of a saved network, before `set_widths`; values of new ones mean nothing."""
        with self._with_blocks(self._known_stages(blocks).resized(blocks)):
            pass

    @in_plain_mode
    def remove_blocks(
        self, removed_blocks: Mapping[str, int | Sequence[int]], optimizer: Optimizers | None = None
    ) -> None:
        """Remove blocks of stages, and let those behind them move up with their weights, state and records.

        Args:
            removed_blocks: By stage how many, counted from its end, or their numbers, the first block's being 0.
            optimizer: As in `widen_groups`; it drops what goes.

        Raises:
            NetworkError: No such stage or block, all blocks of one, or a block that cannot move as it is not like the
                one whose place it would take. Everything is as it was.
        """
        known = self._known_stages(removed_blocks)
        change = prepare_removal(self.module, self.structure, known, known.fewer(self.module, removed_blocks))
        with self._state.all_or_nothing(optimizer):
            self._state.change_depth(change, grows=False)

    @in_plain_mode
    def measure_block_scores(self, score: BlockScore, batches: Sequence[Batch], seed: int = 0) -> dict[str, Tensor]:
        """What each block of each stage is worth; see `shrinking.block_scores`. The network is left as it is."""
        return block_scores(score, self.module, self._known_stages(), batches, seed)

    def _known_stages(self, names: Iterable[str] = ()) -> StageDesigns:
        self._state.check_unchanged()
        known = self._designs or find_stages(self.module, self.structure, self._batch)
        self._designs = with_named_stages(known, names, self.module, self.structure, self._batch)
        return self._designs

    @contextmanager
    def _with_blocks(
        self,
        blocks: Mapping[str, int],
        generator: torch.Generator | None = None,
        *,
        initialization: BlockInitialization | None = None,
        grows: bool = False,
        optimizer: Optimizers | None = None,
        optimizer_state: BlockState = "carry",
    ) -> Iterator[DepthChange]:
        """Change depths, then run what is inside; all of it or nothing."""
        batch = self._batch if initialization is not None and initialization.keeps_outputs else None
        change = prepare_depth(
            self.module, self.structure, self._known_stages(), blocks, generator, batch, initialization
        )
        with self._state.all_or_nothing(optimizer):
            self._state.change_depth(change, grows=grows, optimizer_state=optimizer_state)
            yield change

    @property
    def _batch(self) -> ModelInput:
        """The example input where the network is now, in the number format that it has now."""
        return following(self.module, self._example_input, self._number_format)


def _block_initialization(given: str | BlockInitialization) -> BlockInitialization:
    try:
        return parse_block_initialization(given)
    except PolicyError as error:
        raise NetworkError(str(error)) from error
