"""Training on a network that units were removed from: what its loss has, and what it leaves alone."""

import copy

import pytest
import torch
import torch.nn.functional as F

from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.tasks import TASKS
from autogrow.training.ending import Signal
from autogrow.training.example_input import example_input
from autogrow.training.recovery import RecoveryRun, distort, gains_of
from autogrow.training.shrinking import Shrinker
from autogrow.training.step_loss import Distillation, PenalizedActivations, PenalizedGains, TaskLoss
from tests.training.runs import CLASSES, CPU, SHAPE, data, settings

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSIFICATION = TASKS["classification"]
INPUTS = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 1, 2, 3, 0, 1])


def network_of(model="mlp", **options):
    module = build_model(ModelSpec(model, options or {"hidden": (6, 5)}), SHAPE, CLASSES, seed=0)
    return ExpandableNetwork(module, example_input(SHAPE, CPU), verify=False)


def recovered(network, recovery, **arguments):
    return RecoveryRun(network, data(), recovery, settings(), device=CPU, **arguments).run()


class TestDistillation:
    def test_it_is_the_divergence_from_what_the_teacher_says(self):
        student, teacher = network_of().module, network_of(hidden=(4,)).module
        loss = Distillation(CLASSIFICATION, teacher, 0.75, 2.0)(student, INPUTS, TARGETS)
        outputs, taught = student(INPUTS), teacher.eval()(INPUTS)
        log_p, log_q = (outputs / 2).log_softmax(1), (taught / 2).log_softmax(1)
        expected = 0.75 * 4 * (log_q.exp() * (log_q - log_p)).sum(1).mean() + 0.25 * F.cross_entropy(outputs, TARGETS)
        torch.testing.assert_close(loss, expected)

    def test_the_teacher_is_left_alone(self):
        teacher = network_of("convnet", channels=(4, 4), batch_norm=True).module.train()
        before = copy.deepcopy(teacher.state_dict())
        Distillation(CLASSIFICATION, teacher, 1.0, 2.0)(network_of().module, INPUTS, TARGETS).backward()
        assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
        assert all(parameter.grad is None for parameter in teacher.parameters())
        assert teacher.training

    def test_its_answers_are_counted(self):
        taught = recovered(network_of(), Recovery(epochs=1, distillation=0.5), teacher=network_of().module)
        alone = recovered(network_of(), Recovery(epochs=1))
        # A teacher of the same size adds a forward pass to one forward and two backward.
        assert taught.training_flops / alone.training_flops == pytest.approx(4 / 3, rel=0.15)


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_can_be_distilled(name):
    outputs = torch.randn(3, 4, 2, requires_grad=True) if name == "text" else torch.randn(3, 4, requires_grad=True)
    task, other = TASKS[name], torch.randn(outputs.shape)
    same = task.distillation_loss(outputs.detach(), outputs.detach(), 2.0)
    assert float(same) == pytest.approx(0, abs=1e-6)
    loss = task.distillation_loss(outputs, other, 2.0)
    loss.backward()
    assert float(loss.detach()) > 0 and outputs.grad.abs().sum() > 0
    nearer = outputs.detach() + 0.5 * (other - outputs.detach())
    assert float(task.distillation_loss(nearer, other, 2.0)) < float(loss.detach())


def test_gains_are_penalized():
    network = network_of("convnet", channels=(4, 4), batch_norm=True)
    gains = gains_of(network)
    assert {id(gain) for gain in gains} == {
        id(layer.weight)
        for layer in network.module.modules()
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)
    }
    plain = TaskLoss(CLASSIFICATION)
    module = network.module.eval()
    with_penalty = PenalizedGains(plain, lambda: gains, 0.1)(module, INPUTS, TARGETS)
    expected = plain(module, INPUTS, TARGETS) + 0.1 * sum(gain.abs().sum() for gain in gains)
    torch.testing.assert_close(with_penalty, expected)


def test_activations_are_penalized():
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(192, 7), torch.nn.ReLU(), torch.nn.Linear(7, CLASSES)
    )
    network = ExpandableNetwork(module, INPUTS, verify=False)
    plain = TaskLoss(CLASSIFICATION)
    loss = PenalizedActivations(plain, network, 0.3)(module, INPUTS, TARGETS)
    active = module[1](module[0](INPUTS)).relu()
    torch.testing.assert_close(loss, plain(module, INPUTS, TARGETS) + 0.3 * active.abs().mean(0).sum())


@pytest.mark.slow
def test_penalties_do_what_they_are_for():
    recoveries = {
        "plain": Recovery(epochs=6, learning_rate=0.02),
        "gains": Recovery(epochs=6, learning_rate=0.02, gain_penalty=0.1),
        "activations": Recovery(epochs=6, learning_rate=0.02, activation_penalty=0.5),
    }
    networks = {name: network_of("convnet", channels=(4, 4), batch_norm=True) for name in recoveries}
    for name, recovery in recoveries.items():
        recovered(networks[name], recovery)
    gains = {name: sum(float(gain.detach().abs().sum()) for gain in gains_of(each)) for name, each in networks.items()}
    assert gains["gains"] < 0.8 * gains["plain"]

    def activity(network):
        seen = []
        layers = [layer for layer in network.module.modules() if isinstance(layer, torch.nn.ReLU)]

        def see(layer, inputs, output):
            seen.append(float(output.detach().mean()))

        hooks = [layer.register_forward_hook(see) for layer in layers]
        network.module.eval()(INPUTS)
        for hook in hooks:
            hook.remove()
        return sum(seen)

    assert activity(networks["activations"]) < 0.8 * activity(networks["plain"])


