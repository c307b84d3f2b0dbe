"""Shrinking a trained network: steps that a plan asks for, each recorded; the test split is opened once, at the end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.errors import NetworkError, TrainingDivergedError, one_line
from autogrow.export.saved_network import network_config, save_network
from autogrow.export.shrink_folder import ShrinkFolder, take_up_network
from autogrow.export.shrink_goal import Goal
from autogrow.export.shrink_source import ShrinkSource
from autogrow.export.testing import bits_per_byte_of, plain_test_metrics, read_test_split, unread
from autogrow.export.weights import check_weights
from autogrow.files import refuse_folder
from autogrow.locking import FolderLock
from autogrow.models.given import network_digest
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import latencies
from autogrow.network.running.copying import copied
from autogrow.network.shape import NetworkShape
from autogrow.policy.execution import Execution
from autogrow.policy.records import Sample
from autogrow.policy.shrink_plans import Action, ShrinkPlan, member_name
from autogrow.policy.shrink_records import Latency, ShrinkStep
from autogrow.policy.shrinking import Shrinking
from autogrow.reading.fields import check_seed
from autogrow.study.settings import versions
from autogrow.training.ending import Signal
from autogrow.training.evaluation import Metrics
from autogrow.training.example_input import example_of
from autogrow.training.output_check import check_outputs
from autogrow.training.shrink_targets import UnreachableError
from autogrow.training.shrinking import Shrinker, UnjudgedError

CPU = torch.device("cpu")
SHRUNK = "shrunk"
"""What the result is called where there is one."""
END = (UnreachableError, TrainingDivergedError, UnjudgedError)
"""What ends shrinking, as it would be so again: no smaller network, or none that is any good."""
ZEROS = "zeros are stored and multiplied like other numbers: as many bytes and FLOPs as before"
LEAST_GAIN = 0.02
"""By what share a forward pass must be faster to count as faster: medians of equal networks differ by less."""


@dataclass(frozen=True)
class ShrunkNetwork:
    """One result: a plain module on the CPU in eval mode."""

    name: str
    module: nn.Module
    step: ShrinkStep
    shape: NetworkShape
    latencies: tuple[Latency, ...]
    """Measured by turns with the network before."""
    test: Metrics | None
    """None where there is no test split, or it was not to be read."""

    def metrics(self) -> dict[str, Any]:
        """Plain numbers; None for what is undefined, with a word why."""
        return {
            "validation_score": self.step.score,
            "validation_loss": self.step.loss,
            **({} if self.test is None else plain_test_metrics(self.test)),
            **asdict(self.step.footprint),
            "latencies": [asdict(each) for each in self.latencies],
            **({"notes": list(self.step.notes)} if self.step.notes else {}),
        }


@dataclass(frozen=True)
class ShrinkResult:
    """What became of a network."""

    networks: tuple[ShrunkNetwork, ...]
    """One, or all of a family, the largest first."""
    steps: tuple[ShrinkStep, ...]
    latencies_before: tuple[Latency, ...]
    fixed: Mapping[str, str]
    """Groups that no unit could be taken from, and why."""
    test_readings: int
    """How often the test split has been read on the way to these networks, this time included."""

    @property
    def module(self) -> nn.Module:
        """The smallest network."""
        return self.networks[-1].module

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as shrink.json has them."""
        return {
            "fixed": dict(self.fixed),
            "latencies_before": [asdict(each) for each in self.latencies_before],
            "networks": {network.name: network.metrics() for network in self.networks},
            "test_readings": self.test_readings,
            "steps": [step.to_dict() for step in self.steps],
        }


@dataclass(frozen=True)
class ShrinkOptions:
    """How a run is done, whatever it is to become."""

    seed: int = 0
    device: str = "cpu"
    execution: Execution = Execution()
    resume: bool = False
    reads_test: bool = True
    on_step: Callable[[ShrinkStep], None] | None = None
    """Told of the network before, and of every step."""
    on_sample: Callable[[Sample], Signal] | None = None
    interrupted: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)


def shrink_network(
    source: ShrinkSource,
    dataset: Dataset,
    goal: Goal,
    shrinking: Shrinking,
    out: Path,
    *,
    holdout: Dataset | None = None,
    options: ShrinkOptions = ShrinkOptions(),
) -> ShrinkResult | None:
    """Shrink a network into `out`; None when `interrupted` said so, and the run can be resumed.

    Every step is recorded when it is taken, so a run that was killed loses at most what it had trained since its last
    checkpoint. `source.module` is left as it is.

    Raises `UsageError` for data that it cannot be judged on, `RunFolderError` of `out`, `NetworkError` for a size that
    cannot be reached, `TrainingDivergedError` when a loss is not finite.
    """
    refuse_folder(out)
    goal.check(shrinking.remove)
    check_weights(source.module)
    # The folder that a link leads to, where `out` is one: nothing is removed through links.
    run = _Run(source, dataset, goal, shrinking, ShrinkFolder(out.resolve()), holdout, options)
    with FolderLock(out, f"folder {out}").held():
        return run.run()


