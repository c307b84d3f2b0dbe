"""Windows of text as training steps and evaluations take them."""

import numpy as np
import pytest
import torch

from autogrow.data import Dataset, merge_splits
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.tasks import TASKS
from autogrow.training.augmentation import NUM_DRAWS, Augmentation
from autogrow.training.ending import Signal
from autogrow.training.evaluation import evaluate
from autogrow.training.measuring import Measuring
from autogrow.training.records import TrialFolder
from autogrow.training.token_windows import TokenWindows
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData

CPU = torch.device("cpu")
CONTEXT, TOKENS = 6, 11


class Reader(torch.nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.hidden = torch.nn.Embedding(TOKENS, 8), torch.nn.Linear(8, 16)
        self.out = torch.nn.Linear(16, TOKENS)

    def forward(self, tokens):
        return self.out(torch.relu(self.hidden(self.embed(tokens))))


@pytest.fixture
def data(tmp_path):
    tokens = (np.arange(1200) * 3 + np.random.default_rng(0).integers(0, 2, 1200)) % TOKENS
    return Dataset.from_tokens(tokens, context=CONTEXT, data_dir=tmp_path)


@pytest.fixture
def windows(data):
    return TokenWindows(data.split(seed=0)[0], CPU, TOKENS)


def test_side_by_side_they_are_the_data_sets(data, windows):
    train, _ = data.split(seed=0)
    inputs, targets = windows.batch(torch.tensor([0, 5, len(train) - 1]))
    assert inputs.dtype == targets.dtype == torch.int64
    assert np.array_equal(inputs, train.inputs[[0, 5, -1]]) and np.array_equal(targets, train.targets[[0, 5, -1]])


def test_shifted_windows_begin_everywhere_and_end_inside(data, windows):
    (stream,) = data.split(seed=0)[0].streams
    rows = {bytes(np.asarray(stream[start : start + CONTEXT + 1])): start for start in range(len(stream) - CONTEXT)}
    indices = torch.arange(len(windows))
    generator = torch.Generator().manual_seed(0)
    for draw in (torch.zeros(1), torch.full((1,), 1 - 2**-24), torch.rand(1, generator=generator)):
        draws = draw.expand(NUM_DRAWS, len(windows))
        inputs, targets = windows.augmented(indices, draws, Augmentation())
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        found = torch.cat([inputs, targets[:, -1:]], 1).numpy().astype(stream.dtype)
        assert all(bytes(row) in rows for row in found)
    firsts = windows.augmented(indices, torch.zeros(NUM_DRAWS, len(windows)), Augmentation())[0]
    lasts = windows.augmented(indices, torch.full((NUM_DRAWS, len(windows)), 1 - 2**-24), Augmentation())[0]
    assert np.array_equal(firsts[0], stream[:CONTEXT])
    assert np.array_equal(lasts[-1], stream[-CONTEXT - 1 : -1])


def test_every_place_is_in_the_share_of_one_window(windows):
    places = torch.cat(
        [start + torch.arange(room) for start, room in zip(windows._starts, windows._rooms, strict=True)]
    )
    assert torch.equal(places, torch.arange(len(windows._windows)))


def test_no_window_crosses_the_border_of_merged_splits(data):
    train, validation = data.split(seed=0)
    merged = merge_splits(train, validation)
    windows = TokenWindows(merged, CPU, TOKENS)
    assert len(windows) == len(train) + len(validation)
    within = {bytes(np.asarray(stream[start : start + CONTEXT + 1])) for stream in merged.streams
              for start in range(len(stream) - CONTEXT)}  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        draws = torch.rand((NUM_DRAWS, len(windows)), generator=generator)
        inputs, targets = windows.augmented(torch.arange(len(windows)), draws, Augmentation())
        found = torch.cat([inputs, targets[:, -1:]], 1).numpy().astype(merged.inputs.dtype)
        assert {bytes(row) for row in found} <= within


def test_metrics_are_those_of_all_windows_whatever_the_batches(data, windows):
    module, task = Reader(), TASKS["text"]
    inputs, targets = windows.batch(torch.arange(len(windows)))
    with torch.no_grad():
        whole = task.loss(module(inputs), targets)
        right = (module(inputs).argmax(-1) == targets).double().mean()
    windows.evaluation_batch = 7
    found = evaluate(task, module, windows)
    assert found.loss == pytest.approx(float(whole), rel=1e-6) and found.score == pytest.approx(float(right))


def test_evaluation_holds_few_outputs_whatever_the_vocabulary(data):
    train = data.split(seed=0)[0]
    for vocabulary in (11, 50_000, 2**24):
        batch = TokenWindows(train, CPU, vocabulary).evaluation_batch
        assert batch == 1 or batch * CONTEXT * vocabulary <= 2**22


@pytest.mark.parametrize(("batch_size", "windows_looked_at"), [(4, 43), (200, 100)])
def test_samples_count_predictions_not_windows(windows, batch_size, windows_looked_at):
    """At least 256 predictions, 43 windows of 6, or half as many windows as were trained on since the last."""
    assert len(windows) > windows_looked_at
    plan = Measuring.plan(TrainingSettings(), 100, batch_size, windows, None, seed=0)
    assert (plan.sample_every, len(plan.train_indices)) == (1, windows_looked_at)


def trainer(data, folder=None, on_sample=None, seed=0):
    settings = TrainingSettings(
        epochs=2, batch_size=8, optimizer="adamw", weight_decay=0.1, weight_decay_of="matrices", betas=(0.9, 0.95),
        max_gradient_norm=1.0, sample_every=10,
    )  # fmt: skip
    network = ExpandableNetwork(Reader(), torch.zeros(2, CONTEXT, dtype=torch.int64))
    given = TrainingData.of(data, *data.split(seed=0))
    return Trainer(network, given, static_policy(), settings, seed=seed, device=CPU, folder=folder, on_sample=on_sample)


def test_a_resumed_run_goes_on_bit_for_bit(data, tmp_path):
    whole = trainer(data)
    expected = whole.run()
    stopped = trainer(
        data, TrialFolder(tmp_path / "run"), lambda sample: Signal.INTERRUPT if sample.index == 1 else Signal.CONTINUE
    )
    assert stopped.run().signal is Signal.INTERRUPT
    resumed = trainer(data, TrialFolder(tmp_path / "run"))
    assert resumed.run().validation == expected.validation
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    other_seed = trainer(data, seed=1)
    assert other_seed.run().train != expected.train


def test_biases_and_gains_are_not_decayed(data):
    groups = trainer(data).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [sorted({parameter.dim() for parameter in group["params"]}) for group in groups] == [[2], [1]]
    assert all(group["betas"] == (0.9, 0.95) for group in groups)


def test_large_gradients_are_scaled_down():
    from autogrow.training.optimizers import clip_gradients

    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    for factor, expected in ((100.0, 1.0), (1e-3, None)):
        for parameter in module.parameters():
            parameter.grad = factor * torch.ones_like(parameter)
        before = torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm()
        clip_gradients(optimizer, 1.0)
        after = torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm()
        assert float(after) == pytest.approx(expected or float(before), rel=1e-4)
