"""A module that somebody else has changed since `ExpandableNetwork` was built grows right, or one line says why not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import autogrow
from autogrow.errors import NetworkError
from autogrow.policy.limits import SizeLimits
from tests.network.staged_networks import growing_network

pytestmark = pytest.mark.usefixtures("one_thread")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)), torch.randn(4, 5)


def unfrozen_head(module):
    module[4] = nn.Linear(6, 9)


def taken_away(module):
    delattr(module, "3")


def put_in_another_class(module):
    module[3] = nn.Tanh()


def tied(module):
    module[2] = nn.Linear(7, 6)
    module[0].twin = module[2].bias


def added(module):
    module.auxiliary = nn.Linear(7, 2)


REFUSED = {
    lambda module: prune.l1_unstructured(
        module[0], "weight", 0.3
    ): r"'0.weight' was pruned: .*prune.remove\(0, 'weight'\)",
    lambda module: prune.random_unstructured(
        module[2], "bias", 0.5
    ): r"'2.bias' was pruned: .*prune.remove\(2, 'bias'\)",
    lambda module: parametrizations.weight_norm(module[2]): "'2.weight' was taken away or parametrized: build it anew",
    lambda module: parametrizations.spectral_norm(
        module[0]
    ): "'0.weight' was taken away or parametrized: build it anew",
    unfrozen_head: r"'4.weight' has changed from \(3, 6\) to \(9, 6\)",
    taken_away: "layer '3' was taken away",
    put_in_another_class: "layer '3' has changed from ReLU to Tanh",
    tied: "'2.bias' was tied to another or untied",
    added: "'auxiliary' was added",
}
EVENTS = {
    "widen": lambda growing: growing.widen("0", 2),
    "keep_units": lambda growing: growing.keep_units("0", [0, 1]),
    "start_small": lambda growing: growing.start_small({"0": 3}),
    "set_widths": lambda growing: growing.set_widths({"0": 9}),
    "stages": lambda growing: growing.stages,
    "deepen": lambda growing: growing.deepen("1"),
    "set_blocks": lambda growing: growing.set_blocks({"1": 2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", REFUSED)
@pytest.mark.parametrize("event", EVENTS)
def test_a_change_of_structure_is_refused(change, event):
    module, batch = network()
    growing = autogrow.ExpandableNetwork(module, batch)
    change(module)
    shapes = [parameter.shape for parameter in module.parameters()]
    with pytest.raises(NetworkError, match="^since ExpandableNetwork was built, .*" + REFUSED[change]):
        EVENTS[event](growing)
    assert [parameter.shape for parameter in module.parameters()] == shapes


def test_the_advice_about_pruning_can_be_followed():
    module, batch = network()
    growing = autogrow.ExpandableNetwork(module, batch)
    prune.l1_unstructured(module[0], "weight", 0.3)
    prune.remove(module[0], "weight")
    before = module(batch)
    growing.widen("0", 2)
    assert torch.allclose(module(batch), before, atol=1e-6) and int((module[0].weight == 0).sum()) == 10


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.double(),
        lambda module: module.bfloat16(),
        lambda module: module.to(torch.float64).train(),
        lambda module: module.requires_grad_(False),
        lambda module: module.load_state_dict(copy.deepcopy(module.state_dict()), assign=True),
        lambda module: setattr(module[0], "weight", nn.Parameter(module[0].weight.detach() * 2)),
        lambda module: module.register_forward_hook(lambda *_: None),
    ],
    ids=["double", "bfloat16", "to", "frozen", "loaded", "replaced by one of its size", "hooked"],
)
class TestWhatGrowthFollows:
    def test_widening(self, change):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        change(module)
        dtype, flag = module[0].weight.dtype, module[0].weight.requires_grad
        before = module(batch.to(dtype))
        growing.widen_groups({"0": 2, "2": 3}, calibration_input=batch.to(dtype))
        assert {(parameter.dtype, parameter.requires_grad) for parameter in module.parameters()} == {(dtype, flag)}
        assert torch.allclose(module(batch.to(dtype)), before, atol=1e-5 if dtype.itemsize > 2 else 1e-2)

    def test_limits(self, change):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch, limits=SizeLimits(max_flops=1e9))
        change(module)
        growing.widen("0", 2)
        assert growing.widths["0"] == 9


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_deepening_follows_to_other_number_formats(dtype):
    growing, batch = growing_network("residual mlp")
    module = growing.module.to(dtype)
    before = module.eval()(batch.to(dtype))
    growing.deepen("trunk.0")
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}
    assert torch.equal(module(batch.to(dtype)), before)


class TestWrappers:
    @pytest.mark.slow
    def test_a_compiled_network_is_refused_with_what_to_do(self):
        module, batch = network()
        compiled = torch.compile(module, backend="eager")
        with pytest.raises(NetworkError, match=r"the network is in OptimizedModule.*`\._orig_mod`"):
            autogrow.ExpandableNetwork(compiled, batch)
        growing = autogrow.ExpandableNetwork(compiled._orig_mod, batch)
        before = compiled(batch)
        growing.widen("0", 2)
        assert torch.allclose(compiled(batch), before, atol=1e-6)

    @pytest.mark.slow
    def test_a_part_that_was_compiled_is_refused_by_name(self):
        module, batch = network()
        module[0] = torch.compile(module[0], backend="eager")
        with pytest.raises(NetworkError, match="its module '0' is in OptimizedModule"):
            autogrow.ExpandableNetwork(module, batch)

    def test_data_parallel_on_one_device_grows(self):
        """It copies the parameters in every pass."""
        module, batch = network()
        wrapped = nn.DataParallel(module)
        growing = autogrow.ExpandableNetwork(wrapped, batch)
        before = wrapped(batch)
        growing.widen("module.0", 2)
        assert torch.allclose(wrapped(batch), before, atol=1e-6) and len(module[0].weight) == 9

    def test_data_parallel_on_several_devices_is_refused(self):
        module, batch = network()
        wrapped = nn.DataParallel(module)
        wrapped.device_ids = [0, 1]
        with pytest.raises(NetworkError, match="in DataParallel on 2 devices"):
            autogrow.ExpandableNetwork(wrapped, batch)

    def test_an_average_is_a_copy_that_says_so_when_it_is_updated(self):
        module, batch = network()
        average = torch.optim.swa_utils.AveragedModel(module)
        autogrow.ExpandableNetwork(module, batch).widen("0", 2)
        with pytest.raises(RuntimeError, match="size"):
            average.update_parameters(module)


@pytest.fixture
def process_group(tmp_path):
    """One process that is a group of its own."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without torch.distributed")
