"""Retry by hand: what ended because of a failure lives again, what had consumed it is superseded."""

from itertools import pairwise

import msgspec
import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, ANYWAY, NUMBER, STRICT, Switch, shaky
from tidemill.engine import control, gathers_read, revive
from tidemill.model.errors import NotFoundError
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Slot, Task
from tidemill.testing.invariants import check_invariants


def mend(d: EngineDriver, switch: Switch, *runs: int) -> None:
    switch.broken = False
    d.control(revive.retry, list(runs))
    check_invariants(d.engine.db)
    d.settle()
    check_invariants(d.engine.db, quiet=True)


def test_tries_start_anew(drive: Drive) -> None:
    switch = Switch()
    d = drive(shaky(switch, retries=1))
    g = d.graph()
    a = g.run("shaky", 1)
    block = d.submit(g)
    d.settle()
    run = d.run_id(block, a)
    assert d.run(run).tries == 2
    d.control(revive.retry, [run])
    assert d.block(block).state == BlockState.OPEN
    d.settle()
    assert d.count("shaky") == 4
    assert d.run(run).attempt == 4
    mend(d, switch, run)
    assert d.value(d.datum(block, g, a)) == 1


def test_what_was_skipped_is_revived_through_collections_and_blocks(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, STRICT, shaky(switch))
    g = d.graph()
    inner = g.block("inner")
    bad = g.run("shaky", 1, block=inner)
    good = g.run("number", 2, block=inner)
    direct = g.run("add", bad, good, block=inner)
    whole = g.gather([bad, good, direct])
    after = g.run("strict", whole)
    g.result = [after, g.run("add", after, 5)]
    block = d.submit(g)
    d.settle()
    assert d.view(d.run_id(block, after)) is RunView.ERROR
    assert d.state(d.datum(block, g, whole)) is DatumState.ERROR
    n = d.count("number")
    mend(d, switch, d.run_id(block, bad))
    assert d.results(block) == [6, 11]
    assert d.count("number") == n
    assert [d.block(b).state for b in (block, block + inner)] == [BlockState.COMPLETE] * 2
    assert d.block(block).failed == d.block(block).skipped == 0


def test_retrying_a_skipped_run_retries_its_root_cause(drive: Drive) -> None:
    switch = Switch()
    d = drive(ADD, shaky(switch))
    g = d.graph()
    bad = g.run("shaky", 1)
    after = g.run("add", g.run("add", bad))
    block = d.submit(g)
    d.settle()
    switch.broken = False
    assert d.control(revive.retry, [d.run_id(block, after)]) == [d.run_id(block, bad)]
    d.settle()
    assert d.value(d.datum(block, g, after)) == 1


def test_two_failures_are_retried_one_after_the_other(drive: Drive) -> None:
    one, two = Switch(), Switch()
    d = drive(ADD, Task("first", one), Task("second", two))
    g = d.graph()
    a, b = g.run("first", 1), g.run("second", 2)
    c = g.run("add", a, b)
    block = d.submit(g)
    d.settle()
    causes = {d.run_id(block, a), d.run_id(block, b)}
    run = d.run_id(block, c)
    for switch, slot in ((one, a), (two, b)):
        mend(d, switch, d.run_id(block, slot))
        causes.discard(d.run_id(block, slot))
        if causes:
            assert d.view(run) is RunView.SKIPPED
            assert d.run(run).cause in causes
    assert d.value(d.datum(block, g, c)) == 3


def consumed(d: EngineDriver) -> tuple[Graph, dict[str, Slot]]:
    g = d.graph()
    bad, good = g.run("shaky", 1), g.run("number", 2)
    s = {"bad": bad, "direct": g.run("anyway", bad, good)}
    s["missing"] = g.gather([bad, good], tolerate=1)
    s["through"] = g.run("add", s["missing"], 100)
    s["after"] = g.run("add", s["direct"], s["through"])
    s["beside"] = g.run("add", good, 1)
    g.result = [s["direct"], s["through"], s["after"], s["beside"]]
    return g, s


