"""Every (state, event) of the transition tables, legal and illegal, tried in SQL."""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import pytest

from tidemill.model.states import (
    BLOCK,
    DATUM,
    RUN,
    WORKER,
    BlockState,
    DatumState,
    RunState,
    RunView,
    WorkerState,
)
from tidemill.stores.state import blocks, classes, data, edges, leases, runs, workers
from tidemill.stores.state.database import Database, Statement
from tidemill.stores.state.open import open_database
from tidemill.stores.state.workers import Worker

RUN_ID, DATUM_ID, INPUT, WORKER_ID, FENCE = 1, 1, 2, 1, 1
Event = Callable[[Database], object]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A store that every case leaves as it found it."""
    if request.param == "sqlite":
        store = str(tmp_path_factory.mktemp("store"))
    else:
        store = request.getfixturevalue("module_database")
    found = open_database(store, durable=False)
    yield found
    found.close()


class Undo(Exception):  # noqa: N818 — a way out, not an error
    pass


def after(db: Database, prepare: Event, event: Event, read: Callable[[Database], Any]) -> Any:
    """What `read` finds after an event, in a transaction that is rolled back."""
    result: list[Any] = []
    try:
        with db.transaction():
            prepare(db)
            event(db)
            result.append(read(db))
            raise Undo  # noqa: TRY301
    except Undo:
        return result[0]


def pairs(table: Mapping[Any, Any], states: type[Enum]) -> list[tuple[Any, str]]:
    names = sorted({name for _, name in table})
    return [(s, n) for s in states for n in names]


def ids(pair: tuple[Any, str]) -> str:
    return f"{pair[0].name.lower()}-{pair[1]}"


# -------------------------------------------------------------------------------------------------- runs


def make_run(view: RunView) -> Event:
    def prepare(db: Database) -> None:
        stored = RunState[view.name] if view.name in RunState.__members__ else RunState.LIVE
        pending = 1 if view in (RunView.WAITING, RunView.SKIPPED, RunView.CANCELLED, RunView.HELD) else 0
        columns = (RUN_ID, 1, 1, 1, int(stored), pending, 0, 0, 0, 0, DATUM_ID, b"k" * 32, b"")
        runs.add(db, *[[c] for c in columns])
        edges.add(db, [RUN_ID], [0], [INPUT])
        if view is RunView.READY:
            classes.stand(db, [1], [RUN_ID])
        if view is RunView.RUNNING:
            leases.add(db, [RUN_ID], [FENCE], [WORKER_ID], [0.0])

    return prepare


def under_lease(change: Event) -> Event:
    """A change that only who gives a current lease back may make."""

    def event(db: Database) -> None:
        if leases.give_back(db, [RUN_ID], [FENCE]):
            change(db)

    return event


def again(db: Database) -> None:
    """`retry` of a running run is under its lease, of an ended one by hand."""
    if leases.give_back(db, [RUN_ID], [FENCE]):
        runs.bump(db, [RUN_ID], [FENCE], [1], [0])
    elif runs.get(db, [RUN_ID])[RUN_ID].state != RunState.SKIPPED:  # stands for its root cause
        rearm(db)


def rearm(db: Database) -> None:
    waits = int(runs.get(db, [RUN_ID])[RUN_ID].pending > 0)
    runs.rearm(db, [RUN_ID], [waits], [0])


def take(db: Database) -> None:
    if RUN_ID in classes.take(db, 1, 10) and runs.for_claim(db, [RUN_ID]):
        leases.add(db, [RUN_ID], [FENCE], [WORKER_ID], [0.0])


def cancel(db: Database) -> None:
    leases.give_back(db, [RUN_ID], [FENCE])
    runs.end(db, [RUN_ID], [int(RunState.CANCELLED)], [FENCE], [RUN_ID])


def upstream(state: RunState) -> Event:
    return lambda db: runs.end_waiting(db, [RUN_ID], [int(state)], [0], [9])


RUN_EVENTS: dict[str, Event] = {
    "activate": lambda db: runs.release(db, [INPUT]),
    "reuse": lambda db: runs.reuse(db, [RUN_ID], [b"k" * 32], [0]),
    "claim": take,
    "complete": under_lease(lambda db: runs.complete(db, [RUN_ID], [FENCE], [b"k" * 32], [0])),
    "fail": under_lease(lambda db: runs.end(db, [RUN_ID], [int(RunState.ERROR)], [FENCE], [RUN_ID])),
    "retry": again,
    "release": under_lease(lambda db: runs.bump(db, [RUN_ID], [FENCE], [0], [0])),
    "lose": under_lease(lambda db: runs.bump(db, [RUN_ID], [FENCE], [0], [1])),
    "upstream_fail": upstream(RunState.ERROR),
    "skip": upstream(RunState.SKIPPED),
    "revive": rearm,
    "cancel": cancel,
    "hold": lambda db: runs.hold(db, [RUN_ID]),
    "unhold": lambda db: runs.unhold(db, [RUN_ID]),
    "invalidate": lambda db: runs.invalidate(db, [RUN_ID]),
    "delete": lambda db: runs.remove(db, [RUN_ID]),
}


@pytest.mark.parametrize("pair", pairs(RUN, RunView), ids=ids)
def test_runs(db: Database, pair: tuple[RunView, str]) -> None:
    view, event = pair
    found = after(db, make_run(view), RUN_EVENTS[event], lambda d: runs.views(d, [RUN_ID])[RUN_ID])
    expected = RUN.get(pair, view)
    if event in ("retry", "revive"):
        # one statement brings ended runs back; whether they wait or are ready follows from their inputs
        by_hand = event == "revive" and view is not RunView.RUNNING and (view, "retry") in RUN
        legal = pair in RUN or by_hand
        assert (found in (RunView.WAITING, RunView.READY)) if legal else found is view
    else:
        assert found is expected


# -------------------------------------------------------------------------------------------------- data


def make_datum(state: DatumState) -> Event:
    def prepare(db: Database) -> None:
        if state is not DatumState.PENDING:
            statement = Statement(
                "insert into datum(id, port, state, kind, size, digest, value) values (?, 0, ?, 1, 0, ?, ?)"
            )
            db.run(statement, DATUM_ID, int(state), b"d" * 32, b"v")

    return prepare


def bury(state: DatumState) -> Event:
    return lambda db: data.bury(db, [DATUM_ID], [None], [0], [int(state)], [1], [0], [RUN_ID])


DATUM_EVENTS: dict[str, Event] = {
    "open": lambda db: data.open_writing(db, [DATUM_ID], [None], [0], [int(DatumState.WRITING)], [1], [0]),
    "complete": lambda db: data.fill(db, DATUM_ID, 1, b"d" * 32, b"w"),
    "fail": bury(DatumState.ERROR),
    "skip": bury(DatumState.SKIPPED),
    "cancel": bury(DatumState.CANCELLED),
    "reset": lambda db: data.reset(db, [DATUM_ID]),
    "expire": lambda db: data.expire(db, [DATUM_ID]),
    "lose": lambda db: data.lose(db, [DATUM_ID]),
    "restore": lambda db: data.restore(db, DATUM_ID, b"v"),
    "delete": lambda db: data.remove(db, [DATUM_ID]),
}


def state_of(db: Database) -> DatumState:
    return DatumState(data.states(db, [DATUM_ID]).get(DATUM_ID, 0))


@pytest.mark.parametrize("pair", pairs(DATUM, DatumState), ids=ids)
def test_data(db: Database, pair: tuple[DatumState, str]) -> None:
    state, event = pair
    assert after(db, make_datum(state), DATUM_EVENTS[event], state_of) is DATUM.get(pair, state)


def test_a_complete_value_does_not_change(db: Database) -> None:
    for event in DATUM_EVENTS.values():
        row = after(db, make_datum(DatumState.COMPLETE), event, lambda d: data.get(d, [DATUM_ID])[DATUM_ID])
        assert row.digest == b"d" * 32
        assert row.value in (b"v", None)


# -------------------------------------------------------------------------------------------------- blocks


def make_block(state: BlockState) -> Event:
    def prepare(db: Database) -> None:
        head = (1, None, 1, 1, 1, int(state), 1, None, None, "b", None)
        blocks.add(db, *[[c] for c in (*head, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0.0)])

    return prepare


BLOCK_EVENTS: dict[str, Event] = {
    "close": lambda db: blocks.close(db, 1, BlockState.COMPLETE, 1.0),
    "fail": lambda db: blocks.close(db, 1, BlockState.ERROR, 1.0),
    "cancel": lambda db: blocks.close(db, 1, BlockState.CANCELLED, 1.0),
    "stop": lambda db: blocks.stop(db, 1, None),
    "reopen": lambda db: blocks.reopen(db, 1),
}


def block_state(db: Database) -> BlockState:
    row = blocks.get(db, 1)
    assert row is not None
    return BlockState(row.state)


@pytest.mark.parametrize("pair", pairs(BLOCK, BlockState), ids=ids)
def test_blocks(db: Database, pair: tuple[BlockState, str]) -> None:
    state, event = pair
    assert after(db, make_block(state), BLOCK_EVENTS[event], block_state) is BLOCK.get(pair, state)


@pytest.mark.parametrize("event", ["close", "fail", "cancel"])
def test_a_block_with_something_open_does_not_end(db: Database, event: str) -> None:
    def prepare(db: Database) -> None:
        make_block(BlockState.OPEN)(db)
        db.run(Statement("update block set open = 1"))

    assert after(db, prepare, BLOCK_EVENTS[event], block_state) is BlockState.OPEN


# -------------------------------------------------------------------------------------------------- workers


def make_worker(state: WorkerState) -> Event:
    def prepare(db: Database) -> None:
        workers.add(db, Worker(1, None, 0, "w", "host", "boot", "space", 1, "start", 0.0, 0.0))
        db.run(Statement("update worker set state = ?"), int(state))

    return prepare


WORKER_EVENTS: dict[str, Event] = {
    "drain": lambda db: workers.set_state(db, [1], int(WorkerState.DRAINING)),
    "expire": lambda db: workers.set_state(db, [1], int(WorkerState.EXPIRED)),
    "leave": lambda db: workers.set_state(db, [1], int(WorkerState.GONE)),
}


def worker_state(db: Database) -> WorkerState:
    return WorkerState(db.rows(Statement("select state from worker"))[0][0])


@pytest.mark.parametrize("pair", pairs(WORKER, WorkerState), ids=ids)
def test_workers(db: Database, pair: tuple[WorkerState, str]) -> None:
    state, event = pair
    assert after(db, make_worker(state), WORKER_EVENTS[event], worker_state) is WORKER.get(pair, state)


def test_every_event_is_tried() -> None:
    for table, events in ((RUN, RUN_EVENTS), (DATUM, DATUM_EVENTS), (BLOCK, BLOCK_EVENTS), (WORKER, WORKER_EVENTS)):
        assert {name for _, name in table} == set(events)
