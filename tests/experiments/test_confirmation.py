"""The best of a search on other seeds: which are trained, what is said of them, and which one is chosen."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import optuna
import pytest

from autogrow.data import open_dataset
from autogrow.errors import NetworkError, RunFolderError, TrainingDivergedError, UsageError
from autogrow.experiments import workers
from autogrow.experiments.conditions import Condition, Design
from autogrow.experiments.confirmation import confirm_policies
from autogrow.experiments.confirmation_results import Confirmed
from autogrow.experiments.records import FailedRun, RunRecord
from autogrow.experiments.results import Results
from autogrow.metrics.objectives import objective_of
from autogrow.metrics.scores import SCORES
from autogrow.network.shape import NetworkShape
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_policy
from autogrow.report.judging import Yardstick
from autogrow.report.verdict import judge_confirmation
from autogrow.study.run_folder import RunFolder
from autogrow.study.trial_record import TrialRecord
from autogrow.training.evaluation import Metrics

from ..study.finished_run import MOST_ACCURATE, make_finished_run

pytestmark = pytest.mark.usefixtures("one_thread")
SEED = 7
"""Of the search."""


SMALL = {"model": "mlp", "model_options": {"hidden": (16,)}}
OWN = """
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""


@pytest.fixture
def run(tmp_path, data_dir):
    """A finished run whose networks are trained in a moment."""
    return make_finished_run(tmp_path / "run", data_dir, train_size=60, seed=SEED, **SMALL)


@pytest.fixture
def reading(monkeypatch):
    """Training runs read on validation what a function of the policy and the seed says; gives what was trained."""
    trained = []
    train = workers.train_policy

    def install(read):
        def faked(model, dataset, policy, settings, *, seed, **options):
            trained.append((policy, settings, seed, options["reads_test"]))
            result = train(model, dataset, policy, settings, seed=seed, **options)
            return result and replace(result, validation=Metrics(1 - read(policy, seed), read(policy, seed)))

        monkeypatch.setattr(workers, "train_policy", faked)
        return trained

    return install


def policy_of_trial(run, number):
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run.database}")
    return GrowthPolicy.from_dict(TrialRecord(study.trials[number]).policy)


class TestTraining:
    @pytest.mark.slow
    def test_the_best_trials_and_controls_train_on_seeds_after_the_searchs(self, run, reading):
        trained = reading(lambda policy, seed: 0.5)
        confirmation = confirm_policies(run, top=2, num_seeds=2)
        titles = [condition.title for condition in confirmation.confirmed.results.design.conditions]
        assert titles == ["full", "full as trial 3", "default", "trial 3", "trial 4"]
        assert [seed for _, _, seed, _ in trained] == [SEED + 1] * 5 + [SEED + 2] * 5
        assert [policy.recipe() for policy, *_ in trained[3:5]] == [
            policy_of_trial(run, number).recipe() for number in (3, 4)
        ]
        assert not any(reads_test for *_, reads_test in trained)

    @pytest.mark.slow
    def test_a_trial_trains_with_its_own_settings_and_the_default_policy_with_the_runs(self, run, reading):
        trained = reading(lambda policy, seed: 0.5)
        confirm_policies(run, top=1, num_seeds=1)
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{run.database}")
        base = run.settings().training.learning_rate
        found = TrialRecord(study.trials[MOST_ACCURATE]).training["learning_rate"]
        assert found != base
        assert [settings.learning_rate for _, settings, *_ in trained] == [base, found, base, found]
        assert [policy.grows for policy, *_ in trained] == [False, False, True, True]

    @pytest.mark.slow
    def test_more_seeds_and_more_trials_train_only_what_is_new(self, run, reading):
        trained = reading(lambda policy, seed: 0.5)
        confirm_policies(run, top=1, num_seeds=1)
        confirm_policies(run, top=2, num_seeds=1)
        assert len(trained) == 5
        confirm_policies(run, top=2, num_seeds=2)
        assert len(trained) == 10
        told = []
        confirm_policies(run, top=2, num_seeds=2, on_start=told.append)
        assert (told, len(trained)) == ([10], 10)

    @pytest.mark.slow
    def test_another_runs_trial_of_the_same_number_is_another_policy(self, run, reading, tmp_path, data_dir):
        other = make_finished_run(tmp_path / "other", data_dir, train_size=60, seed=SEED, **SMALL, space="quick")
        trained = reading(lambda policy, seed: 0.5)
        for each in (run, other):
            confirm_policies(each, top=3, num_seeds=1, out=tmp_path / "shared")
        names = {path.name for path in (tmp_path / "shared" / "runs").iterdir()}
        assert len(names) == len(trained) > 6

    @pytest.mark.slow
    def test_it_is_interrupted_and_goes_on(self, run, reading):
        trained = reading(lambda policy, seed: 0.5)
        assert confirm_policies(run, top=1, num_seeds=1, interrupted=lambda: len(trained) == 2) is None
        assert confirm_policies(run, top=1, num_seeds=1).policy is not None
        assert len(trained) <= 6

    @pytest.mark.slow
    def test_a_users_own_model_is_named_again_and_found_where_the_caller_stands(self, tmp_path, data_dir, monkeypatch):
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "my_own_network.py").write_text(OWN)
        monkeypatch.chdir(tmp_path / "work")
        monkeypatch.setattr(sys, "path", list(sys.path))
        run = make_finished_run(tmp_path / "run", data_dir, train_size=60, model="my_own_network:network")
        monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path / "work")])
        monkeypatch.delitem(sys.modules, "my_own_network")
        with pytest.raises(NetworkError, match="name it with --model my_own_network:network"):
            confirm_policies(run, top=1, num_seeds=1)
        named = confirm_policies(run, top=1, num_seeds=1, model="my_own_network:network")
        assert named.policy is not None

    @pytest.mark.slow
    def test_real_runs_in_two_processes_are_those_of_one(self, run, tmp_path):
        other = RunFolder(shutil.copytree(run.path, tmp_path / "other"))
        one, two = (confirm_policies(each, top=1, num_seeds=1, jobs=jobs) for each, jobs in ((run, 1), (other, 2)))
        assert one.confirmed.results.runs[0].validation_loss == two.confirmed.results.runs[0].validation_loss
        assert one.policy.recipe() == two.policy.recipe()


