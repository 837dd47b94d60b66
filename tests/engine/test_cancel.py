"""Cancelling, and stopping at the first failure."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, NUMBER, Growing, Switch, shaky
from tidemill.engine import control, hold, revive
from tidemill.engine.complete import Answer
from tidemill.model.errors import ConflictError, NotFoundError
from tidemill.model.states import AttemptState, BlockState, RunView
from tidemill.stores.state import attempts, blocks
from tidemill.testing.graphs import Graph, Task
from tidemill.testing.invariants import check_invariants


def test_a_block_is_cancelled_in_slices(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "SLICE", 7)
    d = drive(NUMBER, ADD)
    g = d.graph()
    inner = g.block("inner")
    a = [g.run("number", i, block=inner if i % 2 else 0) for i in range(40)]
    b = [g.run("add", s, block=inner) for s in a]
    block = d.submit(g)
    held = [d.run_id(block, b[3])]
    d.control(hold.hold, held)
    d.control(control.cancel_block, block)
    assert d.block(block).state == BlockState.CLOSING
    check_invariants(d.engine.db)
    d.settle()
    assert d.log == []
    assert {d.view(d.run_id(block, s)) for s in a} == {RunView.CANCELLED}
    assert {d.view(d.run_id(block, s)) for s in b} <= {RunView.CANCELLED, RunView.SKIPPED}
    assert [d.block(n).state for n in (block, block + inner)] == [BlockState.CANCELLED] * 2
    check_invariants(d.engine.db, quiet=True)


def test_running_runs_are_stopped_and_their_results_refused(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    slot = g.run("number", 1)
    block = d.submit(g)
    run = d.run_id(block, slot)
    (claimed,) = d.take()
    outcome = d.execute(claimed)
    assert outcome is not None
    d.control(control.cancel_block, block)
    d.settle()
    assert d.stopped == [(run, d.worker)]
    assert d.hand_in(outcome) == [Answer.REFUSED]
    assert d.view(run) is RunView.CANCELLED
    with d.engine.db.transaction(write=False):
        (attempt,) = attempts.of(d.engine.db, [run])
    assert (attempt.n, attempt.state) == (claimed.fence, AttemptState.CANCELLED)
    check_invariants(d.engine.db, quiet=True)


def test_single_runs_with_what_follows_from_them(drive: Drive) -> None:
    d = drive(NUMBER, ADD, ANYWAY)
    g = d.graph()
    a, b = g.run("number", 1), g.run("number", 2)
    c = g.run("add", a, b)
    e = g.run("anyway", a, b)
    block = d.submit(g)
    assert d.control(control.cancel_runs, [d.run_id(block, a)], 0, running=True) == 1
    assert d.control(control.cancel_runs, [d.run_id(block, a)], 0, running=True) == 0
    d.settle()
    assert d.view(d.run_id(block, c)) is RunView.SKIPPED
    assert d.run(d.run_id(block, c)).cause == d.run_id(block, a)
    assert d.value(d.datum(block, g, e)) == 2
    assert d.block(block).state == BlockState.CANCELLED
    check_invariants(d.engine.db, quiet=True)


def test_an_inner_block_alone(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    outer = g.block("outer")
    inner = g.block("inner", outer)
    a = g.run("number", 1, block=inner)
    b = g.run("number", 2, block=outer)
    c = g.run("add", b)
    block = d.submit(g)
    d.control(control.cancel_block, block + inner)
    d.settle()
    assert d.view(d.run_id(block, a)) is RunView.CANCELLED
    assert d.value(d.datum(block, g, c)) == 2
    states = [d.block(block + n).state for n in (inner, outer, 0)]
    assert states == [BlockState.CANCELLED] * 3
    check_invariants(d.engine.db, quiet=True)


def test_what_grows_while_its_block_is_stopped_is_cancelled_too(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)

    def grow() -> Graph:
        g = growing.graph()
        g.forwards = [g.run("number", 1)]
        return g

    d = drive(*growing.all(Task("grow", grow), shaky(Switch())))
    g = d.graph()
    a = g.run("grow")
    g.run("shaky", 1)
    after = g.run("add", a)
    block = d.submit(g, options=blocks.STOP_ON_FAILURE)
    claimed = d.take()
    outcomes = [o for c in claimed if (o := d.execute(c)) is not None]
    d.hand_in(outcomes[1])
    d.hand_in(outcomes[0])
    d.settle()
    assert d.count("number") == 0
    assert d.view(d.run_id(block, a)) is RunView.COMPLETE
    assert d.view(d.run_id(block, after)) in (RunView.CANCELLED, RunView.SKIPPED)
    assert d.block(block).state == BlockState.ERROR
    check_invariants(d.engine.db, quiet=True)


def test_stop_at_the_first_failure_names_it_and_lets_running_runs_finish(drive: Drive) -> None:
    d = drive(NUMBER, shaky(Switch()), batch=3)
    g = d.graph()
    inner = g.block("inner")
    bad = g.run("shaky", 1, block=inner)
    beside = [g.run("number", i) for i in range(2)]
    rest = [g.run("number", 10 + i) for i in range(20)]
    block = d.submit(g, options=blocks.STOP_ON_FAILURE)
    d.settle()
    assert [d.view(d.run_id(block, s)) for s in beside] == [RunView.COMPLETE] * 2
    ends = [d.run(d.run_id(block, s)) for s in rest]
    assert {r.cause for r in ends if r.state == 6} == {d.run_id(block, bad)}
    assert len([r for r in ends if r.state == 6]) > 10
    assert d.block(block).state == BlockState.ERROR
    check_invariants(d.engine.db, quiet=True)


def test_a_retry_after_a_stop_goes_on_with_everything(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, shaky(switch), batch=2)
    g = d.graph()
    bad = g.run("shaky", 1)
    rest = [g.run("number", 10 + i) for i in range(8)]
    g.result = [g.run("add", bad, *rest)]
    block = d.submit(g, options=blocks.STOP_ON_FAILURE)
    d.settle()
    assert d.block(block).cancelled > 3
    switch.broken = False
    d.control(revive.retry, [d.run_id(block, bad)])
    d.settle()
    assert d.results(block) == [1 + sum(10 + i for i in range(8))]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_a_block_being_stopped_refuses_other_commands(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a, b = g.run("number", 1), g.run("number", 2)
    block = d.submit(g)
    d.control(control.cancel_runs, [d.run_id(block, a)], 0, running=True)
    d.take()
    d.control(control.cancel_block, block)
    with pytest.raises(ConflictError, match="being stopped"):
        d.control(revive.retry, [d.run_id(block, a)])
    d.settle()
    assert d.control(revive.retry, [d.run_id(block, a), d.run_id(block, b)]) == [d.run_id(block, s) for s in (a, b)]
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE


def test_there_is_no_such_block(drive: Drive) -> None:
    d = drive(NUMBER)
    with pytest.raises(NotFoundError):
        d.control(control.cancel_block, 99)
