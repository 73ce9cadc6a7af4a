"""Contenders at one task: their times in interleaved rounds, inside the network and outside it, and their peak memory."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Contender:
    """One way to do the task.

    Attributes:
        network: what is called, in whoever's classes; the time inside it is counted.
        run: does the task and returns its result, whatever the task compares.
        bare: the contender that makes the same network calls and nothing else.
    """

    name: str
    network: nn.Module
    run: Callable[[], Tensor]
    bare: str


@dataclass(frozen=True)
class Measured:
    """`whole` and `inside` have the seconds of each round; `peak` is in bytes."""

    name: str
    bare: str
    result: Tensor
    peak: int
    whole: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)

    @property
    def own(self) -> list[float]:
        """The seconds of each round outside the network."""
        return [whole - inside for whole, inside in zip(self.whole, self.inside, strict=True)]


def contest(contenders: Sequence[Contender], rounds: int, clock: Callable[[], float]) -> dict[str, Measured]:
    """Each runs once to warm up and once for its memory; then they take turns, so that a slow minute hits all of them."""
    found = {}
    for each in contenders:
        result = each.run()
        found[each.name] = Measured(each.name, each.bare, result, peak_memory(each.run))
    for _ in range(rounds):
        for each in contenders:
            gc.collect()
            with inside(each.network, clock) as spent:
                began = clock()
                each.run()
                found[each.name].whole.append(clock() - began)
            found[each.name].inside.append(sum(spent))
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios: what slows down a whole round cancels."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def difference(result: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    return float((result - expected).abs().max() / expected.abs().max())


@contextmanager
def inside(network: nn.Module, clock: Callable[[], float]) -> Iterator[list[float]]:
    """The seconds of every call of the network, and of every pass back through it, while this is open."""
    spent: list[float] = []
    begun: list[float] = []

    def timed(function: Callable[..., Any], *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        began = clock()
        result = function(*args, **kwargs)
        spent.append(clock() - began)
        return result

    with ExitStack() as stack:
        before = network.register_forward_pre_hook(lambda *_: begun.append(clock()))
        stack.callback(before.remove)
        after = network.register_forward_hook(lambda *_: spent.append(clock() - begun.pop()))
        stack.callback(after.remove)
        for name in ("grad", "backward"):  # Tensor.backward calls the latter
            function = partial(timed, getattr(torch.autograd, name))
            stack.enter_context(mock.patch.object(torch.autograd, name, function))
        yield spent


def wall_clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory(run: Callable[[], object]) -> int:
    """The most bytes of tensors that exist at once during a run, beyond those before it (the weights, the prompts).

    What torch's allocators handed out and took back; on a CPU counted from the profiler's records.
    """
    gc.collect()
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports each start and stop
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    assert profiled.profiler is not None and profiled.profiler.kineto_results is not None
    events = [each for each in profiled.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()  # pyright: ignore  (its stub has no nbytes)
        most = max(most, held)
    return most
