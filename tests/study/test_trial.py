"""One trial, inline: what it returns, what it writes, and that it leaves its process as it was."""

import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from autogrow.data import test_split
from autogrow.errors import MAX_LINE
from autogrow.study import trial
from autogrow.study.trial import device_problem, run_trial
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_result import read_trial_result
from autogrow.training import ending, trainer
from autogrow.training.ending import Signal
from autogrow.training.records import TrialFolder

pytestmark = pytest.mark.usefixtures("one_thread")

OBJECTIVE_METRICS = {"validation_score", "generalization_gap", "train_seconds"}
TIMED = ("train_seconds",)


def go_on(_):
    return Signal.CONTINUE


def folder_of(config):
    return TrialFolder(Path(config.folder))


def untimed(records):
    """Records without what no two runs share: seconds."""
    return [{key: value for key, value in record.items() if not key.endswith("seconds")} for record in records]


@pytest.mark.slow
def test_a_complete_trial_returns_and_writes_its_result(trial_config):
    config = trial_config()
    result = run_trial(config, go_on)
    assert result.status == "complete"
    assert OBJECTIVE_METRICS <= result.metrics.by_name().keys()
    assert read_trial_result(folder_of(config)) == result
    assert not (Path(config.folder) / "log.txt").exists()


@pytest.mark.slow
def test_its_records_agree_with_its_result(trial_config):
    config = trial_config()
    metrics = run_trial(config, go_on).metrics.by_name()
    samples, events = folder_of(config).samples(), folder_of(config).events()
    assert [sample.index for sample in samples] == list(range(len(samples)))
    assert samples[-1].step == metrics["steps"] == 24
    assert samples[-1].parameters == metrics["parameters"]
    assert len(events) == metrics["num_events"] > 0
    assert events[-1].parameters_after == metrics["parameters"]
    assert metrics["generalization_gap"] == metrics["train_score"] - metrics["validation_score"]
    assert 0 < metrics["compute"] < 1


@pytest.mark.slow
def test_a_static_trial_takes_all_of_the_compute(trial_config):
    static = {"initial_fraction": 1.0, "chunk_fraction": 1.0}
    metrics = run_trial(trial_config(policy=static, role="static"), go_on).metrics.by_name()
    assert metrics["compute"] == 1
    assert metrics["num_events"] == 0


class TestSize:
    """FLOPs of one example stand in every result; what takes time is measured where it is asked for or limited."""

    POLICY = {"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 8}}

    @pytest.mark.slow
    def test_flops_are_those_of_one_example_in_the_final_network(self, trial_config):
        config = trial_config()
        metrics = run_trial(config, go_on).metrics.by_name()
        assert metrics["flops"] == folder_of(config).events()[-1].flops_after
        assert not {"latency_ms", "memory_bytes"} & metrics.keys()

    @pytest.mark.slow
    def test_of_the_static_network_they_are_the_run_divided_by_its_examples(self, trial_config):
        static = {"initial_fraction": 1.0, "chunk_fraction": 1.0}
        config = trial_config(policy=static, role="static")
        metrics = run_trial(config, go_on).metrics.by_name()
        batch_size = config.training.batch_size
        assert metrics["flops"] == pytest.approx(metrics["training_flops"] / metrics["steps"] / batch_size)

    @pytest.mark.slow
    @pytest.mark.parametrize("dataset", ["digits", "sine"])
    def test_what_is_asked_for_is_measured_and_changes_nothing_else(self, dataset, trial_config):
        asked = trial_config("asked", dataset=dataset, measured=("latency_ms", "memory_bytes"))
        plain = trial_config("plain", dataset=dataset)
        metrics, others = (untimed([run_trial(config, go_on).metrics.by_name()])[0] for config in (asked, plain))
        assert metrics.pop("latency_ms") > 0
        assert metrics.pop("memory_bytes") > 4 * metrics["parameters"]
        assert metrics == others

    @pytest.mark.slow
    def test_what_a_limit_asks_for_is_measured(self, trial_config):
        policy = {**self.POLICY, "limits": {"max_memory_bytes": 10**9, "max_latency_ms": 1e4}}
        metrics = run_trial(trial_config(policy=policy), go_on).metrics.by_name()
        assert 0 < metrics["latency_ms"] < 1e4
        assert 0 < metrics["memory_bytes"] < 10**9

    @pytest.mark.slow
    def test_measuring_is_not_training(self, trial_config, monkeypatch):
        monkeypatch.setattr(trainer, "latency_ms", lambda model, batch: time.sleep(1.0) or 7.5)
        result = run_trial(trial_config(measured=("latency_ms",)), go_on)
        assert result.metrics.others == {"latency_ms": 7.5}
        assert result.trial_seconds > result.metrics.train_seconds + 1.0


@pytest.mark.slow
def test_a_configuration_travels_as_json(trial_config):
    config = trial_config()
    again = TrialConfig.model_validate_json(config.model_dump_json())
    moved = again.model_copy(update={"folder": config.folder + "-again"})
    first, second = (untimed([run_trial(each, go_on).metrics.by_name()]) for each in (config, moved))
    assert first == second


@pytest.mark.slow
def test_reports_are_few_evenly_spaced_and_come_before_the_end(trial_config):
    reports = []

    def report(report):
        reports.append(report)
        return Signal.CONTINUE

    run_trial(trial_config(num_reports=6), report)
    progress = [report.progress for report in reports]
    assert progress == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6], abs=1 / 24)
    assert all(OBJECTIVE_METRICS <= report.metrics.by_name().keys() for report in reports)
    assert [report.metrics.compute for report in reports] == sorted(report.metrics.compute for report in reports)


