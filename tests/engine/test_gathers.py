"""Collections as data: counted, digested, tolerant, partial, nested."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, COLLECT, NUMBER, Switch, shaky
from tidemill.model.states import BlockState, DatumState
from tidemill.stores.state import data
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Slot, stored
from tidemill.testing.invariants import check_invariants


def digest_of(d: EngineDriver, datum: int) -> bytes:
    with d.engine.db.transaction(write=False):
        found = data.get(d.engine.db, [datum])[datum].digest
    assert found is not None
    return found


@pytest.mark.parametrize("n", [0, 1, 5, 1024, 1025, 2500])
def test_members_come_in_order(drive: Drive, n: int) -> None:
    d = drive(NUMBER, ADD, batch=5000)
    g = d.graph()
    members = [g.run("number", i) for i in range(n)]
    whole = g.gather(members)
    g.result = [whole, g.run("add", whole)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [list(range(n)), sum(range(n))]
    check_invariants(d.engine.db, quiet=True)


def test_a_stretch_from_an_own_output_to_an_earlier_collection(drive: Drive) -> None:
    """The earlier one has ended and been told of before the later part comes."""
    d = drive(NUMBER, ADD)
    g = d.graph()
    empty = g.gather([])
    g.run("number", 1)
    late = g.run("number", 2)
    g.result = [g.gather([late, empty])]
    block = d.submit(g, size=1)
    d.settle()
    assert d.results(block) == [[2, []]]
    check_invariants(d.engine.db, quiet=True)


def test_the_digest_depends_on_the_members_and_not_on_how_they_are_numbered(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    in_order = [g.run("number", i) for i in range(6)]
    backwards = [g.run("number", i) for i in reversed(range(6))][::-1]
    mixed = [*in_order[:2], *backwards[2:]]
    others = in_order[::-1]
    gathers = [g.gather(m) for m in (in_order, backwards, mixed, others)]
    sums = [g.run("add", c) for c in gathers[:3]]
    block = d.submit(g, size=5)
    d.settle()
    digests = [digest_of(d, d.datum(block, g, c)) for c in gathers]
    assert digests[0] == digests[1] == digests[2] != digests[3]
    assert d.count("add") == 1
    assert [d.value(d.datum(block, g, s)) for s in sums] == [15] * 3


def test_the_digest_of_many_members_does_not_depend_on_stretches_either(drive: Drive) -> None:
    d = drive(NUMBER, ADD, batch=5000)
    g = d.graph()
    a = [g.run("number", i) for i in range(1500)]
    b = [g.run("number", i) for i in range(1500)]
    one, other = g.gather(a), g.gather([*a[:700], *b[700:1400], *a[1400:]])
    block = d.submit(g)
    d.settle()
    assert digest_of(d, d.datum(block, g, one)) == digest_of(d, d.datum(block, g, other))
    check_invariants(d.engine.db, quiet=True)


def test_nested_collections(drive: Drive) -> None:
    d = drive(NUMBER)
    g = d.graph()
    rows = [g.gather([g.run("number", 10 * i + j) for j in range(3)]) for i in range(4)]
    g.result = [g.gather(rows)]
    block = d.submit(g, size=5)
    d.settle()
    assert d.results(block) == [[[10 * i + j for j in range(3)] for i in range(4)]]


def failing(d: EngineDriver, bad: int, good: int) -> tuple[Graph, list[Slot]]:
    g = d.graph()
    return g, [*(g.run("shaky", i) for i in range(bad)), *(g.run("number", i) for i in range(good))]


@pytest.mark.parametrize(("tolerate", "ends"), [(0, False), (1, False), (2, True), (5, True)])
def test_tolerance(drive: Drive, tolerate: int, ends: bool) -> None:
    d = drive(NUMBER, ADD, shaky(Switch()))
    g, members = failing(d, bad=2, good=3)
    whole = g.gather(members, tolerate=tolerate)
    after = g.run("add", whole)
    block = d.submit(g)
    d.settle()
    if ends:
        assert d.value(d.datum(block, g, whole)) == [None, None, 0, 1, 2]
        assert d.value(d.datum(block, g, after)) == 3
    else:
        assert d.state(d.datum(block, g, whole)) is DatumState.ERROR
        assert d.state(d.datum(block, g, after)) is DatumState.SKIPPED
        assert d.run(d.run_id(block, after)).cause in {d.run_id(block, m) for m in members[:2]}
    check_invariants(d.engine.db, quiet=True)


def test_what_is_missing_stays_missing(drive: Drive) -> None:
    """A complete collection never changes, even if a member that it left out is made later."""
    switch = Switch()
    d = drive(NUMBER, shaky(switch))
    g, members = failing(d, bad=1, good=2)
    whole = g.gather(members, tolerate=1)
    block = d.submit(g)
    d.settle()
    datum = d.datum(block, g, whole)
    before = digest_of(d, datum)
    switch.broken = False
    again = d.graph()
    again.run("shaky", 0)
    d.submit(again)
    d.settle()
    assert d.value(datum) == [None, 0, 1]
    assert digest_of(d, datum) == before


@pytest.mark.parametrize(("need", "bad", "ends"), [(2, 1, True), (2, 3, True), (3, 3, False)])
def test_n_of_m_members(drive: Drive, need: int, bad: int, ends: bool) -> None:
    d = drive(NUMBER, ADD, shaky(Switch()), batch=1)
    g, members = failing(d, bad=bad, good=2)
    whole = g.gather(members, need=need)
    g.run("add", whole)
    block = d.submit(g)
    d.settle()
    datum = d.datum(block, g, whole)
    if ends:
        assert len(d.value(datum)) >= need
        assert set(d.value(datum)) <= {0, 1}
    else:
        assert d.state(datum) is DatumState.ERROR
    check_invariants(d.engine.db, quiet=True)


@pytest.mark.parametrize("order", ["bad first", "good first"])
def test_branch_legs_give_the_value_of_the_one_that_was_made(drive: Drive, order: str) -> None:
    d = drive(NUMBER, ADD, shaky(Switch()))
    g = d.graph()
    bad, good = g.run("shaky", 1), g.run("number", 7)
    either = g.gather([bad, good] if order == "bad first" else [good, bad], one=True)
    g.result = [either, g.run("add", either, 1)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [7, 8]
    check_invariants(d.engine.db, quiet=True)


def test_branch_legs_that_all_fail(drive: Drive) -> None:
    d = drive(NUMBER, ADD, shaky(Switch()))
    g = d.graph()
    either = g.gather([g.run("shaky", 1), g.run("shaky", 2)], one=True)
    after = g.run("add", either)
    block = d.submit(g)
    d.settle()
    assert d.state(d.datum(block, g, after)) is DatumState.SKIPPED
    assert d.block(block).state == BlockState.ERROR


def test_members_that_had_ended_before(drive: Drive) -> None:
    d = drive(NUMBER, COLLECT, shaky(Switch()))
    g, members = failing(d, bad=1, good=3)
    block = d.submit(g)
    d.settle()
    there = [stored(d.datum(block, g, m)) for m in members]
    g2 = d.graph()
    fresh = g2.run("number", 9)
    g2.result = [g2.gather([*there, fresh, there[1]], tolerate=1), g2.gather(there[1:])]
    strict = g2.gather(there)
    second = d.submit(g2)
    d.settle()
    assert d.results(second) == [[None, 0, 1, 2, 9, 0], [0, 1, 2]]
    assert d.state(d.datum(second, g2, strict)) is DatumState.ERROR
    check_invariants(d.engine.db, quiet=True)
