"""Shell jobs: output and exit code captured, durable."""

from collections.abc import Iterator
from pathlib import Path

import limits
import work
from measure import Row, flush_ms, fresh, main
from stores import execute

N = 2000


def rows(directory: Path) -> Iterator[Row]:
    bare = limits.shell()
    with fresh(directory) as place:
        watch = execute(place, work.shell(N))
    used = {"engine_cpu_us": watch.engine / N * 1e6, "worker_cpu_us": watch.worker / N * 1e6}
    yield Row("shell", N / watch.seconds, bare, "/s bare sh -c true", watch.others, flush_ms(directory), used)


if __name__ == "__main__":
    main(rows)