@pytest.mark.slow
def test_a_stopped_trial_keeps_what_it_had_reached(trial_config):
    config = trial_config()
    result = run_trial(config, lambda report: Signal.STOP if report.progress > 0.4 else Signal.CONTINUE)
    assert result.status == "stopped"
    assert result == read_trial_result(folder_of(config))
    assert 0.4 < result.progress < 0.6
    assert result.metrics.by_name()["validation_score"] == folder_of(config).samples()[-1].validation_score


class TestFailures:
    """What goes wrong inside a trial becomes a result with a reason and a log."""

    @staticmethod
    def check(config, reason):
        result = run_trial(config, go_on)
        assert result.status == "failed"
        assert reason in result.reason
        assert "\n" not in result.reason
        assert read_trial_result(folder_of(config)) == result
        assert "Traceback" in (Path(config.folder) / "log.txt").read_text()

    @pytest.mark.slow
    def test_a_loss_that_is_not_finite(self, trial_config):
        training = {"optimizer": "sgd", "learning_rate": 100.0}
        plain = {"hidden": (32,), "batch_norm": False}
        config = trial_config(dataset="sine", training=training, model_options=plain)
        self.check(config, "lower the learning rate (100)")

    @pytest.mark.slow
    def test_a_users_model_that_gives_nan(self, trial_config, user_model):
        name = user_model(NAN_AFTER.format(value="float('nan')"))
        self.check(trial_config(model=name, model_options={}), "the loss is nan at step")

    @pytest.mark.slow
    def test_a_users_model_that_gives_nan_only_when_all_is_evaluated(self, trial_config, user_model):
        name = user_model(NAN_FOR_ALL_OF_VALIDATION)
        self.check(trial_config(model=name, model_options={}), "loss is nan at step 24 of 24")

    @pytest.mark.slow
    def test_a_users_model_that_raises(self, trial_config, user_model):
        name = user_model(RAISES_IN_TRAINING)
        self.check(trial_config(model=name, model_options={}), "RuntimeError: no more of this")

    @pytest.mark.slow
    def test_a_users_factory_that_raises(self, trial_config, user_model):
        name = user_model("def network():\n    raise KeyError('weights')\n")
        self.check(trial_config(model=name, model_options={}), "KeyError: 'weights'")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("raised", "reason"),
        [
            ("KeyboardInterrupt", "KeyboardInterrupt"),
            ("SystemExit('enough')", "SystemExit: enough"),
            ("SystemExit(0)", "SystemExit: 0"),
            ("GeneratorExit", "GeneratorExit"),
            ("WithoutText()", "WithoutText: its message cannot be made"),
            ("ValueError('half a character: \\ud800')", "ValueError: half a character: \\ud800"),
            ("ValueError('endless ' * 10**6)", "ValueError: endless endless"),
            ("OF_ITSELF", "RuntimeError: of itself"),
            ("RuntimeError(WithoutText())", "RuntimeError: its message cannot be made"),
        ],
    )
    @pytest.mark.parametrize("where", ["forward", "factory", "import"])
    def test_whatever_a_users_model_raises_is_the_reason(self, raised, reason, where, trial_config, user_model):
        """In a thread, as in Ray's processes: in the main one, KeyboardInterrupt is the user's."""
        places = {"forward": "pass", "factory": "pass", "import": "pass", where: f"raise {raised}"}
        config = trial_config(model=user_model(RAISES.format_map({"import_": places["import"], **places})))
        sys.modules.pop(config.model.partition(":")[0], None)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(self.check, config.model_copy(update={"model_options": {}}), reason).result()
        assert len(read_trial_result(folder_of(config)).reason) < MAX_LINE + 100

    @pytest.mark.slow
    def test_ctrl_c_is_the_users(self, trial_config, user_model):
        config = trial_config(model=user_model(RAISES.format(import_="pass", factory="pass", forward=CTRL_C)))
        with pytest.raises(KeyboardInterrupt):
            run_trial(config.model_copy(update={"model_options": {}}), go_on)

    @pytest.mark.slow
    def test_data_that_has_gone(self, trial_config):
        self.check(trial_config(dataset="cifar100"), "cifar100")


