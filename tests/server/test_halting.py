"""Stopping work from another process: nothing is marked, who waits is told, and the same command goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.support import Bench
from tests.server.test_interrupts import continues, kinds
from tests.server.test_several_engines import shared  # noqa: F401 — a fixture
from tidemill.model.errors import HaltedError, NotFoundError
from tidemill.model.events import Kind
from tidemill.model.states import BlockState, RunState
from tidemill.stores.state import classes, leases, workers
from tidemill.stores.state.blocks import DETACHED, get
from tidemill.testing.crash import wait_for

NAMES = ["a", "b", "c", "d"]
INTERRUPTED = 130


def tidemill(bench: Bench, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command, on the bench's store."""
    return subprocess.run(
        [sys.executable, "-m", "tidemill", *words, "--store", bench.url],
        env=os.environ | bench.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def marked_nothing(bench: Bench) -> None:
    assert not bench.look(leases.every)
    assert not bench.look(kinds) & {Kind.CANCELLED, Kind.LOST, Kind.FAILED, Kind.RETRYING}
    assert not bench.look(workers.engines)


def test_kill_now_stops_the_engine_and_its_workers_and_nothing_is_marked(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    program = bench.start("gates_after_quick", NAMES)
    worker = gates[0].reached()
    done = tidemill(bench, "kill", "--now")
    assert (done.returncode, done.stdout) == (0, "stopped 1 workflows\n")
    assert program.ended() == 1
    assert "(tidemill kill)" in program.said.decode()
    assert "HaltedError" in program.said.decode()
    assert worker not in bench.processes()
    bench.quiet()
    marked_nothing(bench)
    assert bench.block().state == BlockState.OPEN
    assert [bench.states()[n] for n in NAMES] == [RunState.LIVE] * 4
    continues(bench)


def test_a_gentle_kill_lets_what_runs_end_first(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    program = bench.start("gates_after_quick", NAMES)
    gates[0].reached()
    killer = subprocess.Popen(
        [sys.executable, "-m", "tidemill", "kill", "--store", bench.url], stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(bench.look(leases.every)) == 1, "what has not started to go back")
    assert killer.poll() is None
    gates[0].open()
    assert killer.communicate(timeout=60)[0] == "stopped 1 workflows\n"
    assert killer.returncode == 0
    assert program.ended() == 1
    bench.quiet()
    marked_nothing(bench)
    assert [bench.states()[n] for n in NAMES] == [RunState.COMPLETE, RunState.LIVE, RunState.LIVE, RunState.LIVE]
    continues(bench)
    assert bench.log().count("gated a") == 1


def test_one_workflow_is_stopped_and_the_others_go_on(bench: Bench) -> None:
    a, b = bench.gates(["a", "b"])
    first = bench.start("gates_after_quick", ["a"])
    a.reached()
    block = bench.block().id
    second = bench.start("gates_after_quick", ["b"], workers=2)
    b.reached()
    done = tidemill(bench, "kill", str(block), "--now")
    assert (done.returncode, done.stdout) == (0, "stopped 1 workflows; the store is still served\n")
    assert first.ended() == 1
    b.open()
    assert second.result() == ["b"]
    bench.quiet()
    row = bench.look(lambda db: get(db, block))
    assert row is not None
    assert row.state == BlockState.OPEN
    assert tidemill(bench, "kill", "99").returncode == 2


def test_an_engine_that_does_not_answer_is_killed(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    program = bench.start("gates_after_quick", NAMES)
    gates[0].reached()
    engine = bench.look(workers.engines)[-1].pid
    os.kill(engine, signal.SIGSTOP)
    done = tidemill(bench, "kill", "--now")
    assert (done.returncode, done.stdout) == (0, "killed the engine, which did not answer\n")
    assert program.ended() == 1
    bench.quiet()
    assert tidemill(bench, "kill").stdout == "nobody works on this store\n"
    continues(bench)


@pytest.mark.parametrize("words", [["kill"], ["kill", "--now"]])
def test_detached_work_stays_stopped_until_somebody_resumes_it(bench: Bench, tmp_path: Path, words: list[str]) -> None:
    script = tmp_path / "detached.py"
    script.write_text(
        "import sys, tidemill as tm\n"
        "@tm.task\ndef step(i: int, gate: str) -> int:\n"
        "    open(gate + '.here', 'w').write('1\\n')\n    open(gate + '.gate', 'rb', 0).read(1)\n    return i\n"
        "@tm.workflow\ndef many(gate: str):\n    return step(tm.sweep([1, 2, 3]), gate)\n"
        "if __name__ == '__main__':\n    many(sys.argv[2]).submit(store=sys.argv[1], workers=1)\n",
        encoding="utf-8",
    )
    gate = bench.gate("g")
    subprocess.run([sys.executable, str(script), bench.url, str(bench.directory / "g")], check=True)
    gate.reached()
    assert bench.block().flags & DETACHED
    killer = subprocess.Popen([sys.executable, "-m", "tidemill", *words, "--store", bench.url])
    wait_for(lambda: not any(h.active for h in bench.look(classes.hubs)), "the workflow to be stopped")
    gate.open(3)
    assert killer.wait(60) == 0
    assert bench.block().state == BlockState.OPEN
    tidemill(bench, "config", "workers", "1")  # an engine comes and goes; the work does not go on by itself
    assert bench.block().done < 3
    gate.open(3)
    done = tidemill(bench, "resume", str(bench.block().id), "-q")
    assert (done.returncode, done.stdout) == (0, "[1, 2, 3]\n")


def test_all_engines_of_a_database_are_stopped(shared: Bench) -> None:  # noqa: F811
    a, b = shared.gates(["a", "b"])
    first = shared.start("gates_after_quick", ["a"])
    a.reached()
    second = shared.start("gates_after_quick", ["b"])
    b.reached()
    assert len(shared.look(workers.engines)) == 2
    done = tidemill(shared, "kill", "--now")
    assert done.returncode == 0, done.stderr
    assert (first.ended(), second.ended()) == (1, 1)
    shared.quiet()
    marked_nothing(shared)


def test_there_must_be_a_store(bench: Bench) -> None:
    done = tidemill(bench, "kill")
    assert (done.returncode, "there is no store" in done.stderr) == (2, True)
    assert issubclass(NotFoundError, LookupError)
    assert HaltedError.code == "TM701"