@pytest.mark.usefixtures("process_group")
class TestDistributed:
    def test_a_network_in_a_wrapper_is_refused_with_what_to_do(self):
        module, batch = network()
        wrapped = nn.parallel.DistributedDataParallel(module)
        for outer in (wrapped, nn.Sequential(wrapped)):
            with pytest.raises(NetworkError, match=r"in DistributedDataParallel.*`\.module`, and wrap that again"):
                autogrow.ExpandableNetwork(outer, batch)

    @pytest.mark.slow
    @pytest.mark.parametrize("event", ["widen", "deepen"])
    def test_a_wrapper_around_a_network_that_has_grown_refuses_to_run(self, event):
        """Its hooks are on other parameters: replicas would drift apart without a word."""
        growing, batch = growing_network("residual mlp")
        stale = nn.parallel.DistributedDataParallel(nn.Sequential(growing.module))
        elsewhere = nn.parallel.DistributedDataParallel(nn.Linear(5, 2))
        stale(batch)
        if event == "widen":
            growing.widen(growing.groups[0], 2)
        else:
            growing.deepen("trunk.0")
        with pytest.raises(NetworkError, match="wrap the network again"):
            stale(batch)
        elsewhere(batch)
        nn.parallel.DistributedDataParallel(growing.module)(batch)

    def test_it_runs_on_where_growth_has_failed(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        wrapped = nn.parallel.DistributedDataParallel(module)
        with pytest.raises(NetworkError):
            growing.widen("0", 2, optimizer=torch.optim.SGD(module[4].parameters(), 0.1))
        wrapped(batch).sum().backward()
        assert module[0].weight.grad is not None

    @pytest.mark.filterwarnings("ignore")
    def test_sharded_networks_are_refused(self):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

        module, batch = network()
        with pytest.raises(NetworkError, match="in FullyShardedDataParallel.*grow the network before it is sharded"):
            autogrow.ExpandableNetwork(FullyShardedDataParallel(module, device_id=torch.device("cpu")), batch)
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        fully_shard(module[0], mesh=init_device_mesh("cpu", (1,)))
        for action in (lambda: growing.widen("0", 2), lambda: autogrow.ExpandableNetwork(module, batch)):
            with pytest.raises(NetworkError, match="its module '0' is in FSDPModule.*grow the network before"):
                action()
