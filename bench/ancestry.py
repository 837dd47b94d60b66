"""Where a result comes from: a few runs, and hundreds of thousands."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from limits import Ancestry
from measure import Row, flush_ms, fresh, main
from stores import ask, execute
from work import grid

import tidemill as tm
from tidemill.provenance.lineage import ancestors
from tidemill.stores.state.database import Database

WIDTH = 1000
ROWS = 397
"""The last run of so many rows has some 392,000 ancestors."""
FEW = range(10, 21)


def rows(directory: Path) -> Iterator[Row]:
    with fresh(directory) as place:
        watch = execute(place / "store", grid(ROWS * WIDTH, WIDTH))
        edges = ask(place / "store", "select e.run, e.port, d.run from edge e join datum d on d.id = e.datum")
        bare = Ancestry(place, iter(edges))
        last = max(run for run, _, _ in edges)
        with tm.open(place / "store") as store:
            near = next(run for run in range(2 * WIDTH, last) if bare.of(run)[0] in FEW)
            few = _median(store.db, near)
            limit = statistics.median(bare.of(near)[1] for _ in range(200)) * 1e3
            yield Row("ancestry_short", few * 1e3, limit, "ms bare query", watch.others, flush_ms(directory))
            start = time.perf_counter()
            found = len(ancestors(store.db, last))
            seconds = time.perf_counter() - start
        n, limit = bare.of(last)
        assert found == n, f"{found} ancestors found, {n} expected"
        yield Row("ancestry_long", seconds, limit, f"s bare query of {n:,}", watch.others, flush_ms(directory))


def _median(db: Database, run: int) -> float:
    times = []
    for _ in range(200):
        start = time.perf_counter()
        ancestors(db, run)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(rows)
