"""Running again: a new generation of what is asked for and of all that follows; keys decide what executes."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, COLLECT, NUMBER, PAIR, Growing, Switch, shaky
from tidemill.engine import control, expire, external, remove, rerun, revive
from tidemill.model.delta import RunFlag
from tidemill.model.errors import ConflictError, NotFoundError
from tidemill.model.events import Kind, decode
from tidemill.model.states import BlockState, DatumState, RunView
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Task, stored
from tidemill.testing.invariants import check_invariants


def counter() -> Task:
    """Gives another number each time it is executed."""
    made = iter(range(100, 1000))
    return Task("draw", lambda *_: next(made))


def again(d: EngineDriver, *runs: int) -> dict[int, int]:
    """Rerun, work, and look at the rows on the way."""
    new: dict[int, int] = d.control(rerun.rerun, list(runs))
    check_invariants(d.engine.db)
    d.settle()
    check_invariants(d.engine.db, quiet=True)
    return new


def test_the_cone_executes_where_its_inputs_changed(drive: Drive) -> None:
    d = drive(counter(), NUMBER, ADD, COLLECT)
    g = d.graph()
    inner = g.block("inner")
    a, b = g.run("draw", block=inner), g.run("number", 5)
    c = g.run("add", a, b)
    aside = g.run("add", b, 1)
    whole = g.gather([b, c, aside])
    g.result = [c, aside, whole, g.run("collect", whole)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [105, 6, [5, 105, 6], [[5, 105, 6]]]
    before = len(d.log)
    old = d.run_id(block, a)
    new = again(d, old)
    assert set(new) == {old, d.run_id(block, c), d.run_id(block, g.result[3])}
    assert d.results(block) == [106, 6, [5, 106, 6], [[5, 106, 6]]]
    assert [name for name, _ in d.log[before:]] == ["draw", "add", "collect"]
    assert d.view(old) is RunView.COMPLETE  # never a rewind
    assert d.newest_run(old) == new[old]
    events = [e for (body,) in d.rows("select data from event") for e in decode(body) if e.kind == Kind.SUPERSEDED]
    assert {o: n for e in events for o, n in zip(e.ids, e.note, strict=True)} == new  # type: ignore[call-overload]


def test_an_equal_result_stops_there(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    g.result = [g.run("add", g.run("add", a, 1), 1)]
    block = d.submit(g)
    d.settle()
    before = len(d.log)
    again(d, d.run_id(block, a))
    assert d.log[before:] == [("number", [1])]
    assert d.results(block) == [3]
    assert d.block(block).reused == 2


def test_generation_upon_generation(drive: Drive) -> None:
    d = drive(counter(), ADD)
    g = d.graph()
    a = g.run("draw")
    g.result = [g.run("add", a, 1)]
    block = d.submit(g)
    d.settle()
    for value in (102, 103, 104):
        again(d, d.run_id(block, a))
        assert d.results(block) == [value]
    middle = d.run_id(block, g.result[0])
    again(d, middle)
    assert d.results(block) == [104]
    again(d, d.run_id(block, a))
    assert d.results(block) == [105]


def test_what_waits_ready_and_runs_in_the_cone_is_superseded(drive: Drive) -> None:
    d = drive(counter(), NUMBER, ADD)
    g = d.graph()
    a, slow = g.run("draw"), g.run("number", 1)
    running, ready = g.run("add", a, 1, priority=5), g.run("add", a, 2)
    waiting = g.run("add", running, slow)
    g.result = [running, ready, waiting]
    block = d.submit(g)
    (first, *_) = d.take(1)
    outcome = d.execute(first)
    assert outcome is not None
    d.hand_in(outcome)
    d.take(1)
    ids = [d.run_id(block, s) for s in (running, ready, waiting)]
    assert [d.view(i) for i in ids] == [RunView.RUNNING, RunView.READY, RunView.WAITING]
    new = d.control(rerun.rerun, [d.run_id(block, a)])
    assert (ids[0], d.worker) in d.stopped
    assert [d.view(i) for i in ids] == [RunView.CANCELLED] * 3
    check_invariants(d.engine.db)
    d.settle()
    assert set(new) == {d.run_id(block, a), *ids}
    assert d.results(block) == [102, 103, 103]
    assert d.block(block).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_failed_generations_no_longer_count(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, ADD, shaky(switch))
    g = d.graph()
    a = g.run("number", 1)
    bad = g.run("shaky", a)
    g.result = [g.run("add", bad)]
    block = d.submit(g)
    d.settle()
    assert d.block(block).state == BlockState.ERROR
    switch.broken = False
    again(d, d.run_id(block, a))
    assert d.block(block).state == BlockState.COMPLETE
    assert (d.block(block).failed, d.block(block).skipped) == (0, 0)
    assert d.results(block) == [1]


def grower(growing: Growing) -> Task:
    def grow(n: int) -> Graph:
        g = growing.graph()
        made = [g.run("draw", i) for i in range(2)]
        g.forwards = [g.run("add", g.gather(made), n)]
        return g

    return Task("grow", grow)


def test_a_run_that_grew_grows_again(drive: Drive) -> None:
    growing = Growing(counter(), ADD)
    d = drive(*growing.all(grower(growing)))
    g = d.graph()
    a = g.run("grow", 1000)
    g.result = [a, g.run("add", a, 1)]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [1201, 1202]
    again(d, d.run_id(block, a))
    # it grows as before; what it grows is known, so it is reused
    assert d.results(block) == [1201, 1202]
    assert d.count("grow") == 2
    assert d.count("draw") == 2


def test_a_grown_run_and_what_its_promise_reaches(drive: Drive) -> None:
    growing = Growing(counter(), ADD)
    d = drive(*growing.all(grower(growing)))
    g = d.graph()
    a = g.run("grow", 1000)
    g.result = [a, g.run("add", a, 1)]
    block = d.submit(g)
    d.settle()
    ((draw,),) = d.rows("select min(r.id) from run r join task t on t.id = r.task where t.name = 'draw'")
    again(d, draw)
    assert d.results(block) == [1203, 1204]
    again(d, d.run_id(block, a))
    assert d.count("grow") == 2
    assert d.block(block).state == BlockState.COMPLETE


def test_a_grown_block_from_its_recorded_growth(drive: Drive) -> None:
    growing = Growing(counter(), ADD)
    d = drive(*growing.all(grower(growing)))
    g = d.graph()
    a = g.run("grow", 1000)
    g.result = [a, g.run("add", a, 1)]
    block = d.submit(g)
    d.settle()
    ((grown,),) = d.rows("select id from block where owner is not null")
    for result in (1205, 1209):
        d.control(rerun.rerun_block, grown)
        check_invariants(d.engine.db)
        d.settle()
        check_invariants(d.engine.db, quiet=True)
        assert d.results(block) == [result, result + 1]
    assert d.count("grow") == 1
    generations = d.rows("select id, owner, previous, generation from block where owner is not null order by id")
    assert [row[1:] for row in generations] == [
        (d.run_id(block, a), None, 1), (d.run_id(block, a), generations[0][0], 2),
        (d.run_id(block, a), generations[1][0], 3),
    ]  # fmt: skip


def test_a_whole_workflow_from_its_rows(drive: Drive) -> None:
    d = drive(counter(), ADD, PAIR)
    g = d.graph()
    inner = g.block("inner")
    a = g.run("draw", block=inner)
    p = g.run("pair", a)
    g.result = [g.run("add", p, p[1])]
    block = d.submit(g)
    d.settle()
    assert d.results(block) == [201]
    d.control(rerun.rerun_block, block)
    d.settle()
    assert d.results(block) == [203]
    assert len(d.log) == 6  # all of it, whatever is known
    d.control(rerun.rerun_block, block + inner)
    d.settle()
    assert d.results(block) == [205]
    check_invariants(d.engine.db, quiet=True)


def test_inputs_that_are_gone_are_made_again(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a, b = g.run("number", 1), g.run("number", 2)
    whole = g.gather([a, b])
    c = g.run("add", whole)
    g.result = [g.run("add", c, 1)]
    block = d.submit(g)
    d.settle()
    d.control(expire.lose, [d.datum(block, g, a)])
    assert d.state(d.datum(block, g, whole)) is DatumState.LOST
    before = len(d.log)
    again(d, d.run_id(block, c))
    assert d.results(block) == [4]
    assert sorted(d.log[before:]) == [("add", [[1, 2]]), ("number", [1])]


def test_runs_on_several_inputs_of_which_they_need_some(drive: Drive) -> None:
    d = drive(counter(), NUMBER, COLLECT)
    g = d.graph()
    a, b = g.run("draw"), g.run("number", 2)
    part = g.run("collect", a, b, need=2)
    block = d.submit(g)
    d.settle()
    again(d, d.run_id(block, a))
    assert d.value(d.datum(block, g, part)) == [101, 2]


def test_inputs_that_are_gone_had_come_all_the_same(drive: Drive) -> None:
    d = drive(NUMBER, COLLECT)
    g = d.graph()
    a, b = g.run("number", 1), g.run("number", 2)
    part = g.run("collect", a, b, need=2)
    block = d.submit(g)
    d.settle()
    d.control(expire.expire, [d.datum(block, g, a), d.datum(block, g, b)])
    again(d, d.run_id(block, part))
    assert d.value(d.datum(block, g, part)) == [1, 2]


def test_runs_without_cache_execute_in_the_cone(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    g.run("add", a, flags=RunFlag.NO_CACHE)
    block = d.submit(g)
    d.settle()
    again(d, d.run_id(block, a))
    assert d.count("add") == 2


def test_invalid_runs_can_be_run_again(drive: Drive) -> None:
    d = drive(counter(), ADD)
    g = d.graph()
    a = g.run("draw")
    g.result = [g.run("add", a)]
    block = d.submit(g)
    d.settle()
    d.control(remove.invalidate, [d.run_id(block, a)])
    again(d, d.run_id(block, a))
    assert d.results(block) == [101]


def test_what_cannot_be_run_again(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    g.run("add", a)
    block = d.submit(g)
    run = d.run_id(block, a)
    with pytest.raises(ConflictError, match="has not ended"):
        d.control(rerun.rerun, [run])
    with pytest.raises(ConflictError, match="has not ended"):
        d.control(rerun.rerun_block, block)
    d.settle()
    with pytest.raises(NotFoundError):
        d.control(rerun.rerun, [99])
    with pytest.raises(NotFoundError):
        d.control(rerun.rerun_block, 99)
    d.control(remove.delete_runs, [run])
    with pytest.raises(ConflictError, match="deleted"):
        d.control(rerun.rerun, [run])


def test_a_superseded_failure_is_retried_in_its_newest_generation(drive: Drive) -> None:
    switch = Switch()
    d = drive(NUMBER, shaky(switch))
    g = d.graph()
    a = g.run("number", 1)
    bad = g.run("shaky", a)
    block = d.submit(g)
    d.settle()
    new = again(d, d.run_id(block, a))
    switch.broken = False
    assert d.control(revive.retry, [d.run_id(block, bad)]) == [new[d.run_id(block, bad)]]
    d.settle()
    assert d.block(block).state == BlockState.COMPLETE


def test_a_cone_that_reaches_a_block_being_stopped(drive: Drive) -> None:
    d = drive(counter(), ADD)
    g = d.graph()
    a = g.run("draw")
    first = d.submit(g)
    d.settle()
    g2 = d.graph()
    used = [g2.run("add", stored(d.datum(first, g, a)), i) for i in range(3)]
    second = d.submit(g2)
    d.take(1)
    d.control(control.cancel_block, second)
    d.control(rerun.rerun, [d.run_id(first, a)])
    d.settle()
    assert d.block(second).state == BlockState.CANCELLED
    assert {d.view(d.newest_run(d.run_id(second, s))) for s in used} == {RunView.CANCELLED}
    check_invariants(d.engine.db, quiet=True)


def test_a_datum_without_a_value_stands_for_its_newest_generation(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)

    def hand_on(old: int) -> Graph:
        g = growing.graph()
        g.forwards = [stored(old)]
        return g

    d = drive(*growing.all(counter(), Task("hand on", hand_on)))
    g = d.graph()
    a = g.run("draw")
    b = g.run("add", a, 1)
    block = d.submit(g)
    d.control(control.cancel_runs, [d.run_id(block, b)], 0, running=True)
    d.settle()
    again(d, d.run_id(block, a))
    old = d.datum(block, g, b)
    g2 = d.graph()
    whole = g2.gather([g2.run("number", 1), stored(old), g2.run("number", 2)])
    g2.result = [g2.run("add", stored(old), 1), whole, g2.run("hand on", old)]
    second = d.submit(g2)
    check_invariants(d.engine.db)
    d.settle()
    assert d.results(second) == [103, [1, 102, 2], 102]
    assert d.block(second).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


@pytest.mark.parametrize("newest", ["there", "gone too"])
def test_an_older_generation_that_is_gone_when_it_is_needed(drive: Drive, newest: str) -> None:
    d = drive(counter(), ADD)
    g = d.graph()
    a = g.run("draw")
    block = d.submit(g)
    d.settle()
    old = d.datum(block, g, a)
    new = again(d, d.run_id(block, a))
    g2 = d.graph()
    g2.result = [g2.run("add", stored(old), 1), g2.run("add", g2.gather([stored(old)]), 2)]
    second = d.submit(g2)
    made = d.run(new[d.run_id(block, a)]).out
    d.control(expire.expire, [old, made] if newest == "gone too" else [old])
    d.settle()
    drawn = 102 if newest == "gone too" else 101
    assert d.results(second) == [drawn + 1, drawn + 2]
    assert d.count("draw") == drawn - 99
    assert d.block(second).state == BlockState.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_what_a_superseded_growth_made_is_not_promised_any_more(drive: Drive) -> None:
    growing = Growing(NUMBER, ADD)
    times = iter([1, 2])

    def grow(member: int) -> Graph:
        g = growing.graph()
        g.forwards = [g.gather([stored(member)] * next(times))]
        return g

    d = drive(*growing.all(Task("grow", grow)))
    g = d.graph()
    a = g.run("number", 5)
    first = d.submit(g)
    d.settle()
    member = d.datum(first, g, a)
    g2 = d.graph()
    g2.result = [g2.run("grow", member)]
    second = d.submit(g2)
    d.settle()
    ((inner,),) = d.rows("select id from gather")
    again(d, d.run_id(second, g2.result[0]))
    g3 = d.graph()
    g3.result = [g3.run("add", stored(inner))]
    third = d.submit(g3)
    d.control(expire.lose, [member])
    d.settle()
    assert d.results(third) == [5]
    assert d.results(second) == [[5, 5]]
    check_invariants(d.engine.db, quiet=True)


def test_a_block_of_a_superseded_growth_is_not_run_again(drive: Drive) -> None:
    growing = Growing(counter(), ADD)
    d = drive(*growing.all(grower(growing)))
    g = d.graph()
    a = g.run("grow", 1000)
    block = d.submit(g)
    d.settle()
    ((grown,),) = d.rows("select id from block where owner is not null")
    again(d, d.run_id(block, a))
    with pytest.raises(ConflictError, match=f"with run {d.run_id(block, a)} that grew it"):
        d.control(rerun.rerun_block, grown)


def test_a_growth_without_runs_ends_anew(drive: Drive) -> None:
    growing = Growing(counter())

    def grow() -> Graph:
        g = growing.graph()
        g.forwards = [g.run("draw")]
        return g

    d = drive(*growing.all(Task("grow", grow)))
    g = d.graph()
    g.result = [g.run("grow")]
    block = d.submit(g)
    d.settle()
    ((grown,),) = d.rows("select id from block where owner is not null")
    g2 = d.graph()
    g2.result = [g2.run("draw", 1, after=[stored(d.control(external.end_of, grown))])]
    second = d.submit(g2)
    d.settle()
    d.control(remove.delete_block, grown)
    d.control(rerun.rerun_block, grown)
    d.settle()
    assert d.results(block) == [102]
    assert d.results(second) == [101]
    check_invariants(d.engine.db, quiet=True)
