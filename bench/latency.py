"""How long one waits: a step of a chain, a small diamond, the first result of a new process, the import."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import limits
from measure import Row, Watch, flush_ms, fresh, main, median_of
from stores import HERE, engine, execute, starts
from work import chain, diamond

STEPS = 1000
WIDTH = 1000


def rows(directory: Path) -> Iterator[Row]:
    before = limits.chain(directory, STEPS)
    with fresh(directory) as place:
        watch = execute(place, chain(STEPS))
        steps = sorted(b - a for a, b in pairwise(starts(place)))
    bare = (before + limits.chain(directory, STEPS)) / 2
    more = {"p99_ms": steps[len(steps) * 99 // 100] * 1e3}
    step = statistics.median(steps) * 1e3
    yield Row("chain", step, bare, "ms bare loop", watch.others, flush_ms(directory), more)
    yield _diamond(directory)
    yield _first_result(directory)
    with Watch() as watch:
        bare = median_of(15, limits.interpreter)
        found = median_of(15, lambda: limits.interpreter("import tidemill"))
    yield Row("import", found, bare, "s bare interpreter", watch.others, flush_ms(directory))


def _diamond(directory: Path) -> Row:
    bare = median_of(3, lambda: limits.diamond(directory, WIDTH))
    times = []
    with fresh(directory) as place, Watch() as watch, engine(place) as store:
        for i in range(7):
            start = time.perf_counter()
            store.run(diamond(WIDTH, i), workers=2, progress=False)
            times.append(time.perf_counter() - start)
    return Row("diamond", statistics.median(times) * 1e3, bare, "ms bare loop", watch.others, flush_ms(directory))


def _first_result(directory: Path) -> Row:
    """From the start of a program to its having the result of its one run, in a new store."""
    with Watch() as watch:
        bare = median_of(5, lambda: _bare_first(directory))
        found = median_of(7, lambda: _first(directory))
    return Row("start", found, bare, "s bare loop", watch.others, flush_ms(directory))


def _first(directory: Path) -> float:
    with fresh(directory) as place:
        start = time.monotonic()
        told = subprocess.run([sys.executable, HERE / "work.py", place, "single", "1"], capture_output=True, check=True)
        return float(told.stdout) - start


def _bare_first(directory: Path) -> float:
    with fresh(directory) as place:
        start = time.monotonic()
        told = subprocess.run([sys.executable, HERE / "limits.py", place], capture_output=True, check=True)
        return float(told.stdout) - start


if __name__ == "__main__":
    main(rows)
