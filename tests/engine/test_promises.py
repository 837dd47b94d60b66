"""Promises: an output may be an output of what its run grew."""

from collections.abc import Callable
from typing import Any

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER, PAIR, Growing, Switch, shaky
from tidemill.engine import revive
from tidemill.model.delta import RunFlag
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.testing.graphs import Graph, Slot, Task, stored
from tidemill.testing.invariants import check_invariants


def promising(growing: Growing, build: Callable[..., list[Slot]], name: str = "grow", outputs: int = 1) -> Task:
    """A task that grows what `build` puts into a graph and promises what it returns."""

    def function(*args: Any) -> Graph:
        g = growing.graph()
        g.forwards = build(g, *args)
        return g

    return Task(name, function, outputs)


def test_a_chain_of_promises(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)

    def build(g: Graph, n: int) -> list[Slot]:
        return [g.run("add", g.run("grow", n - 1), n) if n % 2 else g.run("grow", n - 1) if n else g.run("number", 100)]

    d = drive(*growing.all(promising(growing, build)))
    g = d.graph()
    g.result = [g.run("add", g.run("grow", 6), 1)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [100 + 1 + 3 + 5 + 1]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_consumers_stay_waiting_meanwhile(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)
    d = drive(*growing.all(promising(growing, lambda g: [g.run("number", 3)])))
    g = d.graph()
    a = g.run("grow")
    b = g.run("add", a)
    block = d.submit(g)
    d.step()
    d.step()
    assert d.view(d.run_id(block, a)) is RunView.COMPLETE
    assert d.state(d.datum(block, g, a)) is DatumState.PENDING
    assert d.view(d.run_id(block, b)) is RunView.WAITING
    check_invariants(d.engine.db)
    d.settle()
    assert d.value(d.datum(block, g, b)) == 3


def test_several_outputs_end_each_for_itself(drive: Drive) -> None:
    switch = Switch()
    growing = Growing(NUMBER, ADD, shaky(switch))
    d = drive(*growing.all(promising(growing, lambda g: [g.run("number", 1), g.run("shaky", 2)], outputs=2)))
    g = d.graph()
    a = g.run("grow")
    good, bad = g.run("add", a), g.run("add", a[1])
    block = d.submit(g)
    d.settle()
    assert d.value(d.datum(block, g, good)) == 1
    assert d.view(d.run_id(block, bad)) is RunView.SKIPPED
    check_invariants(d.engine.db, quiet=True)


def test_a_target_that_fails_fails_the_promise_and_a_retry_makes_it_hold_again(drive: Drive) -> None:
    switch = Switch()
    growing = Growing(NUMBER, ADD, shaky(switch))

    def build(g: Graph, n: int) -> list[Slot]:
        return [g.run("grow", n - 1) if n else g.run("shaky", 5)]

    d = drive(*growing.all(promising(growing, build)))
    g = d.graph()
    a = g.run("grow", 3)
    b = g.run("add", a, 1)
    g.result = [b]
    block = d.submit(g)
    d.settle()
    assert d.state(d.datum(block, g, a)) is DatumState.ERROR
    assert d.view(d.run_id(block, a)) is RunView.COMPLETE
    cause = d.run(d.run_id(block, b)).cause
    assert cause is not None
    assert d.view(cause) is RunView.ERROR
    check_invariants(d.engine.db, quiet=True)
    switch.broken = False
    assert d.control(revive.retry, [d.run_id(block, b)]) == [cause]
    assert d.view(d.run_id(block, b)) is RunView.WAITING
    check_invariants(d.engine.db)
    d.settle()
    assert d.results(block) == [6]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_a_promise_of_data_of_the_store_complete_pending_and_dead(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD, PAIR, shaky(Switch()))
    targets: dict[str, int] = {}
    build = lambda _g, which: [stored(targets[which])]  # noqa: E731
    d = drive(*growing.all(promising(growing, build)))
    g = d.graph()
    done, bad = g.run("number", 8), g.run("shaky", 1)
    first = d.submit(g)
    d.settle()
    g2 = d.graph()
    late = g2.run("number", 9)
    targets.update(complete=d.datum(first, g, done), dead=d.datum(first, g, bad))
    second = d.submit(g2)
    targets["pending"] = d.datum(second, g2, late)
    g3 = d.graph()
    made = {which: g3.run("add", g3.run("grow", which), 1) for which in ("complete", "pending", "dead")}
    third = d.submit(g3)
    d.settle()
    assert d.value(d.datum(third, g3, made["complete"])) == 9
    assert d.value(d.datum(third, g3, made["pending"])) == 10
    assert d.view(d.run_id(third, made["dead"])) is RunView.SKIPPED
    check_invariants(d.engine.db, quiet=True)


def test_a_collection_and_an_output_of_another_port_can_be_promised(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD, PAIR)

    def build(g: Graph) -> list[Slot]:
        return [g.gather([g.run("number", i) for i in range(3)]), g.run("pair", 4)[1]]

    d = drive(*growing.all(promising(growing, build, outputs=2)))
    g = d.graph()
    a = g.run("grow")
    g.result = [a, a[1], g.run("add", a, a[1])]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [[0, 1, 2], 5, 8]
    check_invariants(d.engine.db, quiet=True)


def test_runs_that_end_together_promise_the_same_datum_of_an_earlier_workflow(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)
    known: list[int] = []
    tasks = [
        promising(growing, lambda _: [stored(known[0])], "names"),
        promising(growing, lambda g, n: [g.run("number", n)], "makes"),
    ]
    d = drive(*growing.all(*tasks))
    g = d.graph()
    a = g.run("number", 5)
    known.append(d.datum(d.submit(g), g, a))
    d.settle()
    g = d.graph()
    # the last promise keeps the engine looking for others that are open
    g.result = [*(g.run("names", flags=RunFlag.NO_CACHE) for _ in range(3)), g.run("makes", 100)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [5, 5, 5, 100]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)
