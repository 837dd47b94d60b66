"""A process that uses the cache of a `Place` and does what its standard input says: a JSON list per line, a call and
its arguments; it answers with a JSON value per line, of an error with its class.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.cache.lab import Place
from tidemill.model.digest import digest
from tidemill.stores.cache import Job

cache = Place(Path(sys.argv[1])).cache(unmeasured=int(sys.argv[2]))
jobs: dict[str, Job] = {}


def read(hexed: str) -> str:
    """The digest of what the cache has for a digest."""
    with open(cache.open(bytes.fromhex(hexed)), "rb") as file:
        return digest(file.read()).hex()


def put(path: str) -> str:
    return cache.put_file(path)[0].hex()


def begin(name: str, disk: int) -> None:
    jobs[name] = cache.job(disk).__enter__()


def end(name: str) -> None:
    jobs.pop(name).__exit__(None, None, None)


def give(name: str, hexed: str, path: str, mutable: bool) -> str:
    return jobs[name].read(bytes.fromhex(hexed), path, mutable)


def forget(name: str, hexed: str, path: str) -> None:
    jobs[name].forget(bytes.fromhex(hexed), path)


def unused(name: str) -> int:
    return jobs[name].unused


def hostile(path: str) -> str:
    """Try to change a file that was given; what came of it."""
    done = ""
    for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        try:
            fd = os.open(path, flags)
        except PermissionError:
            continue
        os.write(fd, b"changed")
        os.close(fd)
        done = "written"
    return done or "refused"


CALLS: dict[str, Any] = {
    "read": read,
    "put": put,
    "flush": cache.flush,
    "begin": begin,
    "end": end,
    "give": give,
    "forget": forget,
    "unused": unused,
    "hostile": hostile,
    "figures": cache.figures,
    "adjust": cache.adjust,
    "shutdown": cache.shutdown,
}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    try:
        answer = CALLS[name](*arguments)
    except Exception as error:  # noqa: BLE001 (it is the answer)
        answer = type(error).__name__
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
os._exit(0)
