"""Where a policy meets a network: takes the measurements it wants, makes the changes it decides on, records events."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError, unknown_name
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.flops import training_flops_per_example
from autogrow.network.measuring.statistics import measure_statistic
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_cohorts import unit_cohorts
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.changes import Change, changes_shape, recorded
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.history import Decision, History, MeasurementRequest, Stage
from autogrow.policy.layer_selection import Probe
from autogrow.policy.records import GroupStatistics, GrowthEvent, Sample
from autogrow.policy.unit_removal import FloatArray, is_named
from autogrow.training.batches import stream_seed
from autogrow.training.fixed_batch import FixedBatch
from autogrow.training.probing import probe_groups
from autogrow.training.size_fitting import FittingSizes

FLOPS_EXAMPLES = 2
"""Examples that FLOPs are counted on; the count per example does not depend on it."""

TrainStep = Callable[[nn.Module, Optimizer, int], None]
"""Trains a network for the step of that number, counted over the whole run."""


@dataclass(frozen=True)
class _Measured:
    """What was measured of groups before a decision."""

    values: dict[str, dict[str, float]]
    """By statistic and group."""
    flops: float
    """Training FLOPs that it took."""

    @property
    def recorded(self) -> dict[str, float]:
        """By group, what a record can hold."""
        return {
            name: value for groups in self.values.values() for name, value in groups.items() if math.isfinite(value)
        }


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
        self.batch = batch
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
        for pattern in self.policy.shrink.only if self.policy.shrink is not None else ():
            if not any(is_named(name, [pattern]) for name in self.network.widths):
                raise NetworkError(unknown_name("group", pattern, self.network.widths))
        if self.policy.depth is not None:
            self._check_stages()
            self.network.start_shallow({
                stage.name: self.policy.depth.blocks_at_start(stage.full_blocks, stage.unrepeatable_blocks)
                for stage in self._stages()
            })  # fmt: skip
        widths = {group.name: self.policy.initial_width(group.full_width) for group in self.network.groups}
        self.network.start_small(self._fitting.start(widths))
        self.recount()
        if not self.policy.can_grow(self.history((), ())):
            self._end(0, "there is nothing to grow")

    def recount(self, optimizer: Optimizer | None = None) -> None:
        """Count FLOPs again after the network was given other sizes, or other layers were frozen."""
        self.training_flops = self.step_flops = self._count_flops(self.network)
        if optimizer is not None:
            with self.network.attach(optimizer).without_held_gradients() as held:
                if held:
                    self.step_flops = self._count_flops(self.network)

    def prepare_optimizer(self, optimizer: Optimizer) -> None:
        """Let the network look after a fresh optimizer, as the policy says."""
        control = self.network.attach(optimizer)
        control.configure(self.policy.new_unit_lr, self.policy.connection_ramp_steps)

    def acts(self, samples: Sequence[Sample]) -> bool:
        """Whether the policy first grows the network, or gives up growing it, on the last of `samples`.

        To be asked of a network that has not grown yet. Changes nothing, so that any samples can be asked about.
        """
        return self.ended_step is None and self.policy.acts(self.history(samples, ()))

    def grow_if_due(
        self, samples: Sequence[Sample], events: Sequence[GrowthEvent], optimizer: Optimizer
    ) -> GrowthEvent | None:
        """Make the changes that the policy decides on after the last sample; returns the event, if it is one."""
        control = self.network.attach(optimizer)
        if events:
            control.refresh_rates()
        if self.ended_step is not None and control.first_trained_cohort == 0 and self.policy.shrink is None:
            return None
        started = time.perf_counter()
        history = self.history(samples, events, optimizer)
        measured = self._measure(self.policy.wants(history), history.last, optimizer)
        decision = self.policy.decide(history, measured.values, self._unit_scores(history))
        fitting, limited_by = self._fitting.cut(decision.changes)
        if decision.changes_shape and not changes_shape(fitting):
            self._end(history.last.step, limited_by or "nothing fits")
        elif decision.growth_ended_by:
            self._end(history.last.step, decision.growth_ended_by)
        if not changes_shape(fitting):
            if fitting:
                self._apply(self.network, optimizer, fitting)
                self.recount(optimizer)
            return None
        event = self._grow(replace(decision, changes=fitting), limited_by, measured, history.last, optimizer, started)
        if self.ended_step is None and not self.policy.can_grow(self.history(samples, [*events, event])):
            self._end(event.step, "everything is at its maximum")
        return event

    def history(
        self, samples: Sequence[Sample], events: Sequence[GrowthEvent], optimizer: Optimizer | None = None
    ) -> History:
        """What the policy is to decide on."""
        control = self.network.attach(optimizer) if optimizer is not None else None
        return History(
            samples=samples,
            events=events,
            groups=tuple(GroupStatistics(group.name, group.width, group.full_width) for group in self.network.groups),
            num_steps=self._num_steps,
            num_events=self.network.num_events,
            stages=self._stages() if self.policy.depth is not None and self.policy.depth.grows else (),
            first_trained_cohort=control.first_trained_cohort if control else 0,
            released_share=control.released if control else 0.0,
            has_ended=self.ended_step is not None,
            seed=self._stream_seed("selection"),
        )

    def _measure(self, wanted: Sequence[MeasurementRequest], sample: Sample, optimizer: Optimizer) -> _Measured:
        """Take the measurements that the policy wants; the network is left as it was."""
        selection, flops = self.policy.layer_selection, 0.0
        values: dict[str, dict[str, float]] = {}
        for request in wanted:
            if isinstance(selection, Probe):
                values[request.statistic], flops = self.probe(request, selection.steps, sample, optimizer)
            else:
                values[request.statistic] = measure_statistic(
                    selection,
                    self.network,
                    request.added_units,
                    self.batch.inputs,
                    self.batch.loss,
                    self._stream_seed("statistic"),
                )
        return _Measured(values, flops)

    def _unit_scores(self, history: History) -> dict[str, FloatArray]:
        """The scores of units that the policy wants, by group; the network is left as it was."""
        score = self.policy.wants_unit_scores(history)
        if score is None:
            return {}
        inexact, batch = self.network.inexact_removals(), Batch(self.batch.inputs, self.batch.loss)
        shrink = self.policy.shrink
        assert shrink is not None
        names = [name for name in self.network.widths if name not in inexact and is_named(name, shrink.only)]
        found = measure_unit_scores(score, self.network, names, [batch], self._stream_seed("unit scores"))
        born = unit_cohorts(self.network.structure, self.network.cohorts)
        first = history.first_trained_cohort
        if first == 0 and shrink.part != "frozen":
            return {name: each.numpy() for name, each in found.items()}
        return {name: shrink.within_part(each.numpy(), (born[name] < first).numpy()) for name, each in found.items()}

    def probe(
        self, request: MeasurementRequest, num_steps: int, sample: Sample, optimizer: Optimizer
    ) -> tuple[dict[str, float], float]:
        """The values of copies of the run, each changed as it would be itself, and all their training FLOPs."""
        flops = 0.0

        def change(twin: ExpandableNetwork, its_optimizer: Optimizer, changes: Sequence[Change]) -> None:
            nonlocal flops
            self._apply(twin, its_optimizer, changes)
            flops += num_steps * self._batch_size * self._count_flops(twin)

        values = probe_groups(
            self.network,
            optimizer,
            request.candidates,
            num_steps,
            sample.step,
            change,
            self._train_step,
            self.batch.loss_value,
            self._stream_seed("weights"),
        )
        return values, flops

    def _grow(
        self,
        decision: Decision,
        limited_by: str | None,
        measured: _Measured,
        sample: Sample,
        optimizer: Optimizer,
        started: float,
    ) -> GrowthEvent:
        """Change the network's shape and record what that did."""
        outputs_before, loss_before = self.batch.read(self.network.module)
        parameters_before, flops_before = self.network.num_parameters, self.training_flops
        self._apply(self.network, optimizer, decision.changes)
        seconds = time.perf_counter() - started
        self.recount(optimizer)
        outputs_after, loss_after = self.batch.read(self.network.module)
        return GrowthEvent(
            index=self.network.num_events,
            step=sample.step,
            sample=sample.index,
            widths=self.network.widths,
            parameters_before=parameters_before,
            parameters_after=self.network.num_parameters,
            flops_before=flops_before,
            flops_after=self.training_flops,
            trigger_value=decision.trigger_value,
            trigger_reason=decision.trigger_reason,
            largest_output_change=float((outputs_after - outputs_before).abs().max()),
            seconds=seconds,
            statistics=measured.recorded,
            blocks=self.network.blocks if self.policy.depth is not None else {},
            loss_before=loss_before,
            losses_after={0: loss_after},
            limited_by=limited_by,
            selection_flops=measured.flops,
            **recorded(decision.changes),
        )

    def _apply(self, network: ExpandableNetwork, optimizer: Optimizer, changes: Sequence[Change]) -> None:
        """Change the network, or a copy of it."""
        network.apply(
            changes,
            optimizer,
            generator=torch.Generator().manual_seed(self._stream_seed("weights")),
            calibration_input=self.batch.inputs,
            loss=self.batch.loss,
        )

    def _stages(self) -> tuple[Stage, ...]:
        """The stages that grow."""
        assert self.policy.depth is not None
        wanted = self.policy.depth.stages
        return tuple(stage for stage in self.network.stages if wanted is None or stage.name in wanted)

    def _check_stages(self) -> None:
        assert self.policy.depth is not None
        if self.policy.depth.stages is not None:
            self.network.add_stages(self.policy.depth.stages)
        elif not self.network.stages and not self.policy.widens:
            raise NetworkError(
                "the policy only grows depth, but the network has no stage of residual blocks: name one in "
                "depth.stages, or let it grow in width"
            )

    def _end(self, step: int, reason: str) -> None:
        self.ended_step, self.ended_by = step, reason

    def _stream_seed(self, stream: str) -> int:
        return stream_seed(self._seed, stream, self.network.num_events + 1)

    def _count_flops(self, network: ExpandableNetwork) -> float:
        return training_flops_per_example(network.module, self.batch.inputs[:FLOPS_EXAMPLES])
