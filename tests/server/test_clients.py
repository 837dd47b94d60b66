"""Several clients, clients in a hurry, and stores in awkward places."""

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.support import Bench, Program, one_says
from tidemill.client.connection import Connection
from tidemill.model import session
from tidemill.model.errors import UsageError
from tidemill.model.states import RunState
from tidemill.server.addresses import place_of, reachable
from tidemill.stores.state import blocks
from tidemill.testing.crash import every_run, wait_for
from tidemill.workers.wire import Channel

ROWS = Path(__file__).parent / "programs" / "rows.py"


def in_a_row(bench: Bench, own: int, count: int = 6) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROWS), bench.url, str(count), str(own)]
    return subprocess.Popen(command, cwd=bench.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended_well(process: subprocess.Popen[bytes]) -> None:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"done\n"), err.decode()


def test_two_programs_share_a_store_and_what_is_equal_in_their_work(bench: Bench) -> None:
    common, a, b = bench.gates(["common", "a", "b"])
    first = bench.start("shared", "a", "common", workers=2)
    a.reached()
    common.reached()
    (host,) = bench.processes("host")
    second = bench.start("shared", "b", "common", workers=3)
    b.reached()
    assert bench.processes("host") == [host]
    for gate in (common, a, b):
        gate.open()
    assert first.result() == ["a", "common"]
    assert second.result() == ["b", "common"]
    assert common.untouched(), "equal work was executed twice"
    bench.quiet()


def test_the_same_command_twice_at_the_same_time_is_one_workflow(bench: Bench) -> None:
    gates = bench.gates(["a", "b"])
    programs = [bench.start("gates", ["a", "b"], workers=2) for _ in range(2)]
    one_says(programs, "continuing block")
    for gate in gates:
        gate.reached()
        gate.open()
    assert [p.result() for p in programs] == [["a", "b"]] * 2
    assert len(bench.look(blocks.roots)) == 1
    assert all(gate.untouched() for gate in gates)


def test_ctrl_c_of_one_program_leaves_the_work_it_shares_with_another_alone(bench: Bench) -> None:
    gate = bench.gate("a")
    first = bench.start("gates", ["a"])
    pid = gate.reached()
    second = bench.start("gates", ["a"])
    second.says("continuing")
    first.ctrl_c()
    assert first.ended() == 128 + signal.SIGINT
    assert pid in bench.processes("worker")
    gate.open()
    assert second.result() == ["a"]
    assert bench.log() == ["gated a"]


def test_clients_that_come_while_the_server_is_leaving(bench: Bench) -> None:
    programs = [in_a_row(bench, own) for own in (0, 1000, 2000)]
    for program in programs:
        ended_well(program)
    found = bench.look(lambda db: [r.state for r in every_run(db)])
    assert found == [RunState.COMPLETE] * 18


def test_two_programs_with_modules_of_their_own(bench: Bench) -> None:
    """A worker that runs already learns where the second program's modules are."""
    for name in ("left", "right"):
        folder = bench.directory / name
        folder.mkdir()
        (folder / f"{name}_tasks.py").write_text(
            f"import tidemill as tm\n@tm.task\ndef {name}(x):\n    return '{name} ' + x\n"
        )
        (folder / "main.py").write_text(
            f"import sys, tidemill as tm, {name}_tasks\n"
            f"sys.stderr.write('up ')\nsys.stderr.flush()\nsys.stdin.readline()\n"
            f"print({name}_tasks.{name}('here').run(store=sys.argv[1], workers=1, progress=False))\n"
        )
    gate = bench.gate("hold")
    holder = bench.start("gates", ["hold"], workers=2)
    gate.reached()
    for name in ("left", "right"):
        command = [sys.executable, str(bench.directory / name / "main.py"), bench.url]
        done = subprocess.run(command, input=b"\n", capture_output=True, timeout=60, check=False)
        assert done.stdout == f"{name} here\n".encode(), done.stderr.decode()
    gate.open()
    assert holder.result() == ["hold"]


def test_a_store_with_a_very_long_path(bench: Bench) -> None:
    folder = bench.directory
    while len(str(folder)) < 350:
        folder /= "a" * 60
    folder.mkdir(parents=True)
    bench.url = str(folder / "store")
    gate = bench.gate("a")
    first = bench.start("gates", ["a"])
    gate.reached()
    assert stat.S_ISSOCK((folder / "store" / "engine.sock").stat().st_mode)
    second = bench.start("gates", ["a"])
    wait_for(lambda: len(bench.look(lambda db: db.url)) > 0 and len(bench.processes("client")) == 2, "both to run")
    gate.open()
    assert first.result() == second.result() == ["a"]
    assert bench.log() == ["gated a"]


@pytest.mark.parametrize("name", ["with space", "a%20b", "was?", "no#1", "ünïcode"])
def test_a_store_with_an_odd_name(bench: Bench, name: str) -> None:
    bench.url = str(bench.directory / name)
    assert bench.start("number", 3).result() == 3
    assert (bench.directory / name / "state.db").exists()


def test_a_server_of_another_version_is_told_apart(bench: Bench) -> None:
    place = place_of(bench.url)
    with closing(Connection(place, 0, [])) as ours:
        ours.welcome()
        ours._channel.send(session.encode(session.Attach(session.VERSION + 1, 0)))
        with pytest.raises(UsageError, match="version"):
            ours.receive(60)
        # bytes that mean nothing end this connection, and no other
        with socket.socket(socket.AF_UNIX) as raw, reachable(place.socket) as address:
            raw.connect(address)
            Channel(raw).send(b"\xc1 what is this")
            assert raw.recv(100), "it was not told"
        assert ours.ask("cancel", blocks=[], runs=[]) == {"blocks": [], "runs": 0}


def test_a_server_that_is_killed_is_an_error_that_says_what_to_do(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gates", ["a"])
    gate.reached()
    os.kill(bench.processes("host")[0], signal.SIGKILL)
    text = program.error()
    assert "EngineLostError" in text
    assert "run the same command again" in text
    bench.quiet()
    again: Program = bench.start("gates", ["a"])
    gate.reached()
    gate.open()
    assert again.result() == ["a"]


def test_a_server_that_does_not_start_is_an_error(bench: Bench) -> None:
    bench.environment["TIDEMILL_LEASE_SECONDS"] = "soon"
    text = bench.start("number", 1).error()
    assert "ConfigError" in text
    assert "TIDEMILL_LEASE_SECONDS" in text
