"""Blocks: they close when nothing inside is open, one after the other, and their ends can be waited for."""

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, NUMBER, Growing, Switch, shaky
from tidemill.engine import external, rerun, revive
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.testing.graphs import Graph, Task, stored
from tidemill.testing.invariants import check_invariants


def test_inner_blocks_close_before_what_they_lie_in(drive: Drive) -> None:
    d = drive(NUMBER, ADD, batch=1)
    g = d.graph()
    outer = g.block("outer")
    inner, beside = g.block("inner", outer), g.block("beside", outer)
    a = g.run("number", 1, block=inner)
    b = g.run("add", a, block=beside)
    g.run("add", b)
    block = d.submit(g)
    d.settle()
    assert list(d.closed) == [block + inner, block + beside, block + outer, block]
    assert [d.block(block + n).total for n in (inner, beside, outer, 0)] == [1, 1, 2, 3]
    check_invariants(d.engine.db, quiet=True)


def test_a_block_whose_only_run_grows_stays_open(drive: Drive) -> None:
    growing = Growing(NUMBER)

    def grow() -> Graph:
        g = growing.graph()
        g.forwards = [g.run("number", 1)]
        return g

    d = drive(*growing.all(Task("grow", grow)))
    g = d.graph()
    g.result = [g.run("grow")]
    block = d.submit(g)
    d.step()
    d.step()
    assert d.count("number") == 1
    assert d.block(block).state == BlockState.OPEN
    assert block not in d.closed
    d.settle()
    assert d.closed[block] == BlockState.COMPLETE
    assert d.results(block) == [1]


def test_empty_blocks_and_empty_graphs_close_too(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    g.block("empty", g.block("around"))
    block = d.submit(g)
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_a_block_counts_how_its_runs_ended(drive: Drive) -> None:
    d = drive(NUMBER, ADD, ANYWAY, shaky(Switch()))
    g = d.graph()
    inner = g.block("inner")
    bad = g.run("shaky", 1, block=inner)
    g.run("add", bad, block=inner)
    g.run("anyway", bad)
    block = d.submit(g)
    d.settle()
    row = d.block(block)
    assert (row.done, row.failed, row.skipped, row.total) == (1, 1, 1, 3)
    assert [d.block(b).state for b in (block, block + inner)] == [BlockState.ERROR, BlockState.ERROR]


def test_the_end_of_a_block_is_a_datum_that_others_wait_for(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)

    def grow() -> Graph:
        g = growing.graph()
        g.forwards = [g.run("number", 1)]
        for i in range(4):
            g.run("number", 100 + i)
        return g

    d = drive(*growing.all(Task("grow", grow)), batch=1)
    g = d.graph()
    inner = g.block("inner")
    g.run("grow", block=inner)
    first = d.submit(g)
    out = d.control(external.end_of, first + inner)
    whole = d.control(external.end_of, first)
    g2 = d.graph()
    after = g2.run("number", 7, after=[stored(out)])
    last = g2.run("number", 8, after=[stored(whole)])
    second = d.submit(g2)
    d.settle()
    names = [args[0] for name, args in d.log if name == "number"]
    assert set(names[:5]) == {1, 100, 101, 102, 103}
    assert d.value(d.datum(second, g2, after)) == 7
    assert d.value(d.datum(second, g2, last)) == 8
    assert d.control(external.end_of, first) == whole
    check_invariants(d.engine.db, quiet=True)


def test_the_end_of_a_block_that_has_ended(drive: Drive) -> None:
    d = drive(NUMBER, shaky(Switch()))
    states = []
    for task in ("number", "shaky"):
        g = d.graph()
        g.run(task, 1)
        block = d.submit(g)
        d.settle()
        states.append(d.state(d.control(external.end_of, block)))
    assert states == [DatumState.COMPLETE, DatumState.ERROR]


def test_who_waits_for_a_failed_block_is_skipped_and_revived_with_it(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, shaky(switch))
    g = d.graph()
    inner = g.block("inner")
    bad = g.run("shaky", 1, block=inner)
    first = d.submit(g)
    out = d.control(external.end_of, first + inner)
    g2 = d.graph()
    after = g2.run("number", 7, after=[stored(out)])
    second = d.submit(g2)
    d.settle()
    run = d.run_id(second, after)
    assert d.view(run) is RunView.SKIPPED
    assert d.run(run).cause == d.run_id(first, bad)
    switch.broken = False
    d.control(revive.retry, [d.run_id(first, bad)])
    check_invariants(d.engine.db)
    assert d.view(run) is RunView.WAITING
    d.settle()
    assert d.value(d.datum(second, g2, after)) == 7
    assert [d.block(b).state for b in (first, second)] == [BlockState.COMPLETE] * 2
    check_invariants(d.engine.db, quiet=True)


def test_what_followed_a_block_that_is_open_again_follows_it_again(drive: Drive) -> None:
    """A block of skipped runs ends well; when its runs live again after all, so does what came after it."""
    switch = Switch()
    d = drive(NUMBER, ADD, shaky(switch))
    g = d.graph()
    inner = g.block("inner")
    bad = g.run("shaky", 1)
    skipped = g.run("add", bad, block=inner)
    first = d.submit(g)
    out = d.control(external.end_of, first + inner)
    g2 = d.graph()
    after = g2.run("number", 7, after=[stored(out)])
    second = d.submit(g2)
    d.settle()
    old = d.run_id(second, after)
    assert d.block(first + inner).state == BlockState.COMPLETE
    assert d.view(old) is RunView.COMPLETE
    switch.broken = False
    d.control(revive.retry, [d.run_id(first, bad)])
    check_invariants(d.engine.db)
    assert d.newest_run(old) != old
    assert d.view(d.newest_run(old)) is RunView.WAITING
    d.settle()
    assert d.value(d.datum(first, g, skipped)) == 1
    assert d.view(d.newest_run(old)) is RunView.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_what_followed_a_block_follows_its_next_generation_too(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    inner = g.block("inner")
    a = g.run("number", 1, block=inner)
    g.run("add", a, 1, block=inner)
    first = d.submit(g)
    out = d.control(external.end_of, first + inner)
    g2 = d.graph()
    after = g2.run("number", 7, after=[stored(out)])
    second = d.submit(g2)
    d.settle()
    before = len(d.log)
    d.control(rerun.rerun, [d.run_id(first, a)])
    check_invariants(d.engine.db)
    d.settle()
    assert d.log[before:] == [("number", [1])]
    newest = d.newest_run(d.run_id(second, after))
    assert newest != d.run_id(second, after)
    assert d.view(newest) is RunView.COMPLETE
    assert d.value(d.datum(second, g2, after)) == 7
    check_invariants(d.engine.db, quiet=True)


def test_generations_are_children_that_name_what_they_stand_in_for(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    g.result = [g.run("add", a, 1)]
    block = d.submit(g)
    d.settle()
    for _ in range(2):
        d.control(rerun.rerun, [d.run_id(block, a)])
        d.settle()
    found = d.rows("select id, parent, previous, generation, state from block where previous is not null order by id")
    (one, two) = found
    assert one[1:] == (block, block, 2, BlockState.COMPLETE)
    assert two[1:] == (one[0], one[0], 3, BlockState.COMPLETE)
    assert d.results(block) == [2]
