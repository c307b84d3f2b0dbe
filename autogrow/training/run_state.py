"""The state of a training run at one step: what a checkpoint and a fork hold, and how a run goes on from it.

A continuation from it is bit-exact on the CPU. What follows from the run's own settings (the order of batches, the
learning rate of a step, which examples are measured) is left out, and so is the policy: a fork is taken over by runs
that grow otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim import Optimizer

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shape import NetworkShape
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.training.forks import Fork
from autogrow.training.optimizers import restore_optimizer


@dataclass(frozen=True)
class RunState:
    """One run at one step."""

    step: int
    """Training steps taken."""
    seed: int
    shape: NetworkShape
    model: Mapping[str, Any]
    """State dictionary of the module."""
    cohorts: Mapping[str, Any]
    """Which growth event every entry was born in."""
    optimizer: Mapping[str, Any]
    """State dictionary of the stock optimizer."""
    optimizer_cohorts: Mapping[str, Any]
    """What the network keeps of the optimizer besides that: ages, ramps, what is held."""
    samples: list[Sample]
    events: list[GrowthEvent]
    growth_ended: tuple[int | None, str]
    """The step after which the policy grows no more and why; None and nothing while it still may."""
    train_seconds: float
    training_flops: float
    fork: Fork | None
    """Where the run started, if not at step 0."""
    random_state: Tensor
    cuda_random_state: Tensor | None

    @staticmethod
    def of_network(network: ExpandableNetwork, optimizer: Optimizer, *, with_blocks: bool) -> dict[str, Any]:
        """The fields that say what the network and its optimizer are now; they refer to the present tensors."""
        return {
            "shape": NetworkShape.of(network, with_blocks=with_blocks),
            "model": network.module.state_dict(),
            "cohorts": network.cohorts.state_dict(),
            "optimizer": optimizer.state_dict(),
            "optimizer_cohorts": network.attach(optimizer).state_dict(),
        }

    @staticmethod
    def of_random_numbers(device: torch.device) -> dict[str, Any]:
        """The fields that say where PyTorch's global generators are."""
        on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return {"random_state": torch.get_rng_state(), "cuda_random_state": on_gpu}

    def give_to(
        self, network: ExpandableNetwork, optimizer: Optimizer, make_optimizer: Callable[[], Optimizer]
    ) -> Optimizer:
        """Bring a fresh network of the same kind here; returns the optimizer that takes the place of its present one.

        Raises:
            NetworkError, KeyError, RuntimeError: The state is of another network.
        """
        network.detach(optimizer)
        self.shape.give_to(network)
        network.module.load_state_dict(self.model)
        network.cohorts.load_state_dict(self.cohorts)
        restored = make_optimizer()
        restore_optimizer(restored, dict(self.optimizer))
        network.attach(restored).load_state_dict(self.optimizer_cohorts)
        return restored

    def set_random_numbers(self, device: torch.device) -> None:
        """Put PyTorch's global generators where they were."""
        torch.set_rng_state(self.random_state.cpu())
        if self.cuda_random_state is not None:
            torch.cuda.set_rng_state(self.cuda_random_state.cpu(), device)

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain containers, as checkpoints hold them."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "shape": self.shape.to_dict(),
            "samples": [sample.to_dict() for sample in self.samples],
            "events": [event.to_dict() for event in self.events],
            "growth_ended": list(self.growth_ended),
            "fork": self.fork.to_dict() if self.fork else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The state that a checkpoint holds; what else is in it is left out.

        Raises:
            KeyError, TypeError, ValueError: Something is missing, or of another kind.
        """
        ended_step, ended_by = values["growth_ended"]
        return cls(**{
            **{field.name: values[field.name] for field in fields(cls) if field.name != "fork"},
            "shape": NetworkShape.from_dict(values["shape"]),
            "samples": [Sample.from_dict(record) for record in values["samples"]],
            "events": [GrowthEvent.from_dict(record) for record in values["events"]],
            "growth_ended": (ended_step, ended_by),
            "fork": Fork(**values["fork"]) if values.get("fork") else None,
        })  # fmt: skip
