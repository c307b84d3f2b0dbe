"""What every task keeps to, whatever it is: a new one is tested by being registered."""

import copy

import numpy as np
import pytest
import torch

from autogrow.errors import DataError, NetworkError
from autogrow.tasks import TASKS

RANDOM = np.random.default_rng(0)
WHAT_USERS_HAVE = {
    "classification": np.array(["ant", "bee", "cow"])[RANDOM.integers(0, 3, 120)],
    "regression": RANDOM.normal(5, 3, (120, 2)),
    "multi_label": (RANDOM.random((120, 4)) < 0.3).astype(int),
    "text": RANDOM.integers(0, 9, (120, 5)),
    "reconstruction": RANDOM.normal(size=(120, 2, 3, 4)).astype(np.float32),
}
"""Targets for 120 examples, as they lie in a file, or the inputs where these are the targets."""


@pytest.fixture(params=list(TASKS))
def name(request):
    return request.param


@pytest.fixture
def task(name):
    return TASKS[name]


@pytest.fixture
def stored(name, task):
    return task.encode(WHAT_USERS_HAVE[name], WHAT_USERS_HAVE[name][:40], "mine.npz")


@pytest.fixture
def tensors(task, stored):
    """Targets as a network is compared with them, and outputs of the first shape that is wanted."""
    targets = torch.from_numpy(stored.y_train)
    targets = targets.float() if targets.is_floating_point() else targets
    number = task.count_outputs(stored.y_train, stored.y_test, "mine.npz")
    shape = task.wanted_outputs(targets, number).shapes[0]
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)), targets


def test_every_task_has_an_example_here():
    assert set(WHAT_USERS_HAVE) == set(TASKS)


def test_splits_have_a_stratum_for_every_example(task, stored):
    strata = task.strata(stored.y_train)
    assert strata.shape == (120,) and strata.dtype == np.int64
    assert set(strata.tolist()) == set(range(strata.max() + 1))


@pytest.mark.parametrize("size", [1, 7, 40, 119, 120])
def test_a_score_is_the_same_in_batches_of_any_size(task, tensors, size):
    outputs, targets = tensors
    whole, parts = task.new_score(), task.new_score()
    whole.update(outputs, targets)
    for part in torch.split(torch.arange(120), size):
        parts.update(outputs[part], targets[part])
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-12)


def test_a_score_keeps_no_outputs(task, tensors):
    outputs, targets = tensors
    score = task.new_score()
    for _ in range(3):
        score.update(outputs, targets)
    kept = [value for value in vars(score).values() if isinstance(value, torch.Tensor)]
    assert sum(value.numel() for value in kept) < 4 * targets[0].numel() + 8
    assert all(value.numel() < len(targets) for value in kept)


def test_a_score_of_nothing_is_not_defined(task):
    assert np.isnan(task.new_score().compute())


def test_the_loss_is_a_mean_that_has_a_gradient(task, tensors):
    outputs, targets = tensors
    outputs.requires_grad_()
    loss = task.loss(outputs, targets)
    loss.backward()
    loss = loss.detach()
    halves = torch.stack([task.loss(outputs[part], targets[part]) for part in (slice(60), slice(60, None))]).detach()
    assert loss.shape == () and outputs.grad.abs().sum() > 0
    assert float(halves.mean()) == pytest.approx(float(loss), rel=1e-5)


def test_the_loss_broadcasts_nothing(task, tensors):
    outputs, targets = tensors
    for wrong in (outputs[:1], outputs[:-1], outputs.sum(), outputs[..., None]):
        with pytest.raises(NetworkError, match="the network returned"):
            task.loss(wrong, targets)


def test_the_wanted_outputs_are_those_that_the_loss_takes(task, tensors):
    outputs, targets = tensors
    wanted = task.wanted_outputs(targets, None)
    assert wanted.fit(outputs.shape) and not wanted.fit((*outputs.shape, 1)) and not wanted.fit(outputs.shape[:1])
    assert str(outputs.shape[0]) in str(wanted)


def test_better_answers_have_a_better_score(name, task, tensors):
    outputs, targets = tensors
    best = {
        "classification": lambda: torch.nn.functional.one_hot(targets).float(),
        "regression": lambda: targets,
        "multi_label": lambda: targets - 0.5,
        "text": lambda: torch.nn.functional.one_hot(targets).float(),
        "reconstruction": lambda: targets.flatten(1),
    }[name]()
    scores = []
    for answers in (outputs, best):
        score = task.new_score()
        score.update(answers, targets)
        scores.append(score.compute())
    assert scores[0] < scores[1] == 1.0
    assert float(task.loss(best, targets)) < float(task.loss(outputs, targets))


def test_chance_is_not_learned_and_everything_right_is(task, stored):
    chance = task.chance_level(stored.y_train)
    assert task.has_learned(0.0 if task.judges_chance_by == "loss" else 1.0, chance, 40)
    assert not task.has_learned(chance or 0.0, chance, 40)


def test_answers_are_one_row_for_each_example(task, stored, tensors):
    outputs, _ = tensors
    classes = stored.classes or task.class_names(outputs.shape[-1])
    assert len(task.answers(task.in_rows(outputs), classes)) == 120
    if classes or task.embeds_inputs:
        probabilities = task.probabilities(outputs)
        assert probabilities.shape == outputs.shape and 0 <= probabilities.min() <= probabilities.max() <= 1
    else:
        with pytest.raises(DataError, match="was not trained for any"):
            task.probabilities(outputs)


def test_a_task_has_no_state(task, tensors):
    before = copy.deepcopy(vars(task))
    task.loss(*tensors)
    task.new_score().update(*tensors)
    assert vars(task) == before
