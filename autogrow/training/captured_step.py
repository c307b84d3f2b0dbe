"""A training step that is captured once and replayed: the host then launches one graph instead of every kernel.

The first steps after a change of shape run as they are, which prepares what libraries set up lazily (PyTorch's notes on
CUDA graphs ask for it). A capture executes nothing. It refers to the tensors of that moment, so it is dropped as soon
as the optimizer's records say that one of them was replaced.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

from autogrow.errors import one_line
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts

WARM_UP_STEPS = 3
_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Captures what a function does on a device, to be replayed on the same tensors."""

    def warming_up(self) -> AbstractContextManager[None]:
        """What is to be captured later runs inside."""

    def record(self, action: Callable[[], None]) -> Callable[[], None]:
        """Raises `RuntimeError` where the device cannot capture it."""


class CudaGraphs:
    """Records on a GPU, on a stream of its own as PyTorch asks for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, action: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # Other threads (one that pins memory, say) may go on using CUDA meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            action()
        return graph.replay


class CapturedStep:
    """A training step as a function of its batch, replayed where that is possible.

    Args:
        compute: The step: forward, backward and update on the examples of these numbers, with these random draws.
        control: The records on the optimizer that `compute` steps.
    """

    def __init__(
        self, compute: Callable[[Tensor, Tensor | None], None], control: OptimizerCohorts, recorder: Recorder
    ) -> None:
        self.why_not: str | None = None
        """Why steps are not captured, if they are not."""
        self._compute = compute
        self._control = control
        self._recorder = recorder
        self.replay: Callable[[], None] | None = None
        """Takes the captured step; None before it was captured, or since a shape has changed."""
        self._captured_version = -1
        self._warm_up_left = WARM_UP_STEPS
        self._batch: tuple[Tensor, Tensor | None] | None = None
        """Where a replay reads its batch from."""

    def __call__(self, indices: Tensor, draws: Tensor | None) -> None:
        if self.why_not is not None:
            return self._compute(indices, draws)
        if self._captured_version != self._control.version:
            self._captured_version = self._control.version
            self.replay, self._warm_up_left = None, WARM_UP_STEPS
        if self._warm_up_left:
            self._warm_up_left -= 1
            with self._recorder.warming_up():
                return self._compute(indices, draws)
        batch = self._filled(indices, draws)
        if self.replay is None:
            try:
                self.replay = self._captured(*batch)
            except RuntimeError as error:
                self.why_not = one_line(error)
                _log.warning("steps are not captured as a CUDA graph, which is slower: %s", self.why_not)
                return self._compute(indices, draws)
        with self._control.around_replay():
            self.replay()

    def _filled(self, indices: Tensor, draws: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self._batch is None:
            self._batch = indices.clone(), None if draws is None else draws.clone()
        else:
            self._batch[0].copy_(indices)
            if draws is not None and self._batch[1] is not None:
                self._batch[1].copy_(draws)
        return self._batch

    def _captured(self, indices: Tensor, draws: Tensor | None) -> Callable[[], None]:
        self._control.optimizer.zero_grad(set_to_none=True)  # so that the gradients' memory belongs to the graph
        with self._control.capturing():
            return self._recorder.record(lambda: self._compute(indices, draws))


def recorder_for(device: torch.device) -> Recorder | None:
    """What captures steps on this device, if anything does."""
    return CudaGraphs(device) if device.type == "cuda" else None
