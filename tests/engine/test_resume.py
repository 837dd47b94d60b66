"""Interruptions: a submission goes on where it stopped, and a history with crashes ends like one without."""

import itertools
import random

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER, Growing, total
from tidemill.engine import control, revive, submit
from tidemill.model.errors import ResumeError
from tidemill.model.states import BlockState
from tidemill.testing.engine import EngineDriver
from tidemill.testing.graphs import Graph, Task
from tidemill.testing.invariants import check_invariants


def sweep(d: EngineDriver, n: int = 12) -> Graph:
    g = d.graph()
    numbers = [g.run("number", i) for i in range(n)]
    sums = [g.run("add", a, b) for a, b in itertools.pairwise(numbers)]
    g.result = [g.run("add", g.gather(sums))]
    return g


def seal(d: EngineDriver, block: int) -> None:
    d.control(submit.seal, block)


def test_an_interrupted_submission_goes_on_chunk_by_chunk(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    chunks = sweep(d).chunks(4)
    block = 0
    for stop in range(len(chunks) + 1):
        begun = d.begin(sweep(d), key="k")
        assert begun.chunks == max(0, stop - 1)
        block = begun.block
        for seq in range(begun.chunks, stop):
            d.part(block, seq, chunks[seq])
        d.settle()
        assert d.block(block).state == BlockState.OPEN
        d.crash()
        check_invariants(d.engine.db)
    seal(d, block)
    d.settle()
    assert d.results(block) == [sum(2 * i + 1 for i in range(11))]
    check_invariants(d.engine.db, quiet=True)


def test_the_first_chunks_run_before_the_last_are_there(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    begun = d.begin(sweep(d))
    d.part(begun.block, 0, sweep(d).chunks(4)[0])
    d.settle()
    assert d.count("number") == 4
    assert d.block(begun.block).state == BlockState.OPEN


def test_a_chunk_that_is_stored_may_be_sent_again_but_not_another(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    chunks = sweep(d).chunks(4)
    begun = d.begin(sweep(d), key="k")
    for _ in range(2):
        d.part(begun.block, 0, chunks[0])
    with pytest.raises(ResumeError, match="differs"):
        d.part(begun.block, 0, sweep(d, 13).chunks(5)[0])
    assert d.rows("select count(*) from run") == [(4,)]
    check_invariants(d.engine.db)


def test_another_plan_under_the_same_key_is_an_error(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    begun = d.begin(sweep(d), key="k")
    with pytest.raises(ResumeError, match="another plan"):
        d.begin(sweep(d, 13), key="k")
    d.control(control.cancel_block, begun.block)
    d.settle()
    again = d.begin(sweep(d, 13), key="k")
    assert again.block != begun.block


def test_a_chunk_for_a_cancelled_block_changes_nothing(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    chunks = sweep(d).chunks(4)
    begun = d.begin(sweep(d), key="k")
    d.part(begun.block, 0, chunks[0])
    d.control(control.cancel_block, begun.block)
    d.part(begun.block, 1, chunks[1])
    d.settle()
    d.part(begun.block, 2, chunks[2])
    seal(d, begun.block)
    row = d.block(begun.block)
    assert (row.state, row.total, row.cancelled) == (BlockState.CANCELLED, 4, 4)
    check_invariants(d.engine.db, quiet=True)
    d.control(revive.retry, [r[0] for r in d.rows("select id from run where state = 6")])
    d.settle()
    row = d.block(begun.block)
    assert (row.state, row.done) == (BlockState.CANCELLED, 4)  # half a workflow is never complete
    check_invariants(d.engine.db, quiet=True)


def story(drive: Drive, seed: int | None) -> tuple[list[object], list[tuple[int, bytes]]]:
    """Results and digests of a workflow; with a seed, the engine is killed between turns now and then."""
    draw = random.Random(seed)
    growing = Growing(NUMBER, ADD)
    failed: set[str] = set()

    def once(*args: object) -> int:
        if repr(args) not in failed:
            failed.add(repr(args))
            raise ValueError("the first try fails")
        return total(list(args))

    def tree(n: int) -> Graph:
        g = growing.graph()
        legs = [g.run("tree", n - 1), g.run("tree", n - 2), g.run("once", n)] if n > 1 else [g.run("number", n)]
        g.forwards = [g.run("add", g.gather(legs))]
        return g

    d = drive(*growing.all(Task("once", once, options={"retries": 2}), Task("tree", tree)), batch=3)
    g = d.graph()
    numbers = [g.run("number", i) for i in range(8)]
    trees = [g.run("tree", 3 + i) for i in range(2)]
    g.result = [*trees, g.gather([g.run("once", n, t) for n in numbers for t in trees])]

    def upset() -> None:
        if seed is not None and draw.random() < 0.35:
            d.crash()
            check_invariants(d.engine.db)

    begun = d.begin(g, key="story")
    for seq, chunk in enumerate(g.chunks(5)):
        upset()
        d.part(begun.block, seq, chunk)
    seal(d, begun.block)
    for _ in range(2000):
        upset()
        if not d.step() and d.block(begun.block).state != BlockState.OPEN:
            break
    check_invariants(d.engine.db, quiet=True)
    low = d.block(begun.block).out_lo
    digests = d.rows("select id, digest from datum where id >= ? and id < ? order by id", low, low + 20)
    return d.results(begun.block), [(i - low, bytes(v)) for i, v in digests]


@pytest.mark.parametrize("seed", range(3))
def test_a_history_with_crashes_ends_like_one_without(
    drive: Drive, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    disturbed = story(drive, seed)

    def elsewhere(*tasks: Task, **options: int) -> EngineDriver:
        return EngineDriver(str(tmp_path_factory.mktemp("undisturbed")), tasks, **options)  # type: ignore[arg-type]

    assert disturbed == story(elsewhere, None)
