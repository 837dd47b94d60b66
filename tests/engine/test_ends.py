"""Ends without a value that are too many for one turn: told in slices, durable, each exactly once."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, NUMBER, Switch, shaky
from tidemill.engine import activate, external, reclaim, rerun, revive
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Slot, stored
from tidemill.testing.invariants import check_invariants


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activate, "DEAD_SLICE", 3)
    monkeypatch.setattr(reclaim, "SLICE", 4)


def spreading(d: EngineDriver) -> tuple[Graph, Slot, list[Slot]]:
    """A failure, with two layers of consumers and a collection behind it."""
    g = d.graph()
    bad = g.run("shaky", 1)
    first = [g.run("add", bad, i) for i in range(10)]
    second = [g.run("add", s) for s in first]
    whole = g.gather(second)
    g.result = [g.run("add", whole), *second]
    return g, bad, second


def fail(d: EngineDriver) -> tuple[int, Graph, Slot, list[Slot]]:
    """The turn in which it fails is over, and most of its consumers have yet to be told."""
    g, bad, second = spreading(d)
    block = d.submit(g)
    d.step()
    assert d.rows("select count(*) from doom") == [(0,)]
    outcomes, d.inbox = d.inbox, []
    d.hand_in(*outcomes)
    assert d.rows("select count(*) from doom")[0][0] > 0
    check_invariants(d.engine.db)
    return block, g, bad, second


def test_told_in_slices(drive: Drive) -> None:
    d = drive(ADD, shaky(Switch()))
    block, _, bad, second = fail(d)
    d.settle()
    assert {d.view(d.run_id(block, s)) for s in second} == {RunView.SKIPPED}
    assert {d.run(d.run_id(block, s)).cause for s in second} == {d.run_id(block, bad)}
    assert d.block(block).skipped == 21
    check_invariants(d.engine.db, quiet=True)


def test_a_crash_forgets_none(drive: Drive) -> None:
    d = drive(ADD, shaky(Switch()))
    block, *_ = fail(d)
    d.crash()
    check_invariants(d.engine.db)
    d.settle()
    assert d.block(block).state == BlockState.ERROR
    check_invariants(d.engine.db, quiet=True)


def test_who_comes_in_between_is_told_once(drive: Drive) -> None:
    d = drive(NUMBER, ADD, ANYWAY, shaky(Switch()))
    block, _, _, _ = fail(d)
    ((untold,),) = d.rows("select max(datum) from doom")
    g2 = d.graph()
    slow = g2.run("number", 5)
    tolerant = g2.gather([stored(untold), slow], tolerate=1)
    runs = [g2.run("anyway", stored(untold), slow), g2.run("add", stored(untold), slow), g2.run("anyway", tolerant)]
    second = d.submit(g2)
    check_invariants(d.engine.db)
    d.settle()
    found = [d.datum(second, g2, s) for s in runs]
    assert [d.state(i) for i in found] == [DatumState.COMPLETE, DatumState.SKIPPED, DatumState.COMPLETE]
    assert [d.value(i) for i in (found[0], found[2])] == [5, 5]
    assert d.block(block).state == BlockState.ERROR
    check_invariants(d.engine.db, quiet=True)


def test_a_retry_in_between(drive: Drive) -> None:
    switch = Switch()
    d = drive(ADD, shaky(switch))
    block, _, bad, _ = fail(d)
    switch.broken = False
    d.control(revive.retry, [d.run_id(block, bad)])
    check_invariants(d.engine.db)
    d.settle()
    assert d.results(block)[0] == sum(1 + i for i in range(10))
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_an_end_that_no_longer_holds_is_not_heard_of(drive: Drive) -> None:
    d = drive(NUMBER, ANYWAY, shaky(Switch()))
    g = d.graph()
    a, _ = g.run("number", 1), g.run("shaky", 1)
    block = d.submit(g)
    end = d.control(external.end_of, block)
    g2 = d.graph()
    g2.run("anyway", stored(d.datum(block, g, a)), after=[stored(end)])
    d.submit(g2)
    d.settle()
    assert d.state(end) is DatumState.ERROR
    d.control(rerun.rerun, [d.run_id(block, a)])
    check_invariants(d.engine.db)  # the new run waits for the block that is open again
    d.settle()
    check_invariants(d.engine.db, quiet=True)