def test_what_had_consumed_the_failure_gets_a_new_generation(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, ANYWAY, shaky(switch))
    g, s = consumed(d)
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [2, 102, 104, 3]
    before = len(d.log)
    mend(d, switch, d.run_id(block, s["bad"]))
    assert d.results(block) == [3, 103, 106, 3]
    assert sorted(name for name, _ in d.log[before:]) == ["add", "add", "anyway", "shaky"]
    old = d.run_id(block, s["direct"])
    whole = d.datum(block, g, s["missing"])
    with d.engine.db.transaction(write=False):
        left_out, there = gathers_read.members(d.engine.db, whole, 0, 2)
    assert (left_out.digest, there.value) == (b"", msgspec.msgpack.encode(2))  # as it was
    assert d.view(old) is RunView.COMPLETE  # the record stays
    assert d.newest_run(old) != old
    assert d.newest_run(d.run_id(block, s["beside"])) == d.run_id(block, s["beside"])
    assert d.block(block).state == BlockState.COMPLETE


def test_a_run_that_runs_on_a_failure_is_stopped_when_that_is_retried(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, ANYWAY, shaky(switch))
    g, s = consumed(d)
    block = d.submit(g)
    d.step()
    d.step()
    running = d.run_id(block, s["direct"])
    assert d.view(running) is RunView.RUNNING
    mend(d, switch, d.run_id(block, s["bad"]))
    assert (running, d.worker) in d.stopped
    assert d.newest_run(running) == running
    assert d.results(block) == [3, 103, 106, 3]


def test_a_run_that_failed_because_of_what_it_was_not_given_lives_again(drive: Drive) -> None:
    switch = Switch()

    def picky(value: int | None) -> int:
        if value is None:
            raise ValueError("I need it after all")
        return value

    d = drive(shaky(switch), Task("picky", picky, options={"on_error": "run"}), ADD)
    g = d.graph()
    bad = g.run("shaky", 4)
    after = g.run("add", g.run("picky", bad))
    block = d.submit(g)
    d.settle()
    assert d.block(block).failed == 2
    mend(d, switch, d.run_id(block, bad))
    assert d.value(d.datum(block, g, after)) == 4


def test_cancelled_runs_live_again(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    b = g.run("add", a)
    block = d.submit(g)
    d.control(control.cancel_block, block)
    d.settle()
    ids = [d.run_id(block, s) for s in (a, b)]
    d.control(revive.retry, ids)
    d.settle()
    assert [d.view(i) for i in ids] == [RunView.COMPLETE] * 2
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_what_has_not_failed_is_left_as_it_is(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    block = d.submit(g)
    run = d.run_id(block, a)
    assert d.control(revive.retry, [run]) == []
    d.settle()
    assert d.control(revive.retry, [run]) == []
    assert d.block(block).state == BlockState.COMPLETE
    with pytest.raises(NotFoundError):
        d.control(revive.retry, [999])


def test_many_consumers_are_revived_in_slices(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revive, "SLICE", 10)
    switch = Switch()
    d = drive(ADD, shaky(switch))
    g = d.graph()
    bad = g.run("shaky", 1)
    first = [g.run("add", bad, i) for i in range(35)]
    g.result = [g.run("add", *[g.run("add", s) for s in first])]
    block = d.submit(g)
    d.settle()
    assert d.block(block).skipped == 71
    switch.broken = False
    d.control(revive.retry, [d.run_id(block, bad)])
    revived = d.rows("select count(*) from run where state = 0")[0][0]
    assert 0 < revived <= 11
    assert d.block(block).state == BlockState.OPEN
    check_invariants(d.engine.db)
    d.crash()
    d.settle()
    assert d.results(block) == [sum(1 + i for i in range(35))]
    check_invariants(d.engine.db, quiet=True)


def test_a_collection_that_ends_again_names_who_is_to_blame_now(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, shaky(switch), Task("other", Switch()))
    g = d.graph()
    first, second = g.run("shaky", 1, priority=1), g.run("other", 2)
    whole = g.gather([first, second])
    after = g.run("add", whole)
    block = d.submit(g)
    d.settle()
    bad = d.run_id(block, second)
    assert d.run(d.run_id(block, after)).cause == d.run_id(block, first)
    mend(d, switch, d.run_id(block, first))
    assert d.view(d.run_id(block, after)) is RunView.SKIPPED
    assert d.run(d.run_id(block, after)).cause == bad
    assert d.rows("select cause from datum where id = ?", d.datum(block, g, whole)) == [(bad,)]


def test_the_gaps_between_attempts_double(drive: Drive) -> None:
    d = drive(Task("shaky", Switch(), options={"retries": 4, "backoff": 1.0}))
    g = d.graph()
    g.run("shaky", 1)
    d.submit(g)
    d.settle()
    starts = [t for (t,) in d.rows("select t0 from attempt order by n")]
    assert [b - a for a, b in pairwise(starts)] == [1.0, 2.0, 4.0, 8.0]
