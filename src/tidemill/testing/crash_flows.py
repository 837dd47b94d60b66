"""Short workflows of every shape for the crash harness. Each execution of a run leaves a line in a log: its label.

As a program (a copy of this file, with arguments STORE SHAPE WORKERS) it runs one of them and prints a digest of the
result. The label is the first argument of every task, so that a run's row in the store and its lines in the log are
known to belong together. The log's path comes by the environment, where it is part of no run key.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tidemill as tm
from tidemill.model.digest import digest
from tidemill.model.values import encode

LOG = "TIDEMILL_CRASH_LOG"
"""Environment variable: the file to which every execution appends a line."""
AGAIN = "again"
"""Labels that begin so are those of runs that a checkpoint does again."""
SLOWEST = 0.012
"""Seconds that the slowest run takes; they differ, and each has its own."""


def noted(label: str, *values: Any) -> list[Any]:
    """Write down the execution, take the time that is this run's own, and compute something of label and values."""
    found = hashlib.blake2b(repr((label, values)).encode(), digest_size=6).digest()
    log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(log, f"{label}\n".encode())
    os.close(log)
    time.sleep(SLOWEST * found[0] / 255)
    return [label, int.from_bytes(found)]


@tm.task
def one(label: str) -> list[Any]:
    return noted(label)


@tm.task
def of_one(label: str, before: list[Any]) -> list[Any]:
    return noted(label, before)


@tm.task
def of_two(label: str, left: list[Any], right: list[Any]) -> list[Any]:
    return noted(label, left, right)


@tm.task
def of_many(label: str, parts: list[list[Any]]) -> list[Any]:
    return noted(label, *parts)


@tm.task(retries=3, backoff=0.01)
def second_time(label: str) -> list[Any]:
    """Fails when it is executed for the first time, by whomever."""
    found = noted(label)
    if Path(os.environ[LOG]).read_text(encoding="utf-8").splitlines().count(label) < 2:
        raise RuntimeError(f"{label} fails the first time")
    return found


@tm.task
def halves(label: str, depth: int) -> list[Any]:
    """Grows: two of itself, one level down, and what joins them."""
    found = noted(label)
    if depth == 0:
        return found
    return of_two(f"{label} joined", halves(f"{label}l", depth - 1), halves(f"{label}r", depth - 1))


@tm.task
def countdown(label: str, n: int, before: list[Any]) -> list[Any]:
    """Grows: itself again, with one less to do."""
    found = noted(label, before)
    return countdown(f"{label}.", n - 1, found) if n else found


@tm.task
def job(label: str, children: list[list[Any]], following: list[list[Any]]) -> list[Any]:
    """Grows: its children, and after everything below them what follows on. Each of these is a list of its
    arguments.
    """
    found = noted(label)
    with tm.block("children") as below:
        grown = [job(*child) for child in children]
    with tm.after(below):
        grown += [job(*follower) for follower in following]
    return of_many(f"{label} whole", [found, *grown]) if grown else found


@tm.task
def third_time(label: str) -> list[Any]:
    """Fails when it is executed for the first two times, by whomever."""
    found = noted(label)
    if Path(os.environ[LOG]).read_text(encoding="utf-8").splitlines().count(label) < 3:
        raise RuntimeError(f"{label} fails the first times")
    return found


@tm.task(checkpoint=True, retries=9)
def point(label: str) -> list[Any]:
    """Grows what fails, and is done again."""
    return of_many(f"{label} whole", [noted(label), one(f"{label} part"), third_time(f"{label} in the end")])


@tm.task
def of_files(label: str, files: list[tm.File]) -> list[Any]:
    return noted(label, *[Path(f).read_text(encoding="utf-8") for f in files])


_LABEL = {"label": str}
_NOTE = f'echo {{label}} >> "${LOG}" && sleep 0.005'
write = tm.command(f"{_NOTE} && echo {{label}} > {{out}}", name="write", inputs=_LABEL, outputs={"out": "out.txt"})
double = tm.command(
    f"{_NOTE} && cat {{source}} {{source}} > {{out}}",
    name="double",
    inputs={**_LABEL, "source": tm.File},
    outputs={"out": "twice.txt"},
)


def labels(name: str, n: int) -> Any:
    """A sweep of labels."""
    return tm.sweep([f"{name} {i}" for i in range(n)])


@tm.workflow
def independent() -> Any:
    return one(labels("independent", 40))


@tm.workflow
def chain() -> Any:
    found = one("chain")
    for i in range(20):
        found = of_one(f"chain {i}", found)
    return found


@tm.workflow
def lattice() -> Any:
    row = [one(f"lattice 0 {i}") for i in range(6)]
    for j in range(1, 6):
        row = [of_two(f"lattice {j} {i}", row[i - 1], row[i]) for i in range(6)]
    return row


@tm.workflow
def gathered() -> Any:
    parts = [of_many(f"part {i}", one(labels(f"gathered {i}", 10))) for i in range(3)]
    return of_many("whole", parts)


@tm.workflow
def grown() -> Any:
    return halves("grown", 3)


@tm.workflow
def recursive() -> Any:
    return countdown("recursive", 12, one("start"))


@tm.workflow
def successors() -> Any:
    first = ["B", [["C", [], []]], [["D", [], []]]]
    return job("A", [first], [["E", [["F", [], []]], [["G", [], []]]]])


@tm.workflow
def checkpoints() -> Any:
    return of_many("checkpoints", [point(f"{AGAIN} {i}") for i in range(3)])


@tm.workflow
def commands() -> Any:
    return of_files("commands", [double(f"double {i}", write(f"write {i}")) for i in range(6)])


@tm.workflow
def failing() -> Any:
    return of_many("failing", second_time(labels("second", 12)))


SHAPES: dict[str, Callable[[], Any]] = {
    flow.__name__: flow
    for flow in (independent, chain, lattice, gathered, grown, recursive, successors, checkpoints, commands, failing)
}


def main(store: str, shape: str, workers: str) -> None:
    """Run one, and print the digest of its result."""
    with tm.open(store) as opened:
        found = opened.run(SHAPES[shape](), workers=int(workers), progress=False)
    print(digest(encode(found)).hex(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