def test_distortion_moves_weights_by_the_thesis_rule():
    network = network_of()
    before = copy.deepcopy(network.module.state_dict())
    distort(network, 0.5, seed=3)
    moved = {name: value - before[name] for name, value in network.module.state_dict().items()}
    computing = {name for name, layout in network.structure.tensors.items() if layout.out_dim in layout.dims}
    assert len(computing) == 2  # of the hidden layers, not of the outputs
    assert {name for name, change in moved.items() if change.abs().sum() > 0} == computing & set(moved)
    for name in computing & set(moved):
        most = 0.5 * (1 - float(before[name].var(correction=0)))
        assert 0 <= float(moved[name].min()) and 0.5 * most < float(moved[name].max()) <= most
    again = network_of()
    distort(again, 0.5, seed=3)
    assert all(
        torch.equal(value, network.module.state_dict()[name]) for name, value in again.module.state_dict().items()
    )


def test_it_keeps_the_size_and_lets_go_of_its_optimizer():
    network = network_of()
    network.keep_units(network.groups[0], [0, 2, 3])
    outcome = recovered(network, Recovery(epochs=2))
    assert outcome.signal is Signal.CONTINUE and outcome.steps == 12 and outcome.num_events == 0
    assert network.groups[0].width == network.groups[0].full_width == 3
    assert list(network._state.optimizers.controls) == []


@pytest.mark.slow
def test_without_another_teacher_the_network_before_teaches():
    network = network_of()
    before = copy.deepcopy(network.module).eval()
    shrinking = Shrinking(recovery=Recovery(epochs=1, distillation=1.0))
    shrinker = Shrinker(network, data(), shrinking, settings(), device=CPU)
    given = Shrinker(network_of(), data(), shrinking, settings(), teacher=before, device=CPU)
    target = Target("parameters", 0.5 * shrinker.footprint().parameters)
    assert shrinker.step("half", target).loss == given.step("half", target).loss


class TestOptimizerState:
    """What remains of a network goes on with what the optimizer has learnt of it."""

    def shrinker(self, **recovery):
        shrinking = Shrinking(score="magnitude", recovery=Recovery(epochs=2, **recovery))
        return Shrinker(network_of(), data(), shrinking, settings(), device=CPU)

    def test_what_remains_keeps_the_same_bits(self):
        shrinker = self.shrinker()
        shrinker.recover(shrinker.shrinking.recovery)
        weights = {name: value.detach().clone() for name, value in shrinker.network.module.named_parameters()}
        states = shrinker.optimizer_state
        removed = shrinker.remove(Target("flops", 0.6 * shrinker.footprint().flops))
        assert removed
        found = 0
        for name, parameter in shrinker.network.module.named_parameters():
            state, before = shrinker.optimizer_state[name], states[name]
            assert state["step"] == before["step"] > 0
            assert state["exp_avg"].shape == parameter.shape
            if name == "1.weight":  # the rows of units that stay, which no compensation changes
                rows = [weights[name].tolist().index(row) for row in parameter.tolist()]
                assert torch.equal(state["exp_avg"], before["exp_avg"][rows])
                assert torch.equal(state["exp_avg_sq"], before["exp_avg_sq"][rows])
                found = len(rows)
        assert 0 < found < len(weights["1.weight"])

    def test_a_recovery_goes_on_with_it_and_warms_nothing_up(self):
        rates = {"carry": [], "reset": []}
        for kind, seen in rates.items():
            shrinker = self.shrinker(optimizer_state=kind, warmup_share=0.5)
            for number in (1, 2):
                shrinker.recover(
                    shrinker.shrinking.recovery, number, on_sample=lambda sample, seen=seen: seen.append(sample)
                    or Signal.CONTINUE,
                )  # fmt: skip
            taken = [state["step"] for state in shrinker.optimizer_state.values()]
            assert taken == ([24] * len(taken) if kind == "carry" else [])
        first = {kind: (seen[0].learning_rate, seen[12].learning_rate) for kind, seen in rates.items()}
        assert first["reset"][0] == first["reset"][1] == first["carry"][0] < first["carry"][1]

    def test_every_recovery_has_an_order_of_batches_of_its_own(self):
        losses = []
        for number in (0, 1, 0):
            seen = []
            shrinker = self.shrinker()
            shrinker.recover(
                shrinker.shrinking.recovery, number, on_sample=lambda sample, seen=seen: seen.append(sample.train_loss)
                or Signal.CONTINUE,
            )  # fmt: skip
            losses.append(seen)
        assert losses[0] == losses[2] != losses[1]
