"""Learning rates per cohort, freezing and thawing: what a step leaves of each entry's update."""

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.network.optimizer.update_control import SMALLEST_RATE
from tests.network.optimizers import (
    LEARNING_RATE,
    OPTIMIZERS,
    WITH_DECAY,
    configured,
    old_block,
    plain_sgd,
    push,
    train,
    trained,
    values_of,
    widen_all,
)

pytestmark = pytest.mark.usefixtures("one_thread")


class TestFreezing:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_frozen_entries_stay_bit_identical(self, name):
        growing, optimizer, batch = trained(name)
        before = values_of(growing.module)
        widen_all(growing, optimizer)
        growing.attach(optimizer).freeze_before(1)
        self.check(growing, optimizer, batch, before, steps=12)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WITH_DECAY)
    def test_over_many_steps_of_a_residual_network(self, name):
        growing, optimizer, control, batch = configured(WITH_DECAY[name], "resnet")
        before = values_of(growing.module)
        widen_all(growing, optimizer)
        control.freeze_before(1)
        self.check(growing, optimizer, batch, before, steps=60)

    def check(self, growing, optimizer, batch, before, steps):
        train(growing.module, optimizer, batch, steps)
        moved = 0.0
        for key, value in growing.module.state_dict().items():
            if value.is_floating_point():
                assert torch.equal(old_block(value, before[key].shape), before[key]), key
                assert torch.equal(torch.signbit(old_block(value, before[key].shape)), torch.signbit(before[key]))
                moved += float((value.abs().sum() - before[key].abs().sum()).abs())
        assert moved > 0

    def test_gradients_that_are_not_numbers_do_not_reach_frozen_entries(self):
        growing, optimizer, control, _ = configured(plain_sgd)
        before = values_of(growing.module)
        widen_all(growing, optimizer)
        control.freeze_before(1)
        push(growing.module, optimizer, float("nan"))
        for key, value in growing.module.named_parameters():
            assert torch.equal(old_block(value, before[key].shape), before[key])

    @pytest.mark.slow
    @pytest.mark.parametrize("name", WITH_DECAY)
    def test_only_the_last_event_trains_after_two(self, name):
        growing, optimizer, control, batch = configured(WITH_DECAY[name], "resnet", new_unit_lr=0.5)
        for event in (1, 2):
            growing.widen("conv1", 2, optimizer=optimizer)
            control.freeze_before(event)
            before = growing.module.conv1.weight.detach().clone()
            train(growing.module, optimizer, batch, 4)
            after = growing.module.conv1.weight.detach()
            assert torch.equal(after[:-2], before[:-2])
            assert not torch.equal(after[-2:], before[-2:])

    def test_releasing_lets_old_entries_train_again(self):
        growing, optimizer, control, batch = configured(WITH_DECAY["adam"])
        widen_all(growing, optimizer)
        control.freeze_before(1)
        train(growing.module, optimizer, batch, 2)
        before = values_of(growing.module)
        control.freeze_before(0)
        train(growing.module, optimizer, batch, 1)
        for key, value in growing.module.named_parameters():
            assert (value != before[key]).any()

    def test_forward_passes_between_steps_are_forgotten(self):
        """Frozen statistics keep the values of the time of freezing, not those of the last forward pass."""
        growing, optimizer, control, batch = configured(plain_sgd)
        widen_all(growing, optimizer)
        control.freeze_before(1)
        before = values_of(growing.module)
        growing.module.train()
        growing.module(batch * 7)
        control.freeze_before(1, released=0.5)
        for key, value in growing.module.named_buffers():
            if "running" in key:
                mask = growing.cohorts.of(key, value) == 0
                assert torch.equal(value[mask], before[key][mask])


