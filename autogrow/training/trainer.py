"""The training loop: steps, samples, growth events, checkpoints. It knows nothing of Ray, Optuna or the test split."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from autogrow.data.splits import Examples
from autogrow.errors import AutogrowError, NetworkError, TrainingDivergedError, one_line
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.size import latency_ms, training_memory_bytes
from autogrow.network.shape import NetworkShape
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import NetworkSize
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.aftermath import next_observation, observe
from autogrow.training.augmentation import Augmentation
from autogrow.training.batches import BatchOrder, BatchSource
from autogrow.training.checkpoint import check_checkpoints, load_checkpoint, save_checkpoint
from autogrow.training.evaluation import Metrics, evaluate
from autogrow.training.execution import channels_last
from autogrow.training.fixed_batch import FixedBatch
from autogrow.training.forks import Fork, ForkStore, start_digest
from autogrow.training.growth import Growth
from autogrow.training.measuring import Measuring
from autogrow.training.optimizers import learning_rate_at, make_optimizer, schedule_before_growth
from autogrow.training.output_check import check_outputs
from autogrow.training.records import TrialFolder
from autogrow.training.run_state import RunState
from autogrow.training.size_fitting import FittingSizes
from autogrow.training.steps import Steps
from autogrow.training.training_data import TrainingData, refuse_unlearnable

TIMED_BATCH = 128
"""Training examples whose forward pass is timed for a limit of latency."""
FIXED_BATCH = 128
"""Training examples on which activations, norm statistics and output changes are measured."""
CHECKPOINT_SHARE = 0.05
"""Largest share of the time that writing checkpoints may take."""
INTERRUPT_POLL_SECONDS = 0.5


class Signal(Enum):
    """What a caller answers to a sample."""

    CONTINUE = "continue"
    STOP = "stop"
    """End now, keep the record: a scheduler has seen enough."""
    INTERRUPT = "interrupt"
    """Write a checkpoint and end: the run will be resumed."""


@dataclass(frozen=True)
class TrainingOutcome:
    """How a run ended. Metrics are of the last weights; None where there is no validation or the run did not finish."""

    signal: Signal
    steps: int
    train: Metrics | None
    validation: Metrics | None
    train_seconds: float
    training_flops: float
    parameters: int
    num_events: int
    shape: NetworkShape
    growth_ended_by: str
    """Why the network grew no more, in words; empty where it still might have."""

    def check_validation(self) -> None:
        """Raise `TrainingDivergedError` where the network is fine, but not on all validation examples."""
        if self.validation is not None and not self.validation.is_finite:
            raise TrainingDivergedError(validation_problem(self.validation))


def validation_problem(validation: Metrics) -> str:
    """What is wrong where only validation metrics are NaN or infinite, in words."""
    return (
        f"the validation loss is {validation.loss}, though the train loss is finite: look for inputs or targets of "
        "validation examples that are far out of range"
    )


class Trainer:
    """One training run of one network under one policy.

    With a `folder`, the run is recorded there and continues from the newest checkpoint in it, bit for bit on the CPU.

    Args:
        network: Fresh, at full width; it is narrowed to the policy's start here.
        on_sample: Called after every sample (and the growth event it led to); its answer may end the run.
        interrupted: Asked about twice a second between steps; when it says yes, the run is saved and ends.
        forks: Where the run starts from what others alike have trained, and leaves its own first stretch to others.
        execution: How steps are executed.
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
    ) -> None:
        self.network = network
        self.model = channels_last(network.module.to(device))
        self.settings = settings
        self.device = device
        self.folder = folder
        self.samples: list[Sample] = []
        self.events: list[GrowthEvent] = []
        self.fork: Fork | None = None
        """Where this run started, if not at step 0."""
        self.execution = execution
        self._data = data
        self._forks = forks
        self._seed = seed
        self._on_sample = on_sample or (lambda sample: Signal.CONTINUE)
        self._interrupted = interrupted or (lambda: False)
        self._train = data.on(data.train, device)
        check_outputs(self.model, data, self._train, is_fresh=False)
        self._validation = data.on(data.validation, device) if data.validation else None
        self._order = BatchOrder(len(self._train), settings.batch_size, seed, device)
        self.num_steps = settings.num_steps(self._order.steps_per_epoch)
        self._steps = Steps(
            data.task,
            self._train,
            self._order,
            self._augmentation(),
            self._learning_rate,
            execution,
            settings.max_gradient_norm,
        )
        self._measuring = Measuring.plan(
            settings, self.num_steps, self._order.batch_size, self._train, self._validation, seed
        )
        self._refuse_unlearnable()
        if folder is not None:
            check_checkpoints(self.model)
        inputs, targets = self._train.batch(self._measuring.train_indices[:FIXED_BATCH])
        self._fixed_batch = FixedBatch(inputs, targets, data.task)
        self._growth = Growth(
            network,
            policy,
            self._fixed_batch,
            num_steps=self.num_steps,
            seed=seed,
            batch_size=self._order.batch_size,
            train_step=self._steps.take_on_fork,
            fitting=FittingSizes(
                network, policy, self._examples_of_a_step(), self._train.batch(self._measuring.first(TIMED_BATCH))[0]
            ),
        )
        self.full_training_flops = max(self._growth.training_flops * self._order.batch_size * self.num_steps, 1.0)
        """Training FLOPs of the whole run if the network had its full width throughout: the unit of compute.
        Of a network whose FLOPs cannot be counted there are none, and its compute is 0."""
        self._growth.start_small()
        self.optimizer = self._make_optimizer()
        self._growth.prepare_optimizer(self.optimizer)
        self._start = self._start_digest() if forks is not None else ""
        self._step = 0
        self._train_seconds = 0.0
        self._flops = 0.0
        self._next_checkpoint = 0.0
        self._next_poll = 0.0
        self._interrupt_seen = False

    def _refuse_unlearnable(self) -> None:
        """Wherever the score is going to be read, it must be defined: of all examples, and of those measured."""
        task, measuring, validation = self._data.task, self._measuring, self._data.validation
        matched = measuring.matched_train_indices(self._validation)
        parts: list[tuple[Examples, tuple[Tensor, Tensor]]] = [(self._data.train, (matched, measuring.train_indices))]
        if validation is not None and measuring.validation_indices is not None:
            parts.append((validation, (torch.arange(len(validation)), measuring.validation_indices)))
        for examples, (at_the_end, sampled) in parts:
            refuse_unlearnable(task, examples)
            refuse_unlearnable(task, examples, at_the_end, " that are read at the end")
            refuse_unlearnable(task, examples, sampled, " that samples are of")

    def _examples_of_a_step(self) -> Tensor:
        return self._train.batch(self._measuring.first(self._order.batch_size))[0]

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
                self._save_checkpoint()
        return self._outcome(signal)

    @property
    def holds_out_validation(self) -> bool:
        """Whether there are validation examples that training does not see."""
        return self._validation is not None

    @property
    def may_grow(self) -> bool:
        """Whether the network may still grow, as far as its policy has decided."""
        return self._growth.ended_step is None

    @property
    def shape(self) -> NetworkShape:
        """The network's present shape."""
        return NetworkShape.of(self.network, with_blocks=self._growth.policy.depth is not None)

    def size(self, *, memory: bool = False, latency: bool = False) -> NetworkSize:
        """The network's present size, on the batches by which its policy's limits go.

        Memory and latency take a training step and several forward passes, none of them counted as training; they are
        measured where they are asked for or limited.
        """
        limits = self._growth.policy.limits
        batch = self._examples_of_a_step()
        timed = self._train.batch(self._measuring.first(TIMED_BATCH))[0]
        return NetworkSize(
            parameters=self.network.num_parameters,
            flops=self._growth.training_flops,
            memory_bytes=training_memory_bytes(self.model, batch) if memory or limits.needs_memory else None,
            latency_ms=latency_ms(self.model, timed) if latency or limits.needs_latency else None,
        )

    def _loop(self) -> Signal:
        while self._step < self.num_steps:
            end = min(self._measuring.next_sample_step(self._step), self.num_steps)
            observed = next_observation(self.events, self._step)
            self._train_until(end if observed is None else min(end, observed))
            if self._step == observed:
                self._observe_last_event()
            if self._step == end:
                self._sample()
                signal = self._after_sample()
                if signal is not Signal.CONTINUE:
                    return signal
            if self._interrupt_seen and self._step < self.num_steps:
                return Signal.INTERRUPT
        return Signal.CONTINUE

    def _after_sample(self) -> Signal:
        """What follows the last sample: a growth event if one is due, and the caller's answer."""
        self._grow_if_due()
        signal = self._on_sample(self.samples[-1])
        if signal is Signal.CONTINUE:
            self._checkpoint_if_due()
        return signal

    def _train_until(self, end: int) -> None:
        """Steps up to `end`, or to an interrupt, timed as one stretch with the device synchronised at both ends."""
        self._synchronize()
        started = time.perf_counter()
        self.model.train()
        first = self._step
        while self._step < end and not self._interrupt_seen:
            self._steps.take(self.network, self.optimizer, self._step)
            self._step += 1
            self._poll_interrupt()
        self._synchronize()
        self._train_seconds += time.perf_counter() - started
        self._flops += self._growth.step_flops * self._order.batch_size * (self._step - first)

    def _poll_interrupt(self) -> None:
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + INTERRUPT_POLL_SECONDS
            self._interrupt_seen = self._interrupted()

    def _learning_rate(self, step: int) -> float:
        return learning_rate_at(min(step, self.num_steps), self.num_steps, self.settings, self._growth.ended_step)

    def _augmentation(self) -> Augmentation | None:
        wanted = self.settings.augment and self._data.augmentation != "none"
        return Augmentation(self.settings.cutout) if wanted else None

    def _sample(self) -> None:
        self.network.attach(self.optimizer).hold()
        train = self._evaluate(self._train, self._measuring.train_indices)
        validation = None
        if self._validation is not None:
            validation = self._evaluate(self._validation, self._measuring.validation_indices)
        self._check_finite(train, validation)
        sample = Sample(
            index=len(self.samples),
            step=self._step,
            epoch=self._step / self._order.steps_per_epoch,
            train_loss=train.loss,
            validation_loss=validation.loss if validation else None,
            train_score=train.score,
            validation_score=validation.score if validation else None,
            train_seconds=self._train_seconds,
            training_flops=self._flops,
            parameters=self.network.num_parameters,
            learning_rate=self._learning_rate(self._step),
            standardized_train_loss=train.standardized_loss,
            standardized_validation_loss=validation.standardized_loss if validation else None,
        )
        self.samples.append(sample)
        if self.folder:
            self.folder.append_sample(sample)

    def _grow_if_due(self) -> None:
        if self._step == self.num_steps:
            return  # new units could not train any more
        if self._forks is not None and not self.events and self._growth.acts(self.samples):
            self._leave_fork()
        event = self._growth.grow_if_due(self.samples, self.events, self.optimizer)
        if event is None:
            return
        self._train_seconds += event.seconds
        self._flops += event.selection_flops
        self.events.append(event)
        if self.folder:
            self.folder.rewrite_events(self.events)

    def _observe_last_event(self) -> None:
        """Read the loss some steps after a growth event; the record on disk follows when that is done."""
        self.network.attach(self.optimizer).hold()
        self.events[-1] = observe(
            self.events[-1], self._step, self.model, self.network.cohorts, self._fixed_batch.loss_value
        )
        if self.folder and next_observation(self.events, self._step) is None:
            self.folder.rewrite_events(self.events)

    def _outcome(self, signal: Signal) -> TrainingOutcome:
        train = validation = None
        if self._step == self.num_steps:
            # Train metrics over as many examples as validation has, so that the gap compares like with like.
            matched = self._measuring.matched_train_indices(self._validation)
            train = self._evaluate(self._train, matched)
            self._check_finite(train)
            validation = self._evaluate(self._validation) if self._validation else None
        return TrainingOutcome(
            signal=signal,
            steps=self._step,
            train=train,
            validation=validation,
            train_seconds=self._train_seconds,
            training_flops=self._flops,
            parameters=self.network.num_parameters,
            num_events=len(self.events),
            shape=self.shape,
            growth_ended_by=self._growth.ended_by,
        )

    def _evaluate(self, examples: BatchSource, indices: Tensor | None = None) -> Metrics:
        return evaluate(self._data.task, self.model, examples, indices, self.execution)

    def _check_finite(self, train: Metrics, validation: Metrics | None = None) -> None:
        if not train.is_finite:
            raise TrainingDivergedError(
                f"the loss is {train.loss} at step {self._step} of {self.num_steps}; lower the learning rate "
                f"({self.settings.learning_rate:g}), training.learning_rate in a policy file"
            )
        if validation is not None and not validation.is_finite:
            raise TrainingDivergedError(f"{validation_problem(validation)}, at step {self._step} of {self.num_steps}")

    def _checkpoint_if_due(self) -> None:
        if self._step == self.num_steps or time.monotonic() < self._next_checkpoint:
            return
        started = time.monotonic()
        self._save_checkpoint()
        self._leave_fork()
        self._next_checkpoint = time.monotonic() + max(0.5, (time.monotonic() - started) / CHECKPOINT_SHARE)

    def _save_checkpoint(self) -> None:
        if self.folder is not None:
            save_checkpoint(self.folder.checkpoints, self._step, self._state())

    def _leave_fork(self) -> None:
        """Leave the present state to siblings, as long as this run's policy has not acted."""
        if self._forks is not None and not self.events and self._growth.ended_step is None:
            self._forks.leave(self._start, self._step, self._state())

    def _state(self) -> dict[str, Any]:
        """The present state, as it is saved."""
        with_blocks = self._growth.policy.depth is not None
        return RunState(
            step=self._step,
            seed=self._seed,
            samples=self.samples,
            events=self.events,
            growth_ended=(self._growth.ended_step, self._growth.ended_by),
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
            self._growth.ended_step, self._growth.ended_by = state.growth_ended
            self.fork = state.fork
        elif self._forks is not None:
            return self._start_from_fork(self._forks)
        self._rewrite_records()
        return Signal.CONTINUE

    def _start_from_fork(self, forks: ForkStore) -> Signal:
        """Take over what others alike have trained, if anything; then do what follows on the sample it ends with."""
        found = forks.latest(self._start, self.device, self._growth.acts)
        if found is not None:
            saved, self.fork = found
            self._go_on_from(RunState.from_dict(saved))
            self._growth.prepare_optimizer(self.optimizer)  # new units are to train as this run's own policy says
        self._rewrite_records()
        return Signal.CONTINUE if found is None else self._after_sample()

    def _go_on_from(self, state: RunState) -> None:
        """Go on from where a run was, whichever run; what its policy had decided is left out."""
        self.optimizer = state.give_to(self.network, self.optimizer, self._make_optimizer)
        self.samples, self.events = state.samples, state.events
        self._step, self._train_seconds, self._flops = state.step, state.train_seconds, state.training_flops
        self._growth.recount(self.optimizer)
        state.set_random_numbers(self.device)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        return make_optimizer(self.model, self.settings, captured=self._steps.are_captured)

    def _rewrite_records(self) -> None:
        if self.folder:
            self.folder.rewrite(self.samples, self.events)

    def _start_digest(self) -> str:
        """The name of this run's start: to be taken before the first step."""
        assert self._forks is not None
        schedule = schedule_before_growth(self.settings, self._growth.ended_step)
        circumstances = {
            **self._forks.identity,
            "widths": self.network.widths,
            "settings": {**self.settings.model_dump(), "learning_rate_schedule": schedule},
            "seed": self._seed,
            "examples": [len(self._train), len(self._validation) if self._validation else 0],
            "augmentation": self._data.augmentation,
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
