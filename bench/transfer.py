"""Importing a directory of many small files, beside copying it."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row, Watch, flush_ms, fresh, main

from tidemill.stores.objects import fetch_url, open_objects

N = 10_000
SIZE = 4096
WIDTH = 100
"""Files in one directory."""


def rows(directory: Path) -> Iterator[Row]:
    with fresh(directory) as place:
        source = place / "source"
        for i in range(N):
            if i % WIDTH == 0:
                (source / str(i // WIDTH)).mkdir(parents=True)
            (source / str(i // WIDTH) / str(i)).write_bytes(os.urandom(SIZE))
        os.sync()
        with Watch() as watch:
            start = time.perf_counter()
            subprocess.run(["cp", "-r", str(source), str(place / "copy")], check=True)
            bare = time.perf_counter() - start
            os.sync()
            store = open_objects(str(place / "objects"))
            start = time.perf_counter()
            found = fetch_url(store, source.as_uri())
            took = time.perf_counter() - start
            start = time.perf_counter()
            store.get_dir(found.digest, place / "back")
            more = {"export_s": time.perf_counter() - start}
            store.close()
    yield Row("import_dir", took, bare, "s cp -r, not durable", watch.others, flush_ms(directory), more)


if __name__ == "__main__":
    main(rows)
