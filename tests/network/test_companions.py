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
        growing.keep_units("0", [3, 1])
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
    @pytest.mark.slow
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

    @pytest.mark.parametrize("event", [widen, deepen])
    def test_a_functional_call_is_no_place(self, event):
        """It lends the network other tensors, and takes them back by the sizes that it knows."""

        class Growing(nn.Sequential):
            def forward(self, x):
                event(growing)
                return super().forward(x)

        module, batch = network()
        outer = Growing(module)
        growing = autogrow.ExpandableNetwork(module, batch)
        lent = {name: parameter.detach().clone() for name, parameter in outer.named_parameters()}
        with pytest.raises(NetworkError, match="'0.weight' is a Tensor that stands in for a parameter"):
            torch.func.functional_call(outer, lent, (batch,))
        assert growing.widths["0"] == 7 == len(module[0].weight) and growing.blocks == {"3": 2}

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


def hooked_after_accumulation(module):
    grown_part(module).register_post_accumulate_grad_hook(lambda parameter: None)


def with_sparse_gradient(module):
    grown_part(module).grad = torch.zeros(7, 5).to_sparse()


def with_graph_in_gradient(module):
    loss = module(torch.randn(4, 5)).square().sum()
    (grown_part(module).grad,) = torch.autograd.grad(loss, grown_part(module), create_graph=True)


def with_a_mask(module):
    grown_part(module).mask = torch.ones(7, 5)


def with_masks(module):
    grown_part(module).settings = {"masks": [torch.ones(7, 5)]}


def with_its_layer(module):
    grown_part(module).layer = module[0]


def held_in_a_tuple(module):
    module.penalized = (grown_part(module),)


def held_as_a_key(module):
    module.names = {grown_part(module): "first"}


def in_shared_memory(module):
    grown_part(module).share_memory_()


def sharing_its_memory(module):
    module[2].other.data = grown_part(module).data


REFUSED = {
    hooked_after_accumulation: "a hook that runs after its gradient is accumulated",
    with_sparse_gradient: "its pending gradient is sparse",
    with_graph_in_gradient: "its pending gradient has a graph",
    with_a_mask: "its attribute 'mask' holds a tensor",
    with_masks: "its attribute 'settings' holds a tensor",
    with_its_layer: "its attribute 'layer' holds a tensor or module",
    held_in_a_tuple: "the attribute 'penalized' holds it in a tuple",
    held_as_a_key: "the attribute 'names' holds it in a tuple, a set or a key",
    in_shared_memory: "it is in shared memory",
    sharing_its_memory: "it shares its memory with '2.other'",
}


@pytest.mark.slow
@pytest.mark.parametrize("hang_on", REFUSED, ids=lambda function: function.__name__)
def test_what_cannot_follow_is_refused_and_nothing_changes(hang_on):
    module, batch = network()
    module[2].other = nn.Parameter(torch.zeros(7, 5))
    growing = autogrow.ExpandableNetwork(module, batch)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    hang_on(module)
    before = dict(module.named_parameters()), copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(NetworkError, match=f"'0.weight' cannot change its size: .*{REFUSED[hang_on]}") as raised:
        widen(growing, optimizer)
    assert "\n" not in str(raised.value)
    assert all(parameter is before[0][name] for name, parameter in module.named_parameters())
    assert same(before[1:], (module.state_dict(), optimizer.state_dict()))
    assert not optimizer._optimizer_step_pre_hooks and growing.widths["0"] == 7


LASTING = [each for each in REFUSED if each not in (with_sparse_gradient, with_graph_in_gradient)]


@pytest.mark.parametrize("hang_on", LASTING, ids=lambda each: each.__name__)
def test_what_hangs_on_from_the_start_fixes_the_group_and_the_rest_grows(hang_on):
    module, batch = network()
    module[2].other = nn.Parameter(torch.zeros(7, 5))
    hang_on(module)
    growing = autogrow.ExpandableNetwork(module, batch)
    fixed = {group.name: group.reason for group in growing.fixed}
    assert fixed["0"].startswith("'0.weight' cannot change its size: ") and REFUSED[hang_on] in fixed["0"]
    growing.widen("3.0.inner", 2)


