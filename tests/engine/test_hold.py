"""Holding runs back."""

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, COLLECT, NUMBER, Switch, shaky
from tidemill.engine import control, hold
from tidemill.model.states import BlockState, RunView
from tidemill.testing.engine import StandingClock
from tidemill.testing.invariants import check_invariants


def test_waiting_and_ready_runs_are_held_and_let_go(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a, b = g.run("number", 1), g.run("number", 2)
    c = g.run("add", a, b)
    block = d.submit(g)
    ready, waiting = d.run_id(block, a), d.run_id(block, c)
    assert d.control(hold.hold, [ready, waiting]) == [ready, waiting]
    assert d.control(hold.hold, [ready]) == []
    check_invariants(d.engine.db)
    d.settle()
    assert d.log == [("number", [2])]
    d.control(hold.unhold, [ready])
    d.settle()
    assert d.view(waiting) is RunView.HELD
    assert d.run(waiting).pending == 0
    assert d.block(block).state == BlockState.OPEN
    assert d.control(hold.unhold, [waiting, ready]) == [waiting]
    d.settle()
    assert d.value(d.datum(block, g, c)) == 3
    check_invariants(d.engine.db, quiet=True)


def test_running_and_ended_runs_are_not_held(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a, b = g.run("number", 1, priority=1), g.run("number", 2)
    block = d.submit(g)
    d.take(1)
    assert d.control(hold.hold, [d.run_id(block, s) for s in (a, b)]) == [d.run_id(block, b)]
    assert d.view(d.run_id(block, a)) is RunView.RUNNING


def test_what_ended_meanwhile_is_told_when_it_is_let_go(drive: Drive) -> None:
    d = drive(NUMBER, ADD, ANYWAY, shaky(Switch()))
    g = d.graph()
    bad, good = g.run("shaky", 1), g.run("number", 2)
    skipped, anyway = g.run("add", bad, good), g.run("anyway", bad, good)
    block = d.submit(g)
    ids = [d.run_id(block, s) for s in (skipped, anyway)]
    d.control(hold.hold, ids)
    d.settle()
    assert [d.view(i) for i in ids] == [RunView.HELD] * 2
    check_invariants(d.engine.db, quiet=True)
    d.control(hold.unhold, ids)
    d.settle()
    assert [d.view(i) for i in ids] == [RunView.SKIPPED, RunView.COMPLETE]
    assert d.run(ids[0]).cause == d.run_id(block, bad)
    assert d.value(d.datum(block, g, anyway)) == 2
    check_invariants(d.engine.db, quiet=True)


def test_n_of_m_inputs_that_come_meanwhile(drive: Drive) -> None:
    d = drive(NUMBER, COLLECT)
    g = d.graph()
    part = g.run("collect", g.run("number", 1), g.run("number", 2), need=1)
    block = d.submit(g)
    run = d.run_id(block, part)
    d.control(hold.hold, [run])
    d.settle()
    d.control(hold.unhold, [run])
    d.settle()
    assert d.count("collect") == 1
    assert d.value(d.datum(block, g, part)) == [1, 2]


def test_a_held_run_does_not_come_back_with_its_backoff(drive: Drive) -> None:
    clock = StandingClock()
    d = drive(shaky(Switch(), retries=1, backoff=10.0), clock=clock)
    g = d.graph()
    bad = g.run("shaky", 1)
    block = d.submit(g)
    d.settle(patient=False)
    run = d.run_id(block, bad)
    d.control(hold.hold, [run])
    clock.now += 20.0
    d.settle(patient=False)
    assert d.view(run) is RunView.HELD
    d.control(hold.unhold, [run])
    assert d.view(run) is RunView.READY
    check_invariants(d.engine.db)


def test_held_runs_can_be_cancelled(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a = g.run("number", 1)
    block = d.submit(g)
    d.control(hold.hold, [d.run_id(block, a)])
    d.control(control.cancel_block, block)
    d.settle()
    assert d.view(d.run_id(block, a)) is RunView.CANCELLED
    check_invariants(d.engine.db, quiet=True)
