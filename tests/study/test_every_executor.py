"""What a search relies on, of everything that runs its trials. A new executor is a line in `EXECUTORS`."""

import os
import signal
from dataclasses import dataclass, field

import pytest

from autogrow.errors import UsageError
from autogrow.search_plans import plan_new_search, plan_resumed_search
from autogrow.study.executor import Executor
from autogrow.study.in_process_executor import InProcessExecutor
from autogrow.study.monitor import SearchMonitor
from autogrow.study.ray_executor import RayExecutor, Resources
from autogrow.study.search import run_search
from autogrow.study.study_database import StudyDatabase
from tests.processes import Records, check_ended

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

EXECUTORS = {
    "in this process": InProcessExecutor,
    "on Ray": lambda: RayExecutor(Resources(address=None, cpus_per_trial=1, gpus_per_trial=0.0, max_concurrent=2)),
}
SMALL = {"model": "mlp", "model_options": {"hidden": (8,)}, "train_size": 60, "epochs": 2}


@pytest.fixture(params=EXECUTORS.values(), ids=EXECUTORS)
def executor(request):
    return request.param()


@dataclass
class Source:
    """Gives trials, and writes down what it is told, in its order."""

    configs: list
    not_worth_it: int | None = None
    """The number of a trial that is stopped at its first report."""
    is_stopping: bool = False
    told: list = field(default_factory=list)
    slots: list = field(default_factory=list)

    def stopping(self):
        return self.is_stopping

    def out_of_patience(self):
        return self.is_stopping

    def cluster_started(self, slots):
        self.slots.append(slots)

    def cluster_lost(self, reason, goes_on):
        assert goes_on and not self.told, reason  # before a trial began, on a machine that has much else to do

    def next_trial(self, host):
        return self.configs.pop(0) if self.configs else None

    def started(self, config):
        self.told.append(("started", config.number))

    def reported(self, config, report):
        self.told.append(("reported", config.number))
        return config.number != self.not_worth_it

    def found_hanging(self):
        return {}

    def ended(self, config, result):
        self.told.append((result.status, config.number))

    def most_at_a_time(self):
        running = [(what == "started") - (what not in ("started", "reported")) for what, _ in self.told]
        return max(sum(running[: end + 1]) for end in range(len(running)))


def test_every_trial_starts_reports_and_ends_once_and_one_that_fails_stops_no_other(executor, trial_config):
    assert isinstance(executor, Executor)
    configs = [trial_config(str(number), number=number, training={"epochs": 1}) for number in range(4)]
    configs[1] = configs[1].model_copy(update={"model": "not_there:network"})
    source = Source(list(configs), not_worth_it=2)
    executor.run(source)
    for number, ending in enumerate(("complete", "failed", "stopped", "complete")):
        told = [what for what, about in source.told if about == number]
        assert (told[0], told[-1]) == ("started", ending)
        assert set(told[1:-1]) == (set() if ending == "failed" else {"reported"})
        assert ending != "stopped" or told.count("reported") == 1
    (slots,) = source.slots
    assert 1 <= source.most_at_a_time() <= slots


def test_nothing_is_begun_once_the_search_stops(executor, trial_config):
    source = Source([trial_config()], is_stopping=True)
    executor.run(source)
    assert (len(source.configs), source.told) == (1, [])


class InterruptsAtTheFirstEnd(SearchMonitor):
    """A second interrupt would end the search without waiting for the trials that still run."""

    has_interrupted = False

    def trial_ended(self, number, result):
        if not self.has_interrupted:
            self.has_interrupted = True
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_search_leaves_a_study_that_goes_on(executor, folder, data_dir):
    plan = plan_new_search("digits", data_dir=data_dir, trials=5, executor=executor, **SMALL)
    interrupted = run_search(plan, folder, resume=False, monitor=InterruptsAtTheFirstEnd())
    assert interrupted.interrupted
    before = Records(folder.path).finished()
    assert 1 <= len(before) < 5
    assert "RUNNING" not in Records(folder.path).states()
    run_search(plan_resumed_search(folder, executor=executor), folder, resume=True)
    check_ended(Records(folder.path), 5)
    assert {number: Records(folder.path).finished()[number] for number in before} == before
    assert len(StudyDatabase.open(folder.study_location(), plan.objectives).trials()) >= 5


def test_what_it_cannot_run_is_refused_before_anything_is_written(executor, search_settings, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    executor.check(search_settings())
    with pytest.raises(UsageError, match="PyTorch sees no GPU here"):
        executor.check(search_settings(gpus_per_trial=1.0))


def test_a_cluster_is_rays_alone(data_dir):
    with pytest.raises(UsageError, match="address is that of a Ray cluster: leave it out, or leave out executor"):
        plan_new_search("digits", data_dir=data_dir, address="head:1", executor=InProcessExecutor(), **SMALL)


def test_a_search_from_python_takes_one(workplace):
    import autogrow

    study = autogrow.search("digits", trials=2, executor=InProcessExecutor(), **SMALL)
    assert study.result.complete + study.result.pruned == 2
    with pytest.raises(UsageError, match="executor is 'ray'"):
        autogrow.search("digits", executor="ray")
