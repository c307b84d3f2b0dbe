"""Every registered model is a plain module that grows; users' own factories are imported by name."""

import numpy as np
import pytest
import torch
from torch import nn

from autogrow.data.preprocessing import Normalization
from autogrow.data.splits import TrainSplit
from autogrow.errors import NetworkError
from autogrow.models import MODELS, ModelSpec, automatic_model, build_model
from autogrow.models.building import check_fits_task, gives_inputs_back
from autogrow.models.registry import READS_TOKENS
from autogrow.network import ExpandableNetwork
from autogrow.training.augmentation import NUM_DRAWS, Augmentation
from autogrow.training.batches import DeviceExamples

SHAPES = {
    "mlp": (5,),
    "convnet": (1, 28, 28),
    "autoencoder": (1, 28, 28),
    "resnet": (3, 32, 32),
    "resnet18": (3, 32, 32),
    "gpt": (16,),
}

FIXED_STREAM = {"gpt": ("blocks.0.attention_norm (LayerNorm): statistics are taken over all its units",)}


def example(name):
    shape = (2, *SHAPES[name])
    return torch.randint(11, shape) if getattr(MODELS[name], READS_TOKENS, False) else torch.randn(shape)


@pytest.mark.parametrize("name", list(MODELS))
class TestEveryModel:
    def test_maps_a_batch_to_outputs(self, name):
        model = build_model(ModelSpec(name), SHAPES[name], 11, seed=0)
        one = SHAPES[name] if gives_inputs_back(name) else (*SHAPES[name], 11) if name == "gpt" else (11,)
        assert model(example(name)).shape == (2, *one)

    @pytest.mark.slow
    def test_is_a_function_of_the_seed_and_leaves_the_random_state(self, name):
        state = torch.get_rng_state()
        first, second, other = (build_model(ModelSpec(name), SHAPES[name], 11, seed=s).state_dict() for s in (3, 3, 4))
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)

    @pytest.mark.slow
    def test_grows(self, name):
        model = build_model(ModelSpec(name), SHAPES[name], 11, seed=0)
        growing = ExpandableNetwork(model, example(name))
        assert len(growing.groups) >= 2
        assert [group.reason for group in growing.fixed] == [*FIXED_STREAM.get(name, ()), "it is the network's output"]

    def test_is_made_of_torch_layers(self, name):
        model = build_model(ModelSpec(name), SHAPES[name], 11, seed=0)
        leaves = [layer for layer in model.modules() if not list(layer.children())]
        assert all(type(layer).__module__.startswith("torch.nn") for layer in leaves)


@pytest.mark.slow
def test_the_thesis_network_has_30_blocks_and_16_32_64_channels():
    model = build_model(ModelSpec("resnet", {"depth": 62}), (3, 32, 32), 100, seed=0)
    assert [len(stage) for stage in model.stages] == [10, 10, 10]
    assert [stage[-1].conv2.out_channels for stage in model.stages] == [16, 32, 64]
    assert len(ExpandableNetwork(model, torch.randn(2, 3, 32, 32)).groups) == 33


def test_the_thesis_mnist_network():
    model = build_model(ModelSpec("convnet"), (1, 28, 28), 10, seed=0)
    kernels = [layer.kernel_size for layer in model if isinstance(layer, nn.Conv2d)]
    assert kernels == [(7, 7), (7, 7)]
    assert [layer.out_features for layer in model if isinstance(layer, nn.Linear)] == [1024, 10]


def test_the_second_thesis_mnist_classifier():
    """Table 2.3: its 7 x 7 convolution of what is 7 x 7 large is the hidden layer, weight by weight."""
    spec = ModelSpec("convnet", {"kernel_size": 5, "hidden": 128})
    model = build_model(spec, (1, 28, 28), 10, seed=0)
    table = nn.Sequential(
        *[nn.Conv2d(1, 32, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(32, 64, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(64, 128, 7), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)],
    )
    with torch.no_grad():
        for own, of_table in zip(model.parameters(), table.parameters(), strict=True):
            of_table.copy_(own.view_as(of_table))
    images = torch.randn(3, 1, 28, 28)
    assert torch.allclose(model(images), table(images), atol=1e-5)
    assert [group.width for group in ExpandableNetwork(model, images).groups] == [32, 64, 128]


SMALL = {"channels": (4, 4), "kernel_size": 3, "hidden": 8}
CIFAR10_CLASSIFIER = {
    "channels": (64, 64),
    "kernel_size": 5,
    "pool_size": 3,
    "hidden": (384, 192),
    "batch_norm": True,
}


def test_the_second_thesis_cifar10_classifier():
    """Table 2.4: outputs of every row, and units that grow."""
    model = build_model(ModelSpec("convnet", CIFAR10_CLASSIFIER), (3, 24, 24), 10, seed=0)
    outputs, shapes = torch.randn(2, 3, 24, 24), []
    for layer in model:
        outputs = layer(outputs)
        if not isinstance(layer, nn.ReLU | nn.BatchNorm2d | nn.BatchNorm1d | nn.Flatten):
            shapes.append(tuple(outputs.shape[1:]))
    convolutional = [(64, 24, 24), (64, 12, 12), (64, 12, 12), (64, 6, 6)]
    assert shapes == [*convolutional, (384,), (192,), (10,)]
    assert sum(isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d) for layer in model) == 4
    growing = ExpandableNetwork(model, torch.randn(2, 3, 24, 24))
    assert [group.width for group in growing.groups] == [64, 64, 384, 192]


