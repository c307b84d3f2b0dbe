"""What the driver does with its Ray process, whatever that does: here one that is not Ray, but does as it is told."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autogrow.errors import ClusterError, UsageError
from autogrow.study import ray_executor
from autogrow.study.ray_executor import MOST_LOSSES, RayExecutor, Resources

from .made_results import complete, failed, report

HERE = Resources(None, 1, 0.0, None)
PREPARED = """
import json, os, sys, time
sys.path[:] = json.loads(sys.argv[2])
from multiprocessing.connection import Connection
from autogrow.study.ray_channel import Channel
channel = Channel(Connection(int(sys.argv[1])))
hear, say = channel.hear, channel.say
job = hear()
made = lambda name: open(os.path.join(r"{made}", name)).read()
"""
MADE = {
    "early": report(progress=0.2),
    "late": report(progress=0.7),
    "complete": complete(),
    "failed": failed(),
}
"""What the process says of its trials."""
TRIAL_OF_ITS_LIFE = """
say("ready", slots=3)
say("next")
number = json.loads(hear()["trial"])["number"]
say("started", number=number)
"""


@dataclass
class Source:
    """Gives trials and writes down what it is told."""

    configs: list
    stop_after: float = float("inf")
    hanging: dict = field(default_factory=dict)
    """Found to hang as soon as they have started."""
    told: list = field(default_factory=list)
    hosts: list = field(default_factory=list)
    running: set = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)

    def stopping(self):
        return time.monotonic() - self.began > self.stop_after

    def out_of_patience(self):
        return time.monotonic() - self.began > self.stop_after + 0.2

    def cluster_started(self, slots):
        self.told.append(("slots", slots))

    def cluster_lost(self, reason, goes_on):
        self.told.append(("lost", reason, goes_on))

    def next_trial(self, host):
        self.hosts.append(host)
        return self.configs.pop(0) if self.configs else None

    def reported(self, config, report):
        self.told.append(("reported", config.number, report))
        return report.progress < 0.5

    def started(self, config):
        self.running.add(config.number)

    def found_hanging(self):
        return {number: self.hanging.pop(number) for number in self.running & set(self.hanging)}

    def ended(self, config, result):
        self.told.append(("ended", config.number, result))


@pytest.fixture
def source(trial_config):
    return lambda *numbers, **options: Source([trial_config(number=number) for number in numbers], **options)


@pytest.fixture
def ray_does(monkeypatch, tmp_path):
    for name, record in MADE.items():
        (tmp_path / name).write_text(record.model_dump_json())

    def does(program):
        monkeypatch.setattr(ray_executor, "PROGRAM", PREPARED.replace("{made}", str(tmp_path)) + program)

    return does


def test_it_asks_and_is_answered_until_it_has_finished(ray_does, source):
    ray_does(
        TRIAL_OF_ITS_LIFE
        + """
for name in ("early", "late"):
    say("reported", number=number, report=made(name))
    goes_on = hear()["goes_on"]
    assert goes_on == (name == "early")
assert os.path.isdir(job["folder"])
say("ended", number=number, result=made("complete"))
say("next")
assert hear()["trial"] is None
say("finished")
"""
    )
    trials = source(7)
    RayExecutor(HERE).run(trials)
    assert trials.told == [
        ("slots", 3),
        ("reported", 7, MADE["early"]),
        ("reported", 7, MADE["late"]),
        ("ended", 7, MADE["complete"]),
    ]
    assert trials.hosts[0].memory_bytes is not None
    assert not Path(trials.hosts[0].scratch).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("os._exit(3)", "its process ended with 3"),
        ("os.kill(os.getpid(), 9)", "its process ended with signal 9"),
        ("say('lost', reason='raylet ended with signal 9'); time.sleep(100)", "raylet ended with signal 9"),
    ],
)
def test_one_that_dies_again_and_again_is_given_up(program, reason, ray_does, source):
    ray_does(program)
    trials = source(1)
    with pytest.raises(ClusterError, match=f"Ray ended {MOST_LOSSES} times in a row before a trial had .{reason}"):
        RayExecutor(HERE).run(trials)
    assert trials.told == [("lost", reason, True)] * (MOST_LOSSES - 1) + [("lost", reason, False)]


@pytest.mark.slow
def test_it_may_die_as_often_as_it_likes_as_long_as_trials_end(ray_does, source):
    ray_does(
        """
