"""A million runs: CPU per run against ten thousand, peak memory, and the time to go on after everything was killed."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import limits
from measure import Row, Watch, flush_ms, fresh, main, median_of
from stores import Program, ask, execute
from work import many, single

MANY = 1_000_000
FEW = 10_000
RUNS = 5
"""How often the small one is measured."""


def rows(directory: Path) -> Iterator[Row]:
    idle = median_of(3, lambda: _run(directory, 0).engine)
    few = median_of(RUNS, lambda: _run(directory, FEW).engine - idle) / FEW * 1e6
    watch = _run(directory, MANY)
    each = (watch.engine - idle) / MANY * 1e6
    flush = flush_ms(directory)
    more = {"few_us": few, "many_us": each, "per_s": MANY / watch.seconds, "client_mb": watch.peak("")}
    yield Row("scale", each / few, 0.0, f"{few:.1f} us at {FEW:,}", watch.others, flush, more)
    yield Row("memory_engine", watch.peak("engine"), 0.0, "", watch.others, flush)
    yield Row("memory_worker", watch.peak("worker"), 0.0, "", watch.others, flush)
    yield _reopen(directory)


def _run(directory: Path, n: int) -> Watch:
    with fresh(directory) as place:
        return execute(place, many(n) if n else single(0))


def _reopen(directory: Path) -> Row:
    """Kill everything half way, start the same program again: when does it start its first run?"""
    with fresh(directory) as place, Watch() as watch:
        store = place / "store"
        program = Program(store, "many", str(MANY))
        while _done(store) < MANY // 2:
            time.sleep(0.1)
        program.kill()
        shutil.copytree(store, place / "copy", ignore=shutil.ignore_patterns("*.sock"))
        bare = limits.reopening(place / "copy" / "state.db")
        program = Program(store, "many", str(MANY))
        first: float | None = None
        while first is None and program.running:
            time.sleep(1)
            ((first,),) = ask(store, f"select min(t0) from attempt where t0 > {program.began}")
        seconds = (first or float("inf")) - program.began
        program.kill()
    return Row("reopen", seconds, bare, "s bare sqlite3", watch.others, flush_ms(directory))


def _done(store: Path) -> int:
    if not (store / "state.db").exists():
        return 0
    try:
        return sum(n for (n,) in ask(store, "select done from block"))
    except Exception:  # noqa: BLE001 (the tables are just being made)
        return 0


if __name__ == "__main__":
    main(rows)
