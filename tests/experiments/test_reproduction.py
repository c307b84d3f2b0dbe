"""Everything that can be reproduced: its networks and policies are the thesis', and it runs, goes on and writes."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autogrow.data import open_dataset
from autogrow.errors import RunFolderError
from autogrow.experiments.reproduction import REPRODUCTIONS, ablations, cost, mnist, sine
from autogrow.experiments.reproduction.ablation import Ablation
from autogrow.experiments.reproduction.base import Request
from autogrow.experiments.reproduction.thesis_experiment import ThesisExperiment
from autogrow.models.building import build_model
from autogrow.policy.presets import static_policy

THESIS = {name: each for name, each in REPRODUCTIONS.items() if isinstance(each, ThesisExperiment)}
ABLATIONS = {name: each for name, each in REPRODUCTIONS.items() if isinstance(each, Ablation)}
SECOND_THESIS = {"summation", "autoencoder", "mnist-classifier", "cifar10-classifier"}
real_data = pytest.mark.skipif("AUTOGROW_DATA" not in os.environ, reason="needs the official files in AUTOGROW_DATA")


@pytest.fixture
def request_for(tmp_path, data_dir):
    def make(out="out", **fields):
        place = Path(os.environ["AUTOGROW_DATA"]) if "AUTOGROW_DATA" in os.environ else data_dir
        return Request(**{"num_seeds": 1, "out": tmp_path / out, "quick": True, "data_dir": place, **fields})

    return make


def built(experiment, request):
    return experiment.build(open_dataset(experiment.dataset, request.data_dir), request)


def plan(arena, condition, finished=None):
    chosen = next(each for each in arena.design.conditions if each.name == condition)
    return chosen.plan(arena.experiment, 0, finished or {})


def num_parameters(arena, condition):
    dataset = arena.experiment.dataset
    module = build_model(plan(arena, condition).model, dataset.input_shape, dataset.num_outputs, 0)
    return sum(parameter.numel() for parameter in module.parameters())


def test_there_are_the_thesis_experiments_its_costs_and_studies():
    assert set(THESIS) == {"sine", "mnist", "cifar100", "cifar100-resnet18"}
    choices = {"layer-selection", "freezing", "initialization", "trigger"}
    assert set(ABLATIONS) == {*choices, "default-policy", "grow-then-shrink"}
    assert set(REPRODUCTIONS) == {*THESIS, *SECOND_THESIS, *ABLATIONS, "cost", "stacking", "racing"}
    for name, each in REPRODUCTIONS.items():
        assert each.name == name
        assert each.place == ("studies" if name in {*ABLATIONS, "racing"} else "reproduce")


class TestSettingsOfTheThesis:
    def test_sine_has_its_networks(self, request_for):
        arena = built(THESIS["sine"], request_for(quick=False))
        assert num_parameters(arena, "static_100") == 3 * 100 + 1
        assert num_parameters(arena, "static_500") == num_parameters(arena, "thesis") == 3 * 500 + 1
        assert plan(arena, "static_100").policy == static_policy()
        policy = plan(arena, "thesis").policy
        assert [policy.initial_width(500), policy.added_units(100, 500), policy.max_width(500)] == [100, 100, 500]
        assert (policy.freeze.kind, policy.initialization.kind) == ("old", "xavier")

    @real_data
    def test_mnist_grows_in_tenths(self, request_for):
        arena = built(THESIS["mnist"], request_for(quick=False))
        policy = plan(arena, "thesis").policy
        assert [policy.initial_width(1024), policy.added_units(102, 1024), policy.max_width(1024)] == [102, 103, 1024]
        assert policy.trigger.metric == "train_score"
        layers = [(49, 32), (32 * 49, 64), (64 * 49, 1024), (1024, 10)]  # inputs and outputs, each output with a bias
        assert num_parameters(arena, "standard") == sum((inputs + 1) * outputs for inputs, outputs in layers)

    @real_data
    def test_cifar100_has_60_layers_and_grows_every_25_samples_of_100_steps(self, request_for):
        arena = built(THESIS["cifar100"], request_for(quick=False))
        grown = plan(arena, "thesis")
        assert grown.model.options == {"depth": 62}  # 60 in 30 blocks, the stem and the classifier
        assert (grown.policy.trigger.every, grown.training.sample_every, grown.training.batch_size) == (25, 100, 128)
        assert (grown.training.optimizer, grown.training.learning_rate) == ("adam", 0.001)
        steps_per_epoch = 45_000 // 128
        assert grown.training.num_steps(steps_per_epoch) > 1.5 * 9 * 25 * 100

    @pytest.mark.parametrize(
        "settings",
        [(sine.TRAINING, sine.FALLING), (mnist.THESIS_TRAINING, mnist.BEST_TRAINING)],
    )
    def test_then_and_today_train_on_as_many_examples(self, settings):
        then, today = settings
        assert (then.epochs, then.batch_size) == (today.epochs, today.batch_size)
        assert then.learning_rate_schedule == "constant"

    def test_published_figures_stand_beside_their_conditions(self, request_for):
        names = {condition.name for condition in built(THESIS["sine"], request_for()).design.conditions}
        assert set(sine.PUBLISHED) <= names
        assert cost.PUBLISHED_OVERHEAD == pytest.approx(1.036, abs=1e-3)
        assert cost.PUBLISHED_SAVING == pytest.approx(0.325, abs=1e-3)


@pytest.mark.parametrize("study", ABLATIONS.values(), ids=ABLATIONS)
class TestStudies:
    def test_alternatives_differ_in_what_they_are_about(self, study):
        policies = [study.policy(alternative) for alternative in study.alternatives]
        recipes = {
            (policy.model_dump_json(), str(alternative.training))
            for policy, alternative in zip(policies, study.alternatives, strict=True)
        }
        assert len(recipes) == len(policies)
        assert study.baseline in [alternative.name for alternative in study.alternatives]
        about = {name for alternative in study.alternatives for name in alternative.fields}
        for policy in policies:
            same = {name: value for name, value in policy.recipe().items() if name not in about}
            assert same == {name: value for name, value in policies[0].recipe().items() if name not in about}

    def test_the_test_split_stays_closed(self, study):
        assert study.design(study.workloads[0]).split == "validation"


def test_selections_add_as_many_units_per_sample():
    added = {}
    for alternative in ablations.LAYER_SELECTION.alternatives:
        policy = ablations.LAYER_SELECTION.policy(alternative)
        share = getattr(policy.layer_selection, "fraction", 1.0)
        added[alternative.name] = policy.chunk_fraction * share / policy.trigger.every
    assert set(added.values()) == {0.125 / 10}


def test_all_ways_to_a_quarter_of_the_width_end_there_and_spend_the_same():
    study, ends = ablations.SHRINKING, set()
    for alternative in study.alternatives:
        policy = study.policy(alternative)
        shrunk = 1.0 if policy.shrink is None else policy.shrink.final_fraction
        ends.add(shrunk * policy.max_width(256))
        assert alternative.training == {"length": "compute"}
    assert ends == {64}


class TestRunning:
    @pytest.mark.slow
    def test_sine_writes_its_table_curves_and_numbers(self, request_for):
        report = THESIS["sine"].run(request_for())
        names = {path.name for path in report.written}
        pictures = {"figure.svg", "train-loss.svg", "validation-loss.svg"}
        assert names == {"reproduce.json", "curves.json", "table.md", *pictures}
        content = json.loads((report.folder / "reproduce.json").read_text())
        assert {run["condition"] for run in content["runs"]} == {
            "static_100", "static_500", "thesis", "best", "unfrozen",
            "static_100_falling", "static_500_falling", "grown_falling",
        }  # fmt: skip
        curves = json.loads((report.folder / "curves.json").read_text())
        assert set(curves) == {f"0-{run['condition']}" for run in content["runs"]}
        for columns in (curve["columns"] for curve in curves.values()):
            assert len(columns["step"]) == len(columns["train_loss"]) == len(columns["validation_loss"]) > 0
        assert content["last_samples"]["best"]["train_loss"]["mean"]["num_seeds"] == 1
        text = (report.folder / "table.md").read_text()
        assert "0.00138" in text and "| best policy |" in text
        assert report.tables[0].rows[0][0] == "100 units"

    @pytest.mark.slow
    def test_it_goes_on_with_more_seeds(self, request_for):
        told = []
        request = request_for(on_run=lambda run: told.append((run.outcome.seed, run.trained_now)))
        THESIS["sine"].run(request)
        THESIS["sine"].run(replace(request, num_seeds=2))
        assert sorted(told[8:]) == [(0, False)] * 8 + [(1, True)] * 8

    @pytest.mark.slow
    def test_another_length_is_another_experiment(self, request_for):
        THESIS["sine"].run(request_for())
        with pytest.raises(RunFolderError, match="holds results of other settings"):
            THESIS["sine"].run(request_for(quick=False))

    @pytest.mark.slow
    def test_a_study_says_in_words_what_it_found(self, request_for, monkeypatch):
        study = replace(ABLATIONS["freezing"], workloads=(ablations.DIGITS, ablations.SINE))
        opened = []
        monkeypatch.setattr("autogrow.export.testing.open_test_split", opened.append)
        report = study.run(request_for(num_seeds=2))
        assert not opened
        assert report.paragraphs[0].startswith(
            "A difference is one of the loss with p below 0.05 over 2 seeds, and above what chance alone makes"
        )
        assert [paragraph.partition(":")[0] for paragraph in report.paragraphs[1:]] == ["Static", "Old", "Thaw"]
        page = (report.folder / "table.md").read_text()
        assert page.count("\n| digits |") == page.count("\n| sine |") == 5
        assert all(paragraph in page for paragraph in report.paragraphs)
        runs = json.loads((report.folder / "digits" / "study.json").read_text())["runs"]
        assert {run["test_score"] for run in runs} == {None}
        assert all(run["validation_loss"] > 0 for run in runs)
        assert [run["num_events"] > 0 for run in runs] == [False, True, True, True, False] * 2
        assert all(run["largest_shock"] is not None for run in runs if run["num_events"])

    def test_data_are_asked_for_before_anything_is_trained(self, request_for, tmp_path):
        told = []
        request = request_for(data_dir=tmp_path, on_run=told.append)
        with pytest.raises(Exception, match="mnist"):
            ABLATIONS["freezing"].run(request)
        assert not told and not request.out.exists()


@real_data
@pytest.mark.slow
def test_the_plain_loop_takes_the_same_steps_as_the_static_network(request_for):
    """Else the overhead would compare two different trainings."""
    bench, _ = cost.prepare(request_for())
    plain = cost.PlainLoop(bench, seed=3)
    plain.block(cost.QUICK_STEPS)
    trainer = bench.trainer(static_policy(), seed=3)
    trainer.run()
    for expected, found in zip(trainer.model.parameters(), plain.module.parameters(), strict=True):
        assert torch.allclose(expected, found, atol=1e-5)
