"""Fences, losses, retries: only the current lease counts, and every way to end an attempt."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER, Growing, Switch, shaky
from tidemill.engine import control, grow, reclaim, retry
from tidemill.engine.complete import Answer
from tidemill.model.errors import ConflictError
from tidemill.model.events import Kind, decode
from tidemill.model.protocol import Failure, Outcome, Started
from tidemill.model.states import AttemptState, BlockState, Reason, RunView
from tidemill.stores.state import attempts
from tidemill.stores.state.attempts import Attempt
from tidemill.testing.engine import Crash, EngineDriver, StandingClock
from tidemill.testing.graphs import Graph, Task
from tidemill.testing.invariants import check_invariants


def one(d: EngineDriver, task: str = "number", **options: Any) -> tuple[int, int]:
    g = d.graph()
    slot = g.run(task, 1, **options)
    block = d.submit(g)
    return block, d.run_id(block, slot)


def history(d: EngineDriver, run: int) -> list[Attempt]:
    with d.engine.db.transaction(write=False):
        return attempts.of(d.engine.db, [run])


def good(d: EngineDriver) -> Outcome:
    (claimed,) = d.take()
    outcome = d.execute(claimed)
    assert outcome is not None
    return outcome


def test_an_outcome_counts_once(drive: Drive) -> None:
    d = drive(NUMBER)
    _, run = one(d)
    outcome = good(d)
    assert d.hand_in(outcome, outcome) == [Answer.ACCEPTED, Answer.ALREADY]
    assert d.hand_in(outcome) == [Answer.ALREADY]
    assert len(history(d, run)) == 1


def test_what_was_not_leased_is_refused_and_recorded(drive: Drive) -> None:
    d = drive(NUMBER)
    _, run = one(d)
    outcome = good(d)
    older = Outcome(run, outcome.fence - 1, outcome.state, outcome.outs, 0.0, 0.0)
    assert d.hand_in(older) == [Answer.REFUSED]
    assert d.view(run) is RunView.RUNNING
    assert d.hand_in(outcome) == [Answer.ACCEPTED]
    refused = [e.ids for (b,) in d.rows("select data from event") for e in decode(b) if e.kind == Kind.REFUSED]
    assert refused == [[run]]


def test_a_released_lease_moves_the_fence_free_of_charge(drive: Drive) -> None:
    d = drive(NUMBER)
    _, run = one(d)
    outcome = good(d)
    d.control(retry.release, [(run, outcome.fence)])
    assert d.view(run) is RunView.READY
    assert d.hand_in(outcome) == [Answer.REFUSED]
    again = good(d)
    assert again.fence > outcome.fence
    assert d.hand_in(again) == [Answer.ACCEPTED]
    row = d.run(run)
    assert (row.tries, row.losses) == (0, 0)


def test_a_worker_of_a_dead_engine_is_refused(drive: Drive) -> None:
    d = drive(NUMBER)
    block, run = one(d)
    outcome = good(d)
    d.crash()
    assert d.view(run) is RunView.READY
    assert d.hand_in(outcome) == [Answer.REFUSED]
    d.settle()
    assert d.view(run) is RunView.COMPLETE
    assert d.closed[block]


def test_a_lease_survives_a_turn_that_fails(drive: Drive) -> None:
    """A transaction that is rolled back takes nothing with it: what was leased before can still be handed in."""
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    b = g.run("add", a, 1)
    g.result = [b]
    block = d.submit(g)
    d.hand_in(good(d))
    outcome = good(d)
    with pytest.raises(ConflictError, match="on purpose"), d.engine.turn() as turn:  # noqa: PT012
        control.cancel_block(turn, block)
        raise ConflictError("on purpose")
    check_invariants(d.engine.db)
    assert d.hand_in(outcome) == [Answer.ACCEPTED]
    assert d.results(block) == [2]
    again = d.graph()
    again.run("add", again.run("number", 1), 1)
    d.submit(again, key="again")
    d.settle()
    assert d.count("add") == 1  # recorded under the right key


def test_tries_are_counted_and_end_the_run(drive: Drive) -> None:
    d = drive(shaky(Switch(), retries=2))
    _, run = one(d, "shaky")
    d.settle()
    assert d.count("shaky") == 3
    assert [a.state for a in history(d, run)] == [AttemptState.ERROR] * 3
    assert d.view(run) is RunView.ERROR
    assert d.run(run).tries == 3
    check_invariants(d.engine.db, quiet=True)


def test_a_retry_waits_for_a_backoff_that_doubles(drive: Drive) -> None:
    clock = StandingClock()
    switch = Switch()
    d = drive(shaky(switch, retries=3, backoff=10.0), clock=clock)
    _, run = one(d, "shaky")
    d.settle(patient=False)
    for wait in (10.0, 20.0):
        n = d.count("shaky")
        clock.now += wait - 1.0
        d.settle(patient=False)
        assert d.count("shaky") == n
        check_invariants(d.engine.db)
        clock.now += 1.0
        d.settle(patient=False)
        assert d.count("shaky") == n + 1
    switch.broken = False
    clock.now += 40.0
    d.settle(patient=False)
    assert d.view(run) is RunView.COMPLETE


def test_a_backoff_outlives_the_engine(drive: Drive) -> None:
    clock = StandingClock()
    switch = Switch()
    d = drive(shaky(switch, retries=1, backoff=1000.0), clock=clock)
    _, run = one(d, "shaky")
    d.settle(patient=False)
    d.crash()
    switch.broken = False
    d.settle(patient=False)
    assert d.view(run) is RunView.READY
    clock.now += 1000.0
    d.settle(patient=False)
    assert d.view(run) is RunView.COMPLETE


def test_many_backoffs_at_one_moment(drive: Drive) -> None:
    clock = StandingClock()
    switch = Switch()
    d = drive(shaky(switch, retries=1, backoff=5.0), clock=clock, batch=5000)
    g = d.graph()
    for i in range(reclaim.SLICE + 500):
        g.run("shaky", i)
    block = d.submit(g)
    d.settle(patient=False)
    switch.broken = False
    clock.now += 5.0
    d.settle(patient=False)
    assert d.block(block).done == reclaim.SLICE + 500
    check_invariants(d.engine.db, quiet=True)


@pytest.mark.parametrize("reason", [Reason.CODE_CHANGED, Reason.BAD_INPUT])
def test_some_failures_are_final(drive: Drive, reason: Reason) -> None:
    d = drive(shaky(Switch(), retries=5))
    _, run = one(d, "shaky")
    (claimed,) = d.take()
    failure = Failure(int(reason), "kind", "text")
    d.hand_in(Outcome(run, claimed.fence, int(AttemptState.ERROR), [], 0.0, 0.0, failure=failure))
    assert d.view(run) is RunView.ERROR


def test_a_run_that_keeps_killing_its_worker_ends(drive: Drive) -> None:
    def kill(x: int) -> int:
        raise Crash("killed")

    d = drive(Task("kill", kill, options={"retries": 50}), NUMBER, batch=3)
    g = d.graph()
    bad = g.run("kill", 1)
    beside = [g.run("number", i) for i in range(5)]
    block = d.submit(g)
    d.settle()
    run = d.run_id(block, bad)
    assert d.view(run) is RunView.ERROR
    assert d.count("kill") == retry.MAX_LOSSES + 1
    attempts_made = history(d, run)
    assert {a.state for a in attempts_made} == {AttemptState.LOST}
    assert attempts_made[-1].reason == Reason.TOO_MANY_LOSSES
    assert attempts_made[0].reason == Reason.WORKER_DIED
    assert [d.view(d.run_id(block, s)) for s in beside] == [RunView.COMPLETE] * 5
    assert d.run(run).tries == 0
    check_invariants(d.engine.db, quiet=True)


def test_only_what_had_started_is_charged(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    slots = [g.run("number", i) for i in range(3)]
    block = d.submit(g)
    claimed = d.take()
    failure = Failure(int(Reason.SIGNAL), "signal 11", "crashed")
    started = Started(claimed[1].run, claimed[1].fence, 0.0, 0.0)
    d.control(retry.worker_died, d.worker, started, failure, b"last words", charge=True)
    rows = [d.run(d.run_id(block, s)) for s in slots]
    assert [(r.tries, r.losses) for r in rows] == [(0, 0), (1, 0), (0, 0)]
    assert [d.view(r.id) for r in rows] == [RunView.READY, RunView.ERROR, RunView.READY]
    with d.engine.db.transaction(write=False):
        assert attempts.logs(d.engine.db, rows[1].id) == [(claimed[1].fence, b"last words")]
    check_invariants(d.engine.db)


def test_an_engine_that_leaves_releases_its_leases(drive: Drive) -> None:
    d = drive(NUMBER)
    _, run = one(d)
    d.take()
    d.control(reclaim.leave)
    assert d.view(run) is RunView.READY
    assert d.rows("select count(*) from worker where state in (0, 1)") == [(0,)]


@pytest.fixture
def pair(postgres_database: str) -> Iterator[tuple[EngineDriver, EngineDriver]]:
    """Two engines of one store, with nothing to do."""
    growing = Growing(NUMBER, ADD)

    def function() -> Graph:
        g = growing.graph()
        g.forwards = [g.run("number", i) for i in range(grow.AT_ONCE + 1)][-1:]
        return g

    one = EngineDriver(postgres_database, growing.all(Task("fan", function)), shared=True, batch=300)
    with closing(EngineDriver(postgres_database, one.tasks.values(), shared=True, batch=300, clock=one.clock)) as other:
        one.settle()
        other.settle()
        yield one, other
        check_invariants(other.engine.db)


def leave(one: EngineDriver, other: EngineDriver) -> None:
    """One engine signs off; the other sees, some time after, who is gone."""
    one.control(reclaim.leave)
    one.close()
    with other.engine.turn() as turn:
        reclaim.reap(turn, reclaim.dead_engines(turn, lambda _: False))
    assert other.rows("select id from worker where parent is null and state in (0, 1)") == [(other.engine.id,)]
    other.settle()


def test_growth_that_an_engine_leaves_half_expanded_goes_on(pair: tuple[EngineDriver, EngineDriver]) -> None:
    one, other = pair
    g = one.graph()
    g.run("fan")
    block = one.submit(g)
    while not one.engine.unexpanded:
        assert one.step()
    leave(one, other)
    assert other.block(block).state == BlockState.COMPLETE
    assert other.count("number") == grow.AT_ONCE + 1


def test_a_block_that_an_engine_leaves_half_swept_ends(pair: tuple[EngineDriver, EngineDriver]) -> None:
    one, other = pair
    g = one.graph()
    for i in range(3):
        g.run("number", i)
    block = one.submit(g)
    one.control(control.cancel_block, block)
    assert one.engine.sweeps
    leave(one, other)
    assert other.block(block).state == BlockState.CANCELLED


def test_an_engine_that_owes_nothing_just_leaves(pair: tuple[EngineDriver, EngineDriver]) -> None:
    one, other = pair
    one.control(reclaim.leave)
    one.close()
    with other.engine.turn() as turn:
        assert reclaim.dead_engines(turn, lambda _: False) == []
