"""Cycles of training, scoring and removing units, and what is said of them."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from autogrow.data.dataset import Dataset
from autogrow.experiments.reproduction import REPRODUCTIONS
from autogrow.experiments.reproduction.base import Request
from autogrow.experiments.reproduction.summation.cycles import (
    WANTED_LOSS,
    Cycle,
    Lengths,
    PrunedRun,
    Pruning,
    PruningRun,
    shortened,
)
from autogrow.experiments.reproduction.summation.summation import (
    conditions,
    cycles_table,
    found_in_words,
    units_table,
)
from autogrow.policy.unit_scores import Magnitude, OptimalBrainSurgeon, Random
from autogrow.training.training_data import TrainingData

LENGTHS = Lengths(all_steps=24, cycle=4, short_cycle=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    inputs = np.random.default_rng(0).uniform(-1, 1, (1300, 2)).astype(np.float32)
    sums = inputs.sum(1, keepdims=True)
    return Dataset.from_arrays(
        inputs[:1200], sums[:1200], inputs[1200:], sums[1200:], data_dir=tmp_path_factory.mktemp("data")
    )


@pytest.fixture(scope="module")
def data(dataset):
    return TrainingData.of(dataset, *dataset.split(seed=0), standardizes_targets=False)


@pytest.fixture
def started(dataset, data):
    def start(pruning, seed=0, lengths=LENGTHS):
        return PruningRun(pruning, dataset, data, lengths, seed)

    return start


def hidden(run):
    return run._module[1]


def kill(run, *units):
    """Make units of the hidden layer ones that no example activates."""
    with torch.no_grad():
        hidden(run).bias[list(units)] = -100.0


def test_units_that_are_never_active_go_and_no_others(started):
    run = started(Pruning(8))
    kill(run, 1, 5)
    found = run.run()
    assert [cycle.units for cycle in found.cycles] == [8, 6]
    assert (found.units, found.steps, [cycle.steps for cycle in found.cycles]) == (6, 24, [4, 8])


def test_one_unit_stays_where_none_is_active(started):
    run = started(Pruning(4))
    kill(run, 0, 1, 2, 3)
    assert run.run().units == 1


def test_a_share_goes_in_every_cycle_and_small_sizes_are_tried_first(started):
    found = started(Pruning(10, Magnitude(readers=True), share=0.4)).run()
    assert [cycle.units for cycle in found.cycles] == [10, 6, 4, 3, 2]
    assert found.tried_units == (1, 2, 3) and found.units == 4
    assert found.steps == 10 + 4 * 14
    assert not found.met and found.left == ()


def test_the_first_size_that_has_the_loss_is_taken(started, monkeypatch):
    run = started(Pruning(10, Random(), share=0.4))
    losses = {1: 2 * WANTED_LOSS, 2: WANTED_LOSS / 2}
    monkeypatch.setattr(run, "_loss", lambda module: losses.get(module[1].out_features, 1.0))
    found = run.run()
    assert (found.units, found.tried_units, found.validation_loss) == (2, (1,), WANTED_LOSS / 2)
    assert len(found.left) == 2 and all(len(unit) == 4 for unit in found.left)


@pytest.mark.parametrize("score", [Random(), OptimalBrainSurgeon()])
def test_what_others_make_up_for_changes_nothing(started, score):
    """Twenty active units are sums of three linear functions: least squares finds them again when eight go."""
    run = started(Pruning(20, score, share=0.4, compensation="least_squares"))
    with torch.no_grad():
        hidden(run).bias += 10.0
    before = run._loss(run._module)
    run._remove(run._removed(score))
    assert hidden(run).out_features == 12
    assert run._loss(run._module) == pytest.approx(before, rel=1e-3)


def test_distortion_moves_weights_up_by_at_most_what_their_variance_leaves(started):
    run = started(Pruning(50, distorts=True))
    before = hidden(run).weight.detach().clone()
    share = 1 - float(before.var(correction=0))
    run._distort()
    moved = hidden(run).weight.detach() - before
    assert 0 <= moved.min() and moved.max() <= share and moved.mean() == pytest.approx(share / 2, abs=0.1)
    together = torch.stack([moved.flatten(), before.flatten()])
    assert abs(float(torch.corrcoef(together)[0, 1])) < 0.4  # weights are drawn from the same seed
    with torch.no_grad():
        hidden(run).weight *= 10
    wide = hidden(run).weight.detach().clone()
    run._distort()
    assert torch.equal(hidden(run).weight, wide)


def test_a_penalty_makes_activations_smaller(started):
    def activity(penalty):
        run = started(Pruning(30, activation_penalty=penalty))
        run._train_on(run._module, 20, penalty)
        inputs, _ = run._train.batch(torch.arange(500))
        return hidden(run)(inputs).relu().sum(1).mean().item()

    assert activity(1.0) < 0.9 * activity(0.0)


@pytest.mark.slow
def test_a_run_is_a_function_of_its_seed(started):
    pruning = Pruning(10, Random(), share=0.4, distorts=True)
    first, again, other = (replace(started(pruning, seed).run(), train_seconds=0.0) for seed in (3, 3, 4))
    assert first == again != other


def test_a_training_that_diverges_is_said_and_loses_no_units(started):
    run = started(Pruning(8))
    with torch.no_grad():
        hidden(run).weight *= 1e20
    found = run.run()
    assert found.has_diverged and not found.met and (found.units, found.steps) == (8, 4)
    json.dumps(asdict(found), allow_nan=False)


def test_a_quick_look_has_as_many_cycles():
    assert shortened(Lengths(10_000, 1000, 500), 200) == Lengths(200, 20, 10)


def made(units, loss, test_loss=None):
    return PrunedRun(units, loss, loss if test_loss is None else test_loss, 10_000, 9.5, (Cycle(1000, 1000, 0.01),))


def test_tables_count_what_was_met_and_words_say_it():
    wanted = {name: each for name, each in conditions().items() if name in ("vanilla", "magnitude", "surgeon")}
    runs = {
        "vanilla": [made(968, 1e-5), made(960, None)],
        "magnitude": [made(2, 1e-8), made(3, 1e-8)],
        "surgeon": [made(2, 1e-8), made(1, 1e-7)],
    }
    rows = units_table(wanted, runs).rows
    assert rows[0][:5] == ("vanilla", "964 (960 to 968)", "1.00e-05 of 1", "0 of 2", "0 of 2")
    assert rows[1][1:5] == ("2.5 (2 to 3)", "1.00e-08", "2 of 2", "1 of 2")
    assert rows[2][1:5] == ("1.5 (1 to 2)", "1.00e-07", "2 of 2", "2 of 2")
    said = found_in_words(wanted, runs)
    assert said.startswith("Of 2 seeds, at most 2 units at a loss below 1e-06 under all: optimal brain surgeon;")
    assert said.endswith("under none: vanilla.")
    assert cycles_table(wanted, runs).rows[0] == ("vanilla", "1000 (1.0e-02)")


def test_a_loss_that_only_validation_has_is_not_met():
    assert made(2, 1e-7).met and not made(2, 1e-7, 2e-6).met


@pytest.mark.slow
def test_it_goes_on_where_it_was_and_writes(data_dir, tmp_path):
    reproduction = REPRODUCTIONS["summation"]
    asked = iter([False] * 3 + [True])
    request = Request(1, tmp_path / "out", quick=True, data_dir=data_dir, interrupted=lambda: next(asked))
    assert reproduction.run(request) is None
    kept = {path: path.read_text() for path in (tmp_path / "out" / "runs").iterdir()}
    assert len(kept) == 3
    report = reproduction.run(replace(request, interrupted=None))
    assert report.succeeded and all(path.read_text() == text for path, text in kept.items())
    assert (tmp_path / "out" / "table.md").read_text().count("\n| ") == 2 * (2 + len(conditions()))
