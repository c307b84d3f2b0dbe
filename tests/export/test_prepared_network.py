"""A loaded network takes what lies in the user's file, and returns what the user means."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import autogrow
from autogrow.data import open_dataset
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError, NetworkError
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings

RANDOM = np.random.default_rng(5)
SHORT = TrainingSettings(epochs=12, batch_size=16, learning_rate=0.02, sample_every=8)
POLICY = GrowthPolicy.from_dict({"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 2}}).model_copy(
    update={"training": SHORT}
)
MLP = autogrow.ModelSpec("mlp", {"hidden": (16,), "batch_norm": False})
KINDS = np.array(["ant", "bee", "cat"])


def pictures(count, dtype):
    """(N, 5, 4, 3) whose brightest channel tells the class, and the classes."""
    numbers = np.arange(count) % 3
    images = RANDOM.integers(0, 120, (count, 5, 4, 3))
    images[np.arange(count), :, :, numbers] += 80
    return images.astype(dtype), KINDS[numbers]


def saved(folder, **arrays):
    np.savez(folder / "mine.npz", **arrays)
    result = autogrow.train(MLP, str(folder / "mine.npz"), POLICY, out=folder / "network")
    return result, folder / "network"


@pytest.fixture(scope="module", params=[np.uint8, np.int64])
def of_pictures(request, tmp_path_factory):
    """A network of pictures whose channels come last, its folder, and pictures that it has not seen."""
    x_train, y_train = pictures(90, request.param)
    x_test, y_test = pictures(30, request.param)
    result, folder = saved(
        tmp_path_factory.mktemp("pictures"), x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
    )
    return result, folder, x_test, y_test


@pytest.mark.slow
def test_names_are_predicted_from_inputs_as_they_are(of_pictures):
    result, folder, x_test, y_test = of_pictures
    predicted = autogrow.predict(folder, x_test)
    assert predicted.dtype.kind == "U" and predicted.shape == y_test.shape
    assert (predicted == y_test).mean() == pytest.approx(result.test.score) and result.test.score > 0.9
    assert autogrow.evaluate(folder, str(folder.parent / "mine.npz")).score == result.test.score
    assert (result.prepared.predict(x_test.tolist()) == predicted).all()
    probabilities = autogrow.predict(autogrow.load(folder), torch.from_numpy(x_test.astype(int)), probabilities=True)
    assert np.allclose(probabilities.sum(1), 1) and (KINDS[probabilities.argmax(1)] == predicted).all()


def test_a_loaded_network_is_an_ordinary_module(of_pictures):
    result, folder, x_test, _ = of_pictures
    model = autogrow.load(folder)
    assert isinstance(model, nn.Module) and not model.training
    inputs = torch.from_numpy(x_test.astype(np.uint8 if x_test.dtype == np.uint8 else np.float32))
    outputs = model(inputs)
    exported = torch.export.export(model, (inputs,)).module()
    assert torch.allclose(exported(inputs), outputs)
    assert torch.allclose(model.to("cpu")(inputs), result.prepared(inputs))
    assert type(model.network) is type(result.module)


def test_bytes_may_come_as_floats_between_0_and_1_and_not_beyond(of_pictures):
    _, folder, x_test, _ = of_pictures
    model = autogrow.load(folder)
    if not model.takes_bytes:
        with_bytes = model(torch.from_numpy(x_test.astype(np.uint8)))  # not divided: that is no unit of these data
        assert torch.allclose(with_bytes, model(torch.from_numpy(x_test.astype(np.float64))))
        return
    assert (model.predict(x_test / 255) == model.predict(x_test)).all()
    for inputs in (x_test / 2, x_test.astype(int) - 100, x_test.astype(int) * 3):
        with pytest.raises(DataError, match="was trained on bytes: give whole numbers of 0 to 255"):
            model.predict(inputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((5, 4, 3)), r"\(5, 4, 3\), a single example: put it into a list: give \(N, 5, 4, 3\)"),
        (np.zeros((2, 3, 5, 4)), r"inputs have shape \(2, 3, 5, 4\): give \(N, 5, 4, 3\)"),
        (np.zeros((0, 5, 4, 3)), r"inputs have shape \(0, 5, 4, 3\)"),
        (np.full((1, 5, 4, 3), np.nan), "inputs holds 60 NaN"),
        ([["a"]], "not numbers"),
        ([[1.0], [1.0, 2.0]], "different lengths"),
        (3.0, r"inputs have shape \(\)"),
    ],
)
def test_inputs_that_do_not_fit(of_pictures, inputs, message):
    with pytest.raises(DataError, match=message):
        autogrow.predict(of_pictures[1], inputs)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2])
def test_values_are_in_the_users_unit(width, tmp_path):
    inputs = 1.7e9 + RANDOM.normal(size=(120, 2))  # needs 64 bits
    targets = ((inputs - 1.7e9) @ [[1.0, -2.0], [0.5, 1.0]] * [1e-3, 1e5] + [0, 1e9])[:, :width]
    result, folder = saved(tmp_path, x_train=inputs, y_train=targets, x_test=inputs[:30], y_test=targets[:30])
    values = autogrow.predict(folder, inputs[:30])
    assert values.shape == ((30,) if width == 1 else (30, 2))
    errors = values.reshape(30, width) - targets[:30]
    assert np.square(errors).mean() == pytest.approx(result.test.loss, rel=1e-3)
    assert (np.square(errors).mean(0) < 0.1 * targets.var(0)).all()
    module_values = autogrow.load(folder)(torch.from_numpy(inputs[:30]))
    assert np.allclose(module_values.detach().numpy().reshape(values.shape), values)
    with pytest.raises(DataError, match="probabilities are of classes"):
        autogrow.predict(folder, inputs, probabilities=True)


def test_networks_that_were_saved_before_say_less(digits, tmp_path):
    result = autogrow.train(MLP, digits, POLICY, epochs=1, train_size=64, out=tmp_path / "network")
    path = tmp_path / "network" / "config.json"
    config = json.loads(path.read_text())
    test = open_test_split(digits)
    expected = autogrow.predict(tmp_path / "network", test.inputs)
    assert (expected == test.targets).mean() == pytest.approx(result.test.score)
    for key in ("layout", "classes", "takes_bytes"):
        del config[key]
    path.write_text(json.dumps(config))
    assert (autogrow.predict(tmp_path / "network", test.inputs) == expected).all()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["a"]), ("layout", "sideways"), ("preprocessing", {"mean": [0.0, 0.0], "std": [1.0, 1.0]}),
        ("preprocessing", {"mean": 3}), ("target_scale", {"mean": [0.0], "std": [1.0]}), ("target_scale", []),
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_one_line(key, value, of_pictures, tmp_path):
    folder = tmp_path / "network"
    folder.mkdir()
    for file in of_pictures[1].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(NetworkError, match="restore it from a copy") as caught:
        autogrow.load(folder)
    assert "\n" not in str(caught.value)


def test_data_with_other_classes_are_not_evaluated(of_pictures, tmp_path):
    x_train, y_train = pictures(90, np.uint8)
    names = np.where(y_train == "cat", "dog", y_train)
    np.savez(tmp_path / "other.npz", x_train=x_train, y_train=names, x_test=x_train[:5], y_test=names[:5])
    with pytest.raises(NetworkError, match="tells classes 'ant', 'bee', 'cat', .* has 'ant', 'bee', 'dog'"):
        autogrow.evaluate(of_pictures[1], str(tmp_path / "other.npz"))


def test_the_same_file_is_read_as_the_networks_own_data_were(tmp_path):
    """A layout or task that the caller overruled holds for `evaluate`, too."""
    inputs = RANDOM.normal(size=(60, 8, 8, 8)).astype(np.float32)
    targets = np.arange(60) % 3
    np.savez(tmp_path / "mine.npz", x_train=inputs, y_train=targets, x_test=inputs, y_test=targets)
    place = str(tmp_path / "mine.npz")
    with pytest.raises(DataError, match="--layout"):
        open_dataset(place)
    options = {"task": "regression", "layout": "channels_last"}
    result = autogrow.train(MLP, place, POLICY, epochs=1, out=tmp_path / "network", **options)
    assert autogrow.evaluate(tmp_path / "network", place) == result.test
    config = json.loads((tmp_path / "network" / "config.json").read_text())
    assert (config["task"], config["layout"], config["classes"]) == ("regression", "channels_last", [])
