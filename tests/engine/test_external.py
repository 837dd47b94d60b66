"""External runs and data: told from outside, under a fence, with an idempotency key."""

import msgspec
import pytest

from tests.engine.conftest import Drive
from tests.engine.tasks import ADD, NUMBER
from tidemill.engine import control, external, revive
from tidemill.engine.complete import Answer
from tidemill.model.delta import RunFlag
from tidemill.model.digest import digest
from tidemill.model.errors import ConflictError, NotFoundError
from tidemill.model.protocol import Failure, Out, Outcome
from tidemill.model.states import AttemptState, DatumState, Reason, RunView
from tidemill.testing.engine import EngineDriver, StandingClock
from tidemill.testing.graphs import Graph, Slot, Task
from tidemill.testing.invariants import check_invariants


def out(value: object) -> Out:
    body = msgspec.msgpack.encode(value)
    return Out(body, digest(body), len(body))


def outcome(run: int, fence: int, value: object = None, *, reason: Reason | None = None) -> Outcome:
    if reason is None:
        return Outcome(run, fence, int(AttemptState.COMPLETE), [out(value)], 1.0, 2.0)
    return Outcome(run, fence, int(AttemptState.ERROR), [], 1.0, 2.0, failure=Failure(int(reason), "kind", "text"))


def waiting(d: EngineDriver) -> tuple[int, Graph, Slot, Slot]:
    g = d.graph()
    a = g.run("number", 1)
    x = g.run("outside", a, flags=RunFlag.EXTERNAL)
    b = g.run("add", x, 1)
    return d.submit(g), g, x, b


def token(d: EngineDriver, run: int) -> int:
    fence = d.control(external.token, run)
    assert isinstance(fence, int)
    return fence


def outside(**options: object) -> Task:
    return Task("outside", options=dict(options))


def test_never_claimable_and_told_from_outside(drive: Drive) -> None:
    d = drive(NUMBER, ADD, outside())
    block, g, x, b = waiting(d)
    run = d.run_id(block, x)
    assert d.control(external.token, run) is None
    d.settle()
    assert d.view(run) is RunView.RUNNING
    assert d.count("outside") == 0
    fence = token(d, run)
    d.crash()
    d.settle()
    assert token(d, run) == fence  # it is nobody's lease, so no engine's end voids it
    assert d.control(external.tell, outcome(run, fence, 41), "k1") is Answer.ACCEPTED
    d.settle()
    assert d.value(d.datum(block, g, b)) == 42
    assert d.control(external.token, run) is None
    check_invariants(d.engine.db, quiet=True)


def test_the_same_key_changes_nothing_and_a_stale_fence_is_refused(drive: Drive) -> None:
    d = drive(NUMBER, ADD, outside())
    block, g, x, _ = waiting(d)
    run = d.run_id(block, x)
    d.settle()
    fence = token(d, run)
    assert d.control(external.tell, outcome(run, fence + 1, 1), "old") is Answer.REFUSED
    assert d.control(external.tell, outcome(run, fence, 5), "k") is Answer.ACCEPTED
    assert d.control(external.tell, outcome(run, fence, 6), "k") is Answer.ACCEPTED
    assert d.control(external.tell, outcome(run, fence, 6), "another") is Answer.ALREADY
    assert d.control(external.tell, outcome(run, fence + 1, 1), "old") is Answer.REFUSED
    d.settle()
    assert d.value(d.datum(block, g, x)) == 5


@pytest.mark.parametrize("backoff", [0.0, 10.0])
def test_failing_is_retried_with_a_new_token(drive: Drive, backoff: float) -> None:
    clock = StandingClock()
    d = drive(NUMBER, ADD, outside(retries=1, backoff=backoff), clock=clock)
    block, _, x, b = waiting(d)
    run = d.run_id(block, x)
    d.settle()
    first = token(d, run)
    d.control(external.tell, outcome(run, first, reason=Reason.EXIT_CODE), "1")
    d.settle()
    second = token(d, run)
    assert second > first
    assert d.control(external.tell, outcome(run, first, 1), "2") is Answer.REFUSED
    d.control(external.tell, outcome(run, second, reason=Reason.EXIT_CODE), "3")
    d.settle()
    assert d.view(run) is RunView.ERROR
    assert d.view(d.run_id(block, b)) is RunView.SKIPPED
    d.control(revive.retry, [run])
    third = token(d, run)
    d.control(external.tell, outcome(run, third, 7), "4")
    d.settle()
    assert d.view(d.run_id(block, b)) is RunView.COMPLETE
    check_invariants(d.engine.db, quiet=True)


def test_cancelling_voids_the_token(drive: Drive) -> None:
    d = drive(NUMBER, ADD, outside())
    block, _, x, _ = waiting(d)
    run = d.run_id(block, x)
    d.settle()
    fence = token(d, run)
    d.control(control.cancel_block, block)
    d.settle()
    assert d.control(external.tell, outcome(run, fence, 1), "late") is Answer.REFUSED
    assert d.view(run) is RunView.CANCELLED
    check_invariants(d.engine.db, quiet=True)


def needing(d: EngineDriver) -> tuple[int, Graph, Slot, Slot]:
    """A run that needs a datum nobody in the graph makes."""
    g = d.graph()
    a = g.run("number", 1)
    given = g.outside()
    b = g.run("add", a, given)
    block = d.submit(g)
    d.settle()
    assert d.view(d.run_id(block, b)) is RunView.WAITING
    return block, g, given, b


def test_a_datum_written_outside(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    block, g, given, b = needing(d)
    datum = d.datum(block, g, given)
    assert d.control(external.begin_datum, datum, "0") is Answer.ACCEPTED
    assert d.state(datum) is DatumState.WRITING
    check_invariants(d.engine.db)
    assert d.control(external.begin_datum, datum, "1") is Answer.REFUSED
    assert d.control(external.complete_datum, datum, out(9), "2") is Answer.ACCEPTED
    assert d.control(external.complete_datum, datum, out(8), "2") is Answer.ACCEPTED
    assert d.control(external.complete_datum, datum, out(8), "3") is Answer.REFUSED
    assert d.control(external.fail_datum, datum, "4") is Answer.REFUSED
    d.settle()
    assert d.value(d.datum(block, g, b)) == 10
    check_invariants(d.engine.db, quiet=True)


@pytest.mark.parametrize("begun", [False, True])
def test_a_datum_that_nobody_will_write(drive: Drive, begun: bool) -> None:
    d = drive(NUMBER, ADD)
    block, g, given, b = needing(d)
    datum = d.datum(block, g, given)
    if begun:
        d.control(external.begin_datum, datum, "0")
    assert d.control(external.fail_datum, datum, "1") is Answer.ACCEPTED
    d.settle()
    assert d.state(datum) is DatumState.ERROR
    assert d.view(d.run_id(block, b)) is RunView.SKIPPED
    check_invariants(d.engine.db, quiet=True)


def test_data_that_the_graph_makes_are_not_written_outside(drive: Drive) -> None:
    d = drive(NUMBER, ADD)
    g = d.graph()
    slots = [g.run("number", i) for i in range(5)]
    whole = g.gather(slots)
    block = d.submit(g)
    for slot in (*slots, whole):
        with pytest.raises(ConflictError, match="made by the graph"):
            d.control(external.complete_datum, d.datum(block, g, slot), out(1), f"k{slot}")
    with pytest.raises(NotFoundError):
        d.control(external.complete_datum, 10**6, out(1), "none")