class TestChoosing:
    @pytest.mark.slow
    def test_a_trial_that_was_lucky_once_is_not_chosen(self, run, reading):
        chosen = policy_of_trial(run, 4).recipe()
        reading(lambda policy, seed: 0.9 if policy.recipe() == chosen else 0.6)
        confirmation = confirm_policies(run, top=3, num_seeds=2)
        assert confirmation.confirmed.best.startswith("trial_4@")
        saved = GrowthPolicy.load(run.path / "confirmation" / "policy.yaml")
        assert saved.recipe() == chosen
        found = saved.found_by
        assert (found["study"], found["trial"], found["seed"]) == ("run", 4, SEED)
        evidence = found["confirmed"]
        assert (evidence["seeds"], evidence["mean"]) == ([SEED + 1, SEED + 2], pytest.approx(0.9))
        assert evidence["minus_default"]["mean"] == pytest.approx(0.3)

    @pytest.mark.slow
    def test_the_default_policy_is_chosen_where_nothing_is_ahead_of_it(self, run, reading):
        default = default_policy().recipe()
        reading(lambda policy, seed: 0.9 if policy.recipe() == default else 0.6)
        confirmation = confirm_policies(run, top=2, num_seeds=1)
        assert confirmation.policy.recipe() == default
        assert confirmation.policy.training == run.settings().training
        assert confirmation.policy.found_by["model"] == "mlp"
        assert "none that the search found has more" in confirmation.confirmed.findings()[1]

    @pytest.mark.slow
    def test_the_static_control_is_never_chosen(self, run, reading):
        reading(lambda policy, seed: 0.9 if policy.initial_fraction == 1 else 0.6)
        confirmed = confirm_policies(run, top=2, num_seeds=1).confirmed
        assert confirmed.best != "static"
        assert (
            "lower than the full network by 86 of 288 examples, one seed; lower than the full network as trial"
            in " ".join(confirmed.findings())
        )

    @pytest.mark.slow
    def test_by_loss(self, run, reading):
        chosen = policy_of_trial(run, 4).recipe()
        reading(lambda policy, seed: 0.9 if policy.recipe() == chosen else 0.6)
        assert confirm_policies(run, top=3, num_seeds=1, prefer="loss").confirmed.best.startswith("trial_4@")

    @pytest.mark.slow
    def test_a_default_policy_that_breaks_the_limits_is_not_chosen(self, run, reading):
        default = default_policy().recipe()
        reading(lambda policy, seed: 0.9 if policy.recipe() == default else 0.6)
        limited = replace(confirm_policies(run, top=1, num_seeds=1).confirmed, default_is_feasible=False)
        assert limited.best.startswith("trial_3@")

    @pytest.mark.slow
    def test_what_diverges_under_a_seed_is_not_chosen(self, run, monkeypatch):
        train = workers.train_policy

        def diverge(model, dataset, policy, settings, *, seed, **options):
            if seed == SEED + 2:
                raise TrainingDivergedError("the loss is nan at step 3 of 14")
            return train(model, dataset, policy, settings, seed=seed, **options)

        monkeypatch.setattr(workers, "train_policy", diverge)
        confirmation = confirm_policies(run, top=1, num_seeds=1)
        assert confirmation.policy is not None
        confirmation = confirm_policies(run, top=1, num_seeds=2)
        assert (confirmation.confirmed.best, confirmation.policy) == (None, None)
        assert not (run.path / "confirmation" / "policy.yaml").exists()
        assert confirmation.confirmed.findings()[0] == "No policy came through under every seed."
        assert "failed under seed 9: the loss is nan" in (run.path / "confirmation" / "table.md").read_text()


