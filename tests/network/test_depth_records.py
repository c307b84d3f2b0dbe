"""When a network deepens, its optimizers and records follow; when that fails anywhere, nothing has changed."""

import copy
import pkgutil

import pytest
import torch

from autogrow.policy.limits import SizeLimits
from tests.network.optimizers import everything, push, same, train
from tests.network.staged_networks import described, growing_network, one_more

LEARNING_RATE = 0.01


def state_of(growing, optimizer):
    """The objects and values that a failure must not touch."""
    return (
        [*growing.module.parameters(), *growing.module.buffers()],
        [parameter for group in optimizer.param_groups for parameter in group["params"]],
        [(name, id(layer), layer.training) for name, layer in growing.module.named_modules()],
        described(growing.structure),
        growing.blocks,
        everything(growing, optimizer),
    )


def assert_same_state(now, then):
    for some, others in zip(now[:2], then[:2], strict=True):
        assert len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
    assert now[2:5] == then[2:5]
    assert same(now[5], then[5])


class TestOptimizer:
    def test_old_moments_stay_and_new_entries_start_with_one_learning_rate(self):
        growing, batch = growing_network("resnet")
        optimizer = torch.optim.Adam(growing.module.parameters(), LEARNING_RATE)
        growing.attach(optimizer)
        train(growing.module, optimizer, batch, 5)
        old = {parameter: copy.deepcopy(state) for parameter, state in optimizer.state.items()}
        growing.deepen_stages(one_more(growing), optimizer=optimizer)
        assert all(same(optimizer.state[parameter], state) for parameter, state in old.items())
        assert optimizer.param_groups[0]["params"] == list(growing.module.parameters())
        before = {name: value.detach().clone() for name, value in growing.module.named_parameters()}
        push(growing.module, optimizer, 1.0)
        for name, parameter in growing.module.named_parameters():
            if parameter not in old:
                step = (parameter - before[name]).abs()
                assert 0.9 * LEARNING_RATE < step.min() and step.max() <= 1.05 * LEARNING_RATE, name

    def test_new_parameters_join_the_groups_of_their_models(self):
        """In the first stage the block before lacks nothing; in the second it has more than the new one."""
        growing, _ = growing_network("inverted residuals")
        named = dict(growing.module.named_parameters())
        decayed = [value for value in named.values() if value.dim() > 1]
        others = [value for value in named.values() if value.dim() < 2]
        optimizer = torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
        growing.start_shallow({"body.stages.0": 1})
        growing.attach(optimizer)
        growing.deepen("body.stages.0", 2)
        assert all(value.dim() > 1 for value in optimizer.param_groups[0]["params"])
        assert all(value.dim() < 2 for value in optimizer.param_groups[1]["params"])
        present = {value for group in optimizer.param_groups for value in group["params"]}
        assert set(growing.module.parameters()) <= present

    def test_two_optimizers_take_their_own(self):
        growing, _ = growing_network("residual mlp")
        parameters = list(growing.module.parameters())
        matrices = torch.optim.SGD([value for value in parameters if value.dim() > 1], LEARNING_RATE)
        vectors = torch.optim.Adam([value for value in parameters if value.dim() < 2], LEARNING_RATE)
        growing.attach(matrices)
        growing.deepen("trunk.0", optimizer=vectors)
        block = growing.module.trunk[0][-1]
        assert {block.f[0].weight, block.f[2].weight} <= set(matrices.param_groups[0]["params"])
        assert {block.f[0].bias, block.f[2].bias} <= set(vectors.param_groups[0]["params"])

    def test_shortening_drops_entries(self):
        growing, batch = growing_network("resnet")
        optimizer = torch.optim.Adam(growing.module.parameters(), LEARNING_RATE)
        growing.attach(optimizer)
        train(growing.module, optimizer, batch, 1)
        growing.start_shallow({"stages.1": 1})
        assert optimizer.param_groups[0]["params"] == list(growing.module.parameters())
        assert set(optimizer.state) == set(growing.module.parameters())
        train(growing.module, optimizer, batch, 1)

    def test_new_blocks_belong_to_their_event(self):
        growing, batch = growing_network("resnet")
        optimizer = torch.optim.SGD(growing.module.parameters(), LEARNING_RATE)
        growing.widen("conv1", 2, optimizer=optimizer)
        growing.deepen("stages.2", optimizer=optimizer)
        weight = growing.module.stages[2][-1].conv1.weight
        assert growing.cohorts.num_events == 2
        assert (growing.cohorts.of("stages.2.2.conv1.weight", weight) == 2).all()
        control = growing.attach(optimizer)
        control.freeze_before(2)
        before = {key: value.clone() for key, value in growing.module.state_dict().items()}
        train(growing.module, optimizer, batch, 2)
        moved = {
            key
            for key, value in growing.module.state_dict().items()
            if not torch.equal(value, before[key]) and "num_batches" not in key
        }
        assert moved and all(key.startswith("stages.2.2.") for key in moved)
        growing.set_blocks({"stages.2": 2})
        assert not any(name.startswith("stages.2.2.") for name in growing.cohorts.state_dict()["tensors"])

    def test_training_resumes_bit_exactly(self):
        """What a checkpoint holds, and the order in which it is restored."""
        growing, batch = growing_network("resnet")
        optimizer = torch.optim.Adam(growing.module.parameters(), LEARNING_RATE)
        train(growing.module, optimizer, batch, 2)
        growing.deepen("stages.0", optimizer=optimizer, calibration_input=batch)
        growing.widen("stages.0.2.conv1", 2, optimizer=optimizer)
        train(growing.module, optimizer, batch, 2)
        saved = {"blocks": growing.blocks, "widths": growing.widths, **everything(growing, optimizer)}
        train(growing.module, optimizer, batch, 2)

        resumed, _ = growing_network("resnet")
        resumed.set_blocks(saved["blocks"])
        resumed.set_widths(saved["widths"])
        resumed.module.load_state_dict(saved["network"])
        resumed.cohorts.load_state_dict(saved["cohorts"])
        other = torch.optim.Adam(resumed.module.parameters(), LEARNING_RATE)
        other.load_state_dict(saved["optimizer"])
        resumed.attach(other).load_state_dict(saved["control"])
        train(resumed.module, other, batch, 2)
        assert same(resumed.module.state_dict(), growing.module.state_dict())


