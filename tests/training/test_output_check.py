"""What a network returns is held against the data before the first step, and the network is left as it was."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from autogrow.data.preprocessing import measure_normalization
from autogrow.data.splits import TrainSplit
from autogrow.errors import NetworkError
from autogrow.network.running.undisturbed import random_position
from autogrow.tasks import TASKS
from autogrow.training.output_check import check_outputs
from autogrow.training.training_data import TrainingData
from tests.tasks.metrics import metrics_of

INPUTS = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)


def data(task="classification", outputs=3):
    rows = np.arange(20)
    targets = rows % outputs if task == "classification" else np.tile(INPUTS[:, :1], outputs)
    train = TrainSplit(INPUTS, targets, rows)
    return TrainingData(TASKS[task], train, None, measure_normalization(train), num_outputs=outputs)


class Net(nn.Module):
    """Two layers and a norm; `form` makes of the outputs what is returned."""

    def __init__(self, outputs, form=lambda outputs: outputs, training_form=None):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, outputs))
        self.form, self.training_form = form, training_form

    def forward(self, inputs):
        outputs = self.layers(inputs)
        return (self.training_form if self.training and self.training_form else self.form)(outputs)


CLASSES = [
    (
        Net(3, lambda y: {"logits": y, "loss": 1}),
        r"a dict of 'logits', 'loss', wanted is a tensor \(7, 3\).*return that",
    ),
    (Net(3, lambda y: (y, y)), "a tuple of 2 Tensor, Tensor, wanted is a tensor"),
    (Net(3, lambda y: [y]), "a list of 1 Tensor"),
    (Net(3, lambda y: None), "a NoneType, wanted"),
    (Net(3, lambda y: 3.0), "a float, wanted"),
    (Net(3, lambda y: y.detach().numpy()), "a ndarray, wanted|an ndarray, wanted"),
    (Net(3, lambda y: y.mean()), r"returned \(\) for 7 examples.*a value per example"),
    (Net(1), r"returned \(7, 1\) .*wanted is \(7, 3\).*give its last layer 3 outputs"),
    (Net(4), r"returned \(7, 4\)"),
    (Net(3, lambda y: y.argmax(1)), "torch.int64, wanted are floating-point numbers"),
    (Net(3, lambda y: y.argmax(1).float()), r"returned \(7,\)"),
    (Net(3, lambda y: y + 0j), "torch.complex64, wanted"),
    (Net(3, lambda y: y[:-1]), r"returned \(6, 3\) for 7 examples.*one row per example"),
    (Net(3, lambda y: y.T), r"returned \(3, 7\) for 7 examples"),
    (Net(3, lambda y: y[:, :, None, None]), r"\(7, 3, 1, 1\).*flatten the axes of length 1"),
    (Net(3, lambda y: y[:, None].expand(-1, 5, -1)), r"\(7, 5, 3\).*pool or flatten"),
    (Net(3, training_form=lambda y: (y, y)), "a tuple of 2"),
    (Net(3, training_form=lambda y: y[:-1]), r"returned \(6, 3\)"),
    (Net(3, lambda y: y * torch.nan, lambda y: y), "21 of 21 outputs of the fresh network are NaN"),
    (Net(3, lambda y: y.detach()), "no gradient reaches"),
    (Net(3, lambda y: y.T.reshape(7, 3)), "depend on its place in the batch"),
    (Net(3, lambda y: y.roll(1, 0) + y), "depend on its place in the batch"),
    (Net(3).requires_grad_(False), "no parameter that is trained"),
    (Net(3, training_form=lambda y: y.nothing), "fails in training mode .*no attribute 'nothing'"),
]


@pytest.mark.parametrize(("network", "message"), CLASSES)
def test_outputs_that_do_not_fit_classes(network, message):
    with pytest.raises(NetworkError, match=message) as caught:
        check_outputs(network, data())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("outputs", "form", "width", "message"),
    [
        (1, lambda y: y, 2, r"returned \(7, 1\) for 7 examples, wanted is \(7, 2\)"),
        (2, lambda y: y, 1, r"returned \(7, 2\) .*wanted is \(7, 1\) or \(7,\)"),
        (1, lambda y: y[:, :, None], 1, r"returned \(7, 1, 1\)"),
        (1, lambda y: y[0], 1, r"returned \(1,\)"),
        (2, lambda y: y[:, 0], 2, r"returned \(7,\)"),
    ],
)
def test_outputs_that_do_not_fit_targets(outputs, form, width, message):
    with pytest.raises(NetworkError, match=message):
        check_outputs(Net(outputs, form), data("regression", width))


@pytest.mark.parametrize(
    ("network", "task", "outputs"),
    [
        (Net(3), "classification", 3),
        (Net(1), "regression", 1),
        (Net(1, lambda y: y.squeeze(-1)), "regression", 1),
        (Net(2), "regression", 2),
        (Net(3, lambda y: y + torch.rand_like(y)), "classification", 3),  # random in eval mode, too
        (Net(3, lambda y: y * (random.random() + np.random.rand() + 0.1)), "classification", 3),
        (Net(3).layers, "classification", 3),
    ],
)
def test_outputs_that_fit_leave_no_trace(network, task, outputs):
    network.train()
    list(network.modules())[-1].eval()  # a mode of its own
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = random_position()
    check_outputs(network, data(task, outputs))
    assert random_position() == state
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("network", [entry[0] for entry in CLASSES[:4]])
def test_a_refused_network_is_left_as_it_was(network):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(NetworkError):
        check_outputs(network, data())
    assert network.training and all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("task", "outputs", "targets"),
    [
        ("regression", torch.zeros(4), torch.zeros(4, 2)),
        ("regression", torch.zeros(4, 1), torch.zeros(4, 2)),
        ("regression", torch.zeros(4, 4), torch.zeros(4, 1)),
        ("regression", torch.zeros(()), torch.zeros(4, 1)),
        ("regression", torch.zeros(3), torch.zeros(4, 1)),
        ("classification", torch.zeros(4), torch.zeros(4, dtype=torch.int64)),
        ("classification", torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64)),
        ("classification", torch.zeros(4, 2, 5), torch.zeros(4, dtype=torch.int64)),
    ],
)
def test_the_loss_broadcasts_nothing(task, outputs, targets):
    with pytest.raises(NetworkError, match="the network returned"):
        TASKS[task].loss(outputs, targets)


def test_a_single_target_may_lack_its_axis():
    outputs, targets = torch.randn(5, 1), torch.randn(5, 1)
    task = TASKS["regression"]
    assert torch.equal(task.loss(outputs.squeeze(1), targets), task.loss(outputs, targets))
    flat = metrics_of("regression", outputs.squeeze(1), targets)
    assert flat == metrics_of("regression", outputs, targets)