class TestThawing:
    @pytest.mark.parametrize("name", ["sgd", "adam"])
    def test_releases_rise_without_a_jump(self, name):
        """A constant gradient makes every free update one learning rate (Adam) or one rate times it (SGD)."""
        make = {"sgd": plain_sgd, "adam": lambda p: torch.optim.Adam(p, LEARNING_RATE)}[name]
        growing, optimizer, control, _ = configured(make, "mlp without norm", steps=0)
        push(growing.module, optimizer, 1.0, steps=3)
        widen_all(growing, optimizer)
        before = values_of(growing.module)
        sizes = []
        for released in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0):
            control.freeze_before(1, released)
            for _ in range(3):
                push(growing.module, optimizer, 1.0)
                now = values_of(growing.module)
                for key, value in growing.module.named_parameters():
                    update = (now[key] - before[key])[growing.cohorts.of(key, value) == 0]
                    free = (now[key] - before[key])[growing.cohorts.of(key, value) == 1]
                    assert torch.allclose(update, torch.full_like(update, -released * LEARNING_RATE), atol=1e-6)
                    assert torch.allclose(free, torch.full_like(free, -LEARNING_RATE), rtol=0.01)
                sizes.append(float(update.abs().mean()))
                before = now
        assert all(later >= earlier - 1e-6 for earlier, later in zip(sizes, sizes[1:], strict=False))
        assert sizes[0] == 0 and sizes[-1] == pytest.approx(LEARNING_RATE, rel=1e-3)

    def test_statistics_move_by_the_share_from_where_they_were_held(self):
        growing, optimizer, control, batch = configured(plain_sgd)
        widen_all(growing, optimizer)
        norm = next(module for module in growing.module.modules() if isinstance(module, nn.BatchNorm1d))
        name = next(name for name, module in growing.module.named_modules() if module is norm)
        old = growing.cohorts.of(f"{name}.running_mean", norm.running_mean) == 0
        held = norm.running_mean.clone()
        control.freeze_before(1)
        train(growing.module, optimizer, batch, 5)
        assert torch.equal(norm.running_mean[old], held[old])
        growing.module.train()
        for released in (0.25, 0.5):
            control.freeze_before(1, released)
            before = norm.running_mean.clone()
            growing.module(batch).sum().backward()
            free = norm.running_mean.clone()
            optimizer.step()
            expected = torch.where(old, before + released * (free - before), free)
            assert torch.allclose(norm.running_mean, expected, atol=1e-7)
            assert not torch.equal(norm.running_mean[old], before[old])

    def test_a_full_release_is_bit_identical_to_no_freezing(self):
        growing, optimizer, control, _ = configured(WITH_DECAY["adam"])
        widen_all(growing, optimizer)
        control.freeze_before(1, released=1.0)
        assert control.leaves_updates_alone


class TestNewUnitRate:
    @pytest.mark.parametrize("name", WITH_DECAY)
    def test_old_entries_are_untouched_and_new_ones_move_by_the_factor(self, name):
        updates, cohorts = {}, None
        for rate in (1.0, 0.25):
            growing, optimizer, control, _ = configured(WITH_DECAY[name], new_unit_lr=rate)
            widen_all(growing, optimizer)
            widen_all(growing, optimizer)
            before = values_of(growing.module)
            push(growing.module, optimizer, 0.3)
            updates[rate] = {key: value - before[key] for key, value in growing.module.named_parameters()}
            cohorts = growing.cohorts
        for key, free in updates[1.0].items():
            new = cohorts.of(key, free) > 0
            assert torch.equal(updates[0.25][key][~new], free[~new])
            assert torch.allclose(updates[0.25][key][new], 0.25 * free[new], atol=1e-7)

    def test_untouched_means_bit_for_bit(self):
        """Also where blending would turn -0.0 into 0.0, and infinity into NaN."""
        growing, optimizer, control, _ = configured(plain_sgd, new_unit_lr=0.25)
        widen_all(growing, optimizer)
        widen_all(growing, optimizer)
        control.freeze_before(1)
        with torch.no_grad():
            for parameter in growing.module.parameters():
                parameter.fill_(-0.0)
        control.refresh()
        push(growing.module, optimizer, 0.0)
        for key, value in growing.module.named_parameters():
            assert torch.signbit(value.detach()[growing.cohorts.of(key, value) == 0]).all()
        control.freeze_before(0)
        push(growing.module, optimizer, float("-inf"))
        for key, value in growing.module.named_parameters():
            assert torch.isposinf(value.detach()[growing.cohorts.of(key, value) == 0]).all()

    def test_nothing_is_kept_or_done_where_nothing_is_scaled(self):
        growing, optimizer, control, _ = configured(plain_sgd)
        widen_all(growing, optimizer)
        assert control.leaves_updates_alone

    @pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf"), "cohorts"])
    def test_impossible_rates(self, rate):
        _, _, control, _ = configured(plain_sgd, steps=0)
        with pytest.raises(NetworkError, match="new_unit_lr"):
            control.configure(new_unit_lr=rate)


