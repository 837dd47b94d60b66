"""The least that a durable engine must do: `sqlite3`, two worker processes on sockets, and nothing else.

Same page size and commit settings as a store (WAL, `synchronous=FULL`, 4 kB pages). No provenance, no keys, no retries,
no leases: what a run costs here, no engine of this kind can do without.
"""

import select
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

PAGE = 4096
BATCH = 100
"""Runs in a message to a worker; two messages are under way per worker."""

_SCHEMA = """
create table task (id integer primary key, state int not null, pending int not null, args blob, result blob, t real);
create index ready on task(id) where state = 0 and pending = 0;
create table dep (p int, c int, primary key (p, c)) without rowid;
"""
_CLAIM = (
    "update task set state = 1 where id in (select id from task where state = 0 and pending = 0 order by id limit ?) "
    "returning id, args"
)
_DONE = "update task set state = 2, t = ?, result = ? where id = ?"
_RELEASE_ONE = "update task set pending = pending - 1 where id in (select c from dep where p = ?)"
_HEADER = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def connect(path: Path) -> sqlite3.Connection:
    """A new connection with a store's settings."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"pragma page_size = {PAGE}")
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("pragma cache_size = -65536")
    db.execute("pragma wal_autocheckpoint = 20000")
    return db


class Loop:
    """Runs a graph of no-ops: completions, what they release and the next claims in one transaction each turn.

    Args:
        directory: an empty one.
        batch: runs in a message.

    Attributes:
        transactions: seconds that each took.
        cpu: CPU seconds of this process in `run`.
    """

    def __init__(self, directory: Path, batch: int = BATCH) -> None:
        self.db = connect(directory / "bare.db")
        self.db.executescript(_SCHEMA)
        self.transactions: list[float] = []
        self.cpu = 0.0
        self._batch = batch
        self._edges = False
        self._workers = [_Peer() for _ in range(2)]

    def submit(self, n: int, edges: Iterable[tuple[int, int]] = (), pending: Iterable[int] | None = None) -> None:
        """Insert runs 1 … n with these (producer, consumer) edges."""
        waits = iter(pending) if pending is not None else None
        self.db.execute("begin immediate")
        rows = ((i, 0, next(waits) if waits else 0, _encode(i)) for i in range(1, n + 1))
        self.db.executemany("insert into task(id, state, pending, args) values (?, ?, ?, ?)", rows)
        self.db.executemany("insert into dep values (?, ?)", edges)
        self.db.execute("commit")
        self._edges = waits is not None
        self._left = n

    def run(self) -> float:
        """Run all that was submitted; seconds."""
        start, cpu = time.perf_counter(), time.process_time()
        found: list[tuple[int, bytes]] = []
        room = dict.fromkeys(self._workers, 2)
        while True:
            claimed = self._turn(found, self._batch * sum(room.values()))
            self._left -= len(found)
            if not self._left:
                break
            parts = [claimed[i : i + self._batch] for i in range(0, len(claimed), self._batch)]
            for worker in sorted(self._workers, key=lambda w: -room[w]) * 2:
                if parts and room[worker]:
                    room[worker] -= 1
                    worker.send(parts.pop())
            found = []
            for worker in select.select(self._workers, [], [])[0]:
                room[worker] += 1
                found += worker.receive()
        self.cpu = time.process_time() - cpu
        return time.perf_counter() - start

    def _turn(self, found: Sequence[tuple[int, bytes]], room: int) -> list[tuple[int, bytes]]:
        start = time.perf_counter()
        db, now = self.db, time.time()
        db.execute("begin immediate")
        if found:
            db.executemany(_DONE, [(now, value, i) for i, value in found])
            if self._edges:
                db.executemany(_RELEASE_ONE, [(i,) for i, _ in found])
        claimed: list[tuple[int, bytes]] = db.execute(_CLAIM, (room,)).fetchall() if room else []
        db.execute("commit")
        self.transactions.append(time.perf_counter() - start)
        return claimed

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        self.db.close()


class _Peer:
    """A worker process on a socket."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        self._sock.sendall(_HEADER.pack(1) + _encode([]))
        _frame(self._sock)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, rows: list[tuple[int, bytes]]) -> None:
        data = _encode(rows)
        self._sock.sendall(_HEADER.pack(len(data)) + data)

    def receive(self) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = _decode(_frame(self._sock) or b"\x90")
        return found

    def close(self) -> None:
        self._sock.close()
        self._process.wait()


def _frame(sock: socket.socket) -> bytes | None:
    head = sock.recv(_HEADER.size, socket.MSG_WAITALL)
    if not head:
        return None
    return sock.recv(_HEADER.unpack(head)[0], socket.MSG_WAITALL)


def noop(value: object) -> object:
    return value


def work(sock: socket.socket) -> None:
    """The worker: decode, call, encode, until the socket ends."""
    while (data := _frame(sock)) is not None:
        answer = _encode([(i, _encode(noop(_decode(args)))) for i, args in _decode(data)])
        sock.sendall(_HEADER.pack(len(answer)) + answer)


if __name__ == "__main__":
    work(socket.socket(fileno=int(sys.argv[1])))
