"""Reuse: what is known is not executed again, what is under way is waited for."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER, PAIR, Switch, shaky
from tidemill.engine import control, expire, hold, hubs, keyindex, remove, rerun, stand
from tidemill.engine.turn import Turn
from tidemill.model.events import Kind, decode
from tidemill.model.states import BlockState, RunView
from tidemill.stores.state import runs
from tidemill.stores.state.database import Statement
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Task
from tidemill.testing.invariants import check_invariants


def one_more(x: int) -> Graph:
    g = Graph({"number": NUMBER})
    g.forwards = [g.run("number", x)]
    return g


GROWS = Task("grows", one_more)


def pipeline(d: EngineDriver, seed: int = 1) -> Graph:
    g = d.graph()
    a = g.run("number", seed)
    p = g.run("pair", a)
    g.result = [g.run("add", p, p[1])]
    return g


def events(d: EngineDriver, kind: Kind) -> list[tuple[list[int], object]]:
    return [
        (e.ids, e.note)
        for (body,) in d.rows("select data from event order by seq")
        for e in decode(body)
        if e.kind == kind
    ]


def test_equal_workflows_execute_once(drive: Drive) -> None:
    d = drive(NUMBER, ADD, PAIR)
    first = d.submit(pipeline(d), key="a")
    d.settle()
    before = len(d.log)
    second = d.submit(pipeline(d), key="b")
    d.settle()
    assert len(d.log) == before
    assert d.results(first) == d.results(second) == [3]
    assert d.block(second).reused == 3
    check_invariants(d.engine.db, quiet=True)


def test_reuse_outlives_the_engine(drive: Drive) -> None:
    d = drive(NUMBER, ADD, PAIR)
    d.submit(pipeline(d), key="a")
    d.settle()
    d.crash()
    before = len(d.log)
    second = d.submit(pipeline(d), key="b")
    d.settle()
    assert d.results(second) == [3]
    assert len(d.log) == before


def test_an_equal_run_under_way_is_waited_for(drive: Drive) -> None:
    d = drive(NUMBER, ADD, PAIR, batch=1)
    first = d.submit(pipeline(d), key="a")
    second = d.submit(pipeline(d), key="b")
    check_invariants(d.engine.db)
    d.settle()
    assert d.results(first) == d.results(second) == [3]
    assert len(d.log) == 3
    check_invariants(d.engine.db, quiet=True)


def test_who_waited_executes_itself_if_the_first_fails(drive: Drive) -> None:
    switch = Switch()
    calls: list[int] = []

    def once(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            raise ValueError("the first fails")
        return x

    d = drive(Task("once", once), shaky(switch))
    g = d.graph()
    a, b, c = (g.run("once", 1) for _ in range(3))
    block = d.submit(g)
    d.settle()
    views = sorted(d.view(d.run_id(block, s)) for s in (a, b, c))
    assert views == [RunView.COMPLETE, RunView.COMPLETE, RunView.ERROR]
    assert len(calls) == 2
    check_invariants(d.engine.db, quiet=True)


def test_a_run_that_is_waited_for_takes_the_higher_priority(drive: Drive) -> None:
    d = drive(NUMBER, batch=1)
    g = d.graph()
    first = g.run("number", 100, priority=0)
    for i in range(3):
        g.run("number", i, priority=5)
    waits = g.run("number", 100, priority=9)
    block = d.submit(g)
    assert d.run_id(block, waits) in dict(d.rows("select run, leader from follow"))
    d.settle()
    assert d.log[0] == ("number", [100])
    assert d.view(d.run_id(block, first)) is RunView.COMPLETE
    assert d.count("number") == 4


def test_a_run_of_a_suspended_workflow_is_executed_for_who_waits_for_it(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    g.run("number", 1)
    first = d.submit(g, key="a")
    second = d.submit(g, key="b")
    d.control(hubs.set_active, d.block(first).hub, active=False)
    d.settle()
    assert d.block(second).state == BlockState.COMPLETE
    third = d.submit(g, key="c")
    d.settle()
    assert d.block(third).state == BlockState.COMPLETE
    assert d.count("number") == 1
    check_invariants(d.engine.db)


@pytest.mark.parametrize("back", [0, 1])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_either_of_two_suspended_workflows_that_share_a_run_goes_on_alone(
    drive: Drive, order: tuple[int, int], back: int
) -> None:
    d = drive(NUMBER)
    g = d.graph()
    g.run("number", 1)
    both = [d.submit(g, key="a"), d.submit(g, key="b")]
    for i in order:
        d.control(hubs.set_active, d.block(both[i]).hub, active=False)
    d.control(hubs.set_active, d.block(both[back]).hub, active=True)
    d.settle()
    assert d.block(both[back]).state == BlockState.COMPLETE
    assert d.count("number") == 1
    d.control(hubs.set_active, d.block(both[1 - back]).hub, active=True)
    d.settle()
    assert d.block(both[1 - back]).state == BlockState.COMPLETE
    assert d.count("number") == 1
    check_invariants(d.engine.db)


def test_a_run_that_stands_by_in_two_classes_of_a_hub_is_claimed_once(drive: Drive) -> None:
    """Two runs of another workflow wait for it, of different weight."""
    d = drive(NUMBER)
    g, other = d.graph(), d.graph()
    g.run("number", 1)
    first = d.submit(g, key="a")
    d.control(hubs.set_active, d.block(first).hub, active=False)
    for weight in (1.0, 2.0):
        other.run("number", 1, weight=weight)
    second = d.submit(other, key="b")
    assert len({cls for (cls,) in d.rows("select class from ready")}) == 3
    (claimed,) = d.take(10)
    outcome = d.execute(claimed)
    assert outcome is not None
    d.hand_in(outcome)
    d.settle()
    assert d.block(second).state == BlockState.COMPLETE
    check_invariants(d.engine.db)


def test_the_first_of_two_workflows_goes_on_after_both_and_the_engine_were_killed(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    g.run("number", 1)
    first, _ = d.submit(g, key="a"), d.submit(g, key="b")
    d.crash()
    d.control(hubs.suspend_attached)
    d.control(hubs.set_active, d.block(first).hub, active=True)
    d.settle()
    assert d.block(first).state == BlockState.COMPLETE


@pytest.mark.parametrize("how", ["cancelled", "suspended"])
def test_a_run_that_took_a_higher_priority_stays_with_its_own_workflow(drive: Drive, how: str) -> None:
    d = drive(NUMBER)
    g, urgent = d.graph(), d.graph()
    g.run("number", 1)
    urgent.run("number", 1, priority=5)
    first, second = d.submit(g, key="a"), d.submit(urgent, key="b")
    if how == "cancelled":
        d.control(control.cancel_block, second)
    else:
        d.control(hubs.set_active, d.block(second).hub, active=False)
    d.settle()
    assert d.block(first).state == BlockState.COMPLETE
    assert d.count("number") == 1


def test_who_waits_for_what_another_grew_goes_on_alone_when_both_were_suspended(drive: Drive) -> None:
    """The one that is waited for grew, and what it grew is not done."""
    d = drive(NUMBER, GROWS)
    g = d.graph()
    g.result = [g.run("grows", 1)]
    first = d.submit(g, key="a")
    d.step()
    inbox, d.inbox = d.inbox, []
    d.hand_in(*inbox)
    second = d.submit(g, key="b")
    assert d.rows("select run from follow")
    for block in (second, first):
        d.control(hubs.set_active, d.block(block).hub, active=False)
    d.control(hubs.set_active, d.block(second).hub, active=True)
    d.settle()
    assert d.block(second).state == BlockState.COMPLETE


def test_who_waits_for_a_run_of_a_suspended_workflow_goes_on_when_that_grows(drive: Drive) -> None:
    d = drive(NUMBER, GROWS)
    g = d.graph()
    g.result = [g.run("grows", 1)]
    first, second = d.submit(g, key="a"), d.submit(g, key="b")
    d.control(hubs.set_active, d.block(first).hub, active=False)
    d.settle()
    assert d.block(second).state == BlockState.COMPLETE
    d.control(hubs.set_active, d.block(first).hub, active=True)
    d.settle()
    assert d.block(first).state == BlockState.COMPLETE
    assert (d.count("grows"), d.count("number")) == (2, 1)
    check_invariants(d.engine.db)


def test_nobody_waits_for_a_run_of_a_suspended_workflow_that_waits_itself(drive: Drive) -> None:
    """As for an input that was lost and is made again: nobody makes it."""
    d = drive(NUMBER)
    g = d.graph()
    a = g.run("number", 1)
    first, second = d.submit(g, key="a"), d.submit(g, key="b")
    leader = d.run_id(first, a)

    def waits(turn: Turn, inputs: int) -> None:
        stand.drop(turn, list(runs.get(turn.db, [leader]).values()))
        turn.db.run(Statement("update run set pending = ? where id = ?"), inputs, leader)

    d.control(waits, 1)
    d.control(hubs.set_active, d.block(first).hub, active=False)
    third = d.submit(g, key="c")
    d.settle()
    assert [d.block(b).state for b in (second, third)] == [BlockState.COMPLETE] * 2

    def goes_on(turn: Turn) -> None:
        waits(turn, 0)
        row = runs.get(turn.db, [leader])[leader]
        stand.queue(turn, [(leader, row.cls, row.flags)])

    d.control(goes_on)


def test_who_waits_for_a_run_that_is_withdrawn_from_its_hub_goes_on(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a = g.run("number", 1)
    first, second = d.submit(g, key="a"), d.submit(g, key="b")
    d.control(hubs.withdraw, [d.run_id(first, a)], d.block(first).hub)
    d.settle()
    assert d.block(second).state == BlockState.COMPLETE


def test_a_claim_goes_on_with_what_became_ready_because_of_what_was_known(drive: Drive) -> None:
    """A workflow that was suspended comes back: one run is known by now, the next one is ready because of that."""
    d = drive(NUMBER, ADD)
    g = d.graph()
    after = g.run("add", g.run("number", 1), 2)
    first = d.submit(g, key="a")
    hub = d.block(first).hub
    d.control(hubs.set_active, hub, active=False)
    d.crash()  # nobody remembers who could wait for whom
    other = d.graph()
    other.run("number", 1)
    d.submit(other, key="b")
    d.settle()
    d.control(hubs.set_active, hub, active=True)
    assert [c.run for c in d.take()] == [d.run_id(first, after)]
    assert d.count("number") == 1


def test_nobody_waits_for_a_run_that_is_held(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a = g.run("number", 1)
    first, second = d.submit(g, key="a"), d.submit(g, key="b")
    d.control(hold.hold, [d.run_id(first, a)])
    third = d.submit(g, key="c")
    d.settle()
    assert d.view(d.run_id(first, a)) is RunView.HELD
    assert [d.block(b).state for b in (second, third)] == [BlockState.COMPLETE] * 2
    d.control(hold.unhold, [d.run_id(first, a)])
    d.settle()
    assert d.count("number") == 1
    assert d.block(first).state == BlockState.COMPLETE


def test_an_unequal_second_result_is_recorded_and_the_first_stays(drive: Drive) -> None:
    draws = iter(range(10))
    d = drive(Task("draw", lambda: next(draws)), ADD)
    g = d.graph()
    a = g.run("draw")
    g.result = [g.run("add", a, 10)]
    first = d.submit(g, key="a")
    d.settle()
    run = d.run_id(first, a)
    new = d.control(rerun.rerun, [run])
    d.settle()
    assert d.results(first) == [11]
    assert events(d, Kind.NONDETERMINISTIC) == [([new[run]], [run])]
    second = d.submit(g, key="b")
    d.settle()
    assert d.results(second) == [10]
    d.crash()  # what is known is read back from the record of events
    third = d.submit(g, key="c")
    d.settle()
    assert d.results(third) == [10]
    assert d.count("draw") == 2
    check_invariants(d.engine.db, quiet=True)


def test_keys_are_merged_a_little_at_a_time(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyindex, "RECENT", 50)
    monkeypatch.setattr(keyindex, "SLICE", 7)
    d = drive(NUMBER, batch=5)
    g = d.graph()
    g.result = [g.run("number", i) for i in range(200)]
    d.submit(g, key="a")
    d.settle()
    merged = len(d.rows("select * from memo"))
    assert merged == 200 if not d.engine.alone else 0 < merged < 200
    for key in "bc":
        block = d.submit(g, key=key)
        d.settle()
        assert d.results(block) == list(range(200))
        d.crash()
    assert d.count("number") == 200


def test_an_equal_second_result_is_no_event(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a = g.run("number", 1)
    block = d.submit(g)
    d.settle()
    d.control(rerun.rerun, [d.run_id(block, a)])
    d.settle()
    assert d.count("number") == 2
    assert events(d, Kind.NONDETERMINISTIC) == []


def test_results_that_are_gone_are_made_again(drive: Drive) -> None:
    d = drive(NUMBER, ADD, PAIR)
    g = pipeline(d)
    first = d.submit(g, key="a")
    d.settle()
    d.control(expire.expire, [d.datum(first, g, g.result[0])])
    before = len(d.log)
    second = d.submit(pipeline(d), key="b")
    d.settle()
    assert d.results(second) == [3]
    assert d.log[before:] == [("add", [1, 2])]
    third = d.submit(pipeline(d), key="c")
    d.settle()
    assert d.results(third) == [3]
    assert len(d.log) == before + 1


def test_a_reused_value_that_is_gone_when_it_is_needed_is_made_again(drive: Drive) -> None:
    d = drive(NUMBER, ADD, PAIR)
    g = pipeline(d)
    first = d.submit(g, key="a")
    d.settle()
    made = [d.datum(first, g, s) for s in (g.result[0],)]
    pair = d.rows("select out from run where task = (select id from task where name = 'pair')")[0][0]
    d.control(expire.lose, [pair, *made])
    before = len(d.log)
    second = d.submit(pipeline(d), key="b")
    d.settle()
    assert d.results(second) == [3]
    assert sorted(name for name, _ in d.log[before:]) == ["add", "pair"]
    check_invariants(d.engine.db, quiet=True)


def test_invalid_results_are_not_reused(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    a = g.run("number", 1)
    first = d.submit(g, key="a")
    d.settle()
    assert d.control(remove.invalidate, [d.run_id(first, a)]) == [d.run_id(first, a)]
    d.submit(g, key="b")
    d.settle()
    assert d.count("number") == 2
    assert d.view(d.run_id(first, a)) is RunView.INVALID