FAILURES = [
    "autogrow.network.depth.new_blocks.prepare_resizing",
    "autogrow.network.depth.new_blocks.start_as_identity",
    "autogrow.network.depth.deepening.fresh_block",
    "autogrow.network.depth.deepening.with_widths_of",
    "autogrow.network.depth.deepening._models",
    "autogrow.network.depth.depth_change.DepthChange.tell",
    "autogrow.network.optimizer.cohorts.Cohorts.commit",
    "autogrow.network.optimizer.cohorts.Cohorts.add",
    "autogrow.network.transactional.TransactionalNetwork.attach",
    "autogrow.network.optimizer.optimizer_cohorts.OptimizerCohorts.add",
    "autogrow.network.optimizer.optimizer_cohorts.OptimizerCohorts.commit",
    "autogrow.network.optimizer.optimizer_cohorts.start_afresh",
    "autogrow.network.deepenable.measure_new_statistics",
    "autogrow.network.output_guard.OutputComparison.check",
    "autogrow.network.measuring.size.measure_size",
]


@pytest.mark.slow
@pytest.mark.parametrize("place", FAILURES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_failure_anywhere_leaves_everything_as_it_was(place, after, monkeypatch):
    growing, batch = growing_network("bottleneck")
    growing.start_shallow({"body.stages.1": 1})
    growing.start_small({group.name: group.width // 2 for group in growing.groups})
    parameters = [*growing.module.parameters()]
    first = torch.optim.Adam(parameters[:9], LEARNING_RATE)
    second = torch.optim.Adam(parameters[9:], LEARNING_RATE)
    growing.attach(first)
    train(growing.module, first, batch, 2)
    growing.deepen("body.stages.0", optimizer=second)
    train(growing.module, second, batch, 2)
    growing.detach(second)  # so that the event attaches it
    growing.limits = SizeLimits(max_parameters=10**9)
    then = state_of(growing, first), copy.deepcopy(second.state_dict()), list(second.param_groups[0]["params"])
    original = pkgutil.resolve_name(place)

    def fail(*arguments, **options):
        if after:
            original(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, fail)
    added = {"body.stages.0": 1, "body.stages.1": 2}
    with pytest.raises(KeyboardInterrupt):
        growing.deepen_stages(added, optimizer=second, calibration_input=batch)
    monkeypatch.undo()
    assert_same_state(state_of(growing, first), then[0])
    assert same(second.state_dict(), then[1])
    assert all(one is other for one, other in zip(second.param_groups[0]["params"], then[2], strict=True))
    assert not second._optimizer_step_post_hooks
    growing.deepen_stages(added, optimizer=second, calibration_input=batch)
    assert growing.blocks == {"body.stages.0": 4, "body.stages.1": 3}


def test_a_widening_that_fails_late_gives_a_new_optimizer_its_parameters_back(monkeypatch):
    growing, batch = growing_network("bottleneck")
    optimizer = torch.optim.Adam(growing.module.parameters(), LEARNING_RATE)
    train(growing.module, optimizer, batch, 1)
    then = copy.deepcopy(optimizer.state_dict())

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("autogrow.network.expandable.measure_new_statistics", fail)
    with pytest.raises(KeyboardInterrupt):
        growing.widen("stem", 2, optimizer=optimizer, calibration_input=batch)
    assert optimizer.param_groups[0]["params"] == list(growing.module.parameters())
    assert same(optimizer.state_dict(), then)
