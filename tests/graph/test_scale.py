"""A million runs: what it takes is printed (`pytest -s`), that it is flat is checked."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import tidemill.graph as tm
from tidemill.model import delta


@tm.task
def energy(symbol: str, a: float) -> float:
    return len(symbol) * a


@tm.task
def add(a: float, b: float) -> float:
    return a + b


def one_sweep(n: int) -> Any:
    return energy("Cu", tm.sweep(range(n)))


def two_sweeps(n: int) -> Any:
    return energy(tm.sweep([str(i) for i in range(n // 1000)]), tm.sweep(range(1000)))


def chained_sweeps(n: int) -> Any:
    first = energy("Cu", tm.sweep(range(n // 2)))
    return add(first, first)


def loop(n: int) -> Any:
    a, b = add(1.0, 2.0), add(1.0, 3.0)
    for _ in range(n - 2):
        a, b = b, add(a, b)
    return b


def take(fn: Callable[[int], Any], n: int) -> tuple[float, float, int]:
    """Seconds to build, seconds to take and encode all chunks, and runs."""
    start = time.perf_counter()
    plan = tm.workflow(fn)(n).plan_graph()
    built = time.perf_counter()
    runs = 0
    for chunk in plan.chunks():
        assert len(chunk.args) <= 2000
        delta.encode(chunk)
        runs += len(chunk.args)
    return built - start, time.perf_counter() - built, runs


@pytest.mark.parametrize("fn", [one_sweep, two_sweeps, chained_sweeps, loop])
def test_a_million_runs(fn: Callable[[int], Any]) -> None:
    n = 1_000_000
    build, chunks, runs = take(fn, n)
    assert runs == n
    print(f"\n{fn.__name__}: {build / n * 1e6:.2f} us per run to build, {chunks / n * 1e6:.2f} for encoded chunks")  # noqa: T201


@pytest.mark.parametrize("fn", [one_sweep, two_sweeps, chained_sweeps])
def test_a_sweep_takes_no_more_memory_when_it_is_longer(fn: Callable[[int], Any]) -> None:
    peaks = []
    for n in (20_000, 100_000):
        tracemalloc.start()
        take(fn, n)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_calls_in_a_loop_leave_only_columns() -> None:
    n = 50_000
    tracemalloc.start()
    plan = tm.workflow(loop)(n).plan_graph()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert plan.header.runs == n
    assert held / n < 80
