"""Where a policy meets a network: asks the trigger, measures what the layer selection needs, widens, records."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.flops import training_flops_per_example
from autogrow.network.statistics import activation_std, evaluating
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import GroupStatistics, GrowthEvent, Sample
from autogrow.policy.triggers import Verdict
from autogrow.training.batches import stream_seed

FLOPS_EXAMPLES = 2
"""Examples that FLOPs are counted on; the count per example does not depend on it."""


class Growth:
    """Applies one policy to one network. Holds no state that the record of samples and events does not hold too."""

    def __init__(self, network: ExpandableNetwork, policy: GrowthPolicy, fixed_batch: Tensor, seed: int) -> None:
        self.network = network
        self.policy = policy
        self._fixed_batch = fixed_batch
        self._seed = seed
        self.training_flops = self._count_flops()
        """Training FLOPs of one example at the present size."""

    def start_small(self) -> None:
        """Narrow the fresh network to the policy's initial fraction."""
        widths = {group.name: self.policy.initial_width(group.full_width) for group in self.network.groups}
        self.network.start_small(widths)
        self.training_flops = self._count_flops()

    def recount(self) -> None:
        """Count FLOPs again after the network was given other widths (by a checkpoint)."""
        self.training_flops = self._count_flops()

    def growable(self) -> dict[str, int]:
        """Units that one event would add, for every group that is not at its maximum."""
        added = {group.name: self.policy.added_units(group.width, group.full_width) for group in self.network.groups}
        return {name: number for name, number in added.items() if number > 0}

    def consider(self, since_event: Sequence[Sample]) -> Verdict | None:
        """The trigger's verdict on the samples since the last event, or None when nothing is left to grow."""
        if not self.growable():
            return None
        return self.policy.trigger.decide(since_event)

    def grow(self, verdict: Verdict, sample: Sample, optimizer: Optimizer) -> GrowthEvent:
        """Widen the selected groups, and freeze what the policy freezes."""
        started = time.perf_counter()
        index = self.network.cohorts.num_events + 1
        statistics = self._statistics()
        random = np.random.default_rng(stream_seed(self._seed, "selection", index))
        growable = self.growable()
        chosen = self.policy.layer_selection.select([entry for entry in statistics if entry.name in growable], random)
        outputs_before = self._outputs()
        widening = self.network.widen_groups(
            {name: growable[name] for name in chosen},
            initialization=self.policy.initialization,
            optimizer=optimizer,
            optimizer_state=self.policy.optimizer_state,
            generator=torch.Generator().manual_seed(stream_seed(self._seed, "weights", index)),
            calibration_input=self._fixed_batch,
        )
        self.network.attach(optimizer).freeze_before(self.policy.freeze.first_trained_cohort(index))
        change = float((self._outputs() - outputs_before).abs().max())
        seconds = time.perf_counter() - started
        flops_before, self.training_flops = self.training_flops, self._count_flops()
        return GrowthEvent(
            index=index,
            step=sample.step,
            sample=sample.index,
            added_units=widening.added_units,
            widths=self.network.widths,
            parameters_before=widening.parameters_before,
            parameters_after=widening.parameters_after,
            flops_before=flops_before,
            flops_after=self.training_flops,
            trigger_value=verdict.value,
            trigger_reason=verdict.reason,
            largest_output_change=change,
            seconds=seconds,
            statistics={entry.name: entry.activation_std for entry in statistics if entry.activation_std is not None},
        )

    def _statistics(self) -> list[GroupStatistics]:
        """Widths, and what the layer selection asks to have measured."""
        groups = self.network.groups
        measured: dict[str, float] = {}
        if self.policy.layer_selection.statistic == "activation_std":
            measured = activation_std(self.network.module, groups, self._fixed_batch)
        return [
            GroupStatistics(group.name, group.width, group.full_width, measured.get(group.name)) for group in groups
        ]

    def _outputs(self) -> Tensor:
        with evaluating(self.network.module):
            outputs: Tensor = self.network.module(self._fixed_batch)
        return outputs

    def _count_flops(self) -> float:
        return training_flops_per_example(self.network.module, self._fixed_batch[:FLOPS_EXAMPLES])
