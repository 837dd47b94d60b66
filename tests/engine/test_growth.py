"""Growth at completion: small, large, recursive, and growth that is reused."""

from typing import Any

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER, Growing
from tidemill.engine import control, grow, remove, revive
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.testing.graphs import Graph, Task
from tidemill.testing.invariants import check_invariants


def fan(growing: Growing) -> Task:
    """Grows `n` numbers and promises their sum."""

    def function(n: int) -> Graph:
        g = growing.graph()
        g.forwards = [g.run("add", g.gather([g.run("number", i) for i in range(n)]))]
        return g

    return Task("fan", function)


def fibonacci(growing: Growing) -> Task:
    def function(n: int) -> Any:
        g = growing.graph()
        g.forwards = [g.run("add", g.run("fib", n - 1), g.run("fib", n - 2))] if n > 1 else [g.run("number", n)]
        return g

    return Task("fib", function)


@pytest.mark.parametrize("n", [0, 1, 40, grow.AT_ONCE + 1200])
def test_a_result_that_is_grown(drive: Drive, n: int) -> None:
    growing = Growing(NUMBER, ADD)
    d = drive(*growing.all(fan(growing)), batch=5000)
    g = d.graph()
    a = g.run("fan", n)
    g.result = [g.run("add", a, 1)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [sum(range(n)) + 1]
    assert d.block(block).state == BlockState.COMPLETE
    assert d.count("number") == n
    check_invariants(d.engine.db, quiet=True)


def test_recursion_with_equal_keys_executes_each_once(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)
    d = drive(*growing.all(fibonacci(growing)))
    g = d.graph()
    g.result = [g.run("fib", 9)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [34]
    assert d.count("fib") == 10
    assert sorted(args[0] for name, args in d.log if name == "number") == [0, 1]
    check_invariants(d.engine.db, quiet=True)


def test_growth_is_reused_by_growing_again(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)
    d = drive(*growing.all(fibonacci(growing)))
    blocks = []
    for key in "ab":
        g = d.graph()
        g.result = [g.run("fib", 6)]
        blocks.append(d.submit(g, key=key))
        d.settle()
        if key == "a":
            before = len(d.log)
    assert len(d.log) == before
    assert d.results(blocks[0]) == d.results(blocks[1]) == [8]
    assert d.block(blocks[1]).done == d.block(blocks[0]).done == d.block(blocks[1]).reused
    check_invariants(d.engine.db, quiet=True)


def test_of_growth_that_is_repeated_only_what_is_not_known_executes(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)

    def function() -> Graph:
        g = growing.graph()
        g.forwards = [g.run("add", g.gather([g.run("number", i) for i in range(3)]))]
        return g

    d = drive(*growing.all(Task("grow", function)))
    g = d.graph()
    g.result = [g.run("grow")]
    d.submit(g, key="a")
    d.settle()
    numbers = [r[0] for r in d.rows("select r.id from run r join task t on t.id = r.task where t.name = 'number'")]
    d.control(remove.invalidate, numbers[:1])
    before = len(d.log)
    second = d.submit(g, key="b")
    d.settle()
    assert d.results(second) == [3]
    assert d.log[before:] == [("number", [0])]
    check_invariants(d.engine.db, quiet=True)


def test_large_growth_that_is_cancelled_half_way_and_retried(drive: Drive) -> None:
    n = grow.AT_ONCE + 1000
    growing = Growing(NUMBER, ADD)
    d = drive(*growing.all(fan(growing)), batch=300)
    g = d.graph()
    a = g.run("fan", n)
    after = g.run("add", a, 1)
    g.result = [after]
    block = d.submit(g)
    for _ in range(3):
        d.step()
    ((grown,),) = d.rows("select id from block where owner is not null")
    d.control(control.cancel_block, grown)
    d.settle()
    assert d.block(grown).state == BlockState.CANCELLED
    assert d.state(d.datum(block, g, a)) is DatumState.CANCELLED
    assert d.view(d.run_id(block, after)) is RunView.SKIPPED
    assert d.block(grown).total < n
    check_invariants(d.engine.db, quiet=True)
    d.control(revive.retry, [r[0] for r in d.rows("select id from run where state = 6")])
    check_invariants(d.engine.db)
    d.settle()
    assert d.results(block) == [sum(range(n)) + 1]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)