say("ready", slots=3)
say("next")
trial = hear()["trial"]
if trial is None:
    say("finished")
else:
    say("ended", number=json.loads(trial)["number"], result=made("complete"))
    os._exit(1)
"""
    )
    numbers = range(MOST_LOSSES + 2)
    trials = source(*numbers)
    RayExecutor(HERE).run(trials)
    assert [entry[1] for entry in trials.told if entry[0] == "ended"] == list(numbers)


def test_a_cluster_that_was_joined_is_not_started_again(ray_does, source):
    ray_does("say('lost', reason='gone'); time.sleep(100)")
    trials = source(1)
    with pytest.raises(ClusterError, match="cluster at head:6379 is lost .gone.*go on with --resume"):
        RayExecutor(Resources("head:6379", 1, 0.0, None)).run(trials)
    assert trials.told == [("lost", "gone", False)]


def test_what_is_refused_is_the_users_to_mend(ray_does, source):
    ray_does("say('refused', reason='no room'); time.sleep(100)")
    with pytest.raises(UsageError, match="no room"):
        RayExecutor(HERE).run(source(1))


@pytest.mark.slow
@pytest.mark.parametrize("program", ["time.sleep(100)", f"{TRIAL_OF_ITS_LIFE}\ntime.sleep(100)"])
def test_one_that_never_says_anything_again_keeps_nobody_waiting(program, ray_does, source):
    """While it starts, and while a trial hangs that was asked to save itself."""
    ray_does(program)
    trials = source(1, stop_after=0.5)
    RayExecutor(HERE).run(trials)
    assert {entry[0] for entry in trials.told} <= {"slots"}


def test_a_trial_that_hangs_fails_with_that_reason(ray_does, source):
    ray_does(
        TRIAL_OF_ITS_LIFE
        + """
message = hear()
assert (message["word"], message["number"]) == ("fail", number)
say("ended", number=number, result=json.dumps({"status": "failed", "reason": message["reason"]}))
say("finished")
"""
    )
    trials = source(4, hanging={4: "it took no step"})
    RayExecutor(HERE).run(trials)
    assert trials.told[-1][:2] == ("ended", 4)
    assert trials.told[-1][2].reason == "it took no step"


@pytest.mark.slow
def test_ray_that_does_not_end_a_trial_that_hangs_is_lost_and_the_trial_fails(ray_does, source, monkeypatch):
    monkeypatch.setattr(ray_executor, "HEED_SECONDS", 0.2)
    ray_does(f"{TRIAL_OF_ITS_LIFE}\ntime.sleep(100)")
    trials = source(4, hanging={4: "it took no step"})
    with pytest.raises(ClusterError):
        RayExecutor(Resources("head:6379", 1, 0.0, None)).run(trials)
    assert [entry[0] for entry in trials.told] == ["slots", "ended", "lost"]
    assert trials.told[1][2].reason == "it took no step"


def test_what_the_source_raises_ends_it(ray_does, source, tmp_path):
    ray_does(f"{TRIAL_OF_ITS_LIFE}\ntime.sleep(100)")
    trials = source(1)
    trials.next_trial = lambda host: 1 / 0
    with pytest.raises(ZeroDivisionError):
        RayExecutor(HERE).run(trials)


def test_no_trial_is_given_once_the_search_stops(ray_does, source):
    """The process asks for the next trial before it can have heard that the end of the last one was the reason."""
    ray_does(
        TRIAL_OF_ITS_LIFE
        + """
say("ended", number=number, result=made("failed"))
say("next")
while "trial" not in (answer := hear()):
    pass
say("finished") if answer["trial"] is None else os._exit(1)
"""
    )
    trials = source(0, 1)
    trials.stopping = lambda: any(what == "ended" for what, *_ in trials.told)
    trials.out_of_patience = lambda: False
    RayExecutor(HERE).run(trials)
    assert [config.number for config in trials.configs] == [1]
