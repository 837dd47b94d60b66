"""The same again, unchanged: how many results are found per second."""

from collections.abc import Iterator
from pathlib import Path

import limits
from measure import Row, flush_ms, fresh, main
from stores import execute
from work import grid, sweep

N = 100_000


def rows(directory: Path) -> Iterator[Row]:
    for name, call in (("reuse", sweep(N)), ("reuse_dag", grid(N))):
        bare = limits.lookups(directory, N)
        with fresh(directory) as place:
            execute(place, call)
            watch = execute(place, call)
        more = {"client_cpu_us": watch.client / N * 1e6, "engine_cpu_us": watch.engine / N * 1e6}
        yield Row(name, N / watch.seconds, bare, "/s bare lookups", watch.others, flush_ms(directory), more)


if __name__ == "__main__":
    main(rows)