def test_a_convnet_reads_the_middle_of_larger_images():
    model = build_model(ModelSpec("convnet", {**SMALL, "crop": 8}), (2, 13, 16), 3, seed=0)
    images = torch.randn(4, 2, 13, 16)
    assert torch.equal(model[0](images), images[:, :, 2:10, 4:12])
    whole = build_model(ModelSpec("convnet", SMALL), (2, 8, 8), 3, seed=0)
    assert torch.equal(model(images), whole(images[:, :, 2:10, 4:12]))
    growing = ExpandableNetwork(model, images)
    assert [group.width for group in growing.groups] == [4, 4, 8]


@pytest.mark.parametrize("crop", [3, 14])
def test_a_middle_that_is_no_part_of_the_image_is_refused(crop):
    with pytest.raises(NetworkError, match=f"crop {crop}: give 4 to 13 for images of 13 x 16"):
        build_model(ModelSpec("convnet", {**SMALL, "crop": crop}), (2, 13, 16), 3, seed=0)


def test_images_that_are_moved_are_seen_through_random_crops():
    """The padding of 4 is never in the middle, and every place is seen."""
    rows, columns = np.mgrid[0:16, 0:16]
    picture = (16 * rows + columns).astype(np.uint8)[None]
    split = TrainSplit(
        inputs=np.repeat(picture[None], 2000, 0), targets=np.zeros(2000, dtype=np.int64), indices=np.arange(2000)
    )
    examples = DeviceExamples(split, Normalization(mean=(0.0,), std=(1 / 255,)), torch.device("cpu"))
    draws = torch.rand((NUM_DRAWS, 2000), generator=torch.Generator().manual_seed(0))
    moved, _ = examples.augmented(torch.arange(2000), draws, Augmentation())
    middle = build_model(ModelSpec("convnet", {**SMALL, "crop": 8}), (1, 16, 16), 3, seed=0)[0]
    seen = {tuple(crop.flatten().round().int().tolist()) for crop in middle(moved)}
    crops = [picture[0, row : row + 8, column : column + 8] for row in range(9) for column in range(9)]
    assert seen == {tuple(each.flatten().tolist()) for crop in crops for each in (crop, crop[:, ::-1])}


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 13, 11), (2, 8, 8)])
@pytest.mark.parametrize("options", [{}, {"pool_size": 3}, {"channels": (4, 4, 4)}, {"kernel_size": 4}, {"hidden": ()}])
def test_a_convnet_fits_images_of_any_size(shape, options):
    model = build_model(ModelSpec("convnet", {"channels": (4, 4), "hidden": 8, **options}), shape, 3, seed=0)
    assert model(torch.randn(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 13, 7), (1, 1, 1)])
@pytest.mark.parametrize(
    "options", [{}, {"channels": (8,)}, {"channels": (4, 6, 8, 6, 4), "kernel_size": 5, "stride": 3}, {"stride": 1}]
)
def test_an_autoencoder_gives_images_of_any_size_back(shape, options):
    model = build_model(ModelSpec("autoencoder", {"channels": (4, 6, 4), **options}), shape, 10, seed=0)
    images = torch.randn(3, *shape)
    assert model(images).shape == images.shape
    assert torch.equal(model.decoder(model.encoder(images)), model(images))


def test_the_thesis_autoencoder():
    model = build_model(ModelSpec("autoencoder"), (1, 28, 28), 784, seed=0)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in layers] == [32, 64, 32, 1]
    assert {(*layer.kernel_size, *layer.stride) for layer in layers} == {(3, 3, 2, 2)}
    assert model.encoder(torch.randn(2, 1, 28, 28)).shape == (2, 64, 7, 7)
    growing = ExpandableNetwork(model, torch.randn(2, 1, 28, 28))
    assert [group.width for group in growing.groups] == [32, 64, 32]


def test_a_network_that_gives_inputs_back_is_for_such_tasks_alone():
    check_fits_task(ModelSpec("autoencoder"), "reconstruction", "mnist")
    check_fits_task(ModelSpec("convnet"), "reconstruction", "mnist")
    for task in ("classification", "regression", "text"):
        with pytest.raises(NetworkError, match="model 'autoencoder' .*use 'auto'"):
            check_fits_task(ModelSpec("autoencoder"), task, "mnist")


