"""Images that are given back: what such data need, what they are scored by, and what a user is told of them."""

import numpy as np
import pytest
import torch
from torch import nn

import autogrow
from autogrow.data.catalogue import PACKAGED
from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset, open_given
from autogrow.data.preprocessing import measure_normalization
from autogrow.data.splits import TrainSplit, merge_splits
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError, NetworkError
from autogrow.export.prepared_network import PreparedNetwork
from autogrow.tasks import TASKS
from autogrow.training.augmentation import NUM_DRAWS, Augmentation
from autogrow.training.batches import DeviceExamples
from autogrow.training.evaluation import evaluate
from autogrow.training.output_check import check_outputs
from autogrow.training.training_data import TrainingData

TASK = TASKS["reconstruction"]
CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
"""Channels last, with sides that say so."""


@pytest.fixture
def file(tmp_path):
    """Images alone, without a single target."""
    np.savez(tmp_path / "mine.npz", x_train=IMAGES[:40], x_test=IMAGES[40:])
    return str(tmp_path / "mine.npz")


def images_as_examples(number=60):
    inputs = np.ascontiguousarray(IMAGES[:number].transpose(0, 3, 1, 2))
    return TrainSplit(inputs, inputs, np.arange(number))


class TestData:
    def test_a_file_needs_no_targets(self, file):
        data = open_dataset(file, task="reconstruction")
        assert (data.task, data.input_shape, data.num_outputs, data.classes) == ("reconstruction", (3, 8, 8), 192, ())
        assert (data.num_train, data.num_test) == (40, 20)
        inputs, targets = data.training_arrays()
        assert targets is inputs and np.array_equal(inputs, IMAGES[:40].transpose(0, 3, 1, 2))
        assert {path.name for path in data.arrays_folder.iterdir()} == {"x_train.npy", "x_test.npy", "meta.json"}
        assert open_dataset(file, task="reconstruction") == data

    def test_targets_that_a_file_has_are_not_looked_at(self, tmp_path):
        np.savez(tmp_path / "mine.npz", x_train=IMAGES, y_train=np.full(60, np.nan), x_test=IMAGES[:3])
        assert open_dataset(str(tmp_path / "mine.npz"), task="reconstruction").num_test == 3

    def test_a_built_in_data_set_shares_its_arrays(self, data_dir):
        own = open_dataset("digits", data_dir)
        data = open_dataset("digits", data_dir, task="reconstruction")
        assert (data.task, data.num_outputs, data.classes) == ("reconstruction", 64, ())
        assert (data.arrays_folder, data.fingerprint) == (own.arrays_folder, own.fingerprint)
        assert open_dataset("digits", data_dir) == own

    def test_every_split_has_its_inputs_for_targets(self, data_dir):
        data = open_dataset("digits", data_dir, task="reconstruction")
        train, validation = data.split(seed=0)
        for split in (train, validation, merge_splits(train, validation), open_test_split(data)):
            assert split.targets is split.inputs and len(split.inputs) == len(split)
        assert not set(train.indices) & set(validation.indices) and len(train) + len(validation) == data.num_train

    def test_it_is_said_what_is_learned_and_what_a_loss_is_in(self, data_dir):
        said = open_dataset("digits", data_dir, task="reconstruction").describe()
        assert "reconstruction of the image itself, 64 values; losses are per value, in standard deviations" in said

    def test_in_python_it_takes_images_alone(self, tmp_path):
        data = Dataset.from_arrays(IMAGES[:40], task="reconstruction", x_test=IMAGES[40:], data_dir=tmp_path)
        again = open_given((IMAGES[:40], None, IMAGES[40:], None), tmp_path, task="reconstruction")
        assert data == again and data.num_test == 20
        with pytest.raises(DataError, match="y_train is None: give inputs and targets"):
            Dataset.from_arrays(IMAGES, data_dir=tmp_path)

    def test_a_packages_function_may_give_images_alone(self, tmp_path, monkeypatch):
        images = {"x_train": IMAGES[:40], "x_test": IMAGES[40:]}
        monkeypatch.setattr(PACKAGED, "_entries", {"pictures": lambda data_dir: images})
        assert open_dataset("pictures", tmp_path, task="reconstruction").num_test == 20
        with pytest.raises(DataError, match="gives no y_train"):
            open_dataset("pictures", tmp_path)

    @pytest.mark.parametrize("name", ["sine", "friedman"])
    def test_tables_are_refused(self, name, data_dir, tmp_path):
        with pytest.raises(DataError, match=f"{name}: --task reconstruction gives images back, and .* another task"):
            open_dataset(name, data_dir, task="reconstruction")
        np.savez(tmp_path / "mine.npz", x_train=np.ones((9, 4)), y_train=np.arange(9))
        with pytest.raises(DataError, match=r"an example of shape \(4,\) is none") as caught:
            open_dataset(str(tmp_path / "mine.npz"), task="reconstruction")
        assert "\n" not in str(caught.value)

    def test_text_is_refused(self, tmp_path):
        (tmp_path / "book.txt").write_text("word " * 2000)
        np.savez(tmp_path / "tokens.npz", x_train=np.arange(900))
        for name in ("book.txt", "tokens.npz"):
            with pytest.raises(DataError, match="task text, not reconstruction: leave out --task"):
                open_dataset(str(tmp_path / name), task="reconstruction")

    def test_other_tasks_than_its_own_are_refused_as_before(self, data_dir):
        with pytest.raises(DataError, match="has the task classification, not regression"):
            open_dataset("digits", data_dir, task="regression")


