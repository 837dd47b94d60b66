"""Engines that are paused and resumed late: what they have lost they cannot write, and nothing is done twice."""

import os
import signal

import pytest

from tests.server.support import Bench
from tests.server.test_namespaces import elsewhere
from tidemill.model.states import AttemptState, RunState
from tidemill.stores.state import leases, workers
from tidemill.testing.crash import check_store, wait_for


@pytest.mark.parametrize("when", ["in the middle", "at the end"])
def test_commits_of_one_that_was_taken_for_dead_are_refused(bench: Bench, postgres_database: str, when: str) -> None:
    """On another machine, as it were: the other one cannot see that it lives, nor end it."""
    bench.url = postgres_database
    bench.environment = {"TIDEMILL_LEASE_SECONDS": "4", "TEST_OBJECTS": str(bench.directory / "objects")}
    bench.environment["XDG_DATA_HOME"] = str(bench.directory / "there")
    a, b = bench.gates(["a", "b"])
    paused = bench.start("gates", ["a", "b"], prefix=elsewhere())
    a.reached()
    (engine,) = bench.look(workers.engines)
    (pid,), (worker,) = bench.processes("host"), bench.processes("worker")
    lost = {one.id for one in bench.look(lambda db: workers.executors(db, [engine.id]))}
    assert lost
    os.kill(pid, signal.SIGSTOP)
    bench.environment["XDG_DATA_HOME"] = str(bench.directory / "here")
    other = bench.start("gates", ["a", "b"])
    b.reached()
    b.open()
    a.reached()
    assert engine.id not in [one.id for one in bench.look(workers.engines)]
    # Both go on: the paused engine's worker, whose outcome waits for it, and the other's.
    a.open()
    if when == "at the end":
        a.open()
        assert other.result() == ["a", "b"]
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: not {pid, worker} & set(bench.processes()), "the paused engine to end")
    if when == "in the middle":
        a.open()
        assert other.result() == ["a", "b"]
    paused.ended()
    bench.quiet()
    assert sorted(bench.log()) == ["gated a", "gated a", "gated b"]
    (attempt,) = bench.attempts("a")
    assert (attempt.state, attempt.worker in lost) == (AttemptState.COMPLETE, False)
    bench.look(check_store)
    assert not bench.look(leases.every)


def test_one_that_holds_the_lock_of_its_store_is_waited_for(bench: Bench) -> None:
    gate = bench.gate("a")
    first = bench.start("gates", ["a"])
    gate.reached()
    (pid,) = bench.processes("host")
    os.kill(pid, signal.SIGSTOP)
    second = bench.start("gates", ["a"])
    gate.open()
    wait_for(lambda: len(bench.processes("client")) == 2, "the second program")
    os.kill(pid, signal.SIGCONT)
    assert first.result() == second.result() == ["a"]
    bench.quiet()
    assert bench.log() == ["gated a"]
    assert bench.states() == {"a": RunState.COMPLETE}
    bench.look(check_store)
