"""Several servers on one PostgreSQL database: shared work, and taking over from one that was killed."""

import os
import signal

import pytest

from tests.server.support import Bench, Program
from tests.server.test_namespaces import elsewhere
from tidemill.model import events as model_events
from tidemill.model.events import Kind
from tidemill.stores.state import blocks, events, leases, workers
from tidemill.stores.state.database import Database
from tidemill.stores.state.workers import Worker
from tidemill.testing.crash import check_store

LEASE = 4.0


@pytest.fixture
def shared(bench: Bench, postgres_database: str) -> Bench:
    bench.url = postgres_database
    bench.environment = {
        "TIDEMILL_LEASE_SECONDS": str(LEASE),
        "XDG_DATA_HOME": str(bench.directory / "data"),
    }
    return bench


def kill(bench: Bench, program: Program, engine: Worker) -> None:
    """SIGKILL to a client and its server."""
    program.process.kill()
    os.kill(engine.pid, signal.SIGKILL)
    program.ended()


def reaped(db: Database) -> list[tuple[float, list[int]]]:
    """When which engines were found dead."""
    rows = events.after(db, 0)
    return [(row[1], e.ids) for row in rows for e in model_events.decode(row[4]) if e.kind == Kind.ENGINE_REAPED]


def test_two_programs_have_an_engine_each(shared: Bench) -> None:
    bench = shared
    common, a, b = bench.gates(["common", "a", "b"])
    first = bench.start("shared", "a", "common", workers=2)
    a.reached()
    common.reached()
    second = bench.start("shared", "b", "common", workers=2)
    b.reached()
    assert len(bench.look(workers.engines)) == 2
    for gate in (common, a, b):
        gate.open(2)
    assert first.result() == ["a", "common"]
    assert second.result() == ["b", "common"]
    bench.quiet()
    assert not bench.look(workers.engines)
    bench.look(check_store)


def test_a_shared_workflow_is_finished_by_both(shared: Bench) -> None:
    bench = shared
    bench.environment["TIDEMILL_LEASE_SECONDS"] = "100"  # neither is to be taken for dead while the disk is slow
    names = ["a", "b", "c", "d"]
    gates = bench.gates(names)
    first = bench.start("gates", names)
    gates[0].reached()
    second = bench.start("gates", names)
    gates[1].reached()
    assert len(bench.look(workers.engines)) == 2
    for gate in gates:
        gate.open()
    assert first.result() == second.result() == names
    assert len(bench.look(blocks.roots)) == 1
    assert sorted(bench.log()) == [f"gated {name}" for name in names], "something was executed twice"
    bench.look(check_store)
    bench.quiet()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_when_one_is_killed_the_other_takes_over(shared: Bench, where: str) -> None:
    """At once where it is seen to be gone, after its deadline where it cannot be seen from here."""
    bench = shared
    if where == "here":
        bench.environment["TIDEMILL_LEASE_SECONDS"] = "100"
    names = ["a", "b", "c"]
    gates = bench.gates(names)
    first = bench.start("gates", names, prefix=elsewhere() if where == "elsewhere" else ())
    gates[0].reached()
    (engine,) = bench.look(workers.engines)
    second = bench.start("gates", names)
    gates[1].reached()
    if where == "here":
        kill(bench, first, engine)
    else:
        first.process.send_signal(signal.SIGKILL)
        first.ended()
    gates[1].open()
    gates[2].reached()
    gates[2].open()
    gates[0].reached()
    (entry,) = bench.look(reaped)
    assert entry[1] == [engine.id]
    died = bench.look(lambda db: workers.get(db, engine.id))
    assert (entry[0] > died.deadline - 0.5) == (where == "elsewhere")
    gates[0].open()
    assert second.result() == names
    assert bench.log().count("gated a") == 2
    assert bench.run("a").losses == 0
    bench.quiet()
    bench.look(check_store)


def test_one_that_is_paused_for_too_long_is_ended_by_the_other(shared: Bench) -> None:
    """Its workers must be gone before their runs execute again, and it would start others."""
    bench = shared
    gates = bench.gates(["a", "b"])
    first = bench.start("gates", ["a", "b"])
    gates[0].reached()
    (engine,) = bench.look(workers.engines)
    second = bench.start("gates", ["a", "b"])
    gates[1].reached()
    os.kill(engine.pid, signal.SIGSTOP)
    gates[1].open()
    gates[0].reached()
    assert "EngineLostError" in first.error()
    gates[0].open()
    assert second.result() == ["a", "b"]
    assert sorted(bench.log()) == ["gated a", "gated a", "gated b"]
    bench.quiet()
    bench.look(check_store)
    assert not bench.look(leases.every)