class TestCarriedOver:
    def widened(self, hang_on):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        result = hang_on(module)
        widen(growing, torch.optim.Adam(module.parameters(), 0.01))
        return module, batch, result

    def test_whether_it_is_trained(self):
        module, *_ = self.widened(lambda module: grown_part(module).requires_grad_(False))
        assert [parameter.requires_grad for parameter in module[:3].parameters()] == [False, True, True, True]

    def test_attributes(self):
        def mark(module):
            for number, parameter in enumerate(module.parameters()):
                parameter.weight_decay, parameter.number, parameter.axes = 0.0, number, ["heads", None]

        module, *_ = self.widened(mark)
        assert [parameter.number for parameter in module.parameters()] == list(range(14))
        assert all(
            parameter.weight_decay == 0.0 and parameter.axes == ["heads", None] for parameter in module.parameters()
        )

    def test_attributes_of_buffers(self):
        module = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
        module[1].running_mean.is_special = True
        autogrow.ExpandableNetwork(module, torch.randn(4, 5)).widen("0", 2)
        assert len(module[1].running_mean) == 9 and module[1].running_mean.is_special

    def test_hooks_on_gradients(self):
        """And the handle that the user has takes the hook off the new parameter."""
        module, batch, handle = self.widened(lambda module: grown_part(module).register_hook(torch.zeros_like))
        backward(module, batch)
        assert not module[0].weight.grad.any() and module[0].bias.grad.any()
        handle.remove()
        backward(module, batch)
        assert module[0].weight.grad.any()

    def test_lists_dictionaries_and_bare_attributes_that_hold_it(self):
        def hold(module):
            module.penalized = [[module[0].weight], module[2].bias]
            module.by_name = {"first": module[0].weight}
            vars(module)["bare"] = module[0].weight

        module, *_ = self.widened(hold)
        weight = module[0].weight
        assert len(weight) == 9
        assert module.penalized[0][0] is weight and module.by_name["first"] is weight and vars(module)["bare"] is weight

    def test_lists_are_as_before_where_it_fails(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        module.penalized = [module[0].weight]
        with pytest.raises(NetworkError, match="not in the SGD"):
            widen(growing, torch.optim.SGD(module[4].parameters(), 0.1))
        assert module.penalized[0] is module[0].weight and len(module[0].weight) == 7

    def test_tied_weights_stay_tied(self):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.act, self.last = nn.Linear(5, 7), nn.PReLU(7), nn.Linear(7, 3)
                self.act.other = self.first.bias

            def forward(self, x):
                return self.last(self.act(self.first(x)) + self.act.other)

        module = Tied()
        autogrow.ExpandableNetwork(module, torch.randn(4, 5)).widen("first", 2)
        assert module.act.other is module.first.bias and len(module.first.bias) == 9

    def test_parameter_groups_schedules_and_hooks_of_the_optimizer(self):
        module, batch = network()
        growing = autogrow.ExpandableNetwork(module, batch)
        named = list(module.named_parameters())
        optimizer = torch.optim.AdamW(
            [{"params": named[::2], "lr": 0.1, "mine": "even"}, {"params": named[1::2], "weight_decay": 0.0}],
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        seen = []
        optimizer.register_step_pre_hook(lambda *_: seen.append(1))
        groups = [{**group, "params": None} for group in optimizer.param_groups]
        for event in (widen, deepen):
            event(growing, optimizer)
            backward(module, batch)
            optimizer.step()
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            assert group["param_names"] == [names[id(parameter)] for parameter in group["params"]]
            assert {**group, "params": None, "param_names": None} == {**before, "param_names": None}
        schedule.step()
        assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.0005] and len(seen) == 2
        optimizer.load_state_dict(optimizer.state_dict())