CTRL_C = "import signal; signal.raise_signal(signal.SIGINT)"
RAISES = """
class WithoutText(Exception):
    def __str__(self):
        raise KeyboardInterrupt

    __repr__ = __str__

OF_ITSELF = RuntimeError("of itself")
OF_ITSELF.__cause__ = OF_ITSELF
{import_}

class Network(nn.Sequential):
    calls = 0

    def forward(self, inputs):
        self.calls += self.training
        if self.calls > 5:
            {forward}
        return super().forward(inputs)

def network():
    {factory}
    return Network(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""

NAN_AFTER = """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        self.calls = 0

    def forward(self, inputs):
        self.calls += self.training
        outputs = self.layers(inputs)
        return outputs * {value} if self.calls > 5 else outputs

def network():
    return Network()
"""

NAN_FOR_ALL_OF_VALIDATION = """
class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, inputs):
        outputs = self.layers(inputs)
        return outputs * float("nan") if len(inputs) > 256 else outputs

def network():
    return Network()
"""

RAISES_IN_TRAINING = """
class Network(nn.Sequential):
    calls = 0

    def forward(self, inputs):
        self.calls += self.training
        if self.calls > 5:
            raise RuntimeError("no more\\nof this")
        return super().forward(inputs)

def network():
    return Network(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""

DROPOUT = """
def network(width=32):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 10))
"""


@pytest.mark.slow
class TestInterruption:
    """The interrupt file saves a trial; running it again goes on as if nothing had happened."""

    @pytest.fixture(autouse=True)
    def asked_at_every_step(self, monkeypatch):
        monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)

    @staticmethod
    def interrupt_at(config, progress):
        """A report that asks all trials to save themselves once this share of the run is done."""

        def report(report):
            if report.progress >= progress:
                Path(config.interrupt_file).touch()
            return Signal.CONTINUE

        return report

    @pytest.mark.parametrize("policy", ["grows", "freezes", "static"])
    def test_going_on_is_bit_exact(self, policy, trial_config, user_model):
        policies = {
            "grows": {"initial_fraction": 0.25, "trigger": {"kind": "schedule", "every": 5}},
            "freezes": {
                "initial_fraction": 0.25,
                "trigger": {"kind": "plateau", "window": 2, "patience": 2, "max_wait": 5},
                "layer_selection": {"kind": "random", "fraction": 0.5},
                "freeze": {"kind": "old"},
                "initialization": "xavier",
            },
            "static": {"initial_fraction": 1.0},
        }
        model = user_model(DROPOUT)
        whole, parts = (
            trial_config(name, policy=policies[policy], model=model, model_options={}) for name in ("whole", "parts")
        )
        expected = run_trial(whole, go_on)
        for progress in (0.3, 0.7):
            assert run_trial(parts, self.interrupt_at(parts, progress)).status == "interrupted"
            assert read_trial_result(folder_of(parts)) is None
            Path(parts.interrupt_file).unlink()
        result = run_trial(parts, go_on)
        assert untimed([result.metrics.by_name()]) == untimed([expected.metrics.by_name()])
        for records in ("samples", "events"):
            first, second = ([r.to_dict() for r in getattr(folder_of(c), records)()] for c in (whole, parts))
            assert untimed(first) == untimed(second)

    def test_an_interrupted_trial_has_no_result_and_its_seconds_add_up(self, trial_config):
        config = trial_config()
        assert run_trial(config, self.interrupt_at(config, 0.5)).status == "interrupted"
        before = folder_of(config).samples()
        assert before
        Path(config.interrupt_file).unlink()
        metrics = run_trial(config, go_on).metrics.by_name()
        assert metrics["train_seconds"] > before[-1].train_seconds
        assert folder_of(config).samples()[: len(before)] == before

    def test_a_damaged_checkpoint_costs_time_and_not_the_result(self, trial_config):
        whole, damaged = trial_config("whole"), trial_config("damaged")
        run_trial(damaged, self.interrupt_at(damaged, 0.5))
        Path(damaged.interrupt_file).unlink()
        for checkpoint in Path(damaged.folder).rglob("*.pt"):
            checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
        first, second = (untimed([run_trial(config, go_on).metrics.by_name()]) for config in (whole, damaged))
        assert first == second