class TestBatches:
    def test_targets_are_the_inputs_as_the_network_reads_them(self):
        split = images_as_examples()
        inputs, targets = DeviceExamples(split, measure_normalization(split), CPU).batch(torch.arange(5))
        assert torch.equal(inputs, targets) and abs(float(targets.mean())) < 0.2
        inputs.zero_()  # as a layer that works in place might
        assert targets.abs().sum() > 0

    def test_they_are_augmented_alike_and_what_is_cut_out_is_to_be_filled_in(self):
        split = images_as_examples()
        examples, draws = DeviceExamples(split, measure_normalization(split), CPU), torch.rand(NUM_DRAWS, 5)
        inputs, targets = examples.augmented(torch.arange(5), draws, Augmentation())
        assert torch.equal(inputs, targets) and not torch.equal(targets, examples.batch(torch.arange(5))[0])
        cut, whole = examples.augmented(torch.arange(5), draws, Augmentation(cutout=4))
        assert torch.equal(whole, targets) and not torch.equal(cut, whole)
        assert torch.equal(cut[cut != 0], whole[cut != 0])

    def test_metrics_are_those_of_all_values_together(self):
        split = images_as_examples()
        normalization = measure_normalization(split)
        examples = DeviceExamples(split, normalization, CPU)
        images, _ = examples.batch(torch.arange(60))
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) / 4
        found = evaluate(TASK, Adding(noise), examples)
        assert found.loss == pytest.approx(float(noise.square().mean()), rel=1e-5)
        left = noise.double().square().sum() / (images - images.mean(0)).double().square().sum()
        assert found.score == pytest.approx(1 - float(left), rel=1e-6)
        assert found.standardized_loss is None

    def test_equal_images_have_nothing_to_learn(self):
        same = np.repeat(IMAGES[:1], 4, axis=0)
        with pytest.raises(DataError, match="all 4 training examples are the same image"):
            TASK.refuse_unlearnable(same, "training examples")
        with pytest.raises(DataError, match="only one validation example: R² needs two"):
            TASK.refuse_unlearnable(same[:1], "validation examples")
        TASK.refuse_unlearnable(IMAGES[:2], "training examples")


class Adding(nn.Module):
    """Images with something added to them, or what else is made of them."""

    def __init__(self, noise, form=lambda images: images):
        super().__init__()
        self.noise, self.form = nn.Parameter(noise), form

    def forward(self, images):
        return self.form(images + self.noise)


class TestOutputs:
    DATA = TrainingData(TASK, images_as_examples(), None, measure_normalization(images_as_examples()), num_outputs=192)

    def test_images_or_their_values_in_a_row_are_taken(self):
        for form in (lambda images: images, lambda images: images.flatten(1)):
            check_outputs(Adding(torch.tensor(0.0), form), self.DATA)

    @pytest.mark.parametrize(
        ("form", "message"),
        [
            (lambda images: images[:, :1], r"\(7, 1, 8, 8\) .* wanted is \(7, 3, 8, 8\) or \(7, 192\): .*192 values$"),
            (lambda images: images.mean((2, 3)), r"\(7, 3\) .*; give its last layer 192 outputs"),
            (lambda images: images[None], "; keep one row per example"),
        ],
    )
    def test_others_are_one_line(self, form, message):
        with pytest.raises(NetworkError, match=message):
            check_outputs(Adding(torch.tensor(0.0), form), self.DATA)


class TestAnswers:
    @pytest.mark.parametrize("layout", ["channels_first", "channels_last", "grey_images"])
    @pytest.mark.parametrize("is_flat", [False, True])
    def test_they_are_images_in_the_users_own_form_and_unit(self, layout, is_flat):
        split = images_as_examples()
        if layout == "grey_images":
            split = TrainSplit(split.inputs[:, :1], split.inputs[:, :1], split.indices)
        given = {"channels_last": IMAGES, "grey_images": IMAGES[..., 0]}.get(layout, split.inputs)
        network = PreparedNetwork(
            nn.Flatten() if is_flat else nn.Identity(),
            measure_normalization(split),
            None,
            input_shape=split.inputs.shape[1:],
            layout=layout,
            task=TASK,
            classes=(),
            takes_bytes=True,
        )
        found = network.predict(given)
        assert found.dtype == np.float64 and np.allclose(found, given, atol=1e-4)
        assert np.allclose(network.predict(given / 255), given / 255, atol=1e-6)
        with pytest.raises(DataError, match="was not trained for any"):
            network.predict(given, probabilities=True)


POLICY = autogrow.GrowthPolicy(trigger={"kind": "schedule", "every": 10}, initial_fraction=0.5, chunk_fraction=0.5)


@pytest.mark.slow
def test_a_network_is_trained_tested_saved_and_asked(data_dir, tmp_path):
    result = autogrow.train(
        "auto", "digits", POLICY, task="reconstruction", data_dir=data_dir, epochs=5, out=tmp_path / "network"
    )
    assert len(result.events) == 1 and result.test.score > 0.5
    test = open_test_split(open_dataset("digits", data_dir))
    given = autogrow.predict(tmp_path / "network", test.inputs)
    assert given.shape == test.inputs.shape
    left = np.square(given - test.inputs).sum() / np.square(test.inputs - test.inputs.mean(0)).sum()
    assert 1 - left == pytest.approx(result.test.score, rel=1e-4)
    for data in (None, "digits"):  # of a network that gives images back, no other reading is meant
        assert autogrow.evaluate(tmp_path / "network", data, data_dir=data_dir).score == result.test.score
    with pytest.raises(DataError, match="sine: --task reconstruction gives images back"):
        autogrow.evaluate(tmp_path / "network", "sine", data_dir=data_dir)
