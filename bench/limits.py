"""Limits and light peers, each measured beside what it is compared with. None of them keeps provenance."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
from bare import Loop, connect, noop
from blake3 import blake3
from measure import fresh
from shape import other_parent

CHUNK = 2000
"""Rows in a transaction of a submission."""

_encode = msgspec.msgpack.Encoder().encode


class Bare(NamedTuple):
    """What the bare loop did: runs per second, CPU microseconds of its driver per run, seconds of each transaction."""

    rate: float
    cpu: float
    transactions: list[float]


def independent(directory: Path, n: int = 100_000) -> Bare:
    """The bare loop over independent runs, submission included."""
    return _loop(directory, n, [], None)


def dag(directory: Path, n: int = 100_000, width: int = 1000) -> Bare:
    """The bare loop over rows of runs, each of which takes two results of the row before."""
    edges = []
    for run in range(width, n):
        row, column = divmod(run, width)
        above = (row - 1) * width + 1
        edges += [(above + column, run + 1), (above + other_parent(column, row, width), run + 1)]
    return _loop(directory, n, edges, [0] * width + [2] * (n - width))


def _loop(directory: Path, n: int, edges: list[tuple[int, int]], pending: list[int] | None) -> Bare:
    with fresh(directory) as place:
        loop = Loop(place)
        start = time.perf_counter()
        loop.submit(n, edges, pending)
        loop.run()
        seconds = time.perf_counter() - start
        loop.close()
    return Bare(n / seconds, loop.cpu / n * 1e6, loop.transactions)


def chain(directory: Path, n: int = 1000) -> float:
    """Median milliseconds of a step of the bare loop: worker, completion, release and claim in one commit."""
    with fresh(directory) as place:
        loop = Loop(place, 1)
        loop.submit(n, pairwise(range(1, n + 1)), [0, *[1] * (n - 1)])
        loop.run()
        times: list[float] = [t for (t,) in loop.db.execute("select t from task order by id")]
        loop.close()
    return statistics.median(b - a for a, b in pairwise(times)) * 1e3


def diamond(directory: Path, width: int = 1000) -> float:
    """Milliseconds for 1 + width + 1 in the bare loop, submission included."""
    last = width + 2
    edges = [(1, c) for c in range(2, last)] + [(c, last) for c in range(2, last)]
    return (width + 2) / _loop(directory, last, edges, [0, *[1] * width, width]).rate * 1e3


def pool(n: int = 10_000) -> float:
    """Runs per second of a process pool of two, which keeps nothing."""
    with ProcessPoolExecutor(2) as executor:
        executor.submit(noop, 0).result()
        start = time.perf_counter()
        for future in [executor.submit(noop, i) for i in range(n)]:
            future.result()
        seconds = time.perf_counter() - start
    return n / seconds


def submission(directory: Path, n: int, edges: int) -> float:
    """Seconds to encode, hash and durably insert n rows with so many edges each."""
    with fresh(directory) as place:
        db = connect(place / "bare.db")
        db.execute("create table run (id integer primary key, state int, pending int, key blob, args blob)")
        db.execute("create table edge (run int, port int, datum int, primary key (run, port)) without rowid")
        db.execute("create index edge_to on edge(datum)")
        start = time.perf_counter()
        for low in range(0, n, CHUNK):
            ids = range(low, min(n, low + CHUNK))
            args = [_encode([i]) for i in ids]
            rows = zip(ids, [edges] * len(ids), [blake3(a).digest() for a in args], args, strict=True)
            db.execute("begin immediate")
            db.executemany("insert into run values (?, 0, ?, ?, ?)", rows)
            db.executemany("insert into edge values (?, ?, ?)", [(i, p, i - p) for i in ids for p in range(edges)])
            db.execute("commit")
        seconds = time.perf_counter() - start
        db.close()
    return seconds


def lookups(directory: Path, n: int = 100_000) -> float:
    """Keys found per second, one query each, in a table of n keys."""
    with fresh(directory) as place:
        db = connect(place / "bare.db")
        db.execute("create table memo (k integer, run integer, primary key (k, run)) without rowid")
        keys = [int.from_bytes(blake3(_encode(i)).digest()[:8], "little", signed=True) for i in range(n)]
        with db:
            db.executemany("insert into memo values (?, ?)", zip(keys, range(n), strict=True))
        start = time.perf_counter()
        for key in keys:
            db.execute("select run from memo where k = ?", (key,)).fetchone()
        seconds = time.perf_counter() - start
        db.close()
    return n / seconds


def shell(n: int = 500) -> float:
    """`sh -c true` per second, one after the other, output captured, nothing kept."""
    start = time.perf_counter()
    for _ in range(n):
        subprocess.run(["sh", "-c", "true"], capture_output=True, check=True)
    return n / (time.perf_counter() - start)


def interpreter(code: str = "pass") -> float:
    """Seconds that this interpreter takes for some code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def reopening(database: Path) -> float:
    """Seconds in which a new process opens a database that was left with its log, and reads one row."""
    code = f"import sqlite3; sqlite3.connect({str(database)!r}).execute('select * from run limit 1').fetchone()"
    return interpreter(code)


class Packed(NamedTuple):
    put: float
    get: float


def objects(directory: Path, values: list[bytes], batch: int) -> Packed:
    """Objects per second in a file to which all are appended, with an index by digest; durable after each batch."""
    with fresh(directory) as place:
        db = connect(place / "index.db")
        db.execute("create table place (digest blob primary key, at int, size int) without rowid")
        pack = os.open(place / "pack", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        start, at, digests = time.perf_counter(), 0, []
        for low in range(0, len(values), batch):
            part = values[low : low + batch]
            os.write(pack, b"".join(part))
            os.fdatasync(pack)
            rows = []
            for value in part:
                rows.append((blake3(value).digest(), at, len(value)))
                at += len(value)
            db.execute("begin immediate")
            db.executemany("insert or ignore into place values (?, ?, ?)", rows)
            db.execute("commit")
            digests += [row[0] for row in rows]
        put = len(values) / (time.perf_counter() - start)
        start = time.perf_counter()
        for digest in digests:
            where, size = db.execute("select at, size from place where digest = ?", (digest,)).fetchone()
            os.pread(pack, size, where)
        get = len(values) / (time.perf_counter() - start)
        os.close(pack)
        db.close()
    return Packed(put, get)


_ANCESTRY = (
    "with recursive a(run) as (select ? union select e.datum from a join edge e on e.run = a.run) "
    "select count(*) from a"
)


class Ancestry:
    """One recursive query over edges from run to run, and nothing else."""

    def __init__(self, directory: Path, edges: Iterator[tuple[int, int, int]]) -> None:
        self.db = connect(directory / "edges.db")
        self.db.execute("create table edge (run int, port int, datum int, primary key (run, port)) without rowid")
        self.db.execute("begin")
        self.db.executemany("insert into edge values (?, ?, ?)", edges)
        self.db.execute("commit")

    def of(self, run: int) -> tuple[int, float]:
        """(how many ancestors, itself included; seconds)."""
        start = time.perf_counter()
        (n,) = self.db.execute(_ANCESTRY, (run,)).fetchone()
        return n, time.perf_counter() - start


if __name__ == "__main__":  # a new process that takes one run through the bare loop and says when
    first = Loop(Path(sys.argv[1]))
    first.submit(1)
    first.run()
    print(time.monotonic())
    first.close()
