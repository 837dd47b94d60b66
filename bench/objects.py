"""Small objects in the object store: durable puts, gets by digest."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import limits
from measure import Row, Watch, flush_ms, fresh, main

from tidemill.stores.objects import open_objects

N = 50_000
SIZE = 1000
BATCH = 100


def rows(directory: Path) -> Iterator[Row]:
    values = [os.urandom(SIZE) for _ in range(N)]
    with fresh(directory) as place, Watch() as watch:
        bare = limits.objects(directory, values, BATCH)
        store = open_objects(str(place / "objects"))
        start = time.perf_counter()
        digests = [d for low in range(0, N, BATCH) for d in store.put_many(values[low : low + BATCH])]
        put = N / (time.perf_counter() - start)
        start = time.perf_counter()
        for digest in digests:
            store.get(digest)
        get = N / (time.perf_counter() - start)
        start = time.perf_counter()
        for low in range(0, N, BATCH):
            store.get_many(digests[low : low + BATCH])
        more = {"get_many_per_s": N / (time.perf_counter() - start)}
        store.close()
    flush = flush_ms(directory)
    yield Row("put", put, bare.put, "/s bare pack and index", watch.others, flush)
    yield Row("get", get, bare.get, "/s bare pack and index", watch.others, flush, more)


if __name__ == "__main__":
    main(rows)
