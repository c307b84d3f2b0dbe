"""A network that has grown is a plain module: everything that PyTorch does with modules works on it, and no trace of
autogrow is in it."""

import copy
import importlib.util
import io
import pickle
import types

import pytest
import torch
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.network.shape import NetworkShape
from tests.network.networks import batch_of
from tests.network.staged_networks import staged_network

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORKS = ("resnet", "preact", "convnext", "residual mlp", "attention in a list")
SHAPES = {"residual mlp": (5,), "attention in a list": (4, 5), "resnet": (3, 16, 16)}


class Grown:
    """A network that has grown in width, in depth, in width again, and trained a little in between and after."""

    def __init__(self, name):
        self.name = name
        self.module, self.inputs = staged_network(name)
        self.network = ExpandableNetwork(self.module, self.inputs)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=0.003)
        self.network.attach(self.optimizer).configure(new_unit_lr=0.5, connection_ramp_steps=4)
        self.train()
        self.widen(2, {"kind": "paired", "variance_rescaling": True})
        self.train()
        self.network.attach(self.optimizer).freeze_before(1)
        stage = self.network.stages[0]
        self.network.deepen(stage, optimizer=self.optimizer, calibration_input=self.inputs)
        self.train()
        self.widen(3, "split")
        self.train()
        self.module.eval()

    def widen(self, units, initialization):
        groups = {
            group.name: units - units % 2 if initialization != "split" else units for group in self.network.groups
        }
        self.network.widen_groups(
            groups, initialization=initialization, optimizer=self.optimizer, calibration_input=self.inputs
        )

    def train(self):
        self.module.train()
        for _ in range(2):
            self.optimizer.zero_grad()
            self.module(self.inputs).square().mean().backward()
            self.optimizer.step()

    def outputs(self, module=None, inputs=None):
        with torch.no_grad():
            return (self.module if module is None else module)(self.inputs if inputs is None else inputs)


@pytest.fixture(scope="module", params=NETWORKS)
def grown(request):
    return Grown(request.param)


@pytest.fixture(scope="module")
def resnet():
    return Grown("resnet")


@pytest.mark.slow
def test_it_has_grown(grown):
    fresh, _ = staged_network(grown.name)
    assert len(list(grown.module.modules())) > len(list(fresh.modules()))
    assert sum(map(torch.numel, grown.module.parameters())) > 1.2 * sum(map(torch.numel, fresh.parameters()))


class TestNothingIsLeft:
    """Of autogrow: not in modules, parameters, buffers or hooks, though an optimizer is still attached."""

    def test_classes_are_those_of_the_author(self, grown):
        fresh, _ = staged_network(grown.name)
        assert {type(module) for module in grown.module.modules()} == {type(module) for module in fresh.modules()}

    def test_attributes_are_those_of_the_author(self, grown):
        fresh, _ = staged_network(grown.name)
        known = {(type(module), frozenset(vars(module))) for module in fresh.modules()}
        for name, module in grown.module.named_modules():
            assert (type(module), frozenset(vars(module))) in known, name
            assert not any(callable(value) and not isinstance(value, nn.Module) and is_ours(value)
                           for value in vars(module).values()), name  # fmt: skip

    def test_no_hooks(self, grown):
        for name, module in grown.module.named_modules():
            for attribute, value in vars(module).items():
                assert not ("hook" in attribute and value), f"{name}.{attribute}"
        for name, tensor in [*grown.module.named_parameters(), *grown.module.named_buffers()]:
            assert not tensor._backward_hooks, name
            assert not getattr(tensor, "_post_accumulate_grad_hooks", None), name

    def test_tensors_are_plain(self, grown):
        for name, parameter in grown.module.named_parameters():
            assert type(parameter) is nn.Parameter and parameter.is_leaf and parameter.requires_grad, name
            assert vars(parameter) == {}, name
            assert parameter.is_contiguous(), name
            assert parameter.untyped_storage().nbytes() == parameter.nbytes, name
        for name, buffer in grown.module.named_buffers():
            assert type(buffer) is torch.Tensor and not buffer.requires_grad and vars(buffer) == {}, name

    @pytest.mark.slow
    def test_nothing_refers_to_autogrow(self, resnet, monkeypatch):
        """The pickle of a module whose classes are PyTorch's own; only the names of its own classes are left out."""
        plain = Grown.__new__(Grown)
        plain.name = "plain"
        plain.module = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, 3)
        )
        plain.inputs = batch_of((3, 6, 6))
        plain.module(plain.inputs)
        plain.network = ExpandableNetwork(plain.module, plain.inputs)
        plain.optimizer = torch.optim.SGD(plain.module.parameters(), lr=0.01, momentum=0.9)
        plain.widen(3, "split")
        plain.train()
        assert b"autogrow" not in pickle.dumps(plain.module)
        assert b"autogrow" not in pickle.dumps(plain.module.state_dict())


