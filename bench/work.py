"""The tasks and workflows that are measured. They do nothing, so that what is measured is everything else.

As a command, `python work.py STORE WORKFLOW ARGUMENT…` runs one with two workers and writes when it ended, in seconds
of the monotonic clock.
"""

import sys
import time
from typing import Any

from shape import other_parent

import tidemill as tm


@tm.task
def noop(x: int) -> int:
    return x


@tm.task
def pick(a: int, b: int, x: int) -> int:
    return max(a, b, x)


@tm.task
def count(values: list[int]) -> int:
    return len(values)


echo = tm.command("echo {x}", inputs={"x": int}, stdout="line")


@tm.workflow
def single(x: int) -> Any:
    return noop(x)


@tm.workflow
def sweep(n: int, first: int = 0) -> Any:
    """Independent runs of one call."""
    return noop(tm.sweep(range(first, first + n)))


@tm.workflow
def grid(n: int, width: int = 1000) -> Any:
    """Rows of runs, each of which takes two results of the row before; single calls, no two of them equal."""
    row = [noop(i) for i in range(width)]
    for low in range(width, n, width):
        row = [pick(row[i], row[other_parent(i, low // width, width)], low + i) for i in range(width)]
    return row


@tm.workflow
def chain(n: int) -> Any:
    x = noop(0)
    for i in range(1, n):
        x = pick(x, 0, i)
    return x


@tm.workflow
def diamond(width: int, first: int) -> Any:
    return count(pick(noop(first), 0, tm.sweep(range(width))))


@tm.workflow
def shell(n: int) -> Any:
    return echo(tm.sweep(range(n)))


@tm.workflow
def many(n: int) -> None:
    """Independent runs whose results nobody asks for."""
    noop(tm.sweep(range(n)))


@tm.task
def root(n: int) -> list[int]:
    return [noop(i) for i in range(n)]


@tm.workflow
def fan(n: int) -> Any:
    """Children of one run, and what they return."""
    return root(n)


@tm.task
def branch(depth: int, path: int) -> None:
    """Two of itself below it, and so on."""
    if depth:
        branch(depth - 1, 2 * path)
        branch(depth - 1, 2 * path + 1)


@tm.workflow
def tree(depth: int) -> None:
    branch(depth, 1)


WORKFLOWS = {w.name: w for w in (single, sweep, grid, chain, diamond, shell, many, fan, tree)}


def main(store: str, name: str, *arguments: str) -> None:
    tm.open(store).run(WORKFLOWS[name](*map(int, arguments)), workers=2, progress=False)
    print(time.monotonic())


if __name__ == "__main__":
    main(*sys.argv[1:])
