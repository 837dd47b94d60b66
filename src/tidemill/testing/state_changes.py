"""Every statement that changes rows: what it changes, what it reports, and that it leaves everything else alone.

Each is told to change rows in every situation at once, and some that do not exist; a rule in Python says what should
become of each.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple, TypeVar

import pytest

from tidemill.model.states import BlockState, DatumState, RunState, WorkerState
from tidemill.stores.state import blocks, data, leases, runs, workers
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.data import Datum
from tidemill.stores.state.database import Database
from tidemill.stores.state.runs import Fresh, Run
from tidemill.stores.state.workers import Worker
from tidemill.testing.state_base import StateSuite
from tidemill.testing.state_rows import (
    DIGEST,
    a_block,
    a_datum,
    a_run,
    a_worker,
    add_blocks,
    add_data,
    add_runs,
    add_worker,
)

R = TypeVar("R")
NEW = b"n" * 32
ABSENT = [5, 9999]
FENCE, FLAGS, CAUSE = 77, 1 << 9, 4242


class Change(NamedTuple):
    """One statement.

    Attributes:
        name: of the test.
        act: does it to some ids; what it reports.
        rule: what becomes of a row; None if it is left as it is.
        report: what should be reported, from the rows changed as they are afterwards.
    """

    name: str
    act: Callable[[Database, list[int]], Any]
    rule: Callable[[Any], Any]
    report: Callable[[list[Any]], Any] = len


def _ids(found: list[Any]) -> list[int]:
    return sorted(row.id for row in found)


def _many(value: Any, ids: list[int]) -> list[Any]:
    return [value] * len(ids)


def _nothing(_: list[Any]) -> None:
    return None


def expected(rows: dict[int, R], rule: Callable[[R], R | None]) -> tuple[dict[int, R], list[R]]:
    """All rows as a rule leaves them, and those that it changed."""
    after = {number: rule(row) for number, row in rows.items()}
    changed = [row for row in after.values() if row is not None]
    return {n: row if (row := after[n]) is not None else rows[n] for n in rows}, changed


# -------------------------------------------------------------------------------------------------- runs


def some_runs() -> tuple[list[Run], set[int]]:
    """Runs in every state, with and without inputs to wait for, and which of them have leases."""
    found = [
        a_run(10 * n, state=int(state), pending=pending, attempt=n, tries=n + 1, losses=n + 2, flags=n, args=b"a%d" % n)
        for n, (state, pending) in enumerate(product(RunState, (-1, 0, 2)), 1)
    ]
    more = [a_run(1000 + n, pending=0, attempt=n) for n in range(3)]
    return found + more, {row.id for row in more}


def as_fresh(run: Run) -> Fresh:
    """A run as it is reported when inputs come."""
    return Fresh(run.id, run.pending, run.state, run.key, run.cls, run.flags, run.task, run.args)


def _fresh(found: list[Run]) -> list[Fresh]:
    return sorted(map(as_fresh, found))


def _end(state: RunState, *, waiting: bool = False) -> Change:
    act = runs.end_waiting if waiting else runs.end

    def rule(run: Run) -> Run | None:
        legal = run.state == 0 and run.pending > 0 if waiting else run.state == 0 or (run.state, state) == (9, 6)
        return run._replace(state=int(state), attempt=FENCE, cause=CAUSE) if legal else None

    return Change(
        f"end{'_waiting' * waiting}-{state.name.lower()}",
        lambda db, ids: act(db, ids, _many(int(state), ids), _many(FENCE, ids), _many(CAUSE, ids)),
        rule,
    )


def _to(state: int, *sources: int) -> Callable[[Run], Run | None]:
    return lambda run: run._replace(state=state) if run.state in sources else None


def run_changes(leased: set[int]) -> list[Change]:
    """What can happen to runs."""

    def idle(run: Run) -> bool:
        return run.state == 0 and run.id not in leased

    return [
        Change(
            "complete",
            lambda db, ids: runs.complete(db, ids, _many(FENCE, ids), _many(NEW, ids), _many(FLAGS, ids)),
            lambda r: (
                r._replace(state=3, attempt=FENCE, key=NEW, flags=FLAGS)
                if (r.state, r.pending > 0) == (0, False)
                else None
            ),
        ),
        Change(
            "reuse",
            lambda db, ids: runs.reuse(db, ids, _many(NEW, ids), _many(FLAGS, ids)),
            lambda r: r._replace(state=3, key=NEW, flags=FLAGS) if idle(r) else None,
        ),
        *[_end(state) for state in (RunState.ERROR, RunState.SKIPPED, RunState.CANCELLED)],
        *[_end(state, waiting=True) for state in (RunState.ERROR, RunState.SKIPPED)],
        Change(
            "rearm",
            lambda db, ids: runs.rearm(db, ids, _many(2, ids), _many(FLAGS, ids)),
            lambda r: (
                r._replace(state=0, pending=2, cause=None, flags=FLAGS, tries=0, losses=0)
                if r.state in (4, 5, 6)
                else None
            ),
        ),
        Change(
            "hold", lambda db, ids: sorted(runs.hold(db, ids)), lambda r: r._replace(state=9) if idle(r) else None, _ids
        ),
        Change("unhold", lambda db, ids: sorted(runs.unhold(db, ids)), _to(0, 9), _fresh),
        Change("invalidate", lambda db, ids: sorted(runs.invalidate(db, ids)), _to(7, 3, 4, 5, 6), _ids),
        Change("remove", lambda db, ids: sorted(runs.remove(db, ids)), _to(8, 3, 4, 5, 6, 7), _ids),
        Change(
            "bump",
            lambda db, ids: runs.bump(db, ids, _many(FENCE, ids), _many(1, ids), _many(3, ids)),
            lambda r: r._replace(attempt=FENCE, tries=r.tries + 1, losses=r.losses + 3) if r.state == 0 else None,
        ),
        Change(
            "set_pending",
            lambda db, ids: runs.set_pending(db, ids, _many(17, ids)),
            lambda r: r._replace(pending=17) if r.state in (0, 9) else None,
            _nothing,
        ),
        Change(
            "set_class", lambda db, ids: runs.set_class(db, ids, _many(8, ids)), lambda r: r._replace(cls=8), _nothing
        ),
        Change(
            "set_flags", lambda db, ids: runs.set_flags(db, ids, _many(8, ids)), lambda r: r._replace(flags=8), _nothing
        ),
    ]


RUN_CHANGES = [change.name for change in run_changes(set())]


# -------------------------------------------------------------------------------------------------- data


def some_data() -> list[Datum]:
    """Data in every state that has a row, and aliases."""
    found = [a_datum(10 * n, state=int(s), value=b"v%d" % n, run=n) for n, s in enumerate(DatumState, 1) if s]
    return [*found, a_datum(500, src=30, value=None), a_datum(510, src=500, value=None, state=2)]


def _bury(state: DatumState) -> Change:
    def act(db: Database, ids: list[int]) -> int:
        found = [i for i in ids if i not in ABSENT]
        return data.bury(db, found, *[_many(x, found) for x in (1, 0, int(state), 1, 0, CAUSE)])

    def rule(d: Datum) -> Datum | None:
        open_ = d.state in (DatumState.WRITING, DatumState.PUBLISHED)
        legal = open_ and state in (DatumState.ERROR, DatumState.CANCELLED)
        return d._replace(state=int(state), cause=CAUSE) if legal else None

    return Change(f"bury-{state.name.lower()}", act, rule)


def _each(act: Callable[[Database, int], bool]) -> Callable[[Database, list[int]], list[int]]:
    """A statement about one row, done to some; those where it reports a change."""
    return lambda db, ids: sorted(i for i in ids if act(db, i))


def _without_value(state: DatumState, *sources: int) -> Callable[[Datum], Datum | None]:
    return lambda d: d._replace(state=int(state), value=None) if d.state in sources else None


def _open(db: Database, ids: list[int]) -> int:
    found = [i for i in ids if i not in ABSENT]
    return data.open_writing(db, found, *[_many(x, found) for x in (None, 0, 1, 1, 0)])


DATUM_CHANGES = [
    *[_bury(state) for state in (DatumState.ERROR, DatumState.SKIPPED, DatumState.CANCELLED)],
    Change("expire", lambda db, ids: sorted(data.expire(db, ids)), _without_value(DatumState.EXPIRED, 2), _ids),
    Change("remove", lambda db, ids: sorted(data.remove(db, ids)), _without_value(DatumState.DELETED, 2, 3, 8), _ids),
    Change(
        "lose",
        lambda db, ids: sorted(data.lose(db, ids)),
        lambda d: d._replace(state=8) if d.state == 2 else None,
        _ids,
    ),
    Change(
        "restore",
        _each(lambda db, i: data.restore(db, i, b"again")),
        lambda d: d._replace(state=2, value=b"again") if d.state in (3, 8) else None,
        _ids,
    ),
    Change(
        "restore-as-it-is",
        _each(lambda db, i: data.restore(db, i, None)),
        lambda d: d._replace(state=2) if d.state in (3, 8) else None,
        _ids,
    ),
    Change(
        "fill",
        _each(lambda db, i: i not in ABSENT and data.fill(db, i, 9, NEW, b"filled")),
        lambda d: d._replace(state=2, size=9, digest=NEW, value=b"filled") if d.state == 1 else None,
        _ids,
    ),
    Change("open", _open, lambda _: None),
    Change(
        "publish",
        _each(lambda db, i: i not in ABSENT and data.publish(db, i, 1, 0, 9, NEW, b"up")),
        lambda _: None,
        _ids,
    ),
    Change(
        "settle",
        lambda db, ids: sorted(data.settle(db, ids)),
        lambda d: d._replace(state=2) if d.state == 9 else None,
        _ids,
    ),
    Change("point", lambda db, ids: data.point(db, ids, _many(7, ids)), lambda d: d._replace(src=7), _nothing),
]


# -------------------------------------------------------------------------------------------------- blocks, workers


def some_blocks() -> list[Block]:
    """Blocks in every state, with and without something open."""
    found = [(state, n) for state in BlockState for n in (0, 1)]
    return [a_block(10 * k, state=int(s), open=n, total=k, name=f"b{k}", flags=k) for k, (s, n) in enumerate(found, 1)]


def _close(state: BlockState) -> Change:
    return Change(
        f"close-{state.name.lower()}",
        _each(lambda db, i: blocks.close(db, i, state, 5.5)),
        lambda b: b._replace(state=int(state), t_close=5.5) if b.state in (0, 1) and b.open == 0 else None,
        _ids,
    )


def _silent(act: Callable[[Database, int, int], None]) -> Callable[[Database, list[int]], None]:
    """A statement that gives one row the value 8, done to some."""

    def every(db: Database, ids: list[int]) -> None:
        for i in ids:
            act(db, i, 8)

    return every


def _close_many(state: BlockState) -> Change:
    return Change(
        f"close-many-{state.name.lower()}",
        lambda db, ids: blocks.close_many(db, ids, [int(state)] * len(ids), 5.5),
        lambda b: b._replace(state=int(state), t_close=5.5) if b.state in (0, 1) and b.open == 0 else None,
    )


BLOCK_CHANGES = [
    *[_close(state) for state in (BlockState.COMPLETE, BlockState.ERROR, BlockState.CANCELLED)],
    *[_close_many(state) for state in (BlockState.COMPLETE, BlockState.ERROR, BlockState.CANCELLED)],
    Change("reopen", _each(blocks.reopen), lambda b: b._replace(state=0) if b.state in (2, 3, 4) else None, _ids),
    Change(
        "stop",
        _each(lambda db, i: blocks.stop(db, i, CAUSE)),
        lambda b: b._replace(state=1, cause=CAUSE) if b.state == 0 else None,
        _ids,
    ),
    Change("set_out", _silent(blocks.set_out), lambda b: b._replace(out=8), _nothing),
    Change("set_flags", _silent(blocks.set_flags), lambda b: b._replace(flags=8), _nothing),
]


def _worker_to(state: WorkerState, *sources: int) -> Change:
    return Change(
        state.name.lower(),
        lambda db, ids: sorted(workers.set_state(db, ids, int(state))),
        lambda w: w._replace(state=int(state)) if w.state in sources else None,
        _ids,
    )


WORKER_CHANGES = [
    _worker_to(WorkerState.DRAINING, 0),
    _worker_to(WorkerState.EXPIRED, 0, 1),
    _worker_to(WorkerState.GONE, 0, 1, 2),
    Change(
        "beat",
        _each(lambda db, i: workers.beat(db, i, 50.5, 60.25)),
        lambda w: w._replace(seen=50.5, deadline=60.25) if w.state in (0, 1) else None,
        _ids,
    ),
]


class ChangesSuite(StateSuite):
    """One test for each statement."""

    @pytest.mark.parametrize("name", RUN_CHANGES)
    def test_changes_of_runs(self, db: Database, name: str) -> None:
        found, leased = some_runs()
        change = next(c for c in run_changes(leased) if c.name == name)
        add_runs(db, found)
        leases.add(db, sorted(leased), [1] * len(leased), [1] * len(leased), [0.0] * len(leased))
        ids = [r.id for r in found]
        after, changed = expected({r.id: r for r in found}, change.rule)
        assert change.act(db, [*ABSENT, *ids[::-1]]) == change.report(changed)
        assert runs.get(db, ids) == after
        assert leases.number(db) == len(leased)
        assert runs.get(db, ABSENT) == {}

    def test_inputs_are_counted_down(self, db: Database) -> None:
        found, _ = some_runs()
        add_runs(db, found)
        ids = [r.id for r in found]
        by = [n % 4 for n in range(len(ids))]
        after = {
            r.id: r._replace(pending=r.pending - n) if r.state in (0, 9) else r for r, n in zip(found, by, strict=True)
        }
        assert sorted(runs.count_down(db, ids, by)) == _fresh(list(after.values()))
        assert runs.get(db, ids) == after
        assert sorted(runs.fresh(db, [*ids, *ABSENT])) == _fresh(list(after.values()))

    @pytest.mark.parametrize("change", DATUM_CHANGES, ids=lambda c: c.name)
    def test_changes_of_data(self, db: Database, change: Change) -> None:
        found = some_data()
        add_data(db, found)
        ids = [d.id for d in found]
        after, changed = expected({d.id: d for d in found}, change.rule)
        assert change.act(db, [*ABSENT, *ids[::-1]]) == change.report(changed)
        assert data.get(db, [*ids, *ABSENT]) == after

    def test_data_that_were_pending(self, db: Database) -> None:
        assert data.bury(db, [1, 2, 3], [4] * 3, [1, 2, 0], [5, 6, 7], [1] * 3, [0] * 3, [CAUSE] * 3) == 3
        assert data.open_writing(db, [4, 5], [4, None], [3, 0], [1, 1], [1, 1], [0, 0]) == 2
        assert data.open_writing(db, [5, 6], [None] * 2, [0] * 2, [1] * 2, [1] * 2, [0] * 2) == 1
        assert data.fill(db, 7, 3, DIGEST, None)
        dead = [Datum(n, 4, port, 4 + n, 1, 0, None, CAUSE, None, None) for n, port in ((1, 1), (2, 2), (3, 0))]
        opened = [
            Datum(n, run, port, 1, 1, 0, None, None, None, None)
            for n, run, port in ((4, 4, 3), (5, None, 0), (6, None, 0))
        ]
        filled = Datum(7, None, 0, 2, 1, 3, None, None, DIGEST, None)
        assert data.get(db, list(range(10))) == {d.id: d for d in (*dead, *opened, filled)}

    def test_reset(self, db: Database) -> None:
        found = some_data()
        add_data(db, found)
        again = [d.id for d in found if d.state in (1, 5, 6, 7, 9)]
        assert sorted(data.reset(db, [d.id for d in found] + ABSENT)) == again
        assert data.get(db, [d.id for d in found]) == {d.id: d for d in found if d.id not in again}

    @pytest.mark.parametrize("change", BLOCK_CHANGES, ids=lambda c: c.name)
    def test_changes_of_blocks(self, db: Database, change: Change) -> None:
        found = some_blocks()
        add_blocks(db, found)
        ids = [b.id for b in found]
        after, changed = expected({b.id: b for b in found}, change.rule)
        assert change.act(db, [*ABSENT, *ids]) == change.report(changed)
        assert blocks.get_many(db, [*ids, *ABSENT]) == after
        assert [blocks.get(db, i) for i in ids] == [after[i] for i in ids]
        assert [blocks.is_stopping(db, i) for i in ids] == [after[i].state == 1 for i in ids]
        assert blocks.stopping(db) == [i for i in ids if after[i].state == 1]

    def test_a_block_that_is_reopened_forgets_its_end(self, db: Database) -> None:
        add_blocks(db, [a_block(1)])
        assert blocks.stop(db, 1, CAUSE)
        assert blocks.close(db, 1, BlockState.CANCELLED, 5.5)
        ended = blocks.get(db, 1)
        assert ended is not None and (ended.state, ended.cause, ended.t_close) == (4, CAUSE, 5.5)
        assert blocks.reopen(db, 1)
        assert blocks.get(db, 1) == a_block(1)

    @pytest.mark.parametrize("change", WORKER_CHANGES, ids=lambda c: c.name)
    def test_changes_of_workers(self, db: Database, change: Change) -> None:
        found = [a_worker(10 * n, state=int(state), name=f"w{n}") for n, state in enumerate(WorkerState, 1)]
        for one in found:
            add_worker(db, one)
        after, changed = expected({w.id: w for w in found}, change.rule)
        assert change.act(db, [*ABSENT, *[w.id for w in found]]) == change.report(changed)
        assert {w.id: workers.get(db, w.id) for w in found} == after
        assert workers.get(db, ABSENT[0]) is None
        assert workers.engines(db) == [w for w in after.values() if w.state in (0, 1)]

    def test_a_worker_says_which_process_it_is(self, db: Database) -> None:
        found: list[Worker] = [
            a_worker(1),
            a_worker(2, parent=1),
            a_worker(3, parent=1, state=2),
            a_worker(4, parent=2),
        ]
        for one in found:
            add_worker(db, one)
        workers.name_process(db, 2, 1 << 40, "then")
        assert workers.get(db, 2) == found[1]._replace(pid=1 << 40, start="then")
        assert workers.executors(db, [1]) == [found[1]._replace(pid=1 << 40, start="then")]
        assert [w.id for w in workers.executors(db, [2, 1, 9])] == [2, 4]
        assert workers.names(db, [4, 9, 1]) == {4: (4, "w", "host", 100), 1: (1, "w", "host", 100)}
        assert workers.engines(db) == [found[0]]
