"""What a network takes: times are those of a machine that does other things, too, by a clock of the test's own."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autogrow.network.measuring import footprint
from autogrow.network.measuring.footprint import latencies, paired_milliseconds


class Clock:
    """Seconds that only passes of the modules below let go by; now and then the machine does something else."""

    def __init__(self, slice_seconds=1.0, others_seconds=0.0):
        self.seconds, self.passes = 0.0, 0
        self._slice, self._others, self._left = slice_seconds, others_seconds, slice_seconds

    def __call__(self):
        return self.seconds

    def go_on(self, seconds):
        self.passes += 1
        self.seconds += seconds
        self._left -= seconds
        if self._left <= 0:
            self.seconds += self._others
            self._left = self._slice


class Takes(nn.Module):
    def __init__(self, clock, seconds):
        super().__init__()
        self._clock, self._seconds = clock, seconds

    def forward(self, inputs):
        self._clock.go_on(self._seconds)
        return inputs


@pytest.fixture
def clock(monkeypatch):
    def made(**options):
        clock = Clock(**options)
        monkeypatch.setattr(footprint, "time", SimpleNamespace(perf_counter=clock))
        return clock

    return made


@pytest.mark.parametrize("slice_seconds", [0.003, 0.0031, 0.004])
def test_other_processes_on_the_machine_fall_on_no_module(slice_seconds, clock):
    """A core that is lent for 3 ms at a time, and then to four others."""
    ours = clock(slice_seconds=slice_seconds, others_seconds=4 * slice_seconds)
    modules = [Takes(ours, 6e-5), Takes(ours, 6e-5), Takes(ours, 3e-5)]
    first, second, half = paired_milliseconds(modules, torch.zeros(2, 3))
    assert first == pytest.approx(0.06) and second == pytest.approx(0.06) and half == pytest.approx(0.03)


def test_large_networks_are_run_a_few_times(clock):
    ours = clock()
    assert paired_milliseconds([Takes(ours, 3.0)], torch.zeros(2, 3)) == [pytest.approx(3000)]
    assert ours.passes <= 10


def test_all_products_with_weights_of_a_transformer_layer_count():
    width, feedforward, length = 16, 24, 6
    layer = nn.TransformerEncoderLayer(width, 2, feedforward, batch_first=True).eval()
    projections = length * (4 * width * width + 2 * width * feedforward)
    assert footprint.footprint(layer, torch.randn(2, length, width)).flops >= 2 * projections
    assert torch.backends.mha.get_fastpath_enabled()


def test_latencies_are_of_one_example_and_of_64_with_one_thread_and_with_all(monkeypatch):
    monkeypatch.setattr(footprint.torch, "get_num_threads", lambda: 1)
    (found,) = latencies([nn.Linear(3, 2)], torch.zeros(5, 3))
    assert [(each.batch_size, each.threads) for each in found] == [(1, 1), (64, 1)]
    assert all(each.milliseconds > 0 for each in found)
