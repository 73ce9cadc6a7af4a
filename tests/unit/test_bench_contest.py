"""What a contest says of its contenders, on a clock that the test turns."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"


@pytest.fixture
def contests(monkeypatch):
    """The module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("_contest")
    sys.modules.pop("_contest")


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class Network(torch.nn.Module):
    """A pass forward takes 3 seconds, one back 5."""

    def __init__(self, clock):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.clock = clock

    def forward(self, x):
        self.clock.seconds += 3
        return self.weight * x


def test_time_inside_the_network_is_told_from_the_rest(contests, monkeypatch):
    monkeypatch.setattr(contests, "peak_memory", lambda run: 0)
    clock = Clock()
    network = Network(clock)

    def run():
        clock.seconds += 0.5
        loss = network(network(torch.ones(2))).sum()
        loss.register_hook(lambda _: setattr(clock, "seconds", clock.seconds + 5))
        loss.backward()
        clock.seconds += 1
        return loss.detach()

    found = contests.contest([contests.Contender("ours", network, run, "bare")], 2, clock)["ours"]
    assert (found.whole, found.inside, found.own) == ([12.5] * 2, [11.0] * 2, [1.5] * 2)
    assert found.result == 2 and not network._forward_hooks and not network._forward_pre_hooks


def test_the_peak_counts_what_exists_at_once(contests):
    def run():
        for _ in range(3):
            torch.zeros(1000, 250)  # a million bytes, freed each time
        return torch.zeros(1000, 500)

    assert 2e6 <= contests.peak_memory(run) < 2.1e6


def test_a_ratio_is_taken_round_by_round(contests):
    """The second round was slow for both."""
    assert contests.ratio([1.0, 30.0, 1.0], [2.0, 20.0, 1.0]) == 1
