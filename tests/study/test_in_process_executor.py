"""Trials that run in this process, one after another, under the interface that Ray has, too."""

import pytest

from autogrow.study.in_process_executor import InProcessExecutor

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


class Source:
    """Gives trials and writes down what it is told."""

    def __init__(self, *configs, stops_at=1.0):
        self.configs = list(configs)
        self.stops_at = stops_at
        self.is_stopping = False
        self.told = []

    def stopping(self):
        return self.is_stopping

    def cluster_started(self, slots):
        self.told.append(("slots", slots))

    def next_trial(self, host):
        return self.configs.pop(0) if self.configs else None

    def reported(self, config, report):
        return report.progress < self.stops_at

    def ended(self, config, result):
        self.told.append((config.number, result.status))


def test_trials_run_until_there_are_no_more(trial_config):
    source = Source(*(trial_config(str(number), number=number, training={"epochs": 1}) for number in range(2)))
    InProcessExecutor().run(source)
    assert source.told == [("slots", 1), (0, "complete"), (1, "complete")]


def test_the_answer_to_a_report_stops_a_trial(trial_config):
    source = Source(trial_config("4", number=4), stops_at=0.3)
    InProcessExecutor().run(source)
    assert source.told == [("slots", 1), (4, "stopped")]


def test_nothing_is_begun_once_the_search_stops(trial_config):
    source = Source(trial_config("4", number=4))
    source.is_stopping = True
    InProcessExecutor().run(source)
    assert source.told == [("slots", 1)]