class TestCohortRate:
    """Yuan et al. 2023: eta_c = eta_0 * ||W_c||_F / ||W_0||_F."""

    def grown(self, rows=((3.0, 4.0), (0.3, 0.4))):
        """A matrix of three rows, the last of cohort 1, and its readers, under gradients of one."""
        module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        growing = ExpandableNetwork(module, torch.randn(2, 2), verify=False)
        optimizer = plain_sgd(list(module.parameters()))
        control = growing.attach(optimizer)
        control.configure(new_unit_lr="cohort")
        growing.widen("0", 1, optimizer=optimizer)
        with torch.no_grad():
            old, new = rows
            module[0].weight.copy_(torch.tensor([[old[0], 0.0], [0.0, old[1]], list(new)]))
        control.refresh_rates()
        return growing, optimizer, control

    def updates(self, growing, optimizer):
        before = values_of(growing.module)
        push(growing.module, optimizer, 1.0)
        return {key: (before[key] - after) / LEARNING_RATE for key, after in values_of(growing.module).items()}

    def test_by_hand(self):
        growing, optimizer, _ = self.grown()
        updates = self.updates(growing, optimizer)
        assert torch.allclose(updates["0.weight"], torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.1, 0.1]]), atol=1e-4)

    def test_zero_blocks_and_vectors_take_the_full_rate(self):
        growing, optimizer, control = self.grown()
        with torch.no_grad():
            growing.module[0].bias.copy_(torch.tensor([3.0, 4.0, 0.5]))
        control.refresh_rates()
        updates = self.updates(growing, optimizer)
        assert torch.allclose(updates["1.weight"], torch.ones(1, 3), atol=1e-4)  # a fan-out of zeros
        assert torch.allclose(updates["0.bias"], torch.ones(3), atol=1e-4)

    @pytest.mark.parametrize(("new", "expected"), [((30.0, 40.0), 1.0), ((3e-4, 4e-4), SMALLEST_RATE)])
    def test_limits(self, new, expected):
        growing, optimizer, _ = self.grown(((3.0, 4.0), new))
        updates = self.updates(growing, optimizer)
        assert updates["0.weight"][2].tolist() == pytest.approx([expected, expected], abs=2e-3)

    def test_rates_stay_until_they_are_measured_again(self):
        growing, optimizer, control = self.grown()
        with torch.no_grad():
            growing.module[0].weight[2] = torch.tensor([3.0, 4.0])
        assert float(self.updates(growing, optimizer)["0.weight"][2, 0]) == pytest.approx(0.1, abs=1e-3)
        with torch.no_grad():
            growing.module[0].weight[2] = torch.tensor([3.0, 4.0])
        control.refresh_rates()
        assert float(self.updates(growing, optimizer)["0.weight"][2, 0]) == pytest.approx(1.0, abs=1e-2)

    def test_an_event_measures_them(self):
        growing, optimizer, control = self.grown()
        growing.widen("0", 1, optimizer=optimizer)
        rates = control.state_dict()["rates"]["0.weight"]
        weight = growing.module[0].weight.detach()
        assert rates == pytest.approx([1.0, 0.1, min(1.0, float(weight[3].norm()) / 5)], rel=1e-5)


@pytest.mark.parametrize(("cohort", "released"), [(-1, 0.0), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_impossible_freezing(cohort, released):
    _, _, control, _ = configured(plain_sgd, steps=0)
    with pytest.raises(NetworkError):
        control.freeze_before(cohort, released)
