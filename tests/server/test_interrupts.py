"""Ctrl-C and killed clients: what has started is finished, nothing is marked, and the same command continues."""

import signal

from tests.server.support import Bench
from tidemill.model import events as model_events
from tidemill.model.events import Kind
from tidemill.model.states import BlockState, RunState
from tidemill.stores.state import classes, events, leases
from tidemill.stores.state.database import Database
from tidemill.testing.crash import wait_for

NAMES = ["a", "b", "c", "d"]
FINISHING = "finishing what runs"


def kinds(db: Database) -> set[int]:
    """What kinds of events there were."""
    return {e.kind for row in events.after(db, 0) for e in model_events.decode(row[4])}


def nothing_marked(bench: Bench) -> None:
    """The store after an interruption: nothing cancelled, held or active; the block is open."""
    assert not bench.look(leases.every)
    assert not [h for h in bench.look(classes.hubs) if h.active]
    assert bench.block().state == BlockState.OPEN
    assert not bench.look(kinds) & {Kind.CANCELLED, Kind.LOST, Kind.FAILED, Kind.RETRYING}


def continues(bench: Bench) -> None:
    """The same command goes on in the same block to the same end."""
    before = bench.block()
    for gate in bench.gates(NAMES):
        gate.open(3)
    program = bench.start("gates_after_quick", NAMES)
    assert program.result() == NAMES
    assert "continuing" in program.said.decode()
    assert bench.block().id == before.id
    assert bench.block().state == BlockState.COMPLETE
    quick = [line for line in bench.log() if line.startswith("quick")]
    assert len(quick) == len(set(quick)), "what was complete was executed again"
    bench.quiet()


def test_ctrl_c_once_finishes_what_has_started(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    program = bench.start("gates_after_quick", NAMES)
    gates[0].reached()
    assert len(bench.look(leases.every)) == len(NAMES), "the worker was given runs in advance"
    program.ctrl_c()
    program.says(FINISHING)
    wait_for(lambda: not any(h.active for h in bench.look(classes.hubs)), "the workflow to be suspended")
    gates[0].open()
    assert program.ended() == 128 + signal.SIGINT
    bench.quiet()
    nothing_marked(bench)
    assert [bench.states()[n] for n in NAMES] == [RunState.COMPLETE, RunState.LIVE, RunState.LIVE, RunState.LIVE]
    assert [line for line in bench.log() if line.startswith("gated")] == ["gated a"]
    continues(bench)
    assert bench.log().count("gated a") == 1


def test_ctrl_c_does_not_wait_for_what_is_still_to_be_submitted(bench: Bench) -> None:
    many = 200_000
    program = bench.start("long_sweep", many)
    wait_for(lambda: bool(bench.log()), "something to be executed")
    program.ctrl_c()
    assert program.ended() == 128 + signal.SIGINT
    bench.quiet()
    nothing_marked(bench)
    assert bench.block().total < many // 2


def test_what_failed_before_is_tried_again_when_the_same_command_continues(bench: Bench) -> None:
    gates = bench.gates(["a", "b"])
    missing = bench.directory / "missing"
    program = bench.start("needs_and_gates", str(missing), ["a", "b"])
    gates[0].reached()
    assert bench.run(str(missing)).state == RunState.ERROR
    program.ctrl_c()
    program.says(FINISHING)
    wait_for(lambda: not any(h.active for h in bench.look(classes.hubs)), "the workflow to be suspended")
    gates[0].open()
    assert program.ended() == 128 + signal.SIGINT
    missing.write_text("here it is")
    gates[1].open()
    program = bench.start("needs_and_gates", str(missing), ["a", "b"])
    assert program.result() == ["here it is", ["a", "b"]]
    assert "continuing" in program.said.decode()
    assert bench.block().state == BlockState.COMPLETE


def test_ctrl_c_twice_stops_at_once(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    program = bench.start("gates_after_quick", NAMES)
    gates[0].reached()
    program.ctrl_c()
    program.says(FINISHING)
    program.ctrl_c()
    assert program.ended() == 128 + signal.SIGINT
    bench.quiet()
    nothing_marked(bench)
    run = bench.run("a")
    assert (run.state, run.tries, run.losses) == (RunState.LIVE, 0, 0)
    assert bench.attempts("a") == []
    continues(bench)
    assert bench.log().count("gated a") == 2


def test_when_the_client_is_killed_what_has_started_is_finished(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    program = bench.start("gates_after_quick", NAMES)
    gates[0].reached()
    program.process.kill()
    assert program.ended() == 128 + signal.SIGKILL
    wait_for(lambda: not any(h.active for h in bench.look(classes.hubs)), "the workflow to be suspended")
    gates[0].open()
    bench.quiet()
    nothing_marked(bench)
    assert bench.states()["a"] == RunState.COMPLETE
    continues(bench)
    assert bench.log().count("gated a") == 1


def test_a_client_that_returns_while_the_last_run_is_finished_goes_on(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    program = bench.start("gates_after_quick", NAMES)
    gates[0].reached()
    (host,) = bench.processes("host")
    program.process.kill()
    program.ended()
    again = bench.start("gates_after_quick", NAMES)
    gates[1].reached()
    assert bench.processes("host") == [host]
    for gate in gates:
        gate.open(2)
    assert again.result() == NAMES
    bench.quiet()
    assert bench.log().count("gated a") == 1


def test_ctrl_c_before_anything_runs(bench: Bench) -> None:
    gates = bench.gates(NAMES)
    for gate in gates:
        gate.open()
    program = bench.start("gates_after_quick", NAMES)
    program.ctrl_c()
    assert program.ended() == 128 + signal.SIGINT
    bench.quiet()
    assert bench.start("gates_after_quick", NAMES).result() == NAMES
