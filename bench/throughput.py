"""Durable no-op runs per second, independent and where each takes two results; CPU of the engine per run."""

from collections.abc import Iterator
from pathlib import Path

import limits
from measure import Row, Watch, flush_ms, fresh, main
from stores import execute
from work import grid, single, sweep

N = 100_000


def rows(directory: Path) -> Iterator[Row]:
    bare = limits.independent(directory, N)
    idle = _idle(directory)
    watch = _run(directory, sweep(N))
    flush = flush_ms(directory)
    each = 1e6 / N
    used = {
        "client_cpu_us": watch.client * each,
        "worker_cpu_us": watch.worker * each,
        "engine_start_cpu_s": idle,
        "pool_per_s": limits.pool(),
    }
    yield Row("independent", N / watch.seconds, bare.rate, "/s bare loop", watch.others, flush, used)
    cpu = (watch.engine - idle) * each
    yield Row("driver", cpu, bare.cpu, "us bare loop", watch.others, flush, used)
    bare = limits.dag(directory, N)
    watch = _run(directory, grid(N))
    used = {
        "client_cpu_us": watch.client * each,
        "worker_cpu_us": watch.worker * each,
        "engine_cpu_us": (watch.engine - idle) * each,
    }
    yield Row("dag", N / watch.seconds, bare.rate, "/s bare loop", watch.others, flush_ms(directory), used)


def _idle(directory: Path) -> float:
    """CPU seconds of an engine that has nothing to do but start, serve one run and end."""
    return _run(directory, single(0)).engine


def _run(directory: Path, call: object) -> Watch:
    with fresh(directory) as place:
        return execute(place, call)


if __name__ == "__main__":
    main(rows)