class TestRefusing:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"top": 0}, "top is 0, not between 1 and 20"),
            ({"top": 21}, "top is 21"),
            ({"num_seeds": 0}, "seeds is 0"),
            ({"prefer": "los"}, "did you mean 'loss'"),
            ({"num_seeds": 1000}, "seeds is 1000: the run's seed is 4294967295"),
        ],
    )
    def test_numbers_and_names(self, options, message, run, tmp_path, data_dir):
        if options == {"num_seeds": 1000}:
            run = make_finished_run(tmp_path / "last", data_dir, seed=2**32 - 1, **SMALL)
        with pytest.raises(UsageError, match=message):
            confirm_policies(run, **options)
        assert not (run.path / "confirmation").exists()

    @pytest.mark.slow
    def test_other_data(self, tmp_path, data_dir):
        rng = np.random.default_rng(0)
        place = tmp_path / "mine.npz"

        def write():
            np.savez(place, x_train=rng.normal(size=(100, 4)).astype(np.float32), y_train=np.arange(100) % 3)
            return open_dataset(str(place), data_dir).fingerprint

        write()
        run = make_finished_run(tmp_path / "run", data_dir, dataset=str(place))
        fingerprint = write()
        with pytest.raises(RunFolderError, match=f"is now {fingerprint}: restore the data, or search again"):
            confirm_policies(run, top=1, num_seeds=1)


NAMES = ("static", "default", "trial_1", "trial_2")


def confirmed(losses, *, metric="validation_loss", failures=(), searched=None):
    """By condition, the losses of its seeds; accuracy is 1 minus the loss."""
    conditions = tuple(Condition(name, name.replace("_", " "), "", lambda *given: "") for name in NAMES)
    runs = [
        RunRecord(
            seed, name, test_score=None, test_loss=None, validation_score=1 - loss, validation_loss=loss,
            train_score=0.9, train_loss=0.1, train_seconds=1.0, training_flops=2.0, steps=10, parameters=10,
            num_events=1, growth_ended_by="", shape=NetworkShape({}),
        )
        for name, values in losses.items()
        for seed, loss in enumerate(values)
    ]  # fmt: skip
    design = Design(conditions, subject="default", unit="static", split="validation", is_open=True)
    results = Results("classification", design, tuple(runs), tuple(failures))
    yardstick = Yardstick("classification", "loss" if metric == "validation_loss" else "score", 1000, 0.1)
    objective = objective_of("loss" if metric == "validation_loss" else "score", SCORES["accuracy"])
    return Confirmed(results, objective, NAMES[2:], searched or {}, yardstick)


LOSSES = {
    "static": [0.1, 0.1, 0.1], "default": [0.3, 0.31, 0.29], "trial_1": [0.2, 0.22, 0.21], "trial_2": [0.1, 0.5, 0.3],
}  # fmt: skip