class _Run:
    def __init__(
        self,
        source: ShrinkSource,
        dataset: Dataset,
        goal: Goal,
        shrinking: Shrinking,
        folder: ShrinkFolder,
        holdout: Dataset | None,
        options: ShrinkOptions,
    ) -> None:
        self._source, self._dataset, self._goal, self._options = source, dataset, goal, options
        self._shrinking, self._folder = shrinking, folder
        device = torch.device(options.device)
        network = source.network(example_of(dataset, device), device)
        data = source.data(dataset, holdout)
        check_outputs(network.module, data, is_fresh=False)
        self._shrinker = Shrinker(
            network,
            data,
            shrinking,
            source.trained_with,
            seed=options.seed,
            device=device,
            execution=options.execution,
        )
        self._trunk = source.trunk if goal.begins_with_trunk else None
        self._request = {
            "goal": goal.to_dict(),
            "shrinking": shrinking.model_dump(mode="json"),
            "network": network_digest(source.module),
            "trunk": None if self._trunk is None else network_digest(self._trunk.module),
            "training": source.trained_with.model_dump(mode="json"),
            "held_out_validation": source.held_out_validation,
            "dataset": dataset.fingerprint,
            "holdout": None if holdout is None else holdout.fingerprint,
            "seed": options.seed,
        }

    def run(self) -> ShrinkResult | None:
        self._check_reachable()
        steps = self._folder.begin(self._request, resume=self._options.resume)
        try:
            return self._run(steps)
        except (NetworkError, TrainingDivergedError) as error:  # what cannot be: others, as a full disk, may be mended
            if len(self._folder.steps()) <= 1 or isinstance(error, END):
                self._folder.abandon()
            raise

    def _run(self, steps: list[ShrinkStep]) -> ShrinkResult | None:
        if not steps:
            steps = [self._shrinker.before()]
            self._record(steps)
        by_loss = not self._shrinker.data.task.prefers_score
        plan = self._goal.plan(self._shrinking, steps[0], by_loss, is_off_trunk=self._trunk is not None)
        if (number := _last_kept(steps)) == 0:
            self._take_up_trunk()
        elif not (self._goal.family and plan.next(steps) is None):
            self._shrinker.optimizer_state = self._folder.take_up(number, self._shrinker.network)
        while (action := plan.next(steps)) is not None:
            if self._options.interrupted is not None and self._options.interrupted():
                return None  # where nothing is trained, nobody else asks
            try:
                step = self._take(plan, steps, action)
            except END as error:  # it would be the same again, so what there is stays
                place = self._last_result(steps)
                if place is None:
                    raise
                steps[place] = steps[place].noting(f"nothing smaller can be had: {error}")
                break
            if step is None:
                return None
            steps.append(step)
            self._record(steps)
        return self._result(steps)

    def _last_result(self, steps: Sequence[ShrinkStep]) -> int | None:
        """The place of the step whose network is to be given, should no further one be possible; None if none is."""
        if self._goal.family:
            members = {member_name(share) for share in self._goal.family}
            return max((place for place, step in enumerate(steps) if step.name in members), default=None)
        return _last_kept(steps) if len(steps) > 1 or self._goal.keep is not None else None

    def _take_up_trunk(self) -> None:
        if self._trunk is not None:
            shrinker, module = self._shrinker, copied(self._trunk.module).to(self._options.device)
            shrinker.network, shrinker.optimizer_state = shrinker.network.twin(module), self._trunk.optimizer_state

    def _check_reachable(self) -> None:
        """Before anything is written. A size on the way is larger, so the last one decides."""
        if self._goal.keep is None:
            self._shrinker.check_reachable(self._goal.target(self._shrinker.footprint(), self._shrinking.remove))

    def _take(self, plan: ShrinkPlan, steps: list[ShrinkStep], action: Action) -> ShrinkStep | None:
        """Take one step; what the next one begins with is the network afterwards, on disk and in memory."""
        before, number = (self._shrinker.network, self._shrinker.optimizer_state), len(steps)
        self._shrinker.network = before[0].twin()
        try:
            step = self._shrinker.step(
                action.name,
                action.target,
                recovery=action.recovery,
                number=number,
                folder=self._folder.recovery(number),
                on_sample=self._options.on_sample,
                interrupted=self._options.interrupted,
            )
        except (NetworkError, TrainingDivergedError):
            self._shrinker.network, self._shrinker.optimizer_state = before
            raise
        if step is None:
            return None
        if action.member is None:  # a family's has the size of its trunk
            step = step.noting(*notes_on_gain(steps[_last_kept(steps)], step))
        step = plan.judged(steps, step, action)
        network = self._shrinker.network
        if action.member is not None:
            save_network(self._folder.path / action.member, network.module, self._config(network))
        if step.is_kept:
            self._folder.keep(number, network.module, self._config(network), self._shrinker.optimizer_state)
        else:
            self._shrinker.network, self._shrinker.optimizer_state = before
        return step

    def _write(self, steps: list[ShrinkStep], **more: Any) -> None:
        content = {"request": self._request, "fixed": self._shrinker.fixed, "steps": [step.to_dict() for step in steps]}
        self._folder.write({**content, **more})

    def _record(self, steps: list[ShrinkStep]) -> None:
        self._write(steps)
        self._folder.finish_step(len(steps) - 1, _last_kept(steps))
        if self._options.on_step is not None:
            self._options.on_step(steps[-1])

    def _result(self, steps: list[ShrinkStep]) -> ShrinkResult:
        """Save the networks, measure them by turns, and open the test split."""
        found = self._found(steps)
        modules = [copied(self._source.module).cpu().eval(), *(module for _, module, _ in found)]
        before, *times = latencies(modules, self._shrinker.inputs.cpu())
        reads = self._options.reads_test and self._dataset.num_test > 0
        readings = max(self._source.test_readings, self._folder.test_readings()) + reads
        self._write(steps, test_readings=readings)  # before it is read: whoever is killed then has read it
        networks = []
        for (step, module, shape), measured in zip(found, times, strict=True):
            test = None
            if reads:
                test = self._tested(module)
            name = step.name if self._goal.family else SHRUNK
            noted = step.noting(*self._goal.notes_on(measured))
            networks.append(ShrunkNetwork(name, module, noted, shape, measured, test))
        result = ShrinkResult(
            tuple(networks),
            tuple(steps),
            before,
            self._shrinker.fixed,
            readings,
        )
        self._save(result)
        self._folder.finish()
        return result

    def _tested(self, module: nn.Module) -> Metrics:
        try:
            return read_test_split(module, self._dataset, self._source.normalization, self._source.target_scale)
        except Exception as error:  # noqa: BLE001 - a user's network may raise anything, and what was made is kept
            return unread(f"the test split cannot be read: {one_line(error)}")

    def _found(self, steps: list[ShrinkStep]) -> list[tuple[ShrinkStep, nn.Module, NetworkShape]]:
        """The networks that were asked for, each with the step that made it."""
        if not self._goal.family:
            network = self._shrinker.network
            return [(steps[_last_kept(steps)], network.module.cpu().eval(), self._shape(network))]
        found = []
        taken = {step.name: step for step in steps}
        for name in (member_name(share) for share in self._goal.family):
            if name not in taken:  # smaller than could be had, as is noted
                continue
            network = self._source.network(example_of(self._dataset, CPU), CPU)
            take_up_network(self._folder.path / name, network)
            found.append((taken[name], network.module.eval(), self._shape(network)))
        return found

    def _save(self, result: ShrinkResult) -> None:
        for network in result.networks:
            folder = self._folder.path / network.name if self._goal.family else self._folder.path
            save_network(folder, network.module, self._config_of(network, result))
        self._folder.write(result.to_dict() | {"request": self._request})

    def _config_of(self, network: ShrunkNetwork, result: ShrinkResult) -> dict[str, Any]:
        return self._content(
            network.shape,
            metrics={**network.metrics(), **bits_per_byte_of(network.metrics(), self._dataset.tokens)},
            lineage={"shrunk": True, "test_readings": result.test_readings},
        )

    def _config(self, network: ExpandableNetwork) -> dict[str, Any]:
        return self._content(self._shape(network))

    def _shape(self, network: ExpandableNetwork) -> NetworkShape:
        with_blocks = bool(self._source.blocks) or self._shrinking.remove.takes_blocks
        return NetworkShape.of(network, with_blocks=with_blocks)

    def _content(self, shape: NetworkShape, **more: Any) -> dict[str, Any]:
        source, dataset = self._source, self._dataset
        return network_config(
            source.spec,
            input_shape=dataset.input_shape,
            num_outputs=dataset.num_outputs,
            task=dataset.task,
            shape=shape,
            normalization=source.normalization,
            target_scale=source.target_scale,
            **source.origin,
            held_out_validation=source.held_out_validation,
            shrinking=self._shrinking.model_dump(mode="json"),
            versions=versions(),
            **more,
        )


def _last_kept(steps: Sequence[ShrinkStep]) -> int:
    """The place of the step whose network the next one begins with."""
    return max(place for place, step in enumerate(steps) if step.is_kept)


def notes_on_gain(before: ShrinkStep, after: ShrinkStep) -> tuple[str, ...]:
    """What a step has not gained, in words."""
    notes: list[str] = []
    if not after.num_removed:
        notes.append("nothing was removed")
    elif after.latencies and all(
        now.milliseconds > (1 - LEAST_GAIN) * was.milliseconds
        for was, now in zip(before.latencies, after.latencies, strict=True)
    ):
        kind = "sparser" if after.removed_weights else "smaller"
        notes.append(f"{kind}, but no faster than the network before this step")
    return (*notes, ZEROS) if after.removed_weights else tuple(notes)
