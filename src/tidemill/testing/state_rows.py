"""Rows to put into a state store: every column has a value unless a test cares."""

from collections.abc import Iterable, Sequence
from typing import Any

from tidemill.stores.state import blocks, data, gathers, runs, workers
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.data import Datum
from tidemill.stores.state.database import Database
from tidemill.stores.state.gathers import Gather
from tidemill.stores.state.runs import Run
from tidemill.stores.state.workers import Worker

KEY = b"k" * 32
DIGEST = b"d" * 32


def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Rows turned into columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def a_run(number: int, **changed: Any) -> Run:
    """A run that is ready; its output has its own number."""
    plain = Run(number, 1, 1, 1, 0, 0, 0, 0, 0, 0, None, number, KEY, b"")
    return plain._replace(**changed)


def add_runs(db: Database, found: Sequence[Run]) -> None:
    """Insert runs. One with a cause is inserted live and then ended, as only its end gives it one."""
    ended = [r for r in found if r.cause is not None]
    if found:
        inserted = [(*r[:4], r.state if r.cause is None else runs.LIVE, *r[5:10], r.out, r.key, r.args) for r in found]
        runs.add(db, *columns(inserted))
    if ended:
        assert runs.end(db, *columns([(r.id, r.state, r.attempt, r.cause) for r in ended])) == len(ended)


def a_datum(number: int, **changed: Any) -> Datum:
    """A complete datum that run `number` made."""
    plain = Datum(number, number, 0, 2, 1, 1, None, None, DIGEST, b"v")
    return plain._replace(**changed)


def add_data(db: Database, found: Sequence[Datum]) -> None:
    """Insert data: with values, aliases, or ended without a value."""
    plain = [(d.id, d.run, d.port, d.state, d.kind, d.size, d.digest, d.value) for d in found if _plain(d)]
    aliases = [(d.id, d.run, d.port, d.state, d.kind, d.size, d.src, d.digest) for d in found if d.src is not None]
    dead = [(d.id, d.run, d.port, d.state, d.kind, d.size, d.cause) for d in found if d.cause is not None]
    if plain:
        data.add(db, *columns(plain))
    if aliases:
        data.alias(db, *columns(aliases))
    if dead:
        data.bury(db, *columns(dead))


def _plain(d: Datum) -> bool:
    return d.src is None and d.cause is None


def a_block(number: int, **changed: Any) -> Block:
    """An open root block with nothing in it."""
    head = (number, None, number, 1, 1, 0, 1, None, None, "b", None)
    counters, ranges = (0,) * 7, (0,) * 6
    return Block._make((*head, *counters, *ranges, 0, None, 0.0, None))._replace(**changed)


def add_blocks(db: Database, found: Sequence[Block]) -> None:
    """Insert blocks; `cause` and `t_close` belong to changes of theirs."""
    assert all(b.cause is None and b.t_close is None for b in found)
    if found:
        blocks.add(db, *columns([(*b[:25], b.t_open) for b in found]))


def a_worker(number: int, **changed: Any) -> Worker:
    """An engine's registration."""
    return Worker(number, None, 0, "w", "host", "boot", "space", 100, "start", 1.0, 2.0)._replace(**changed)


def add_worker(db: Database, worker: Worker) -> None:
    """Register a worker, and bring it to its state."""
    workers.add(db, worker)
    if worker.state:
        assert workers.set_state(db, [worker.id], worker.state) == [worker.id]


Stretch = tuple[int, int, int]
"""First member, number, step."""


def add_gather(db: Database, number: int, stretches: Sequence[Stretch], **changed: Any) -> Gather:
    """Insert an open collection over stretches of data, none of which has ended."""
    members = sum(n for _, n, _ in stretches)
    row = Gather(number, 1, members, len(stretches), 0, 0, 0, 0, 0)._replace(**changed)
    head = (row.id, row.block, gathers.OPEN, *row[2:])
    parts: list[tuple[int, ...]] = [
        (number, s, gathers.level(n, step), lo, n, step, n) for s, (lo, n, step) in enumerate(stretches)
    ]
    gathers.add(db, [head], parts)
    return row
