"""Objects that a worker did not find: the data they belong to are lost, and made again before the run starts anew."""

import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER
from tidemill.engine.gathers_read import member_ids
from tidemill.engine.retry import MAX_LOSSES
from tidemill.model.protocol import Claimed, Failure, Outcome
from tidemill.model.states import AttemptState, BlockState, DatumState, Reason
from tidemill.stores.state import data, runs
from tidemill.testing.engine import EngineDriver
from tidemill.testing.invariants import check_invariants

OBJECT = b"o" * 32
TURNS = 60


def lacks(claimed: Claimed, digest: bytes = OBJECT) -> Outcome:
    """The outcome of a run that did not find an object."""
    failure = Failure(int(Reason.LOST_INPUT), "lost input", "the object is gone", lost=[digest])
    return Outcome(claimed.run, claimed.fence, int(AttemptState.ERROR), [], 0.0, 0.0, failure=failure)


def name(d: EngineDriver, datum: int) -> None:
    """Let a datum name the object."""
    d.control(lambda turn: data.name_objects(turn.db, [datum], [OBJECT]))


def work(d: EngineDriver, times: int) -> int:
    """Work to the end, where the first so many attempts at `add` do not find what their input names; how many times
    they did not.
    """
    missed = 0
    for _ in range(TURNS):
        d.clock.now += 1.0
        d.control(lambda turn: turn.engine.upkeep(turn))
        claimed = d.take()
        for one in claimed:
            if d.engine.spec(d.engine.db, one.task).name == "add" and missed < times:
                missed += 1
                for row in data.inputs(d.engine.db, [one.run]):
                    held = row.src or row.datum
                    name(d, member_ids(d.engine.db, held, 0, 1)[0] if row.kind == data.GATHER else held)
                outcome: Outcome | None = lacks(one)
            else:
                outcome = d.execute(one)
            assert outcome is not None
            d.hand_in(outcome)
        if not claimed and not d.engine.busy and d.engine.next_timer == float("inf"):
            return missed
    raise AssertionError("there is no end of it")


def lost(d: EngineDriver) -> int:
    """How many data are lost."""
    found: int = d.rows(f"select count(*) from datum where state = {int(DatumState.LOST)}")[0][0]
    return found


def run_of(d: EngineDriver, task: str) -> list[runs.Run]:
    ids = [r[0] for r in d.rows("select id from run order by id")]
    rows = runs.get(d.engine.db, ids)
    return [rows[i] for i in ids if d.engine.spec(d.engine.db, rows[i].task).name == task]


@pytest.mark.parametrize("gathered", [False, True])
def test_it_is_made_again_without_a_try(drive: Drive, gathered: bool) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    g.result = [g.run("add", g.gather([a]) if gathered else a, 1)]
    block = d.submit(g)
    assert work(d, 1) == 1
    assert d.closed[block] is BlockState.COMPLETE
    assert lost(d) == (2 if gathered else 1)
    assert d.count("number") == 2
    old, new = run_of(d, "add")
    assert (old.tries, old.losses, new.tries, new.losses) == (0, 1, 0, 1)
    check_invariants(d.engine.db, quiet=True)


def test_what_is_lost_again_and_again_ends(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    g.result = [g.run("add", g.run("number", 1), 1)]
    block = d.submit(g)
    assert work(d, 1000) == MAX_LOSSES + 1
    assert d.closed[block] is BlockState.ERROR
    assert d.count("number") == MAX_LOSSES + 1
    assert "lost again" in str(d.rows("select body from failure order by run desc")[0][0])
    check_invariants(d.engine.db, quiet=True)


def test_reused_data_are_made_again_where_they_are_needed(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    a = g.run("number", 1)
    first = d.submit(g, key="first")
    d.settle()
    again = d.graph()
    b = again.run("number", 1)
    again.result = [again.run("add", b, 1)]
    second = d.submit(again, key="second")
    assert work(d, 1) == 1
    assert d.closed[second] is BlockState.COMPLETE
    assert lost(d) == 2
    assert d.state(d.datum(first, g, a)) is DatumState.LOST
    assert d.count("number") == 2
    check_invariants(d.engine.db, quiet=True)


def test_what_no_input_names_fails_for_good(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    g.run("add", g.run("number", 1), 1)
    block = d.submit(g)
    (made,) = d.take()
    outcome = d.execute(made)
    assert outcome is not None
    d.hand_in(outcome)
    (one,) = d.take()
    d.hand_in(lacks(one))
    d.settle()
    assert d.closed[block] is BlockState.ERROR
    assert d.count("number") == 1
    assert "no run makes it" in str(d.rows("select body from failure")[0][0])
    check_invariants(d.engine.db, quiet=True)
