"""Waiting for everything below something: ends of blocks inside a graph, and blocks whose failures are their own."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, NUMBER, STRICT, Growing, Switch, shaky
from tidemill.engine import control, external, grow, rerun, revive
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.stores.state.blocks import STOP_ON_FAILURE
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Slot, Task, stored
from tidemill.testing.invariants import check_invariants


def tree(growing: Growing, fails: Switch | None = None) -> Task:
    """Grows itself to a depth; the leaves are numbers, or fail."""

    def function(depth: int) -> Graph:
        g = growing.graph()
        if depth:
            g.run("tree", depth - 1)
        else:
            g.run("shaky" if fails else "number", 100)
        g.forwards = [g.run("number", depth)]
        return g

    return Task("tree", function)


def test_a_run_comes_after_all_that_the_block_before_it_grew(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)
    d = drive(*growing.all(tree(growing)), batch=1)
    g = d.graph()
    inner = g.block("inner")
    a = g.run("tree", 3, block=inner)
    after = g.run("number", 7, after=[g.end(inner)])
    told = g.run("add", g.end(inner), a)
    g.result = [after, told]
    block = d.submit(g)
    d.settle()
    order = [(name, args[0]) for name, args in d.log]
    assert order.index(("number", 7)) > max(order.index(("number", n)) for n in (0, 1, 2, 3, 100))
    assert d.results(block) == [7, 4], "the end of a block that ended well is True"
    check_invariants(d.engine.db, quiet=True)


@pytest.mark.parametrize("size", [1, 2, 500])
def test_ends_of_empty_and_nested_blocks_in_several_parts(drive: Drive, size: int) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    outer = g.block("outer")
    inner, empty = g.block("inner", outer), g.block("empty", outer)
    g.run("number", 1, block=inner)
    g.run("number", 2, block=outer, after=[g.end(inner), g.end(empty)])
    many = [g.run("number", 10 + i, after=[g.end(outer)]) for i in range(4)]
    g.result = [g.run("add", g.gather([*many, g.end(inner), g.end(empty)]))]
    block = d.submit(g, size=size)
    d.settle()
    numbers = [args[0] for name, args in d.log if name == "number"]
    assert (numbers[:2], sorted(numbers[2:])) == ([1, 2], [10, 11, 12, 13])
    assert d.results(block) == [48]
    check_invariants(d.engine.db, quiet=True)


def test_what_waits_for_a_failed_block_is_skipped_or_told(drive: Drive) -> None:
    switch = Switch()
    growing = Growing(NUMBER, ADD, ANYWAY, STRICT, shaky(switch))
    d = drive(*growing.all(tree(growing, switch)))
    g = d.graph()
    inner = g.block("inner", contained=True)
    g.run("tree", 2, block=inner)
    end = g.end(inner)
    skipped, told, strict = g.run("add", end), g.run("anyway", end, 5), g.run("strict", 1, after=[end])
    g.result = [told]
    block = d.submit(g)
    d.settle()
    assert [d.view(d.run_id(block, s)) for s in (skipped, strict)] == [RunView.SKIPPED, RunView.ERROR]
    ((cause,),) = d.rows("select r.id from run r join task t on t.id = r.task where t.name = 'shaky'")
    assert {d.run(d.run_id(block, s)).cause for s in (skipped, strict)} == {cause}
    assert d.results(block) == [5]
    switch.broken = False
    d.control(revive.retry, [d.run_id(block, skipped)])
    check_invariants(d.engine.db)
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    assert [d.value(d.datum(block, g, s)) for s in (skipped, told, strict)] == [1, 6, 1]
    check_invariants(d.engine.db, quiet=True)


def contained(d: EngineDriver, options: int = 0) -> tuple[int, int, Slot]:
    """A graph with a contained block in which one run fails and one is skipped."""
    g = d.graph()
    outer = g.block("outer")
    inner = g.block("inner", outer, contained=True)
    bad = g.run("shaky", 1, block=inner)
    g.run("add", bad, block=inner)
    g.run("number", 2, block=inner)
    g.run("number", 3, block=outer)
    g.result = [g.run("number", 4, after=[g.run("number", 5)])]
    return d.submit(g, options=options), inner, bad


def test_failures_in_a_contained_block_are_left_out_of_what_is_around(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, shaky(switch))
    block, inner, bad = contained(d)
    d.settle()
    row = d.block(block + inner)
    assert (row.state, row.done, row.failed, row.skipped, row.total) == (BlockState.ERROR, 1, 1, 1, 3)
    row = d.block(block)
    assert (row.state, row.done, row.failed, row.skipped, row.total) == (BlockState.COMPLETE, 4, 0, 0, 4)
    check_invariants(d.engine.db, quiet=True)
    switch.broken = False
    d.control(revive.retry, [d.run_id(block, bad)])
    assert [d.block(b).state for b in (block, block + 1, block + inner)] == [BlockState.OPEN] * 3
    check_invariants(d.engine.db)
    d.settle()
    row = d.block(block)
    assert (row.state, row.done, row.failed, row.total) == (BlockState.COMPLETE, 6, 0, 6)
    check_invariants(d.engine.db, quiet=True)


def test_a_failure_in_a_contained_block_stops_nothing(drive: Drive) -> None:
    d = drive(NUMBER, ADD, shaky(Switch()), batch=1)
    block, inner, _ = contained(d, STOP_ON_FAILURE)
    d.settle()
    assert d.block(block + inner).state == BlockState.ERROR
    assert d.block(block).state == BlockState.COMPLETE
    g = d.graph()
    g.run("shaky", 2)
    g.run("number", 9, block=g.block("inner", contained=True))
    second = d.submit(g, options=STOP_ON_FAILURE)
    d.settle()
    row = d.block(second)
    assert (row.state, row.cancelled) == (BlockState.ERROR, 1), "but a failure elsewhere stops it, too"


def test_what_is_grown_in_a_contained_block_does_not_stop_the_workflow_either(drive: Drive) -> None:
    switch = Switch()
    growing = Growing(NUMBER, ADD, shaky(switch))
    d = drive(*growing.all(tree(growing, switch)), batch=1)
    g = d.graph()
    inner = g.block("inner", g.block("around", g.block("contained", contained=True)))
    g.run("tree", 1, block=inner)
    last = g.run("number", 1)
    for i in range(6):
        last = g.run("add", last, i)
    g.result = [last]
    block = d.submit(g, options=STOP_ON_FAILURE)
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    assert d.results(block) == [16]
    assert d.count("shaky") == 1
    check_invariants(d.engine.db, quiet=True)


def test_a_contained_block_that_is_cancelled(drive: Drive) -> None:
    d = drive(NUMBER, ADD, ANYWAY)
    g = d.graph()
    inner = g.block("inner", contained=True)
    inside = g.run("number", 1, block=inner)
    g.result = [g.run("anyway", g.end(inner), 2)]
    after = g.run("add", g.end(inner))
    block = d.submit(g)
    d.control(control.cancel_block, block + inner)
    d.settle()
    assert d.state(d.datum(block, g, g.end(inner))) is DatumState.CANCELLED
    assert d.view(d.run_id(block, after)) is RunView.SKIPPED
    assert d.results(block) == [2]
    assert d.block(block).state == BlockState.CANCELLED, "somebody wanted it so, and it is not whole"
    d.control(revive.retry, [d.run_id(block, inside)])
    d.settle()
    assert d.results(block) == [3]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_who_waits_for_a_block_inside_a_growth_follows_its_next_generation(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)

    def function() -> Graph:
        g = growing.graph()
        inner = g.block("inner")
        g.run("number", 1, block=inner)
        g.forwards = [g.run("add", g.end(inner), 1)]
        return g

    d = drive(*growing.all(Task("grow", function)), batch=1)
    g = d.graph()
    g.run("grow")
    first = d.submit(g)
    d.settle()
    ((grown,),) = d.rows("select id from block where owner is not null")
    g = d.graph()
    after = g.run("number", 7, after=[stored(d.control(external.end_of, grown + 1))])
    second = d.submit(g, key="second")
    d.settle()
    before = len(d.log)
    d.control(rerun.rerun_block, grown)
    check_invariants(d.engine.db)
    newest = d.newest_run(d.run_id(second, after))
    while ("number", [1]) not in d.log[before:]:
        assert d.view(newest) is RunView.WAITING, "its block is open again"
        d.step()
    d.settle()
    assert [d.block(b).state for b in (first, second, grown)] == [BlockState.COMPLETE] * 3
    assert d.view(newest) is RunView.COMPLETE
    ((again,),) = d.rows("select out from block where name = 'inner' and out is not null")
    assert [e[0] for e in d.rows("select datum from edge where run = ?", newest)] == [again]
    check_invariants(d.engine.db, quiet=True)


def test_a_large_growth_with_blocks_that_is_cancelled_half_way_and_retried(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)

    def function() -> Graph:
        g = growing.graph()
        first, last = g.block("first"), g.block("last", contained=True)
        for i in range(grow.AT_ONCE // 2):
            g.run("number", i, block=first)
        for i in range(grow.AT_ONCE):
            g.run("number", -i, block=last, after=[g.end(first)])
        g.forwards = [g.run("add", g.end(first), g.end(last))]
        return g

    d = drive(*growing.all(Task("grow", function)), batch=200)
    g = d.graph()
    g.result = [g.run("grow")]
    block = d.submit(g)
    for _ in range(3):
        d.step()
    ((grown,),) = d.rows("select id from block where owner is not null")
    d.control(control.cancel_block, grown)
    check_invariants(d.engine.db)
    d.settle()
    assert d.block(block).state == BlockState.CANCELLED
    check_invariants(d.engine.db, quiet=True)
    d.control(revive.retry, [r[0] for r in d.rows("select id from run where state = 6")])
    check_invariants(d.engine.db)
    d.settle()
    assert d.results(block) == [2]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)
