"""Several labels for an example: what their targets may be, how they are split, scored and told."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

import autogrow
from autogrow.errors import DataError
from autogrow.tasks import TASKS
from tests.tasks.metrics import metrics_of

TASK = TASKS["multi_label"]
X = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
LABELS = (np.stack([X[:, 0], X[:, 1] + X[:, 2], X[:, 3] - X[:, 4]], axis=1) > 0.4).astype(int)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=X[:300], y_train=LABELS[:300], x_test=X[300:], y_test=LABELS[300:])
    return path


def test_the_score_is_the_micro_averaged_f1_of_all_examples_together():
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(2500, 7)), (random.random((2500, 7)) < 0.2).astype(np.float32)
    found = metrics_of("multi_label", torch.from_numpy(logits).float(), torch.from_numpy(labels))
    assert found.score == pytest.approx(f1_score(labels, logits > 0, average="micro"), rel=1e-12)
    likelihood = np.where(labels > 0, np.logaddexp(0, -logits), np.logaddexp(0, logits))
    assert found.loss == pytest.approx(likelihood.mean(), rel=1e-5)


def test_without_a_label_there_is_no_score():
    assert np.isnan(metrics_of("multi_label", -torch.ones(4, 2), torch.zeros(4, 2)).score)
    assert metrics_of("multi_label", torch.ones(4, 2), torch.zeros(4, 2)).score == 0.0
    with pytest.raises(DataError, match="none of 4 training examples has a label"):
        TASK.refuse_unlearnable(np.zeros((4, 2), np.float32), "training examples")


def test_chance_is_the_best_of_always_giving_the_same_labels():
    labels = (np.random.default_rng(2).random((500, 5)) < [0.7, 0.4, 0.2, 0.1, 0.05]).astype(np.float32)
    same = [np.tile(np.arange(5) < number, (500, 1))[:, np.argsort(np.argsort(-labels.mean(0)))] for number in range(6)]
    best = max(f1_score(labels, given, average="micro", zero_division=0) for given in same)
    assert TASK.chance_level(labels) == pytest.approx(best)


def test_no_split_goes_without_a_rare_label():
    labels = np.zeros((200, 3), np.float32)
    labels[:, 0] = 1
    labels[[17, 101], 2] = 1
    strata = TASK.strata(labels)
    assert strata[17] == strata[101] != strata[0]
    found = autogrow.data.Dataset.from_arrays(X[:200], labels.astype(int), task="multi_label")
    train, validation = found.split(seed=0)
    assert train.targets[:, 2].sum() == validation.targets[:, 2].sum() == 1


def test_rows_of_several_ones_are_taken_where_that_is_asked_for(file):
    with pytest.raises(DataError, match="several ones in a row are several labels: --task multi_label"):
        autogrow.data.open_dataset(str(file))
    found = autogrow.data.open_dataset(str(file), task="multi_label")
    assert (found.task, found.num_outputs, found.classes) == ("multi_label", 3, (0, 1, 2))
    assert "multi_label of 3 labels" in found.describe()
    assert found.training_arrays()[1].dtype == np.float32


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (LABELS + (np.arange(400) == 7)[:, None], "y_train holds 2, and .* zeros and ones"),
        (LABELS[:, 0], r"y_train holds int64 \(300,\), and .* \(N, labels\)"),
        (LABELS[:, :1], r"y_train holds int64 \(300, 1\), and .* of 2 labels or more"),
        (LABELS.astype(str), "y_train holds <U.* zeros and ones"),
    ],
)
def test_other_targets_are_one_line(targets, message, tmp_path):
    np.savez(tmp_path / "mine.npz", x_train=X[:300], y_train=targets[:300])
    with pytest.raises(DataError, match=message):
        autogrow.data.open_dataset(str(tmp_path / "mine.npz"), task="multi_label")


@pytest.mark.slow
def test_a_network_is_trained_tested_and_asked(file, tmp_path):
    policy = autogrow.GrowthPolicy(trigger={"kind": "schedule", "every": 10}, initial_fraction=0.5, chunk_fraction=0.5)
    result = autogrow.train("mlp", str(file), policy, task="multi_label", epochs=15, out=tmp_path / "network")
    assert result.test.score > 0.8
    given = autogrow.predict(tmp_path / "network", X[300:])
    assert given.shape == (100, 3) and set(np.unique(given)) == {0, 1}
    assert f1_score(LABELS[300:], given, average="micro") == pytest.approx(result.test.score)
    probabilities = autogrow.predict(tmp_path / "network", X[300:], probabilities=True)
    assert np.array_equal(probabilities > 0.5, given == 1)
    assert autogrow.evaluate(tmp_path / "network").score == result.test.score
