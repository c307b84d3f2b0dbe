"""What training is held against: the loop of every tutorial, and the best static step that we can build by hand.

Neither grows, samples, records or resumes. Both train a network at full width on random crops and flips, with Adam.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from autogrow.training.training_data import TrainingData

PADDING = 4
LEARNING_RATE = 1e-3
WARM_UP_STEPS = 3
"""Steps on a side stream before a CUDA graph is captured, as PyTorch's notes on CUDA graphs ask for."""


class AugmentedImages(Dataset[tuple[Tensor, int]]):
    """torchvision's RandomCrop(side, padding=4), RandomHorizontalFlip, ToTensor and Normalize, image by image.

    On tensors that are in memory already, so there is no decoding and no PIL: cheaper than the original, not dearer.
    """

    def __init__(self, data: TrainingData) -> None:
        self._images = torch.from_numpy(data.train.inputs)
        self._targets = data.train.targets.tolist()
        self._mean = torch.tensor(data.normalization.mean).view(-1, 1, 1)
        self._std = torch.tensor(data.normalization.std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._images[index]
        _, height, width = image.shape
        top, left = torch.randint(2 * PADDING + 1, (2,)).tolist()
        image = F.pad(image, (PADDING,) * 4)[:, top : top + height, left : left + width]
        if torch.rand(1).item() < 0.5:
            image = image.flip(-1)
        return image.float().div(255).sub_(self._mean).div_(self._std), self._targets[index]


class PlainLoop:
    """A DataLoader with worker processes, a module, an optimizer: float32, and every default of PyTorch's."""

    def __init__(
        self, module: nn.Module, data: TrainingData, batch_size: int, device: torch.device, num_workers: int
    ) -> None:
        self.num_workers = num_workers
        self._device = device
        self._module = module.to(device).train()
        self._optimizer = torch.optim.Adam(self._module.parameters(), lr=LEARNING_RATE)
        self._loader = DataLoader(
            AugmentedImages(data),
            min(batch_size, len(data.train)),
            shuffle=True,
            drop_last=True,
            num_workers=num_workers,
            pin_memory=device.type == "cuda",
            persistent_workers=num_workers > 0,
        )
        self._batches = self._endless()

    def step(self) -> int:
        """One training step; the number of examples it saw."""
        inputs, targets = (part.to(self._device, non_blocking=True) for part in next(self._batches))
        self._optimizer.zero_grad()
        loss = F.cross_entropy(self._module(inputs), targets)
        loss.backward()
        self._optimizer.step()
        return len(inputs)

    def _endless(self) -> Iterator[list[Tensor]]:
        while True:
            yield from self._loader


class ResidentImages:
    """All examples on the device, padded once and channels last, so that crops and flips of a batch are one gather."""

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        images = torch.from_numpy(data.train.inputs).to(device)
        self._height, self._width = images.shape[2:]
        self._padded = F.pad(images, (PADDING,) * 4).permute(0, 2, 3, 1).contiguous()
        self._targets = torch.from_numpy(data.train.targets).to(device)
        std = torch.tensor(data.normalization.std, device=device)
        self._factor = 1 / (255 * std)
        self._offset = -torch.tensor(data.normalization.mean, device=device) / std
        self._rows = torch.arange(self._height, device=device)
        self._columns = torch.arange(self._width, device=device)

    def __len__(self) -> int:
        return len(self._targets)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in channels-last memory, cropped, mirrored and normalized at random, and targets (B,)."""
        tops, lefts = torch.randint(2 * PADDING + 1, (2, len(indices), 1), device=indices.device)
        mirrored = torch.rand((len(indices), 1), device=indices.device) < 0.5
        rows = self._rows + tops
        columns = torch.where(mirrored, self._columns.flip(0), self._columns) + lefts
        images = self._padded[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        normalized = torch.addcmul(self._offset, images.float(), self._factor)
        return normalized.permute(0, 3, 1, 2), self._targets[indices]


class HandBuiltStep:
    """One static training step with nothing around it.

    GPU: bfloat16 autocast, one CUDA graph of batch, forward, backward and update. CPU: float32. Both: data on the
    device, fused optimizer.
    """

    def __init__(
        self,
        module: nn.Module,
        data: TrainingData,
        batch_size: int,
        device: torch.device,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        self.memory_format = memory_format
        self._is_gpu = device.type == "cuda"
        self._device = device
        self._examples = ResidentImages(data, device)
        self._module = module.to(device, memory_format=memory_format).train()
        self._optimizer = torch.optim.Adam(
            self._module.parameters(), lr=LEARNING_RATE, fused=True, capturable=self._is_gpu
        )
        self._indices = torch.arange(min(batch_size, len(self._examples)), device=device)
        self._batches = self._orders(len(self._indices))
        self._run = self._captured() if self._is_gpu else self._train

    def step(self) -> int:
        """One training step; the number of examples it saw."""
        self._indices.copy_(next(self._batches))
        self._run()
        return len(self._indices)

    def _orders(self, batch_size: int) -> Iterator[Tensor]:
        while True:
            order = torch.randperm(len(self._examples), device=self._device)
            yield from order[: len(order) // batch_size * batch_size].split(batch_size)

    def _train(self) -> None:
        inputs, targets = self._examples.batch(self._indices)
        inputs = inputs.contiguous(memory_format=self.memory_format)
        self._optimizer.zero_grad(set_to_none=True)
        # Every weight is used once, so a cache of their casts would gain nothing.
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_gpu, cache_enabled=False):
            loss = F.cross_entropy(self._module(inputs), targets)
        loss.backward()
        self._optimizer.step()

    def _captured(self) -> Callable[[], None]:
        """https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture"""
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True  # what is chosen in the warm-up is what is captured
        try:
            stream = torch.cuda.Stream(self._device)
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_STEPS):
                    self._train()
            torch.cuda.current_stream(self._device).wait_stream(stream)
            self._optimizer.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._train()
        finally:
            torch.backends.cudnn.benchmark = before
        return graph.replay
