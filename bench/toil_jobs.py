"""What is measured of Toil, executed in its own environment: `python toil_jobs.py SHAPE STORE N`. Prints a number.

Its workers import this module by its name. Requests are small, so that they never limit what runs side by side.
"""

import json
import os
import sys
import tempfile
import time
from typing import Any

SMALL = {"cores": 0.1, "memory": "100Mi", "disk": "10Mi"}
LARGE = {"cores": 0.1, "memory": "500Mi", "disk": "1Gi"}
SIZE = 4096


def noop(job: Any, number: int) -> int:  # noqa: ARG001 (Toil gives every function its job)
    return 1


def total(job: Any, found: list[int]) -> int:  # noqa: ARG001
    return sum(found)


def fan(job: Any, n: int) -> Any:
    """Children of one root, counted."""
    found = [job.addChildJobFn(noop, i, **SMALL).rv() for i in range(n)]
    return job.addFollowOnJobFn(total, found, **SMALL).rv()


def files(job: Any, n: int) -> float:
    """Seconds for writing small files and reading them as links."""
    store = job.fileStore
    folder = store.getLocalTempDir()
    paths = [os.path.join(folder, str(i)) for i in range(n)]
    for path in paths:
        with open(path, "wb") as file:
            file.write(os.urandom(SIZE))
    start = time.perf_counter()
    for one in [store.writeGlobalFile(path) for path in paths]:
        store.readGlobalFile(one)
    return time.perf_counter() - start


def main(shape: str, place: str, n: int) -> None:
    from toil.common import Toil  # type: ignore[import-not-found]
    from toil.job import Job  # type: ignore[import-not-found]

    options = Job.Runner.getDefaultOptions(place)
    options.logLevel, options.clean, options.caching = "ERROR", "always", shape == "files"
    needs = {"fan": (fan, SMALL), "files": (files, LARGE)}[shape]
    with Toil(options) as toil:
        print(json.dumps(toil.start(Job.wrapJobFn(needs[0], n, **needs[1]))))


if __name__ == "__main__":
    os.environ.setdefault("TOIL_HISTORY", "False")
    tempfile.tempdir = None
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
