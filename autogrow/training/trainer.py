"""The training loop: steps, samples, growth events, checkpoints. It knows nothing of Ray, Optuna or the test split."""

import time
from collections.abc import Callable
from typing import Any

import torch

from autogrow.errors import AutogrowError, NetworkError, PolicyError, one_line
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.size import latency_ms, training_memory_bytes
from autogrow.network.optimizer.optimizer_state import OptimizerState, give_state
from autogrow.network.shape import NetworkShape
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import NetworkSize
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.triggers import GOES_BY_EPOCHS
from autogrow.training.aftermath import next_observation, observe
from autogrow.training.augmentation import Augmentation
from autogrow.training.batches import BatchOrder
from autogrow.training.checkpoint import check_checkpoints, load_checkpoint, save_checkpoint
from autogrow.training.ending import InterruptPoll, Signal, TrainingOutcome
from autogrow.training.execution import channels_last
from autogrow.training.forks import Fork, ForkStore, start_digest
from autogrow.training.growth import Growth
from autogrow.training.optimizers import make_optimizer, schedule_before_growth
from autogrow.training.output_check import check_outputs
from autogrow.training.placebo import Placebo
from autogrow.training.records import TrialFolder
from autogrow.training.run_length import RunLength, whole
from autogrow.training.run_metrics import RunMetrics
from autogrow.training.run_state import RunState
from autogrow.training.size_fitting import FittingSizes
from autogrow.training.step_loss import StepLoss
from autogrow.training.steps import Steps
from autogrow.training.training_data import TrainingData

CHECKPOINT_SHARE = 0.05
"""Largest share of the time that writing checkpoints may take."""
SHORTEST_CHECKPOINT_SECONDS = 0.5
"""Least time from one checkpoint to the next."""


