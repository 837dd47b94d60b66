"""Runs start when their inputs have ended, and end as their inputs' ends demand."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, COLLECT, NUMBER, PAIR, STRICT, Switch, shaky
from tidemill.model.delta import RunFlag
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.testing.graphs import stored
from tidemill.testing.invariants import check_invariants


def test_a_diamond_gives_its_result_once(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    b, c = g.run("add", a, 10), g.run("add", a, 20)
    g.result = [g.run("add", b, c, b)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [43]
    assert len(d.log) == 4
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_outputs_of_one_run_go_different_ways(drive: Drive) -> None:
    d = drive(PAIR, ADD)
    g = d.graph()
    p = g.run("pair", 5)
    g.result = [g.run("add", p), g.run("add", p[1]), g.run("add", p[1], p)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [5, 6, 11]


def test_order_only_edges_carry_no_value_and_do_not_change_the_key(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    first = g.run("number", 1)
    g.result = [g.run("add", 7, after=[first])]
    block = d.submit(g)
    d.settle()
    assert [name for name, _ in d.log] == ["number", "add"]
    other = d.graph()
    other.result = [other.run("add", 7)]
    again = d.submit(other)
    d.settle()
    assert d.results(block) == d.results(again) == [7]
    assert d.count("add") == 1


def test_a_chain_through_small_chunks(drive: Drive) -> None:
    d = drive(ADD)
    g = d.graph()
    at = g.run("add", 1)
    for _ in range(30):
        at = g.run("add", at, 1)
    g.result = [at]
    block = d.submit(g, size=4)
    d.settle()
    assert d.results(block) == [31]


@pytest.mark.parametrize(("task", "end"), [("add", RunView.SKIPPED), ("strict", RunView.ERROR)])
def test_policies_decide_how_a_consumer_of_a_failure_ends(drive: Drive, task: str, end: RunView) -> None:
    d = drive(NUMBER, ADD, STRICT, shaky(Switch()))
    g = d.graph()
    bad = g.run("shaky", 1)
    after = g.run(task, bad, 1)
    last = g.run(task, after)
    block = d.submit(g)
    d.settle()
    cause = d.run_id(block, bad)
    assert d.view(cause) is RunView.ERROR
    for slot in (after, last):
        run = d.run(d.run_id(block, slot))
        assert d.view(run.id) is end
        assert run.cause == cause
    assert d.block(block).state == BlockState.ERROR
    check_invariants(d.engine.db, quiet=True)


def test_a_consumer_may_run_all_the_same(drive: Drive) -> None:
    d = drive(NUMBER, ANYWAY, ADD, shaky(Switch()))
    g = d.graph()
    bad, good = g.run("shaky", 1), g.run("number", 3)
    skipped = g.run("add", bad)
    g.result = [g.run("anyway", bad, good), g.run("anyway", skipped, skipped, 4), g.run("anyway", 5, after=[bad])]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [3, 4, 5]
    check_invariants(d.engine.db, quiet=True)


def test_references_to_data_of_the_store_whatever_their_state(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, ANYWAY, shaky(switch))
    g = d.graph()
    done, bad = g.run("number", 1), g.run("shaky", 2)
    first = d.submit(g)
    d.settle()
    g2 = d.graph()
    waiting = g2.run("number", 5)
    second = d.submit(g2)
    complete, dead, pending = d.datum(first, g, done), d.datum(first, g, bad), d.datum(second, g2, waiting)
    g3 = d.graph()
    runs = [
        g3.run("add", stored(complete), stored(complete)),
        g3.run("add", stored(pending), stored(complete)),
        g3.run("add", stored(dead), stored(pending)),
        g3.run("anyway", stored(dead), stored(pending), stored(complete)),
    ]
    third = d.submit(g3, size=2)
    check_invariants(d.engine.db)
    d.settle()
    ids = [d.datum(third, g3, r) for r in runs]
    assert [d.state(i) for i in ids] == [
        DatumState.COMPLETE, DatumState.COMPLETE, DatumState.SKIPPED, DatumState.COMPLETE,
    ]  # fmt: skip
    assert [d.value(i) for i in (ids[0], ids[1], ids[3])] == [2, 6, 6]
    check_invariants(d.engine.db, quiet=True)


def test_n_of_m_inputs(drive: Drive) -> None:
    d = drive(NUMBER, COLLECT, shaky(Switch()))
    g = d.graph()
    a, b, c = g.run("shaky", 1), g.run("number", 2), g.run("number", 3)
    enough = g.run("collect", a, b, c, need=2)
    too_few = g.run("collect", a, b, need=2)
    block = d.submit(g)
    d.settle()
    assert d.value(d.datum(block, g, enough)) == [None, 2, 3]
    assert d.view(d.run_id(block, too_few)) is RunView.SKIPPED
    check_invariants(d.engine.db, quiet=True)


def test_n_of_m_inputs_of_which_enough_are_there_at_submission(drive: Drive) -> None:
    d = drive(NUMBER, COLLECT)
    g = d.graph()
    first = [g.run("number", i) for i in range(3)]
    block = d.submit(g)
    d.settle()
    there = [stored(d.datum(block, g, s)) for s in first]
    g2 = d.graph()
    late = g2.run("number", 9)
    partial = g2.run("collect", *there, late, need=2)
    second = d.submit(g2)
    d.settle()
    assert d.count("collect") == 1
    found = d.value(d.datum(second, g2, partial))
    assert found[:3] == [0, 1, 2]
    check_invariants(d.engine.db, quiet=True)


def test_an_input_that_comes_while_a_partial_run_is_under_way_changes_nothing(drive: Drive) -> None:
    d = drive(NUMBER, COLLECT)
    g = d.graph()
    there = g.run("number", 1)
    block = d.submit(g)
    d.settle()
    g2 = d.graph()
    late = g2.run("number", 9)
    partial = g2.run("collect", stored(d.datum(block, g, there)), late, need=1, priority=5)
    second = d.submit(g2)
    (first,) = d.take(1)
    assert first.run == d.run_id(second, partial)
    d.step()
    d.step()
    check_invariants(d.engine.db)
    assert d.state(d.datum(second, g2, late)) is DatumState.COMPLETE
    outcome = d.execute(first)
    assert outcome is not None
    d.hand_in(outcome)
    assert d.value(d.datum(second, g2, partial)) == [1, None]
    d.settle()
    assert d.count("collect") == 1


def test_which_inputs_were_used_is_part_of_a_partial_runs_key(drive: Drive) -> None:
    d = drive(NUMBER, COLLECT, shaky(Switch()))
    values = []
    for order in (0, 1):
        g = d.graph()
        bad, good = g.run("shaky", 1), g.run("number", 2)
        inputs = [bad, good] if order else [good, bad]
        g.result = [g.run("collect", *inputs, need=1)]
        block = d.submit(g, key=str(order))
        d.settle()
        values.append(d.results(block)[0])
    assert values in ([[2], [None, 2]], [[2, None], [None, 2]])
    assert d.count("collect") == 2


def test_runs_without_cache_are_neither_reused_nor_reuse(drive: Drive) -> None:
    d = drive(NUMBER)
    for key in "ab":
        g = d.graph()
        g.run("number", 1, flags=RunFlag.NO_CACHE)
        d.submit(g, key=key)
        d.settle()
    assert d.count("number") == 2
