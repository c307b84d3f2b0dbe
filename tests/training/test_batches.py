import numpy as np
import pytest
import torch

from autogrow.data.preprocessing import Normalization, measure_normalization
from autogrow.data.splits import TrainSplit
from autogrow.training.batches import BatchOrder, DeviceExamples, pad_crop_flip, stream_seed
from tests.training.runs import CPU, images


def test_every_example_comes_once_per_epoch():
    order = BatchOrder(50, 10, seed=3, device=CPU)
    epochs = [torch.cat([order.indices(step) for step in range(start, start + 5)]) for start in (0, 5)]
    assert all(sorted(epoch.tolist()) == list(range(50)) for epoch in epochs)
    assert not torch.equal(*epochs)


def test_the_order_depends_on_step_and_seed_alone():
    forwards = BatchOrder(50, 10, seed=3, device=CPU)
    backwards = BatchOrder(50, 10, seed=3, device=CPU)
    batches = [forwards.indices(step) for step in range(12)]
    assert all(torch.equal(backwards.indices(step), batches[step]) for step in reversed(range(12)))
    assert not torch.equal(BatchOrder(50, 10, seed=4, device=CPU).indices(0), batches[0])


@pytest.mark.parametrize(("examples", "batch", "steps"), [(50, 16, 3), (10, 128, 1), (16, 16, 1)])
def test_incomplete_batches_are_left_out(examples, batch, steps):
    order = BatchOrder(examples, batch, 0, CPU)
    assert order.steps_per_epoch == steps
    assert all(len(order.indices(step)) == min(batch, examples) for step in range(2 * steps))


def test_batches_are_normalized():
    split = TrainSplit(*images(200, 0))
    examples = DeviceExamples(split, measure_normalization(split), CPU)
    inputs, targets = examples.batch(torch.arange(200))
    assert inputs.dtype == torch.float32
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(inputs.std((0, 2, 3)), torch.ones(3), atol=1e-2)
    assert torch.equal(targets, torch.from_numpy(split.targets))


def test_normalization_of_features():
    split = TrainSplit(np.array([[1.0, 10.0], [3.0, 30.0]], np.float32), np.zeros(2, np.int64), np.arange(2))
    examples = DeviceExamples(split, Normalization(mean=(2.0, 20.0), std=(1.0, 10.0)), CPU)
    assert torch.allclose(examples.batch(torch.arange(2))[0], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


def reference_augmentation(images, shifts, flips):
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    result = []
    for image, (row, column), flip in zip(padded, shifts, flips, strict=True):
        image = image.flip(2) if flip else image
        result.append(image[:, row : row + 8, column : column + 8])
    return torch.stack(result)


def test_augmentation_is_pad_crop_flip():
    pictures = torch.from_numpy(images(64, 0)[0])
    augmented = pad_crop_flip(pictures, torch.Generator().manual_seed(5))
    draws = torch.rand((3, 64, 1), generator=torch.Generator().manual_seed(5))
    shifts = (draws[:2, :, 0] * 9).long()
    flips = draws[2, :, 0] < 0.5
    # The columns of a mirrored image are read from right to left, so its shift counts from the other side.
    columns = torch.where(flips, 8 - shifts[1], shifts[1])
    expected = reference_augmentation(pictures, list(zip(shifts[0], columns, strict=True)), flips)
    assert torch.equal(augmented, expected)
    assert 15 < int(flips.sum()) < 49
    assert set(shifts.flatten().tolist()) == set(range(9))


def test_streams_of_random_numbers_do_not_meet():
    seeds = {stream_seed(s, stream, i) for s in range(20) for stream in ("order", "weights") for i in range(50)}
    assert len(seeds) == 20 * 2 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)
