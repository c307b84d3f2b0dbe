"""A task of another kind, in a test: the next token at every position, whose scores of a vocabulary are not kept."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import autogrow
from autogrow.data import Dataset
from autogrow.errors import DataError
from autogrow.experiments.controls import build_in_shape
from autogrow.metrics.scores import Score
from autogrow.models.building import ModelSpec
from autogrow.network.shape import NetworkShape
from autogrow.tasks import TASKS, StreamingScore, Task, WantedOutputs
from autogrow.training.example_input import example_of

WORDS, LENGTH = 11, 6


class ShareOfTokens(StreamingScore):
    def __init__(self):
        self.right = self.number = 0

    def update(self, outputs, targets):
        self.right += (outputs.argmax(2) == targets).sum()
        self.number += targets.numel()

    def compute(self):
        return int(self.right) / self.number if self.number else float("nan")


class NextToken(Task):
    """Inputs (N, T) and targets (N, T) int64, outputs (B, T, words)."""

    score = Score("token_accuracy", "token accuracy")
    embeds_inputs = True

    def count_outputs(self, y_train, y_test, origin):
        return int(y_train.max()) + 1

    def wanted_outputs(self, targets, num_outputs):
        return WantedOutputs(((*targets.shape, num_outputs),), "a value for each word at every position")

    def loss(self, outputs, targets):
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    def new_score(self):
        return ShareOfTokens()


class Reader(nn.Module):
    def __init__(self, input_shape, num_outputs):
        super().__init__()
        self.embed, self.hidden = nn.Embedding(num_outputs, 16), nn.Linear(16, 24)
        self.out = nn.Linear(24, num_outputs)

    def forward(self, tokens):
        return self.out(torch.relu(self.hidden(self.embed(tokens))))


@pytest.fixture
def next_token(monkeypatch):
    monkeypatch.setattr(TASKS, "_entries", {**TASKS._entries, "next_token": NextToken()})


@pytest.fixture
def data(next_token, tmp_path):
    starts = np.random.default_rng(0).integers(0, WORDS, (240, 1))
    text = (starts + 3 * np.arange(LENGTH + 1)) % WORDS
    return Dataset.from_arrays(text[:, :-1], text[:, 1:], task="next_token", data_dir=tmp_path / "data")


def test_tokens_stay_whole_numbers_on_their_way(data):
    assert (data.input_shape, data.num_outputs) == ((LENGTH,), WORDS)
    assert data.training_arrays()[0].dtype == np.int64
    example = example_of(data, torch.device("cpu"), 50)
    assert example.shape == (50, LENGTH) and example.dtype == torch.int64
    assert 0 <= example.min() <= example.max() < WORDS


@pytest.mark.slow
def test_a_network_of_tokens_grows_and_learns(data):
    policy = autogrow.GrowthPolicy(trigger={"kind": "schedule", "every": 20}, initial_fraction=0.25)
    found = autogrow.train("tests.tasks.test_next_token:Reader", data, policy, epochs=40)
    assert found.train.score > 0.9 and len(found.events) > 1
    with torch.inference_mode():
        assert found.prepared(torch.from_numpy(np.array(data.training_arrays()[0][:5]))).shape == (5, LENGTH, WORDS)


def test_other_inputs_are_one_line(next_token, tmp_path):
    with pytest.raises(DataError, match="x_train holds float64 from .*: give whole numbers from 0"):
        Dataset.from_arrays(np.ones((9, 3)) / 2, np.ones((9, 3), int), task="next_token", data_dir=tmp_path)


def test_a_control_in_the_grown_shape_reads_tokens(data):
    spec = ModelSpec("tests.tasks.test_next_token:Reader").given_by_caller()
    module = build_in_shape(spec, data, NetworkShape({"hidden": 12}), 0)
    assert module.hidden.out_features == 12
    assert module(example_of(data, torch.device("cpu"))).shape == (2, LENGTH, WORDS)
