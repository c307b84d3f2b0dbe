"""New blocks that are copies, also in the middle of a stage: weights, widths, names, records, optimizer state."""

import copy
import math

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.policy.block_initializations import BLOCK_INITIALIZATIONS, BlockInitialization
from tests.network.staged_networks import (
    Attention,
    InTurn,
    Residual,
    assert_close,
    described,
    growing_network,
    outputs,
)

COPYING = [name for name, kind in BLOCK_INITIALIZATIONS.items() if kind.copies]
NETWORKS = ["resnet", "after a stem", "attention in a list", "convnext"]


def steps(growing, optimizer, batch, number=1):
    growing.module.train()
    for _ in range(number):
        optimizer.zero_grad(set_to_none=True)
        growing.module(batch).square().mean().backward()
        optimizer.step()


def adam(growing):
    return torch.optim.AdamW(growing.module.parameters(), 1e-2)


def tiny(depth=3, width=4):
    """A row of linear blocks of the given depth, and a batch; every block has weights of its own."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, width), nn.Sequential(*(Residual(width, 6) for _ in range(depth))))
    batch = torch.randn(7, 5)
    return ExpandableNetwork(module, batch), batch


def first_weights(growing, stage="1"):
    return [block.f[0].weight for block in growing.module.get_submodule(stage)]


def sources(after, before):
    """For every block after a change the number of the block before it whose weights it has; None for new ones."""
    return [
        next((n for n, w in enumerate(before) if w.shape == each.shape and torch.equal(w, each)), None)
        for each in after
    ]


@pytest.mark.parametrize("name", list(BLOCK_INITIALIZATIONS))
class TestEveryInitialization:
    @pytest.mark.slow
    @pytest.mark.parametrize("network", NETWORKS)
    def test_outputs_stay_where_it_says_so(self, name, network):
        growing, batch = growing_network(network)
        stage = growing.stages[-1]
        before = outputs(growing.module, batch)
        growing.deepen(stage, stage.num_blocks, initialization=name)
        after = outputs(growing.module, batch)
        if BLOCK_INITIALIZATIONS[name].keeps_outputs:
            assert_close(after, before)
        else:
            assert (after[0] - before[0]).abs().max() > 1e-3 * before[0].abs().max()
        assert growing.blocks[stage.name] == 2 * stage.num_blocks

    @pytest.mark.slow
    @pytest.mark.parametrize("network", NETWORKS)
    def test_a_saved_network_loads_and_goes_on_bit_for_bit(self, name, network):
        """After layers were widened unequally, in the middle of training."""
        growing, batch = growing_network(network)
        growing.start_small({group.name: math.ceil(0.6 * group.width) for group in growing.groups})
        optimizer = adam(growing)
        growing.widen_groups({g.name: n % 3 + 1 for n, g in enumerate(growing.groups)}, optimizer=optimizer)
        steps(growing, optimizer, batch, 2)
        growing.deepen(growing.stages[-1].name, 2, initialization=name, optimizer=optimizer)
        steps(growing, optimizer, batch, 2)
        assert optimizer.param_groups[0]["params"] == list(growing.module.parameters())

        loaded, _ = growing_network(network)
        loaded.set_blocks(growing.blocks)
        loaded.set_widths(growing.widths)
        assert described(loaded.structure) == described(growing.structure)
        loaded.module.load_state_dict(growing.module.state_dict())
        loaded.cohorts.load_state_dict(growing.cohorts.state_dict())
        other = adam(loaded)
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        loaded.attach(other).load_state_dict(growing.attach(optimizer).state_dict())
        for each, its in ((growing, optimizer), (loaded, other)):
            steps(each, its, batch, 2)
        for key, value in growing.module.state_dict().items():
            assert torch.equal(value, loaded.module.state_dict()[key]), key

    @pytest.mark.slow
    def test_what_fails_changes_nothing(self, name):
        growing, batch = tiny()
        optimizer = adam(growing)
        growing.widen("1.1.f.0", 3, optimizer=optimizer)
        steps(growing, optimizer, batch)
        state = {key: value.clone() for key, value in growing.module.state_dict().items()}
        moments = {key: dict(value) for key, value in optimizer.state.items()}
        blocks, structure, cohorts = list(growing.module[1]), described(growing.structure), growing.cohorts.state_dict()
        growing.limits = growing.limits.model_copy(update={"max_parameters": growing.num_parameters + 1})
        with pytest.raises(NetworkError, match="would exceed"):
            growing.deepen("1", 2, initialization=name, optimizer=optimizer)
        assert list(growing.module[1]) == blocks and described(growing.structure) == structure
        assert all(torch.equal(value, state[key]) for key, value in growing.module.state_dict().items())
        assert optimizer.state == moments and repr(growing.cohorts.state_dict()) == repr(cohorts)
        assert optimizer.param_groups[0]["params"] == list(growing.module.parameters())
        steps(growing, optimizer, batch)


class TestCopies:
    @pytest.mark.parametrize(
        ("name", "added", "expected"),
        [
            ("stack", 3, [0, 1, 2, 0, 1, 2]),
            ("interleave", 3, [0, 0, 1, 1, 2, 2]),
            ("copy_last", 2, [0, 1, 2, 2, 2]),
            ("stack", 1, [0, 1, 2, 0]),
        ],
    )
    def test_have_the_weights_and_widths_of_their_originals(self, name, added, expected):
        growing, _ = tiny()
        growing.widen_groups({"1.0.f.0": 1, "1.1.f.0": 5})
        before = [weight.detach().clone() for weight in first_weights(growing)]
        growing.deepen("1", added, initialization=name)
        assert sources(first_weights(growing), before) == expected
        widths = [growing.widths[f"1.{place}.f.0"] for place in range(3 + added)]
        assert widths == [[7, 11, 6][number] for number in expected]
        assert all(name == str(place) for place, name in enumerate(growing.module[1]._modules))
        growing.widen(f"1.{2 + added}.f.0", 2)
        assert growing.module[1][-1].f[0].out_features == widths[-1] + 2

    def test_are_of_the_new_cohort_and_blocks_that_move_keep_theirs(self):
        growing, batch = tiny(2)
        optimizer = adam(growing)
        growing.widen("1.1.f.0", 2, optimizer=optimizer)
        growing.deepen("1", 2, initialization="interleave", optimizer=optimizer)
        cohorts = [growing.cohorts.of(f"1.{n}.f.0.weight", w) for n, w in enumerate(first_weights(growing))]
        assert [sorted(set(each.flatten().tolist())) for each in cohorts] == [[0], [2], [0, 1], [2]]
        control = growing.attach(optimizer)
        control.freeze_before(2)
        before = [weight.detach().clone() for weight in first_weights(growing)]
        steps(growing, optimizer, batch, 2)
        held = [torch.equal(now, then) for now, then in zip(first_weights(growing), before, strict=True)]
        assert held == [True, False, True, False]

    @pytest.mark.slow
    @pytest.mark.parametrize("name", COPYING)
    def test_optimizer_state(self, name):
        for setting in ("carry", "fresh", "reset"):
            growing, batch = tiny(2)
            optimizer = adam(growing)
            steps(growing, optimizer, batch, 3)
            before = [weight.detach().clone() for weight in first_weights(growing)]
            moments = [optimizer.state[weight]["exp_avg"].clone() for weight in first_weights(growing)]
            old = set(growing.module.parameters())
            growing.deepen("1", 2, initialization=name, optimizer=optimizer, optimizer_state=setting)
            for weight, source in zip(first_weights(growing), sources(first_weights(growing), before), strict=True):
                state = optimizer.state.get(weight)
                expected = setting == "carry" or (setting == "fresh" and weight in old)
                assert bool(state) == expected
                if expected:
                    assert torch.equal(state["exp_avg"], moments[source]) and float(state["step"]) == 3
            steps(growing, optimizer, batch)

    def test_carried_copies_move_as_their_originals_would(self):
        """A copy that gets the gradient of its original takes its step, bias correction included."""
        growing, batch = tiny(2)
        optimizer = adam(growing)
        steps(growing, optimizer, batch, 4)
        growing.deepen("1", 2, initialization="stack", optimizer=optimizer)
        weights = first_weights(growing)
        for parameter in growing.module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        gradient = torch.randn(weights[0].shape)
        weights[0].grad, weights[2].grad = gradient.clone(), gradient.clone()
        optimizer.step()
        assert torch.equal(weights[0], weights[2])

    def test_fresh_copies_take_first_steps_of_a_learning_rate(self):
        growing, batch = tiny(2)
        optimizer = torch.optim.Adam(growing.module.parameters(), 1e-2)
        steps(growing, optimizer, batch, 20)
        growing.deepen("1", 2, initialization="stack", optimizer=optimizer, optimizer_state="fresh")
        before = first_weights(growing)[3].detach().clone()
        steps(growing, optimizer, batch)
        assert (first_weights(growing)[3] - before).abs().max() <= 1.05e-2

    def test_young_entries_of_an_original_are_of_age_in_the_copy(self):
        """Their moments are scaled, so that under a steady gradient the copy takes the very steps of its original."""
        growing, batch = tiny(2)
        optimizer = torch.optim.Adam(growing.module.parameters(), 1e-2)
        steps(growing, optimizer, batch, 30)
        growing.widen("1.0.f.0", 2, optimizer=optimizer)

        def step():
            for parameter in growing.module.parameters():
                parameter.grad = torch.full_like(parameter, 0.25)
            before = [weight.detach().clone() for weight in first_weights(growing)]
            optimizer.step()
            return [now.detach() - then for now, then in zip(first_weights(growing), before, strict=True)]

        for _ in range(3):
            step()
        growing.deepen("1", 2, initialization="stack", optimizer=optimizer)
        moved = step()
        assert torch.allclose(moved[0][-2:], torch.full((2, 4), -1e-2), rtol=1e-4)
        assert torch.allclose(moved[2], moved[0], rtol=1e-4)

    def test_names_that_an_optimizer_was_given_follow(self):
        growing, _ = tiny(2)
        named = [(f"net.{name}", parameter) for name, parameter in growing.module.named_parameters()]
        optimizer = torch.optim.SGD(named, 0.1)
        growing.deepen("1", 2, initialization="interleave", optimizer=optimizer)
        expected = [f"net.{name}" for name, _ in growing.module.named_parameters()]
        assert optimizer.param_groups[0]["param_names"] == expected

    def test_can_be_taken_away_again(self):
        growing, batch = tiny()
        optimizer = adam(growing)
        growing.deepen("1", 3, initialization="interleave", optimizer=optimizer)
        steps(growing, optimizer, batch)
        kept = [weight.detach().clone() for weight in first_weights(growing)[:3]]
        growing.set_blocks({"1": 3})
        assert sources(first_weights(growing), kept) == [0, 1, 2]
        assert optimizer.param_groups[0]["params"] == list(growing.module.parameters())

    def test_blocks_that_change_the_shape_lead_and_are_not_copied(self):
        growing, _ = growing_network("resnet")
        stage = next(stage for stage in growing.stages if stage.unrepeatable_blocks)
        present = [block.conv2.weight.detach().clone() for block in growing.module.get_submodule(stage.name)]
        growing.deepen(stage, 2, initialization="stack")
        after = [block.conv2.weight for block in growing.module.get_submodule(stage.name)]
        assert sources(after, present) == [0, 1, 1, 1]

    def test_settings_of_modules_follow_the_original(self):
        growing, _ = tiny(2)
        growing.blocks  # noqa: B018  stages are found before blocks are told apart
        growing.module[1][0].eval()
        growing.module[1][0].f[0].weight.requires_grad_(False)
        growing.deepen("1", 1, initialization="stack")
        added = growing.module[1][2]
        assert not added.training and growing.module[1][1].training
        assert not added.f[0].weight.requires_grad and added.f[2].weight.requires_grad


class Backwards(BlockInitialization):
    kind = "backwards"
    summary = source = "an order that is none"
    keeps_outputs = False
    copies = True

    def order(self, present, wanted):
        return tuple(reversed(range(wanted)))


@pytest.mark.parametrize(
    ("build", "action", "message"),
    [
        (
            lambda: growing_network("resnet")[0],
            lambda growing: (
                growing.start_shallow({"stages.1": 1}),
                growing.deepen("stages.1", initialization="stack"),
            ),
            "'stages.1': its only block changes the shape.*start with at least 2 blocks",
        ),
        (
            lambda: growing_network("different widths")[0],
            lambda growing: growing.deepen("1", 1, initialization="stack"),
            "blocks '0' and '2' are not alike.*initialization zero or random",
        ),
        (
            lambda: tiny()[0],
            lambda growing: growing.deepen("1", 1, initialization=Backwards()),
            "'backwards' orders 3 blocks as .*each of the present ones in turn",
        ),
        (
            lambda: tiny()[0],
            lambda growing: (
                growing.module[1][0].register_forward_hook(print),
                growing.deepen("1", 1, initialization="stack"),
            ),
            "its block '0' has a hook on 'itself'",
        ),
        (lambda: tiny()[0], lambda growing: growing.deepen("1", initialization="stak"), "did you mean 'stack'"),
    ],
)
def test_copies_that_cannot_be_made_are_refused(build, action, message):
    growing = build()
    assert growing.stages
    with pytest.raises(NetworkError, match=message):
        action(growing)


def test_blocks_in_a_list_with_another_argument():
    torch.manual_seed(0)
    module, batch = InTurn(Attention(8)), torch.randn(3, 4, 5)
    growing = ExpandableNetwork(module, batch)
    growing.add_stages(["blocks"])
    growing.deepen("blocks", 1, initialization="stack")
    growing.deepen("blocks", 2, initialization="stack")
    assert len(module.blocks) == 4
    assert torch.equal(module.blocks[3].mlp[0].weight, module.blocks[0].mlp[0].weight)
