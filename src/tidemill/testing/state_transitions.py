"""Every (state, event) of the transition tables, legal and illegal, tried on the statements that perform it."""

from collections.abc import Callable, Mapping
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
from tidemill.stores.state.database import Database
from tidemill.testing.state_base import StateSuite
from tidemill.testing.state_rows import (
    DIGEST,
    KEY,
    a_block,
    a_datum,
    a_run,
    a_worker,
    add_blocks,
    add_data,
    add_runs,
    add_worker,
)

RUN_ID, DATUM_ID, INPUT, WORKER_ID, FENCE = 1, 1, 2, 1, 1
Event = Callable[[Database], object]


def pairs(table: Mapping[Any, Any], states: type[Enum]) -> list[tuple[Any, str]]:
    """Every state with every event of a table."""
    names = sorted({name for _, name in table})
    return [(s, n) for s in states for n in names]


def _ids(pair: tuple[Any, str]) -> str:
    return f"{pair[0].name.lower()}-{pair[1]}"


# -------------------------------------------------------------------------------------------------- runs


def make_run(db: Database, view: RunView) -> None:
    """A run in a state, with one input."""
    stored = RunState[view.name] if view.name in RunState.__members__ else RunState.LIVE
    pending = 1 if view in (RunView.WAITING, RunView.SKIPPED, RunView.CANCELLED, RunView.HELD) else 0
    add_runs(db, [a_run(RUN_ID, state=int(stored), pending=pending)])
    edges.add(db, [RUN_ID], [0], [INPUT])
    if view is RunView.READY:
        classes.stand(db, [1], [RUN_ID])
    if view is RunView.RUNNING:
        leases.add(db, [RUN_ID], [FENCE], [WORKER_ID], [0.0])


def _under_lease(change: Event) -> Event:
    """A change that only who gives a current lease back may make."""

    def event(db: Database) -> None:
        if leases.give_back(db, [RUN_ID], [FENCE]):
            change(db)

    return event


def _again(db: Database) -> None:
    """`retry` of a running run is under its lease, of an ended one by hand."""
    if leases.give_back(db, [RUN_ID], [FENCE]):
        runs.bump(db, [RUN_ID], [FENCE], [1], [0])
    elif runs.get(db, [RUN_ID])[RUN_ID].state != RunState.SKIPPED:  # stands for its root cause
        _rearm(db)


def _rearm(db: Database) -> None:
    waits = int(runs.get(db, [RUN_ID])[RUN_ID].pending > 0)
    runs.rearm(db, [RUN_ID], [waits], [0])


def _take(db: Database) -> None:
    if RUN_ID in classes.take(db, 1, 10) and runs.for_claim(db, [RUN_ID]):
        leases.add(db, [RUN_ID], [FENCE], [WORKER_ID], [0.0])


def _cancel(db: Database) -> None:
    leases.give_back(db, [RUN_ID], [FENCE])
    runs.end(db, [RUN_ID], [int(RunState.CANCELLED)], [FENCE], [RUN_ID])


def _upstream(state: RunState) -> Event:
    return lambda db: runs.end_waiting(db, [RUN_ID], [int(state)], [0], [9])


RUN_EVENTS: dict[str, Event] = {
    "activate": lambda db: runs.release(db, [INPUT]),
    "reuse": lambda db: runs.reuse(db, [RUN_ID], [KEY], [0]),
    "claim": _take,
    "complete": _under_lease(lambda db: runs.complete(db, [RUN_ID], [FENCE], [KEY], [0])),
    "fail": _under_lease(lambda db: runs.end(db, [RUN_ID], [int(RunState.ERROR)], [FENCE], [RUN_ID])),
    "retry": _again,
    "release": _under_lease(lambda db: runs.bump(db, [RUN_ID], [FENCE], [0], [0])),
    "lose": _under_lease(lambda db: runs.bump(db, [RUN_ID], [FENCE], [0], [1])),
    "upstream_fail": _upstream(RunState.ERROR),
    "skip": _upstream(RunState.SKIPPED),
    "revive": _rearm,
    "cancel": _cancel,
    "hold": lambda db: runs.hold(db, [RUN_ID]),
    "unhold": lambda db: runs.unhold(db, [RUN_ID]),
    "invalidate": lambda db: runs.invalidate(db, [RUN_ID]),
    "delete": lambda db: runs.remove(db, [RUN_ID]),
}


# -------------------------------------------------------------------------------------------------- data


def make_datum(db: Database, state: DatumState) -> None:
    """A datum in a state; one that is pending has no row."""
    if state is not DatumState.PENDING:
        add_data(db, [a_datum(DATUM_ID, run=None, state=int(state))])


def _bury(state: DatumState) -> Event:
    return lambda db: data.bury(db, [DATUM_ID], [None], [0], [int(state)], [1], [0], [RUN_ID])


