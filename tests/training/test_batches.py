import numpy as np
import pytest
import torch

from autogrow.data.preprocessing import Normalization, measure_normalization
from autogrow.data.splits import TrainSplit
from autogrow.training.augmentation import NUM_DRAWS, Augmentation
from autogrow.training.batches import BatchOrder, DeviceExamples, stream_seed
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


@pytest.mark.parametrize("step", [0, 1, 7, 9, 10])
def test_what_is_drawn_otherwise_from_a_step_on(step):
    plain, redrawn = BatchOrder(53, 10, seed=3, device=CPU), BatchOrder(53, 10, 3, CPU, redrawn_from=step)
    for read in (BatchOrder.indices, BatchOrder.draws):
        equal = [torch.equal(read(plain, each), read(redrawn, each)) for each in range(20)]
        assert equal == [each < step for each in range(20)]
    for epoch in range(4):
        seen = torch.cat([redrawn.indices(each) for each in range(5 * epoch, 5 * epoch + 5)]).tolist()
        assert len(set(seen)) == 50  # none comes twice, also in the epoch that has both orders


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


def unnormalized(split):
    """Examples whose batches are the stored values."""
    return DeviceExamples(split, Normalization(mean=(0.0,) * 3, std=(1 / 255,) * 3), CPU)


def test_augmentation_is_pad_crop_flip():
    split = TrainSplit(*images(64, 0))
    draws = torch.rand((NUM_DRAWS, 64), generator=torch.Generator().manual_seed(5))
    indices = torch.randperm(64)
    augmented, targets = unnormalized(split).augmented(indices, draws, Augmentation())
    shifts = (draws[:2] * 9).long()
    flips = draws[2] < 0.5
    # The columns of a mirrored image are read from right to left, so its shift counts from the other side.
    columns = torch.where(flips, 8 - shifts[1], shifts[1])
    pictures = torch.from_numpy(split.inputs)[indices].float()
    expected = reference_augmentation(pictures, list(zip(shifts[0], columns, strict=True)), flips)
    assert torch.allclose(augmented, expected, atol=1e-3)
    assert torch.equal(targets, torch.from_numpy(split.targets)[indices])
    assert 15 < int(flips.sum()) < 49
    assert set(shifts.flatten().tolist()) == set(range(9))


def test_images_are_batched_channels_last():
    examples = unnormalized(TrainSplit(*images(20, 0)))
    draws = torch.rand(NUM_DRAWS, 10)
    batches = examples.batch(torch.arange(10)), examples.augmented(torch.arange(10), draws, Augmentation(cutout=2))
    for inputs, _ in batches:
        assert inputs.shape == (10, 3, 8, 8)
        assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_many_pixels_are_numbered_in_64_bits(monkeypatch):
    examples = unnormalized(TrainSplit(*images(20, 0)))
    arguments = torch.arange(20), torch.rand(NUM_DRAWS, 20), Augmentation()
    small = examples.augmented(*arguments)
    monkeypatch.setattr("autogrow.training.batches.SMALL_PLACES", 100)
    assert torch.equal(examples.augmented(*arguments)[0], small[0])


def test_cutout_leaves_a_hole_of_its_size():
    pictures = torch.ones(200, 2, 8, 8)
    cut = Augmentation(cutout=3).cut(pictures, torch.rand(NUM_DRAWS, 200))
    holes = (cut == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 1])
    assert set(holes.flatten().tolist()) == {4, 6, 9}  # in a corner, at an edge, inside
    inside = (cut == 0)[:, 0]
    assert all(inside[n].any(0).sum() * inside[n].any(1).sum() == inside[n].sum() for n in range(200))
    assert inside.any(0).all()
    assert torch.equal(Augmentation().cut(pictures, torch.rand(NUM_DRAWS, 200)), pictures)


def test_brightness_is_a_share_of_the_range_whatever_the_normalization():
    split = TrainSplit(*images(40, 0))
    examples = DeviceExamples(split, Normalization(mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.4)), CPU)
    draws = torch.rand((NUM_DRAWS, 40), generator=torch.Generator().manual_seed(0))
    plain, bright = (
        examples.augmented(torch.arange(40), draws, each)[0] for each in (Augmentation(), Augmentation(brightness=0.25))
    )
    added = (bright - plain) * torch.tensor([0.1, 0.2, 0.4])[:, None, None]
    expected = (2 * draws[5] - 1) * 0.25
    assert torch.allclose(added, expected[:, None, None, None].expand_as(added), atol=1e-5)
    assert expected.min() < -0.2 and expected.max() > 0.2


def test_contrast_scales_distances_from_the_mean_of_each_channel():
    examples = unnormalized(TrainSplit(*images(40, 0)))
    draws = torch.rand((NUM_DRAWS, 40), generator=torch.Generator().manual_seed(0))
    plain, changed = (
        examples.augmented(torch.arange(40), draws, each)[0] for each in (Augmentation(), Augmentation(contrast=0.8))
    )
    assert torch.allclose(changed.mean((2, 3)), plain.mean((2, 3)), atol=1e-3)
    factors = changed.std((2, 3)) / plain.std((2, 3))
    assert torch.allclose(factors, (1 + (2 * draws[6] - 1) * 0.8)[:, None].expand_as(factors), atol=1e-4)
    assert factors.min() < 0.4 and factors.max() > 1.6
    assert changed.is_contiguous(memory_format=torch.channels_last)


def test_draws_for_light_leave_those_before_as_they_were():
    """Crops, flips and holes of published runs are drawn as ever: five rows of the same stream."""
    before = torch.rand((5, 50), generator=torch.Generator().manual_seed(stream_seed(3, "augmentation", 0)))
    order = BatchOrder(50, 10, seed=3, device=CPU)
    assert torch.equal(torch.cat([order.draws(step) for step in range(5)], dim=1)[:5], before)


def test_draws_depend_on_step_and_seed_alone():
    forwards, backwards = (BatchOrder(50, 10, seed=3, device=CPU) for _ in range(2))
    draws = [forwards.draws(step) for step in range(12)]
    assert all(torch.equal(backwards.draws(step), draws[step]) for step in reversed(range(12)))
    assert len({float(each[0, 0]) for each in draws}) == 12
    assert not torch.equal(BatchOrder(50, 10, seed=4, device=CPU).draws(0), draws[0])


def test_streams_of_random_numbers_do_not_meet():
    seeds = {stream_seed(s, stream, i) for s in range(20) for stream in ("order", "weights") for i in range(50)}
    assert len(seeds) == 20 * 2 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)
