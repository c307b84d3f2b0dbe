"""What a network that is shrunk recovers on, and what it is judged by: examples that nothing of it has learnt from."""

import numpy as np
import pytest
from torch import nn

from autogrow.data import open_dataset
from autogrow.data.preprocessing import measure_normalization
from autogrow.errors import UsageError
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import load_network
from autogrow.export.shrink_source import ShrinkSource
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def source(digits):
    """Where shrinking begins, of a network that was trained in one way or another."""

    def of(**options):
        return ShrinkSource(
            module=nn.Linear(1, 1),
            spec=ModelSpec("mlp"),
            trained_with=TrainingSettings(),
            normalization=measure_normalization(digits.split(seed=0)[0]),
            target_scale=None,
            **options,
        )

    return of


@pytest.fixture
def learnt(digits):
    """The indices of the examples that `train` learns from, as it says itself before it starts."""

    class Seen(Exception):
        pass

    def indices(**options):
        found = []

        def see(data):
            found.append(data.train.indices)
            raise Seen

        with pytest.raises(Seen):
            train_policy(ModelSpec("mlp", {"hidden": [4]}), digits, GrowthPolicy(initial_fraction=1.0),
                         TrainingSettings(epochs=1), on_start=see, **options)  # fmt: skip
        return found[0]

    return indices


@pytest.mark.parametrize("train_size", [None, 100])
@pytest.mark.parametrize("split_seed", [0, 3])
def test_validation_that_was_held_out(train_size, split_seed, source, learnt, digits):
    data = source(held_out_validation=True, train_size=train_size, split_seed=split_seed).data(digits, None)
    before = learnt(hold_out_validation=True, train_size=train_size, split_seed=split_seed)
    assert np.array_equal(data.train.indices, before)
    assert len(data.validation) and not np.isin(data.validation.indices, before).any()


@pytest.mark.parametrize("split_seed", [0, 3])
def test_a_saved_network_says_which_they_were(split_seed, digits, tmp_path):
    options = {"train_size": 60, "split_seed": split_seed, "hold_out_validation": True, "out": tmp_path}
    settings = TrainingSettings(epochs=1)
    train_policy(ModelSpec("mlp", {"hidden": [4]}), digits, GrowthPolicy(initial_fraction=1.0), settings, **options)
    data = ShrinkSource.of_saved(load_network(tmp_path), tmp_path, digits).data(digits, None)
    train, validation = digits.split(seed=split_seed, train_size=60)
    assert np.array_equal(data.train.indices, train.indices)
    assert np.array_equal(data.validation.indices, validation.indices)


@pytest.mark.parametrize("train_size", [None, 100])
def test_examples_from_elsewhere(train_size, source, learnt, digits, data_dir, tmp_path):
    train, _ = digits.split(seed=1)
    np.savez(tmp_path / "others.npz", x_train=255 - train.inputs[:60], y_train=train.targets[:60])
    others = open_dataset(str(tmp_path / "others.npz"), data_dir)
    data = source(held_out_validation=False, train_size=train_size).data(digits, others)
    assert np.array_equal(data.train.indices, learnt(train_size=train_size))
    assert np.array_equal(data.validation.inputs, 255 - train.inputs[:60])
    assert np.array_equal(data.validation.targets, train.targets[:60])
    held_out = source(held_out_validation=True, train_size=train_size).data(digits, others)
    assert np.array_equal(held_out.train.indices, learnt(hold_out_validation=True, train_size=train_size))


def test_a_text_whose_tokens_mean_something_else(source, data_dir, tmp_path):
    texts = {"own": "abcabd cab dab bad cad. " * 40, "same": "bad cad dab cab. " * 40, "other": "xyzxyw zxy wxy. " * 40}
    opened = {}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
        opened[name] = open_dataset(f"{tmp_path}/{name}.txt?context=8&tokenizer=chars", data_dir)
    assert len({each.num_outputs for each in opened.values()}) == 1
    of = source(held_out_validation=False)
    assert len(of.data(opened["own"], opened["same"]).validation)
    with pytest.raises(UsageError, match="has other tokens than .*own.txt"):
        of.data(opened["own"], opened["other"])


def test_nothing_that_was_held_out(source, digits):
    with pytest.raises(UsageError, match="has learnt from its validation examples: train it again with --hold-out"):
        source(held_out_validation=False).data(digits, None)