def is_ours(value):
    return getattr(value, "__module__", "").startswith("autogrow") or isinstance(value, types.MethodType)


def test_copies_compute_the_same_and_are_apart(grown):
    other = copy.deepcopy(grown.module)
    assert torch.equal(grown.outputs(other), grown.outputs())
    for parameter in other.parameters():
        parameter.data.zero_()
    assert not torch.equal(grown.outputs(other), grown.outputs())


def test_pickling(grown):
    stream = io.BytesIO()
    torch.save(grown.module, stream)
    stream.seek(0)
    assert torch.equal(grown.outputs(torch.load(stream, weights_only=False)), grown.outputs())


@pytest.mark.slow
def test_weights_go_into_a_fresh_module_of_the_same_shape(grown, tmp_path):
    torch.save(grown.module.state_dict(), tmp_path / "weights.pt")
    shape = NetworkShape.of(grown.network, with_blocks=True)
    other, inputs = staged_network(grown.name)
    NetworkShape.from_dict(shape.to_dict()).give_to(ExpandableNetwork(other, inputs))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)
    assert torch.equal(grown.outputs(other.eval()), grown.outputs())
    assert [name for name, _ in other.named_modules()] == [name for name, _ in grown.module.named_modules()]


@pytest.mark.slow
def test_compiling(grown):
    torch.compiler.reset()
    compiled = torch.compile(grown.module, backend="aot_eager", fullgraph=True)
    assert torch.allclose(grown.outputs(compiled), grown.outputs(), atol=1e-6)


@pytest.mark.slow
def test_a_compiled_module_trains(resnet):
    torch.compiler.reset()
    plain = copy.deepcopy(resnet.module).train()
    other = copy.deepcopy(plain)
    for module in (plain, torch.compile(other, backend="aot_eager")):
        module(resnet.inputs).square().mean().backward()
    for (name, first), second in zip(plain.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(second.grad, first.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_exporting(grown):
    exported = torch.export.export(grown.module, (grown.inputs,))
    assert torch.allclose(grown.outputs(exported.module()), grown.outputs(), atol=1e-6)
    sizes = {name: tuple(tensor.shape) for name, tensor in grown.module.state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in exported.state_dict.items()} == sizes


@pytest.mark.slow
def test_exporting_for_batches_of_any_size(resnet):
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(resnet.module, (resnet.inputs,), dynamic_shapes=({0: batch},))
    larger = batch_of((3, 16, 16), size=9)
    assert torch.allclose(resnet.outputs(exported.module(), larger), resnet.outputs(inputs=larger), atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_tracing(grown, tmp_path):
    if grown.name == "attention in a list":
        pytest.skip("torch.jit.trace refuses this network before it has grown, too")
    traced = torch.jit.trace(grown.module, (grown.inputs,))
    torch.jit.save(traced, tmp_path / "traced.pt")
    assert torch.allclose(grown.outputs(torch.jit.load(tmp_path / "traced.pt")), grown.outputs(), atol=1e-6)


WITHOUT_ONNX = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(WITHOUT_ONNX), reason=f"{' and '.join(WITHOUT_ONNX)} not installed")
@pytest.mark.filterwarnings("ignore")
def test_onnx(grown, tmp_path):
    from onnx.reference import ReferenceEvaluator

    torch.onnx.export(grown.module, (grown.inputs,), tmp_path / "network.onnx", dynamo=True, verbose=False)
    evaluator = ReferenceEvaluator(tmp_path / "network.onnx")
    (outputs,) = evaluator.run(None, {evaluator.input_names[0]: grown.inputs.numpy()})
    assert torch.allclose(torch.from_numpy(outputs), grown.outputs(), rtol=1e-4, atol=1e-4)


@pytest.fixture
def process_group(tmp_path):
    """One process that is a group of its own."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without torch.distributed")
@pytest.mark.usefixtures("process_group")
def test_wrapped_for_distributed_training_again_after_growing():
    """The wrapper knows the parameters that it was made with, so it is made anew after an event."""
    module, inputs = staged_network("resnet")
    network = ExpandableNetwork(module, inputs)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)
    for _ in range(2):
        wrapped = nn.parallel.DistributedDataParallel(module)
        alone = copy.deepcopy(module)
        for each in (wrapped, alone):
            each.train()
            each(inputs).square().mean().backward()
        for (name, first), second in zip(module.named_parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(first.grad, second.grad, msg=name)
        optimizer.step()
        optimizer.zero_grad()
        network.widen_groups({group.name: 2 for group in network.groups}, optimizer=optimizer)
        network.deepen(network.stages[0], optimizer=optimizer)
    assert not any(type(layer) is nn.parallel.DistributedDataParallel for layer in module.modules())
