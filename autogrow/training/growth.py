"""Where a policy meets a network: asks the triggers, measures what the layer selection needs, grows, records."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.flops import training_flops_per_example
from autogrow.network.measuring.statistics import measure_statistic
from autogrow.network.running.evaluating import evaluating
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.layer_selection import Probe
from autogrow.policy.records import GroupStatistics, GrowthEvent, Sample
from autogrow.policy.triggers import Verdict
from autogrow.tasks import Task
from autogrow.training.batches import stream_seed
from autogrow.training.probing import probe_groups
from autogrow.training.size_fitting import FittingSizes

FLOPS_EXAMPLES = 2
"""Examples that FLOPs are counted on; the count per example does not depend on it."""

TrainStep = Callable[[nn.Module, Optimizer, int], None]
"""Trains a network for the step of that number, counted over the whole run."""


@dataclass(frozen=True)
class FixedBatch:
    """Training examples on which everything about growing is measured: the same ones throughout a run."""

    inputs: Tensor
    targets: Tensor
    task: Task

    def loss(self, module: nn.Module) -> Tensor:
        """The loss of `module` on the batch, with gradients where they are enabled."""
        return self.task.loss(module(self.inputs), self.targets)

    def read(self, module: nn.Module) -> tuple[Tensor, float]:
        """Outputs and loss in eval mode."""
        with evaluating(module):
            outputs: Tensor = module(self.inputs)
            return outputs, float(self.task.loss(outputs, self.targets))

    def loss_value(self, module: nn.Module) -> float:
        """The loss in eval mode."""
        return self.read(module)[1]


@dataclass(frozen=True)
class _Triggered:
    """A trigger's verdict to grow, and which trigger's."""

    verdict: Verdict
    of_depth: bool


@dataclass(frozen=True)
class _Growing:
    """What is about to be added in one event."""

    units: dict[str, int]
    blocks: dict[str, int]
    verdict: Verdict
    statistics: dict[str, float]
    selection_flops: float = 0.0
    limited_by: str | None = None


class Growth:
    """Applies one policy to one network.

    All that it decides on stands in the record of samples and events, but for `ended_step`: the step after which
    the network grows no more, None while it still may.
    """

    def __init__(
        self,
        network: ExpandableNetwork,
        policy: GrowthPolicy,
        batch: FixedBatch,
        *,
        num_steps: int,
        seed: int,
        batch_size: int,
        train_step: TrainStep,
        fitting: FittingSizes,
    ) -> None:
        self.network = network
        self.policy = policy
        self.ended_step: int | None = None
        self.ended_by = ""
        """Why the network grows no more, in words."""
        self._batch = batch
        self._num_steps = num_steps
        self._seed = seed
        self._batch_size = batch_size
        self._train_step = train_step
        self._fitting = fitting
        self.training_flops = self._count_flops(network)
        """FLOPs of one example's forward and backward pass at the present size."""
        self.step_flops = self.training_flops
        """Those that a training step takes at present: gradients of frozen layers are not computed."""

    def start_small(self) -> None:
        """Bring the fresh network to the policy's start: fewer blocks, narrower groups, within the limits."""
        if self.policy.depth is not None:
            self._check_stages()
            full = self._full_blocks()
            self.network.shorten({name: self.policy.depth.initial_blocks(count) for name, count in full.items()})
        widths = {group.name: self.policy.initial_width(group.full_width) for group in self.network.groups}
        self.network.start_small(self._fitting.start(widths))
        self.recount()
        if not self._growable() and not self._growable_blocks():
            self._end(0, "there is nothing to grow")

    def recount(self, optimizer: Optimizer | None = None) -> None:
        """Count FLOPs again after the network was given other sizes, or other layers were frozen."""
        self.training_flops = self.step_flops = self._count_flops(self.network)
        if optimizer is not None:
            with self.network.attach(optimizer).sparing_held() as spared:
                if spared:
                    self.step_flops = self._count_flops(self.network)

    def prepare_optimizer(self, optimizer: Optimizer) -> None:
        """Let the network look after a fresh optimizer, as the policy says."""
        control = self.network.attach(optimizer)
        control.configure(self.policy.new_unit_lr, self.policy.connection_ramp_steps)

    def grow_if_due(
        self, samples: Sequence[Sample], events: Sequence[GrowthEvent], optimizer: Optimizer
    ) -> GrowthEvent | None:
        """Grow if a trigger says so after the last sample, and the policy has reason to."""
        self._release(samples, events, optimizer)
        if self.ended_step is not None:
            return None
        sample = samples[-1]
        if not self._may_grow_at(sample):
            self._end(sample.step, f"grow_until of {self.policy.grow_until:g} of the run has passed")
            return None
        started = time.perf_counter()
        growing = self._due(samples, events, optimizer)
        if growing is None or self.ended_step is not None:
            return None
        event = self._grow(growing, sample, optimizer, started)
        if not self._growable() and not self._growable_blocks():
            self._end(sample.step, "everything is at its maximum")
        return event

    def acts(self, samples: Sequence[Sample]) -> bool:
        """Whether the policy first grows the network, or gives up growing it, on the last of `samples`.

        To be asked of a network that has not grown yet. Changes nothing, so that any samples can be asked about.
        """
        if self.ended_step is not None:
            return False
        return not self._may_grow_at(samples[-1]) or self._triggered(samples, ()) is not None

    def _may_grow_at(self, sample: Sample) -> bool:
        return self.policy.may_grow_at(sample.step, self._num_steps)

    def _due(self, samples: Sequence[Sample], events: Sequence[GrowthEvent], optimizer: Optimizer) -> _Growing | None:
        """What is to be added now."""
        triggered = self._triggered(samples, events)
        if triggered is None or not self._worth_it(samples, events):
            return None
        if triggered.of_depth:
            return self._choose_blocks(self._growable_blocks(), triggered.verdict, samples[-1])
        return self._choose_groups(triggered.verdict, samples[-1], events, optimizer)

    def _triggered(self, samples: Sequence[Sample], events: Sequence[GrowthEvent]) -> _Triggered | None:
        """The verdict to grow of the trigger of widths or, if that keeps still, of that of depth. Changes nothing."""
        if self._growable():
            wider = [event for event in events if event.added_units]
            verdict = self.policy.trigger.decide(_since(samples, wider), len(wider))
            if verdict.grow:
                return _Triggered(verdict, of_depth=False)
        if self.policy.depth is not None and self._growable_blocks():
            deeper = [event for event in events if event.added_blocks]
            verdict = self.policy.depth.trigger.decide(_since(samples, deeper), len(deeper))
            if verdict.grow:
                return _Triggered(verdict, of_depth=True)
        return None

    def _choose_blocks(self, blocks: dict[str, int], verdict: Verdict, sample: Sample) -> _Growing | None:
        fitting, limited_by = self._fitting.blocks(blocks)
        if not fitting:
            self._end(sample.step, limited_by or "nothing fits")
            return None
        return _Growing({}, fitting, verdict, {}, limited_by=limited_by)

    def _worth_it(self, samples: Sequence[Sample], events: Sequence[GrowthEvent]) -> bool:
        if self.policy.worth_going_on(samples, events):
            return True
        self._end(samples[-1].step, f"the last event bought less than min_gain of {self.policy.min_gain:g}")
        return False

    def _choose_groups(
        self, verdict: Verdict, sample: Sample, events: Sequence[GrowthEvent], optimizer: Optimizer
    ) -> _Growing | None:
        growable = self._growable()
        last_event = {name: event.index for event in events for name in event.added_units}
        groups = [
            GroupStatistics(group.name, group.width, group.full_width, last_event.get(group.name, 0))
            for group in self.network.groups
            if group.name in growable
        ]
        measured, selection_flops = self._measure(groups, growable, sample, optimizer)
        groups = [
            GroupStatistics(entry.name, entry.width, entry.full_width, entry.last_event, measured.get(entry.name))
            for entry in groups
        ]
        random = np.random.default_rng(self._stream_seed("selection"))
        chosen = self.policy.layer_selection.select(groups, random)
        units, limited_by = self._fitting.event({name: growable[name] for name in chosen})
        if not units:
            self._end(sample.step, limited_by or "nothing fits")
            return None
        return _Growing(units, {}, verdict, measured, selection_flops, limited_by)

    def _measure(
        self, groups: list[GroupStatistics], growable: dict[str, int], sample: Sample, optimizer: Optimizer
    ) -> tuple[dict[str, float], float]:
        """What the layer selection wants to know of each group, and the training FLOPs that it took."""
        selection = self.policy.layer_selection
        wanted = {name: growable[name] for name in selection.to_measure(groups)}
        if not wanted:
            return {}, 0.0
        if isinstance(selection, Probe):
            return self._probe(wanted, selection.steps, sample, optimizer)
        values = measure_statistic(
            selection, self.network, wanted, self._batch.inputs, self._batch.loss, self._stream_seed("statistic")
        )
        return values, 0.0

    def _probe(
        self, wanted: dict[str, int], num_steps: int, sample: Sample, optimizer: Optimizer
    ) -> tuple[dict[str, float], float]:
        """The values of forks, each grown as the run itself would be, and the training FLOPs of all of them."""
        flops = 0.0

        def grow(fork: ExpandableNetwork, fork_optimizer: Optimizer, units: dict[str, int]) -> None:
            nonlocal flops
            self._widen(fork, fork_optimizer, units)
            flops += num_steps * self._batch_size * self._count_flops(fork)

        seed = self._stream_seed("weights")
        values = probe_groups(
            self.network,
            optimizer,
            wanted,
            num_steps,
            sample.step,
            grow,
            self._train_step,
            self._batch.loss_value,
            seed,
        )
        return values, flops

    def _grow(self, growing: _Growing, sample: Sample, optimizer: Optimizer, started: float) -> GrowthEvent:
        """Add what was chosen, freeze what the policy freezes, and record what it did."""
        index = self.network.cohorts.num_events + 1
        outputs_before, loss_before = self._batch.read(self.network.module)
        parameters_before, flops_before = self.network.num_parameters, self.training_flops
        if growing.blocks:
            self._deepen(optimizer, growing.blocks)
        else:
            self._widen(self.network, optimizer, growing.units)
        seconds = time.perf_counter() - started
        self.recount(optimizer)
        outputs_after, loss_after = self._batch.read(self.network.module)
        return GrowthEvent(
            index=index,
            step=sample.step,
            sample=sample.index,
            added_units=growing.units,
            widths=self.network.widths,
            parameters_before=parameters_before,
            parameters_after=self.network.num_parameters,
            flops_before=flops_before,
            flops_after=self.training_flops,
            trigger_value=growing.verdict.value,
            trigger_reason=growing.verdict.reason,
            largest_output_change=float((outputs_after - outputs_before).abs().max()),
            seconds=seconds,
            statistics={name: value for name, value in growing.statistics.items() if np.isfinite(value)},
            added_blocks=growing.blocks,
            blocks=self.network.blocks if self.policy.depth is not None else {},
            loss_before=loss_before,
            losses_after={0: loss_after},
            limited_by=growing.limited_by,
            selection_flops=growing.selection_flops,
        )

    def _widen(self, network: ExpandableNetwork, optimizer: Optimizer, units: dict[str, int]) -> None:
        """Widen the network, or a fork of it, and freeze what the policy freezes."""
        generator = torch.Generator().manual_seed(self._stream_seed("weights"))
        network.widen_groups(
            units,
            initialization=self.policy.initialization,
            optimizer=optimizer,
            optimizer_state=self.policy.optimizer_state,
            generator=generator,
            calibration_input=self._batch.inputs,
            loss=self._batch.loss,
        )
        self._freeze(network, network.cohorts.num_events, 0, optimizer)

    def _deepen(self, optimizer: Optimizer, blocks: dict[str, int]) -> None:
        """Add blocks, and freeze what the policy freezes."""
        assert self.policy.depth is not None
        generator = torch.Generator().manual_seed(self._stream_seed("weights"))
        self.network.deepen_stages(
            blocks,
            initialization=self.policy.depth.initialization,
            optimizer=optimizer,
            generator=generator,
            calibration_input=self._batch.inputs,
        )
        self._freeze(self.network, self.network.cohorts.num_events, 0, optimizer)

    def _growable(self) -> dict[str, int]:
        """Units that one event would add, for every group that is not at its maximum."""
        if not self.policy.widens:
            return {}
        added = {group.name: self.policy.added_units(group.width, group.full_width) for group in self.network.groups}
        return {name: number for name, number in added.items() if number > 0}

    def _growable_blocks(self) -> dict[str, int]:
        if self.policy.depth is None or not self.policy.depth.grows:
            return {}
        full = self._full_blocks()
        blocks = self.network.blocks
        return self.policy.depth.added_blocks({name: blocks[name] for name in full}, full)

    def _full_blocks(self) -> dict[str, int]:
        """Blocks, as the network's author wrote them, of the stages that grow."""
        assert self.policy.depth is not None
        wanted = self.policy.depth.stages
        return {
            stage.name: stage.full_blocks for stage in self.network.stages if wanted is None or stage.name in wanted
        }

    def _check_stages(self) -> None:
        assert self.policy.depth is not None
        if self.policy.depth.stages is not None:
            self.network.add_stages(self.policy.depth.stages)
        elif not self.network.stages and not self.policy.widens:
            raise NetworkError(
                "the policy only grows depth, but the network has no stage of residual blocks: name one in "
                "depth.stages, or let it grow in width"
            )

    def _release(self, samples: Sequence[Sample], events: Sequence[GrowthEvent], optimizer: Optimizer) -> None:
        """Once per sample: thaw what the policy thaws, and bring learning rates of cohorts up to date."""
        if events:
            if self._freeze(self.network, events[-1].index, len(_since(samples, events)), optimizer):
                self.recount(optimizer)
            self.network.attach(optimizer).refresh_rates()

    def _freeze(self, network: ExpandableNetwork, index: int, samples_since: int, optimizer: Optimizer) -> bool:
        """Whether that changed what is frozen."""
        released = self.policy.freeze.released_share(samples_since)
        cohort = self.policy.freeze.first_trained_cohort(index) if released < 1 else 0
        control = network.attach(optimizer)
        if (cohort, released) == (control.first_trained_cohort, control.released):
            return False
        control.freeze_before(cohort, released)
        return True

    def _end(self, step: int, reason: str) -> None:
        self.ended_step, self.ended_by = step, reason

    def _stream_seed(self, stream: str) -> int:
        return stream_seed(self._seed, stream, self.network.cohorts.num_events + 1)

    def _count_flops(self, network: ExpandableNetwork) -> float:
        return training_flops_per_example(network.module, self._batch.inputs[:FLOPS_EXAMPLES])


def _since(samples: Sequence[Sample], events: Sequence[GrowthEvent]) -> Sequence[Sample]:
    """The samples after the last of the events; all of them where there is none."""
    return samples[events[-1].sample + 1 :] if events else samples