class TestWords:
    def test_of_a_difference_that_is_clear(self):
        said = confirmed(LOSSES, searched={"trial_1": 0.15, "trial_2": 0.15, "default": 0.28}).findings()
        assert said == (
            "Over 3 other seeds, growing (trial 1) is behind static by 0.11 of loss (standard error 0.00577, 3 paired "
            "seeds).",
            "Of the policies, trial 1 has the lowest mean loss over 3 other seeds, 0.210: ahead of the default policy "
            "by 0.09 of loss (standard error 0.00577, 3 paired seeds).",
            "Trial 1 is behind static by 0.11 of loss (standard error 0.00577, 3 paired seeds).",
            "The 2 trials had on average loss 0.150 in the search, 0.255 with other seeds; the default policy, which "
            "was not chosen, 0.280 in the search, 0.300 with other seeds. What they lost beyond it is the luck of "
            "being chosen.",
            # Trial 2 varies so much more than the others that it says nothing of them.
            "Noise floor: by how policies vary from seed to seed, chance alone makes up to 0.016 of loss between two "
            "of them over 3 seeds: nothing smaller is called better.",
        )

    def test_what_replicates_vary_by_is_level(self):
        losses = {
            "static": [0.205, 0.19, 0.212], "default": [0.3, 0.28, 0.26], "trial_1": [0.2, 0.188, 0.208],
            "trial_2": [0.25, 0.3, 0.27],
        }  # fmt: skip
        found = confirmed(losses)
        assert found.findings()[0].startswith("Over 3 other seeds, growing (trial 1) is level with static: -0.00367")
        assert "below the noise floor of 0.0" in found.findings()[0]
        assert found.paired().floor == found.floor
        assert judge_confirmation(replace(found.paired(), floor=None)).kind == "ahead"  # as in a file of before
        assert judge_confirmation(found.paired()).details[-1] == found.findings()[-1]

    def test_what_the_default_policy_loses_too_is_no_luck(self):
        said = confirmed(LOSSES, searched={"trial_1": 0.15, "trial_2": 0.15, "default": 0.1}).findings()
        assert said[-2].endswith(
            "the default policy, which was not chosen, 0.100 in the search, 0.300 with other seeds."
        )

    def test_of_a_difference_that_is_clear_for_one_and_not_for_the_best_of_many(self):
        losses = {**LOSSES, "trial_1": [0.2, 0.24, 0.23]}
        one, many = confirmed(losses), replace(confirmed(losses), candidates=("trial_1",) * 9)
        assert one.findings()[1].endswith("3 paired seeds).")
        assert many.findings()[1].endswith(
            "as the best of 9 it was chosen by these seeds, and p 0.024 is not below 0.05 / 9."
        )

    def test_of_one_that_the_seeds_do_not_tell(self):
        losses = {**LOSSES, "trial_1": [0.9, 0.9, 0.9], "trial_2": [0.1, 0.35, 0.3]}
        _, first, _, last, _ = confirmed(losses, metric="validation_score", searched={"trial_2": 0.7}).findings()
        assert first.startswith(
            "Of the policies, trial 2 has the highest mean accuracy over 3 other seeds, 75.00 %: level with the "
            "default policy: +5.00 points (standard error 7."
        )
        assert last == "The trial had accuracy 70.00 % in the search, 75.00 % with other seeds."

    def test_of_one_seed(self):
        one = {name: values[:1] for name, values in LOSSES.items()}
        said = confirmed({**one, "trial_2": [0.4]}).findings()
        assert said[1].endswith("lower than the default policy by 0.1 of loss, one seed.")
        assert "over one other seed" in said[1]
        assert not any(word in " ".join(said) for word in ("ahead", "behind", "level"))

    def test_a_trial_that_failed_once_is_in_the_table_and_not_chosen(self):
        losses = {**LOSSES, "trial_1": LOSSES["trial_1"][:2], "trial_2": [0.25, 0.26, 0.25]}
        found = confirmed(losses, failures=[FailedRun(2, "trial_1", "the loss is nan")])
        assert found.best == "trial_2"
        assert [row[0] for row in found.table().rows] == ["static", "default", "trial 1", "trial 2"]
        assert "Trial 1 failed under seed 2: the loss is nan." in found.table().note

    @pytest.mark.parametrize("metric", ["validation_loss", "validation_score"])
    def test_the_terminals_table_keeps_what_is_chosen_by(self, metric):
        found = confirmed(LOSSES, metric=metric)
        titles = [column.title for column in found.table_for_terminal().columns]
        assert ("loss" in titles) == (metric == "validation_loss")
        assert ("accuracy %" in titles) == (metric == "validation_score")
        assert all(len(row) == len(titles) for row in found.table_for_terminal().rows)


@pytest.mark.slow
def test_the_page_and_the_file_say_the_same(run, reading):
    reading(lambda policy, seed: 0.5 + 0.1 * policy.max_fraction)
    confirmation = confirm_policies(run, top=2, num_seeds=2)
    folder = run.path / "confirmation"
    content = json.loads((folder / "confirmation.json").read_text())
    assert content["format"] == "autogrow-confirmation/1"
    assert content["settings"]["first_seed"] == SEED + 1
    page = (folder / "table.md").read_text()
    assert all(paragraph in page for paragraph in confirmation.confirmed.findings())
    assert content["findings"] == list(confirmation.confirmed.findings())
    assert (content["run"], content["best"]) == ("run", confirmation.confirmed.best)
    assert content["evidence"] == confirmation.policy.found_by["confirmed"]
    assert content["policies"][content["best"]] == confirmation.policy.recipe()
    assert {path.name for path in folder.iterdir()} == {
        "confirmation.json", "table.md", "figure.svg", "policy.yaml", "runs",
    }  # fmt: skip
