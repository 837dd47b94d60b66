"""Services in real workers: up before their users and down after them, whatever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tidemill as tm
from tests.server.support import Bench, Program
from tidemill.model.states import BlockState, RunState
from tidemill.stores.state import leases, workers
from tidemill.stores.state.database import Database
from tidemill.testing.crash import check_store, every_run, wait_for


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path, "serving.py")
    yield found
    found.close()


def whole(bench: Bench, program: Program, result: object) -> None:
    """It ends well, and nothing is left."""
    assert program.result() == result
    bench.quiet()
    bench.look(check_store)
    assert not bench.look(leases.every)
    assert set(states(bench)) == {RunState.COMPLETE}


def states(bench: Bench) -> list[RunState]:
    return bench.look(lambda db: [RunState(r.state) for r in every_run(db)])  # type: ignore[no-any-return]


def kill_engine(bench: Bench) -> None:
    (engine,) = bench.look(workers.engines)
    os.kill(engine.pid, signal.SIGKILL)


def test_a_tree_of_them_is_up_before_its_users_and_down_after_them(bench: Bench) -> None:
    names = [f"inner user {i}" for i in range(3)]
    whole(bench, bench.start("tree", workers=2), [*names, "outer user"])
    log = bench.log()
    assert log[0] == "outer up"
    assert log[-1] == "outer down"
    inner = [i for i, line in enumerate(log) if line.startswith("inner user")]
    assert log.index("inner up") < inner[0]
    assert log.index("inner down") > inner[-1]
    assert len(log) == 4 + 2 * 4


def test_messages_are_exchanged(bench: Bench) -> None:
    whole(bench, bench.start("messages", "tidemill", 0.0, workers=2), "TIDEMILL")
    assert bench.log() == ["shouting up"]


def test_killed_at_random_the_right_result_comes(bench: Bench) -> None:
    """Workers of the service and of its users alike."""
    whole(bench, bench.start("messages", "abcd", 0.15, workers=2), "ABCD")


def test_more_services_than_fit_are_an_error_at_once(bench: Bench) -> None:
    text = bench.start("too_many", workers=2).error()
    assert "does not fit beside the services that are up (large)" in text
    assert "cpus=0.1" in text
    bench.quiet()
    bench.look(check_store)
    assert bench.block().state == BlockState.ERROR


def test_a_user_that_lacks_the_device_of_its_service_is_told_so(bench: Bench) -> None:
    bench.environment = {"TIDEMILL_ACCELERATORS": "cuda:1"}
    text = bench.start("device_twice", workers=2).error()
    assert "up (with_device), which hold the accelerators cuda:1 of cuda:1 for as long" in text
    assert "cpus" not in text
    bench.quiet()


def test_a_user_that_waits_for_its_next_attempt_is_waited_for(bench: Bench) -> None:
    """What does not fit beside the service until then is not given up."""
    gate = bench.gate("a")
    program = bench.start("backing_off", workers=2)
    wait_for(lambda: "failed" in bench.log(), "the first attempt to fail")
    gate.open()
    whole(bench, program, ["service", "all"])


def test_what_another_engine_does_is_waited_for(bench: Bench, postgres_database: str) -> None:
    bench.url = postgres_database
    bench.environment = {"TIDEMILL_LEASE_SECONDS": "4", "XDG_DATA_HOME": str(bench.directory / "data")}
    a, b = bench.gates(["a", "b"])
    first = bench.start("share", "a", workers=1)
    a.reached()
    second = bench.start("beside_shared", "a", workers=2)
    b.reached()
    wait_for(lambda: "service up" in bench.log(), "the service")
    b.open()
    opened = time.monotonic()
    wait_for(lambda: time.monotonic() > opened + 4, "the run that does not fit to be given up, were it so")
    a.open()
    assert second.result() == ["user", "all"]
    assert first.result() == "a"
    bench.quiet()


def test_services_that_are_used_apart_take_turns(bench: Bench) -> None:
    """More than there are processors: no workflow fails of what would only have to wait."""
    n = 2 * len(os.sched_getaffinity(0)) + 1
    whole(bench, bench.start("side_by_side", n, workers=2), [f"s{i}" for i in range(n)])


def test_many_small_ones_fit(bench: Bench) -> None:
    whole(bench, bench.start("many", 6), "user")
    assert bench.log()[-6:] == [f"s{i} down" for i in range(1, 7)]


@pytest.mark.parametrize("flow", ["local", "growing", "inside_a_task", "beside"])
def test_wherever_it_is(bench: Bench, flow: str) -> None:
    """With the engine, for users that grow, in a running task, beside much else: one worker is enough."""
    arguments = {"local": (), "growing": (3,), "inside_a_task": (3,), "beside": (2000,)}[flow]
    results = {
        "local": [f"user {i}" for i in range(3)], "growing": "321.", "inside_a_task": "012",
        "beside": ["user", sum(range(2000))],
    }  # fmt: skip
    whole(bench, bench.start(flow, *arguments), results[flow])
    log = bench.log()
    if flow != "local":
        assert (log[0], log[-1]) == ("service up", "service down")


def test_its_start_is_tried_again(bench: Bench) -> None:
    whole(bench, bench.start("checked_briefly", {"start": "first"}), "here")
    assert bench.log().count("start") == 2


def test_its_start_fails_for_good(bench: Bench) -> None:
    text = bench.start("checked_briefly", {"start": "always"}).error()
    assert "no start" in text
    assert "1 skipped" in text
    assert bench.log() == ["start"] * 3, "nothing is stopped that did not come up"
    bench.quiet()


def test_a_check_that_raises_is_a_failed_attempt(bench: Bench) -> None:
    """Its user starts anew with the next."""
    gate = bench.gate("a")
    program = bench.start("checked", {"check": "first"}, ["a"], workers=2)
    wait_for(lambda: bench.log().count("start") == 2, "the second attempt")
    gate.open(4)
    whole(bench, program, ["a here"])
    assert bench.log().count("stop") == 2


def test_a_check_that_says_no_is_a_good_end(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("checked", {"check": "false"}, ["a"], workers=2)
    gate.reached()
    wait_for(lambda: "stop" in bench.log(), "the service to end")
    gate.open()
    whole(bench, program, ["a here"])
    assert bench.log().count("start") == 1


def test_it_fails_on_coming_down(bench: Bench) -> None:
    """Its users have ended well, and their results are there; that it could not be taken down is told."""
    program = bench.start("checked_briefly", {"stop": "always"})
    assert program.result() == "here"
    assert "no stop" in program.said.decode()
    assert sorted(states(bench)) == [RunState.COMPLETE, RunState.ERROR]
    assert bench.log().count("start") == 1


def test_a_generator_that_never_yields(bench: Bench) -> None:
    assert "ended without publishing anything" in bench.start("yields", 0).error()


def test_a_generator_that_yields_twice(bench: Bench) -> None:
    program = bench.start("yields", 2)
    assert program.result() == "0"
    assert "yields more than once" in program.said.decode()


def test_a_timeout_is_for_coming_up(bench: Bench) -> None:
    """Once it is up it may take as long as its users do."""
    gate = bench.gate("a")
    program = bench.start("slowly", ["a"], workers=2)
    gate.reached()
    up = time.monotonic()
    wait_for(lambda: time.monotonic() > up + 3, "more than its timeout to pass")
    gate.open()
    whole(bench, program, ["a here"])
    assert bench.log().count("start") == 2


def test_the_engine_is_killed_while_it_is_up(bench: Bench) -> None:
    """The same command again: users that were done stay done."""
    a, b = bench.gates(["a", "b"])
    program = bench.start("gated", ["a", "b"], workers=2)
    a.reached()
    b.reached()
    a.open()
    wait_for(lambda: states(bench).count(RunState.COMPLETE) == 1, "a to be done")
    kill_engine(bench)
    program.process.kill()
    program.ended()
    again = bench.start("gated", ["a", "b"], workers=2)
    b.reached()
    b.open(2)
    whole(bench, again, ["a service", "b service"])
    log = bench.log()
    assert log.count("a begins") == 1
    assert log.count("service up") == 2


def test_its_worker_is_killed_while_it_is_up(bench: Bench) -> None:
    """Whoever used it is stopped and waits for the next attempt."""
    gate = bench.gate("a")
    program = bench.start("stubborn", ["a"], workers=2)
    first = gate.reached()
    service = next(pid for pid in holders(bench) if pid != first)
    os.kill(service, signal.SIGKILL)
    second = gate.reached()
    assert second != first
    program.ctrl_c()
    program.says("finishing what runs")
    program.ctrl_c()
    assert program.ended() == 128 + signal.SIGINT
    bench.quiet()
    assert not bench.look(leases.every)


def holders(bench: Bench) -> list[int]:
    """The processes that hold leases."""

    def look(db: Database) -> list[int]:
        held = {row[2] for row in leases.every(db)}
        return [w.pid for w in workers.executors(db, [e.id for e in workers.engines(db)]) if w.id in held]

    return bench.look(look)  # type: ignore[no-any-return]


def test_ctrl_c_once_takes_it_down_after_its_users(bench: Bench) -> None:
    a, b = bench.gates(["a", "b"])
    program = bench.start("gated", ["a", "b"], workers=1)
    a.reached()
    program.ctrl_c()
    program.says("finishing what runs")
    a.open()
    assert program.ended() == 128 + signal.SIGINT
    bench.quiet()
    assert bench.log() == ["service up", "a begins", "a ends", "service down"]
    assert not bench.look(leases.every)
    b.open()
    whole(bench, bench.start("gated", ["a", "b"]), ["a service", "b service"])
    assert bench.log().count("a begins") == 1


def test_ctrl_c_twice_ends_it_at_once(bench: Bench) -> None:
    a = bench.gate("a")
    program = bench.start("gated", ["a"])
    a.reached()
    program.ctrl_c()
    program.says("finishing what runs")
    program.ctrl_c()
    assert program.ended() == 128 + signal.SIGINT
    bench.quiet()
    assert "service down" not in bench.log()
    assert not bench.look(leases.every)
    a.open(2)
    whole(bench, bench.start("gated", ["a"]), ["a service"])


def test_cancelled_it_is_asked_to_stop(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gated", ["a"])
    gate.reached()
    with tm.open(bench.url) as store:
        (status,) = store.status().blocks
        store.cancel(status.id)
    assert "cancelled" in program.error()
    bench.quiet()
    assert bench.log()[-1] == "service down"
    assert set(states(bench)) == {RunState.CANCELLED}


def test_one_that_does_not_come_down_is_killed(bench: Bench) -> None:
    """Ten seconds after it was cancelled."""
    gate = bench.gate("a")
    program = bench.start("stubborn", ["a"])
    gate.reached()
    with tm.open(bench.url) as store:
        (status,) = store.status().blocks
        store.cancel(status.id)
    assert "cancelled" in program.error()
    bench.quiet()
    assert bench.log()[-1] == "stop"


def test_one_that_does_not_come_down_after_its_users_is_cancelled_by_hand(bench: Bench) -> None:
    """It has all the time that it takes; the workflow is open until then."""
    gate = bench.gate("a")
    program = bench.start("stubborn", ["a"])
    gate.open()
    wait_for(lambda: "stop" in bench.log(), "the service to be asked to stop")
    with tm.open(bench.url) as store:
        (status,) = store.status().blocks
        store.cancel(status.id)
    program.ended()
    bench.quiet()
    assert sorted(states(bench)) == [RunState.COMPLETE, RunState.CANCELLED]
    assert not bench.look(leases.every)


def test_on_two_engines(bench: Bench, postgres_database: str) -> None:
    """Whichever hosts the service, and whichever closes the block of its users."""
    bench.url = postgres_database
    bench.environment = {"TIDEMILL_LEASE_SECONDS": "4", "XDG_DATA_HOME": str(bench.directory / "data")}
    names = ["a", "b", "c", "d"]
    gates = bench.gates(names)
    first = bench.start("gated", names, workers=1)
    gates[0].reached()
    second = bench.start("gated", names, workers=2)
    wait_for(lambda: len(bench.look(workers.engines)) == 2, "the second engine")
    gates[1].reached()
    for gate in gates:
        gate.open()
    assert first.result() == second.result() == [f"{n} service" for n in names]
    bench.quiet()
    bench.look(check_store)
    assert set(states(bench)) == {RunState.COMPLETE}
    assert bench.log().count("service up") == bench.log().count("service down") == 1


def test_what_is_shown_of_it(bench: Bench) -> None:
    gate = bench.gate("a")
    program = bench.start("gated", ["a"])
    gate.reached()
    with tm.open(bench.url) as store:
        service, user = (str(store.show(r.id)) for r in store.runs().runs)
        assert "'service' (published)" in service
        assert "input address  'service'" in user
        assert "uses a service, and results of what does are not reused" in str(store.why("2.2"))
        gate.open()
        program.result()
        assert "output address  'service'\n" in str(store.show("1.1"))


def test_a_user_under_the_debugger(bench: Bench) -> None:
    gate = bench.gate("a")
    gate.open()
    program = bench.start("gated", ["a"])
    program.result()
    gate.open()
    command = [sys.executable, "-m", "tidemill", "debug", "2.2", "--store", bench.url]
    found = subprocess.run(command, capture_output=True, text=True, cwd=bench.directory, check=False)
    said = found.stdout + found.stderr
    assert "address = 'service'" in said
    assert "the service noting is over; start it by hand" in said
    command[4] = "1.1"
    found = subprocess.run(command, capture_output=True, text=True, cwd=bench.directory, check=False)
    assert "noting is a service" in found.stdout + found.stderr
