"""What hangs on a parameter besides its numbers follows it to another size, or growth is refused in one line."""

import copy

import pytest
import torch
from torch import nn

import autogrow
from autogrow.errors import NetworkError
from tests.network.optimizers import everything, same

pytestmark = pytest.mark.usefixtures("one_thread")


class Residual(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, 9), nn.Linear(9, width)

    def forward(self, x):
        return x + self.outer(torch.relu(self.inner(x)))


def network():
    """Groups that widen, a stage that deepens, and a batch."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.Sequential(Residual(), Residual()), nn.Linear(6, 3)
    )
    return module, torch.randn(4, 5)


def grown_part(module):
    """A parameter that changes its size when group 0 is widened."""
    return module[0].weight


def widen(growing, optimizer=None):
    growing.widen("0", 2, optimizer=optimizer)


def deepen(growing, optimizer=None):
    growing.deepen("3", optimizer=optimizer)


def backward(module, batch):
    (module(batch) - 1).square().mean().backward()


class TestPendingGradients:
    """Those of a backward pass that no optimizer step has used yet."""

    def test_all_are_kept_and_new_entries_have_none(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        backward(module, batch)
        before = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
        widen(growing)
        for name, parameter in module.named_parameters():
            expected = torch.zeros_like(parameter)
            expected[tuple(slice(0, size) for size in before[name].shape)] = before[name]
            assert torch.equal(parameter.grad, expected), name

    def test_accumulation_goes_on_as_if_nothing_had_happened(self):
        """Outputs are kept, so old entries end with the gradient that both halves have without growth."""
        module, batch = network()
        twin = copy.deepcopy(module)
        growing = autogrow.ExpandableNetwork(module, batch)
        backward(module, batch)
        widen(growing)
        for _ in range(2):
            backward(twin, batch)
        backward(module, batch)
        for parameter, expected in zip(module.parameters(), twin.parameters(), strict=True):
            old = parameter.grad[tuple(slice(0, size) for size in expected.shape)]
            torch.testing.assert_close(old, expected.grad)

    def test_deepening_leaves_them(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        backward(module, batch)
        before = {parameter: parameter.grad for parameter in module.parameters()}
        deepen(growing)
        assert all(parameter.grad is before.get(parameter) for parameter in module.parameters())

    def test_narrowing_keeps_those_of_kept_units(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        backward(module, batch)
        before = module[0].weight.grad.clone()
        growing.narrow("0", [3, 1])
        assert torch.equal(module[0].weight.grad, before[[3, 1]])

    def test_they_have_the_memory_format_of_their_parameter(self):
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(20, 2))
        module.to(memory_format=torch.channels_last)
        batch = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
        growing = autogrow.ExpandableNetwork(module, batch)
        backward(module, batch)
        growing.widen("2", 3)
        assert module[2].weight.grad.stride() == module[2].weight.stride()

    def test_a_pass_that_ran_before_the_event_does_not_lose_its_gradients_silently(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        loss = module(batch).square().mean()
        widen(growing)
        with pytest.raises(NetworkError, match="run the forward pass again"):
            loss.backward()

    def test_it_does_not_where_nothing_changed(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        loss = module(batch).square().mean()
        with pytest.raises(NetworkError):
            growing.widen("0", 2, optimizer=torch.optim.SGD(module[4].parameters(), 0.1))
        loss.backward()
        assert all(parameter.grad is not None for parameter in module.parameters())


class TestWhereGrowthIsAskedFor:
    @pytest.mark.parametrize("event", [widen, deepen])
    @pytest.mark.parametrize(
        "mode",
        [
            torch.inference_mode,
            torch.no_grad,
            lambda: torch.autocast("cpu", torch.bfloat16),
            lambda: torch.device("meta"),
        ],
        ids=["inference mode", "no_grad", "autocast", "default device"],
    )
    def test_modes_make_no_difference(self, event, mode):
        found = []
        for inside in (False, True):
            module, batch = network()
            optimizer = torch.optim.Adam(module.parameters(), 0.01)
            with mode() if inside else torch.enable_grad():
                growing = autogrow.ExpandableNetwork(module, batch)
                event(growing, optimizer)
                growing.attach(optimizer).freeze_before(1, released=0.5)
            assert not any(tensor.is_inference() for tensor in [*module.parameters(), *module.buffers()])
            for _ in range(2):
                optimizer.zero_grad()
                backward(module, batch)
                optimizer.step()
            found.append(everything(growing, optimizer))
        assert same(*found)

    @pytest.mark.parametrize("event", [widen, deepen])
    def test_a_backward_pass_is_no_place(self, event):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        outputs = module(batch)
        outputs.register_hook(lambda gradient: event(growing))
        with pytest.raises(NetworkError, match="during a backward pass"):
            outputs.sum().backward()
        assert growing.widths["0"] == 7 and growing.blocks == {"3": 2}

    def test_a_transform_is_no_place(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        with pytest.raises(NetworkError, match="inside a torch.func transform"):
            torch.func.vmap(lambda x: widen(growing) or x)(batch)

    def test_tensors_made_in_inference_mode_are_refused(self):
        with torch.inference_mode():
            module, batch = network()
        with pytest.raises(NetworkError, match="'0.weight' was made under torch.inference_mode"):
            autogrow.ExpandableNetwork(module, batch)

    def test_tensors_without_values_are_refused(self):
        with torch.device("meta"):
            module = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6))
        with pytest.raises(NetworkError, match="'0.weight' is on the meta device"):
            autogrow.ExpandableNetwork(module, torch.randn(4, 5))


class TestSeveralOptimizers:
    def parts(self, module):
        muon = torch.optim.Muon([parameter for parameter in module.parameters() if parameter.dim() == 2], lr=0.01)
        return muon, torch.optim.AdamW(
            [parameter for parameter in module.parameters() if parameter.dim() != 2], lr=0.01
        )

    @pytest.mark.parametrize("event", [widen, deepen])
    def test_all_of_them_can_be_given(self, event):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        both = self.parts(module)
        event(growing, list(both))
        held = {parameter for each in both for group in each.param_groups for parameter in group["params"]}
        assert held == set(module.parameters())

    @pytest.mark.parametrize("event", [widen, deepen])
    def test_the_message_about_one_can_be_followed(self, event):
        """Muon takes matrices only, so that it cannot be built from all parameters."""
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        muon, adam = self.parts(module)
        with pytest.raises(NetworkError, match=r"not in the Muon optimizer: .*optimizer=\[\.\.\.\], or attach\(\)"):
            event(growing, muon)
        assert not muon._optimizer_step_post_hooks
        growing.attach(adam)
        event(growing, muon)

    def test_those_with_the_same_parameter_groups_all_keep_their_state(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        inner = torch.optim.Adam(module.parameters(), 0.01)
        outer = torch.optim.SGD(module.parameters(), 0.01, momentum=0.9)
        outer.param_groups = inner.param_groups
        for group in inner.param_groups:
            group |= {key: value for key, value in outer.defaults.items() if key not in group}
        backward(module, batch)
        for each in (inner, outer):
            each.step()
        widen(growing, [outer, inner])
        assert set(inner.state) == set(outer.state) == set(module.parameters())