class Trainer:
    """One training run of one network under one policy.

    With a `folder`, the run is recorded there and continues from the newest checkpoint in it, bit for bit on the CPU.

    Args:
        network: Fresh, at full width; it is narrowed to the policy's start here.
        on_sample: Called after every sample (and the growth event it led to); its answer may end the run.
        interrupted: Asked about twice a second between steps; when it says yes, the run is saved and ends.
        forks: Where the run starts from what others alike have trained, and leaves its own first stretch to others.
        execution: How steps are executed.
        placebo: An event that adds nothing, if there is to be one.
        step_loss: What steps make smaller, where that is not the task's loss.
        after_step: Called after every step of the optimizer, to put right what it may not change.
        optimizer_state: By parameter, what the optimizer has learnt before; None: it is a fresh one.
        before_fall: Called once, before the first step whose rate is lower for the schedule, with the trainer.
    """

    def __init__(
        self,
        network: ExpandableNetwork,
        data: TrainingData,
        policy: GrowthPolicy,
        settings: TrainingSettings,
        *,
        seed: int,
        device: torch.device,
        folder: TrialFolder | None = None,
        on_sample: Callable[[Sample], Signal] | None = None,
        interrupted: Callable[[], bool] | None = None,
        forks: ForkStore | None = None,
        execution: Execution = Execution(),
        placebo: Placebo | None = None,
        step_loss: StepLoss | None = None,
        after_step: Callable[[], None] | None = None,
        optimizer_state: OptimizerState | None = None,
        before_fall: Callable[["Trainer"], None] | None = None,
    ) -> None:
        self.network = network
        self.model = channels_last(network.module.to(device))
        self.settings, self.device, self.folder, self.execution = settings, device, folder, execution
        self.on_sample = on_sample or (lambda sample: Signal.CONTINUE)
        self.samples: list[Sample] = []
        self.events: list[GrowthEvent] = []
        self.fork: Fork | None = None
        """Where this run started, if not at step 0."""
        self._seed, self._forks, self._placebo = seed, forks, placebo
        self._after_step = after_step
        self._before_fall = before_fall
        self._interrupt = InterruptPoll(interrupted)
        train = data.on(data.train, device)
        check_outputs(self.model, data, train, is_fresh=False)
        redrawn_from = None if placebo is None else placebo.step
        self._order = BatchOrder(len(train), settings.batch_size, seed, device, redrawn_from)
        self.metrics = RunMetrics.of_run(data, settings, train, self._order, seed, execution)
        augmentation = Augmentation.wanted(settings, data.augmentation)
        self.steps = Steps(
            data.task,
            train,
            self._order,
            augmentation,
            self._learning_rate,
            execution,
            settings.max_gradient_norm,
            step_loss,
        )
        if folder is not None:
            check_checkpoints(self.model)
        self._begin(policy, optimizer_state)

    def _begin(self, policy: GrowthPolicy, optimizer_state: OptimizerState | None) -> None:
        """Bring the network to the policy's start, where the run is at step 0."""
        batch, num_examples = self.metrics.fixed_batch(), self._order.batch_size
        fitting = FittingSizes(self.network, policy, self.metrics.step_inputs, self.metrics.timed_inputs)
        self.growth = Growth(
            self.network,
            policy,
            batch,
            num_steps=self.metrics.num_steps,
            seed=self._seed,
            batch_size=num_examples,
            train_step=self.steps.take_on_copy,
            fitting=fitting,
        )
        self.length = RunLength(
            self.settings,
            self.metrics.num_steps,
            whole(self.growth.training_flops * num_examples),
            self.metrics.plan.sample_every,
        )
        if policy.needs_compute and not self.length.goes_by_compute:
            raise PolicyError(GOES_BY_EPOCHS)
        self.full_training_flops = max(float(self.length.full_flops), 1.0)
        """Training FLOPs of the whole run if the network had its full size throughout: the unit of compute.
        Of a network whose FLOPs cannot be counted there are none, and its compute is 0."""
        self.growth.start_small()
        self.optimizer = self._make_optimizer()
        if optimizer_state is not None:
            give_state(self.optimizer, self.model, optimizer_state)
        self.growth.prepare_optimizer(self.optimizer)
        self.start_name = self._digest_of_start() if self._forks is not None else ""
        """A name of all that the run's start depends on, where it may start from a fork."""
        self._step = 0
        self._train_seconds, self._flops = 0.0, 0
        self._counted_step = 0
        """The step up to which `_flops` are counted."""
        self._next_checkpoint = 0.0

    def run(self) -> TrainingOutcome:
        """Train to the end, or until `on_sample` says otherwise.

        Raises `TrainingDivergedError` when a metric is NaN or infinite. The global random state is left as it was.
        """
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self._seed)
            signal = self._restore()
            if signal is Signal.CONTINUE:
                signal = self._loop()
            if self.folder and self.events:
                self.folder.rewrite_events(self.events)  # with what was seen of the last one
            if signal is Signal.INTERRUPT:
                self.save_checkpoint()
        return self._outcome(signal)

    @property
    def holds_out_validation(self) -> bool:
        """Whether there are validation examples that training does not see."""
        return self.metrics.validation is not None

    @property
    def num_steps(self) -> int:
        """Steps of the whole run; where its length is compute, if the network keeps its present size."""
        return self.length.num_steps(self._step, self._flops_at(self._step), self._step_flops)

    def progress_of(self, sample: Sample) -> float:
        """The share of the run that is behind it at one of its samples: of its compute, or of its steps."""
        return sample.step / self.metrics.num_steps if sample.progress is None else sample.progress

    @property
    def may_grow(self) -> bool:
        """Whether the network may still grow, as far as its policy has decided."""
        return self.growth.ended_step is None

    @property
    def shape(self) -> NetworkShape:
        """The network's present shape."""
        return NetworkShape.of(self.network, with_blocks=self.growth.policy.depth is not None)

    def size(self, *, memory: bool = False, latency: bool = False) -> NetworkSize:
        """The network's present size, on the batches by which its policy's limits go.

        Memory and latency take a training step and several forward passes, none of them counted as training; they are
        measured where they are asked for or limited.
        """
        limits, batch, timed = self.growth.policy.limits, self.metrics.step_inputs, self.metrics.timed_inputs
        return NetworkSize(
            parameters=self.network.num_parameters,
            flops=self.growth.training_flops,
            memory_bytes=training_memory_bytes(self.model, batch) if memory or limits.needs_memory else None,
            latency_ms=latency_ms(self.model, timed) if latency or limits.needs_latency else None,
        )

    def _loop(self) -> Signal:
        while self._step < self.num_steps:
            due = self.length.next_sample_step(self._step, self._flops, self._step_flops)
            end = min(due, self.num_steps)
            observed, disturbed = next_observation(self.events, self._step), self._next_placebo()
            stops = (end, observed, disturbed, self._next_fall())
            self._train_until(min(stop for stop in stops if stop is not None))
            if self._step == observed:
                self._observe_last_event()
            if self._step == disturbed:
                self._disturb()
            if self._step == end:
                self._sample()
                signal = self._after_sample()
                if signal is not Signal.CONTINUE:
                    return signal
            if self._interrupt.is_interrupted and self._step < self.num_steps:
                return Signal.INTERRUPT
        return Signal.CONTINUE

    def _after_sample(self) -> Signal:
        """What follows the last sample: a growth event if one is due, and the caller's answer."""
        self._grow_if_due()
        signal = self.on_sample(self.samples[-1])
        if signal is Signal.CONTINUE:
            self.checkpoint_if_due()
        return signal

    def _train_until(self, end: int) -> None:
        """Steps up to `end`, or to an interrupt, timed as one stretch with the device synchronised at both ends."""
        self._synchronize()
        started = time.perf_counter()
        self.model.train()
        while self._step < end and not self._interrupt.is_interrupted:
            self.steps.take(self.network, self.optimizer, self._step)
            self._step += 1
            self._interrupt.ask()
        self._synchronize()
        self._train_seconds += time.perf_counter() - started
        self._flops, self._counted_step = self._flops_at(self._step), self._step

    def _flops_at(self, step: int) -> int:
        """Training FLOPs up to a step that the network takes at its present size."""
        return self._flops + self._step_flops * (step - self._counted_step)

    @property
    def _step_flops(self) -> int:
        """Training FLOPs of a step at present."""
        return whole(self.growth.step_flops * self._order.batch_size)

    def _learning_rate(self, step: int) -> float:
        return self.length.learning_rate(step, self._flops_at(step), self.samples, self.growth.ended_step)

    def _sample(self) -> None:
        self.network.attach(self.optimizer).hold()
        train, validation = self.metrics.of_sample(self.model, self._step)
        sample = Sample(
            index=len(self.samples),
            step=self._step,
            epoch=self._step / self._order.steps_per_epoch,
            train_loss=train.loss,
            validation_loss=validation.loss if validation else None,
            train_score=train.score,
            validation_score=validation.score if validation else None,
            train_seconds=self._train_seconds,
            training_flops=float(self._flops),
            parameters=self.network.num_parameters,
            learning_rate=self._learning_rate(self._step),
            standardized_train_loss=train.standardized_loss,
            standardized_validation_loss=validation.standardized_loss if validation else None,
            progress=self.length.progress(self._flops),
        )
        self.samples.append(sample)
        if self.folder:
            self.folder.append_sample(sample)

    def _grow_if_due(self) -> None:
        if self._step == self.num_steps:
            return  # new units could not train any more
        if self._forks is not None and not self.events and self.growth.acts(self.samples):
            self._leave_fork()
        event = self.growth.grow_if_due(self.samples, self.events, self.optimizer)
        if event is None:
            return
        self._train_seconds += event.seconds
        self._flops += whole(event.selection_flops)
        self.events.append(event)
        if self.folder:
            self.folder.rewrite_events(self.events)

    def _next_placebo(self) -> int | None:
        """The step after which nothing is added, if that is still to come; what the order does then, it knows."""
        return None if self._placebo is None or self._placebo.step <= self._step else self._placebo.step

    def _next_fall(self) -> int | None:
        """The step after which the rate begins to fall, if somebody wants to know; they are told if that is now."""
        if self._before_fall is None:
            return None
        step = self.length.fall_step(
            self._step, self._flops_at(self._step), self._step_flops, self.samples, self.growth.ended_step
        )
        if step != self._step:
            return step
        self.network.attach(self.optimizer).hold()
        self._before_fall(self)
        self._before_fall = None
        return None

    def optimizer_state(self) -> OptimizerState:
        """A copy of what the optimizer has learnt; see `OptimizerCohorts.stock_state`."""
        return self.network.attach(self.optimizer).stock_state()

    def _disturb(self) -> None:
        """Do what an event does besides adding units."""
        assert self._placebo is not None
        if self._placebo.resets_optimizer:
            self.network.detach(self.optimizer)
            self.optimizer = self._make_optimizer()
            self.growth.prepare_optimizer(self.optimizer)

    def _observe_last_event(self) -> None:
        """Read the loss some steps after a growth event; the record on disk follows when that is done."""
        self.network.attach(self.optimizer).hold()
        self.events[-1] = observe(
            self.events[-1], self._step, self.model, self.network.cohorts, self.growth.batch.loss_value
        )
        if self.folder and next_observation(self.events, self._step) is None:
            self.folder.rewrite_events(self.events)

    def _outcome(self, signal: Signal) -> TrainingOutcome:
        train = validation = None
        if self._step == self.num_steps:
            train, validation = self.metrics.at_the_end(self.model)
        return TrainingOutcome(
            signal=signal,
            steps=self._step,
            train=train,
            validation=validation,
            train_seconds=self._train_seconds,
            training_flops=float(self._flops),
            parameters=self.network.num_parameters,
            num_events=len(self.events),
            shape=self.shape,
            growth_ended_by=self.growth.ended_by,
        )

    def checkpoint_if_due(self) -> None:
        """Write a checkpoint, and leave a fork, where enough time has passed since the last."""
        if self._step == self.num_steps or time.monotonic() < self._next_checkpoint:
            return
        started = time.monotonic()
        self.save_checkpoint()
        self._leave_fork()
        self._next_checkpoint = time.monotonic() + max(
            SHORTEST_CHECKPOINT_SECONDS, (time.monotonic() - started) / CHECKPOINT_SHARE
        )

    def save_checkpoint(self) -> None:
        """Write the present state into the run's folder, if it has one."""
        if self.folder is not None:
            save_checkpoint(self.folder.checkpoints, self._step, self.state())

    def _leave_fork(self) -> None:
        """Leave the present state to siblings, as long as this run's policy has not acted."""
        if self._forks is not None and not self.events and self.growth.ended_step is None:
            self._forks.leave(self.start_name, self._step, self.state())

    def state(self) -> dict[str, Any]:
        """The present state, as it is saved."""
        with_blocks = self.growth.policy.depth is not None
        return RunState(
            step=self._step,
            seed=self._seed,
            samples=self.samples,
            events=self.events,
            growth_ended=(self.growth.ended_step, self.growth.ended_by),
            train_seconds=self._train_seconds,
            training_flops=self._flops,
            fork=self.fork,
            **RunState.of_network(self.network, self.optimizer, with_blocks=with_blocks),
            **RunState.of_random_numbers(self.device),
        ).to_dict()

    def _restore(self) -> Signal:
        """Continue from the newest checkpoint in the folder, or else from a fork, if there is one."""
        saved = load_checkpoint(self.folder.checkpoints, self.device) if self.folder else None
        if saved is not None:
            try:
                state = RunState.from_dict(saved)
                self._go_on_from(state)
            except (AutogrowError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise NetworkError(
                    f"the checkpoint in {self.folder.checkpoints if self.folder else ''} is of another network "
                    f"({one_line(error)}): build the network as it was, or begin again in another folder"
                ) from error
            self.growth.ended_step, self.growth.ended_by = state.growth_ended
            self.fork = state.fork
        elif self._forks is not None:
            return self._start_from_fork(self._forks)
        self._rewrite_records()
        return Signal.CONTINUE

    def _start_from_fork(self, forks: ForkStore) -> Signal:
        """Take over what others alike have trained, if anything; then do what follows on the sample it ends with."""
        found = forks.latest(self.start_name, self.device, self.growth.acts)
        if found is not None:
            saved, self.fork = found
            self._go_on_from(RunState.from_dict(saved))
            self.growth.prepare_optimizer(self.optimizer)  # new units are to train as this run's own policy says
        self._rewrite_records()
        return Signal.CONTINUE if found is None else self._after_sample()

    def _go_on_from(self, state: RunState) -> None:
        """Go on from where a run was, whichever run; what its policy had decided is left out."""
        self.optimizer = state.give_to(self.network, self.optimizer, self._make_optimizer)
        self.samples, self.events = state.samples, state.events
        self._step, self._train_seconds, self._flops = state.step, state.train_seconds, whole(state.training_flops)
        self._counted_step = state.step
        self.growth.recount(self.optimizer)
        state.set_random_numbers(self.device)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        optimizer = make_optimizer(self.model, self.settings, captured=self.steps.are_captured)
        if self._after_step is not None:
            after_step = self._after_step
            optimizer.register_step_post_hook(lambda *_: after_step())
        return optimizer

    def _rewrite_records(self) -> None:
        if self.folder:
            self.folder.rewrite(self.samples, self.events)

    def _digest_of_start(self) -> str:
        """The name of this run's start: to be taken before the first step."""
        assert self._forks is not None
        validation = self.metrics.validation
        schedule = schedule_before_growth(self.settings, self.growth.ended_step)
        circumstances = {
            **self._forks.identity,
            "widths": self.network.widths,
            "settings": {**self.settings.model_dump(), "learning_rate_schedule": schedule},
            "seed": self._seed,
            "examples": [len(self.metrics.train), len(validation) if validation else 0],
            "augmentation": self.metrics.data.augmentation,
            "execution": self.execution.model_dump(),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "processor": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        return start_digest(self.model, circumstances)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