@pytest.mark.slow
def test_an_interruption_is_noticed_soon_however_often_samples_are_taken(trial_config):
    """Short stretches between samples must not keep a trial from asking."""
    config = trial_config(training={"epochs": 2000})
    Path(config.interrupt_file).touch()
    started = time.monotonic()
    assert run_trial(config, go_on).status == "interrupted"
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_it_leaves_signs_of_life_between_samples(trial_config, monkeypatch):
    """However long it takes from one sample to the next, a trial that trains is not one that hangs."""
    monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)
    monkeypatch.setattr(trial, "LIFE_SECONDS", 0.0)
    config = trial_config(training={"sample_every": 24})
    seen = []
    ask = ending.InterruptPoll.ask
    monkeypatch.setattr(
        ending.InterruptPoll,
        "ask",
        lambda self: (ask(self), seen.append(folder_of(config).signs_of_life())),
    )
    assert run_trial(config, go_on).status == "complete"
    assert len(seen) == 24
    assert all(first != second for first, second in itertools.pairwise(seen))


class TestSurroundings:
    """A worker runs many trials one after another: none may leave anything behind."""

    @pytest.mark.slow
    def test_threads_are_as_they_were(self, trial_config, user_model):
        body = f"threads = torch.get_num_threads()\n{DROPOUT}"
        config = trial_config(model=user_model(body), model_options={}, num_threads=2)
        assert run_trial(config, go_on).status == "complete"
        assert sys.modules[config.model.split(":")[0]].threads == 2
        assert torch.get_num_threads() == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("body", [DROPOUT, RAISES_IN_TRAINING])
    def test_random_state_and_import_path_are_as_they_were(self, body, trial_config, user_model, monkeypatch, tmp_path):
        monkeypatch.chdir("/")
        config = trial_config(model=user_model(body), model_options={})
        state, path = torch.get_rng_state(), list(sys.path)
        run_trial(config, go_on)
        assert torch.equal(torch.get_rng_state(), state)
        assert sys.path == path
        assert torch.get_num_threads() == 1

    @pytest.mark.slow
    def test_the_global_random_state_does_not_matter(self, trial_config, user_model):
        model = user_model(DROPOUT)
        results = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            config = trial_config(str(seed), model=model, model_options={})
            results.append(untimed([run_trial(config, go_on).metrics.by_name()]))
        assert results[0] == results[1]

    @pytest.mark.slow
    def test_the_test_split_is_never_opened(self, trial_config, monkeypatch):
        def forbidden(*_):
            raise AssertionError("a trial opened the test split")

        for module in [module for module in sys.modules.values() if hasattr(module, "open_test_split")]:
            monkeypatch.setattr(module, "open_test_split", forbidden)
        assert test_split.open_test_split is forbidden
        assert run_trial(trial_config(), go_on).status == "complete"


@pytest.mark.slow
def test_the_record_holds_no_number_that_json_does_not_know(trial_config):
    config = trial_config()
    run_trial(config, go_on)
    for line in (Path(config.folder) / "samples.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_before_anything_starts():
    assert "PyTorch sees no GPU here" in device_problem(1.0)
    assert device_problem(0.0) is None


@pytest.mark.slow
def test_files_are_open_to_whom_the_driver_opens_its_own(trial_config):
    before = os.umask(0o077)  # as in Ray's processes
    try:
        config = trial_config("open").model_copy(update={"umask": 0o027})
        run_trial(config, lambda _: Signal.CONTINUE)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path(config.folder).iterdir() if path.is_file()}
    assert modes == {"samples.jsonl": 0o640, "events.jsonl": 0o640, "result.json": 0o640}