@pytest.mark.parametrize(
    ("shape", "task", "name"),
    [
        ((1, 8, 8), "classification", "mlp"),
        ((1, 28, 28), "classification", "convnet"),
        ((3, 32, 32), "classification", "resnet"),
        ((20,), "classification", "mlp"),
        ((1,), "regression", "mlp"),
        ((1, 8, 8), "reconstruction", "autoencoder"),
    ],
)
def test_automatic_choice_fits_the_data(shape, task, name):
    spec = automatic_model(shape, task)
    assert spec.name == name
    outputs = shape if gives_inputs_back(name) else (3,)
    assert build_model(spec, shape, 3, seed=0)(torch.randn(2, *shape)).shape == (2, *outputs)


@pytest.mark.parametrize(
    ("spec", "shape", "parts"),
    [
        (
            ModelSpec("resnt"),
            (3, 32, 32),
            ["unknown model 'resnt'", "autoencoder, convnet, gpt, mlp, resnet", "did you mean 'resnet'?"],
        ),
        (ModelSpec("resnet", {"deph": 20}), (3, 32, 32), ["no option 'deph'", "did you mean 'depth'?"]),
        (ModelSpec("resnet", {"depth": 21}), (3, 32, 32), ["6n + 2", "not 21"]),
        (ModelSpec("resnet"), (20,), ["images of at least 8 x 8", "use 'mlp'"]),
        (ModelSpec("convnet"), (1, 2, 2), ["at least 4 x 4", "use 'mlp'"]),
        (ModelSpec("convnet", {"channels": (4, 4, 4)}), (1, 4, 9), ["at least 8 x 8", "(1, 4, 9)"]),
        (ModelSpec("autoencoder"), (20,), ["takes images", "use 'mlp'"]),
        (ModelSpec("autoencoder", {"channels": (32, 64)}), (1, 8, 8), ["channels [32, 64]", "an odd number"]),
        (ModelSpec("autoencoder", {"kernel_size": 4}), (1, 8, 8), ["kernel_size 4", "give an odd kernel_size"]),
        (ModelSpec("autoencoder", {"stride": 4}), (1, 8, 8), ["stride 4", "from 1 to it"]),
        (
            ModelSpec("no.such.module:make").given_by_caller(),
            (3,),
            ["cannot import 'no.such.module'", "change to the folder"],
        ),
        (ModelSpec("math:sqroot").given_by_caller(), (3,), ["unknown factory 'sqroot'", "did you mean 'sqrt'?"]),
        (ModelSpec("builtins:dict").given_by_caller(), (3,), ["has no signature"]),
        (
            ModelSpec("fractions:Fraction").given_by_caller(),
            (3,),
            ["returned a Fraction", "expected a torch.nn.Module"],
        ),
        (ModelSpec("fractions:Fraction"), (3,), ["'fractions:Fraction' is the user's own code", "only if its caller"]),
    ],
)
def test_bad_models_say_what_exists(spec, shape, parts):
    with pytest.raises(NetworkError) as caught:
        build_model(spec, shape, 10, seed=0)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_a_users_own_factory(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def small(num_outputs, hidden=7):\n"
        "    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, num_outputs))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = build_model(ModelSpec("my_networks:small", {"hidden": 9}).given_by_caller(), (4,), 3, seed=0)
    assert [layer.out_features for layer in model if isinstance(layer, nn.Linear)] == [9, 3]


def test_spec_round_trip():
    spec = ModelSpec("mlp", {"hidden": (3, 4), "batch_norm": False})
    assert ModelSpec.from_dict(spec.to_dict()) == spec


class TestWhoNamesAModel:
    OWN = ModelSpec("mine:make", {"width": 3})

    def test_no_file_says_that_its_caller_did(self):
        written = {**self.OWN.given_by_caller().to_dict(), "named_by_caller": True}
        assert not ModelSpec.from_dict(written).named_by_caller

    def test_it_is_named_again(self):
        again = self.OWN.named_again("mine:make", "run")
        assert again.named_by_caller
        assert again == self.OWN
        assert ModelSpec("mlp").named_again(None, "run") == ModelSpec("mlp").named_again("mlp", "run")

    @pytest.mark.parametrize(
        "name, said", [(None, "name it with --model mine:make"), ("auto", "with --model mine:make"),
                       ("other:make", "has the model 'mine:make', not 'other:make'")]
    )  # fmt: skip
    def test_it_is_not(self, name, said):
        with pytest.raises(NetworkError, match=said):
            self.OWN.named_again(name, "run")

    def test_what_is_to_be_typed_is_quoted(self):
        with pytest.raises(NetworkError, match=r"--model 'mine:\$\(reboot\)'"):
            ModelSpec("mine:$(reboot)").named_again(None, "run")
