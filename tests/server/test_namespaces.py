"""A server in another pid namespace: nobody outside takes its work while it lives, the next one does after."""

import os
import signal
import socket
import subprocess
from contextlib import closing

from tests.server.support import Bench
from tidemill.client import connection
from tidemill.model import session
from tidemill.model.states import AttemptState
from tidemill.server.addresses import place_of
from tidemill.stores.state import leases, workers
from tidemill.testing.crash import wait_for
from tidemill.workers.wire import Channel


def elsewhere() -> tuple[str, ...]:
    """What to put before a command so that it runs in a pid namespace of its own, and dies as a whole."""
    rights = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", *rights, "--pid", "--fork", "--kill-child", "--mount-proc")


def second_engine(bench: Bench) -> session.ToClient:
    """What another engine process says that is started for this store."""
    place = place_of(bench.url)
    ours, theirs = socket.socketpair()
    argv = ["tidemill", "a store", place.objects, str(theirs.fileno())]
    command = connection.server_command(2, argv)
    subprocess.run(command, pass_fds=[theirs.fileno()], input=os.fsencode(place.state), timeout=60, check=True)
    theirs.close()
    with ours:
        frames = Channel(ours).wait()
    assert frames is not None
    found: session.ToClient = session.decode_to_client(frames[0])
    return found


def test_an_engine_outside_never_takes_the_work_of_a_living_one_inside(bench: Bench) -> None:
    gates = bench.gates(["a", "b"])
    inside = bench.start("gates", ["a", "b"], workers=2, prefix=elsewhere())
    for gate in gates:
        gate.reached()
    (engine,) = bench.look(workers.engines)
    assert engine.space != os.readlink("/proc/self/ns/pid")
    before = bench.look(leases.every)
    assert len(before) == 2
    assert isinstance(second_engine(bench), session.Busy)
    assert bench.look(leases.every) == before
    # a client outside talks to the engine inside
    outside = bench.start("gates", ["a", "b"])
    outside.says("continuing")
    assert [w.id for w in bench.look(workers.engines)] == [engine.id]
    for gate in gates:
        gate.open()
    assert inside.result() == outside.result() == ["a", "b"]
    assert sorted(bench.log()) == ["gated a", "gated b"]


def test_when_the_one_inside_is_killed_the_next_outside_takes_over_at_once(bench: Bench) -> None:
    gates = bench.gates(["a", "b"])
    inside = bench.start("gates", ["a", "b"], workers=2, prefix=elsewhere())
    for gate in gates:
        gate.reached()
    inside.process.send_signal(signal.SIGKILL)
    inside.ended()
    wait_for(lambda: not bench.processes(), "the namespace to end")
    outside = bench.start("gates", ["a", "b"], workers=2)
    for gate in gates:
        gate.reached()
        gate.open()
    assert outside.result() == ["a", "b"]
    assert sorted(bench.log()) == ["gated a"] * 2 + ["gated b"] * 2
    assert [a.state for a in bench.attempts("a")] == [AttemptState.COMPLETE]
    bench.quiet()
    assert not bench.look(workers.engines)


def test_the_workers_of_a_server_killed_inside_end_before_their_runs_execute_again(bench: Bench) -> None:
    """Only the engine dies: what it had started is gone before anybody else gets its runs."""
    gate = bench.gate("a")
    inside = bench.start("gates", ["a"], prefix=elsewhere())
    gate.reached()
    for pid in bench.processes("host"):
        os.kill(pid, signal.SIGKILL)
    inside.ended()
    with closing(connection.Connection(place_of(bench.url), 0, [])) as ours:
        ours.welcome()
        assert not bench.processes("worker")
        assert not bench.look(leases.every)
