"""How user code may end: each attempt says why, the other runs go on, and the worker is replaced."""

import os
import signal

import pytest

from tests.server.support import Bench
from tidemill.model.states import AttemptState, Reason, RunState
from tidemill.testing.crash import wait_for
from tidemill.testing.workers import wait_gone

GOOD = 30
ENDS = {
    "exception": (Reason.EXCEPTION, "KeyError"),
    "sys.exit": (Reason.EXCEPTION, "SystemExit"),
    "memory error": (Reason.OUT_OF_MEMORY, "MemoryError"),
    "os._exit": (Reason.EXIT_CODE, "exit code 3"),
    "os._exit 0": (Reason.EXIT_CODE, "exit code 0"),
    "segfault": (Reason.SIGNAL, "signal 11 (SIGSEGV)"),
}


def test_every_bad_end_is_told_apart_and_harms_nobody_else(bench: Bench) -> None:
    text = bench.start("bad_ends", list(ENDS), GOOD, workers=2).error()
    assert f"{len(ENDS)} of {len(ENDS) + GOOD} runs failed" in text
    states = bench.states()
    assert all(states[str(i)] == RunState.COMPLETE for i in range(GOOD))
    for how, (reason, kind) in ENDS.items():
        assert states[how] == RunState.ERROR
        (failure,) = bench.failures(how)
        assert (failure.reason, failure.kind) == (reason, kind)
        assert len(bench.attempts(how)) == 1
    assert bench.log().count("segfault") == 1
    bench.quiet()


def test_a_worker_killed_from_outside_is_a_loss_and_no_failure(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    os.kill(gate.reached(), signal.SIGKILL)
    gate.reached()
    gate.open()
    assert program.result() == ["a"]
    first, second = bench.attempts("a")
    assert (first.state, first.reason) == (AttemptState.LOST, Reason.WORKER_DIED)
    assert second.state == AttemptState.COMPLETE
    run = bench.run("a")
    assert (run.tries, run.losses) == (0, 1)


def test_a_run_that_keeps_losing_its_worker_ends(bench: Bench) -> None:
    text = bench.start("bad_ends", ["kill"], 3).error()
    assert "6 workers were lost" in text
    assert bench.log().count("kill") == 6
    run = bench.run("kill")
    assert (run.state, run.losses) == (RunState.ERROR, 6)
    assert [a.state for a in bench.attempts("kill")] == [AttemptState.LOST] * 6
    assert bench.failures("kill")[-1].reason == Reason.TOO_MANY_LOSSES
    assert all(bench.states()[str(i)] == RunState.COMPLETE for i in range(3))


def test_what_takes_too_long_is_killed_with_all_that_it_started(bench: Bench) -> None:
    gate = bench.gate("slow")
    pids = bench.directory / "pids"
    program = bench.start("overrun", "slow", str(pids), workers=2)
    worker = gate.reached()
    program.error()
    assert len(pids.read_text().split()) == 2
    wait_gone([worker, *map(int, pids.read_text().split())])
    for name in ("slow", str(pids)):
        (failure,) = bench.failures(name)
        assert (failure.reason, failure.kind) == (Reason.TIMEOUT, "timeout")
        assert "its timeout of 1 s" in failure.message
    assert bench.states()["1"] == RunState.COMPLETE
    bench.quiet()


def test_what_takes_more_memory_than_it_declared_is_killed(bench: Bench) -> None:
    gate = bench.gate("fat")
    program = bench.start("overfull", "fat", workers=2)
    worker = gate.reached()
    gate.open()
    program.error()
    wait_gone([worker])
    (failure,) = bench.failures("fat")
    assert (failure.reason, failure.kind) == (Reason.OUT_OF_MEMORY, "out of memory")
    assert "200 MiB it declared" in failure.message
    assert bench.states()["1"] == RunState.COMPLETE


def test_neighbours_of_a_crash_are_released_free(bench: Bench) -> None:
    """A worker that was given several runs dies in the first: the others are not charged."""
    names = ["a", "b", "c"]
    gates = bench.gates(names)
    program = bench.start("gates_after_quick", names)
    os.kill(gates[0].reached(), signal.SIGSEGV)
    for gate in gates:
        gate.open()
    program.error()
    assert [bench.states()[n] for n in names] == [RunState.ERROR, RunState.COMPLETE, RunState.COMPLETE]
    (failure,) = bench.failures("a")
    assert failure.reason == Reason.SIGNAL
    for name in names[1:]:
        assert [a.state for a in bench.attempts(name)] == [AttemptState.COMPLETE]
        assert (bench.run(name).tries, bench.run(name).losses) == (0, 0)


@pytest.mark.parametrize("role", ["host", "worker"])
def test_no_process_outlives_a_killed_server(bench: Bench, role: str) -> None:
    gates = bench.gates(["a", "b"])
    program = bench.start("gates", ["a", "b"], workers=2)
    for gate in gates:
        gate.reached()
    for pid in bench.processes(role):
        os.kill(pid, signal.SIGKILL)
    if role == "host":
        program.error()
        wait_for(lambda: not bench.processes(), "the workers to end")
    else:
        for gate in gates:
            gate.reached()
            gate.open()
        assert program.result() == ["a", "b"]
    bench.quiet()