DATUM_EVENTS: dict[str, Event] = {
    "open": lambda db: data.open_writing(db, [DATUM_ID], [None], [0], [int(DatumState.WRITING)], [1], [0]),
    "publish": lambda db: data.publish(db, DATUM_ID, RUN_ID, 0, 1, DIGEST, b"p"),
    "complete": lambda db: data.settle(db, [DATUM_ID]) or data.fill(db, DATUM_ID, 1, DIGEST, b"w"),
    "fail": _bury(DatumState.ERROR),
    "skip": _bury(DatumState.SKIPPED),
    "cancel": _bury(DatumState.CANCELLED),
    "reset": lambda db: data.reset(db, [DATUM_ID]),
    "expire": lambda db: data.expire(db, [DATUM_ID]),
    "lose": lambda db: data.lose(db, [DATUM_ID]),
    "restore": lambda db: data.restore(db, DATUM_ID, b"v"),
    "delete": lambda db: data.remove(db, [DATUM_ID]),
}

# -------------------------------------------------------------------------------------------------- blocks, workers

BLOCK_EVENTS: dict[str, Event] = {
    "close": lambda db: blocks.close(db, 1, BlockState.COMPLETE, 1.0),
    "fail": lambda db: blocks.close(db, 1, BlockState.ERROR, 1.0),
    "cancel": lambda db: blocks.close(db, 1, BlockState.CANCELLED, 1.0),
    "stop": lambda db: blocks.stop(db, 1, None),
    "reopen": lambda db: blocks.reopen(db, 1),
}


def _block_state(db: Database) -> BlockState:
    row = blocks.get(db, 1)
    assert row is not None
    return BlockState(row.state)


WORKER_EVENTS: dict[str, Event] = {
    "drain": lambda db: workers.set_state(db, [1], int(WorkerState.DRAINING)),
    "expire": lambda db: workers.set_state(db, [1], int(WorkerState.EXPIRED)),
    "leave": lambda db: workers.set_state(db, [1], int(WorkerState.GONE)),
}


class TransitionsSuite(StateSuite):
    """A state changes along its table, and along nothing else."""

    @pytest.mark.parametrize("pair", pairs(RUN, RunView), ids=_ids)
    def test_transitions_of_runs(self, db: Database, pair: tuple[RunView, str]) -> None:
        view, event = pair
        make_run(db, view)
        assert runs.views(db, [RUN_ID]) == {RUN_ID: view}
        RUN_EVENTS[event](db)
        found = runs.views(db, [RUN_ID])[RUN_ID]
        if event in ("retry", "revive"):
            # one statement brings ended runs back; whether they wait or are ready follows from their inputs
            by_hand = event == "revive" and view is not RunView.RUNNING and (view, "retry") in RUN
            legal = pair in RUN or by_hand
            assert (found in (RunView.WAITING, RunView.READY)) if legal else found is view
        else:
            assert found is RUN.get(pair, view)

    @pytest.mark.parametrize("pair", pairs(DATUM, DatumState), ids=_ids)
    def test_transitions_of_data(self, db: Database, pair: tuple[DatumState, str]) -> None:
        state, event = pair
        make_datum(db, state)
        DATUM_EVENTS[event](db)
        assert DatumState(data.states(db, [DATUM_ID]).get(DATUM_ID, 0)) is DATUM.get(pair, state)

    @pytest.mark.parametrize("event", sorted(DATUM_EVENTS))
    def test_a_complete_value_does_not_change(self, db: Database, event: str) -> None:
        make_datum(db, DatumState.COMPLETE)
        DATUM_EVENTS[event](db)
        row = data.get(db, [DATUM_ID])[DATUM_ID]
        assert row.digest == DIGEST
        assert row.value in (b"v", None)

    @pytest.mark.parametrize("pair", pairs(BLOCK, BlockState), ids=_ids)
    def test_transitions_of_blocks(self, db: Database, pair: tuple[BlockState, str]) -> None:
        state, event = pair
        add_blocks(db, [a_block(1, state=int(state))])
        BLOCK_EVENTS[event](db)
        assert _block_state(db) is BLOCK.get(pair, state)

    @pytest.mark.parametrize("event", ["close", "fail", "cancel"])
    @pytest.mark.parametrize("state", [BlockState.OPEN, BlockState.CLOSING])
    def test_a_block_with_something_open_does_not_end(self, db: Database, event: str, state: BlockState) -> None:
        add_blocks(db, [a_block(1, state=int(state), open=1)])
        BLOCK_EVENTS[event](db)
        assert _block_state(db) is state

    @pytest.mark.parametrize("pair", pairs(WORKER, WorkerState), ids=_ids)
    def test_transitions_of_workers(self, db: Database, pair: tuple[WorkerState, str]) -> None:
        state, event = pair
        add_worker(db, a_worker(1, state=int(state)))
        WORKER_EVENTS[event](db)
        row = workers.get(db, 1)
        assert row is not None
        assert WorkerState(row.state) is WORKER.get(pair, state)

    def test_every_event_of_the_tables_is_tried(self) -> None:
        for table, events in ((RUN, RUN_EVENTS), (DATUM, DATUM_EVENTS), (BLOCK, BLOCK_EVENTS), (WORKER, WORKER_EVENTS)):
            assert {name for _, name in table} == set(events)
