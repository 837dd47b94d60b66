"""How executors end, and that nothing of them is left."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.launchers import processes
from tidemill.launchers.local import ALIVE, LocalPool, LocalWorker
from tidemill.launchers.reaping import reap_orphans
from tidemill.model import values
from tidemill.model.protocol import INDEX, Claimed, Hello, Setup, Work, decode_to_engine, encode
from tidemill.model.spec import encode_spec
from tidemill.model.states import Reason
from tidemill.testing.workers import FakeEngine, command_spec, python_spec, wait_gone
from tidemill.workers import identity
from tidemill.workers.wire import Channel

SAMPLES = str(Path(__file__).parent.parent / "workers")


def died(engine: FakeEngine, worker: int = 0) -> tuple[Reason, str]:
    engine.wait(lambda: worker in engine.gone)
    return engine.pool.workers[worker].exit_reason()


def sample(engine: FakeEngine, name: str, *inputs: str) -> int:
    return engine.task(python_spec(name, inputs, module="samples"))


class Hanging:
    """A run that ignores every polite request, with a shell and a sleep below it."""

    def __init__(self, directory: Path) -> None:
        self.marker = directory / "marker"
        os.mkfifo(self.marker)

    def pids(self) -> list[int]:
        """Those of executor, shell and sleep, once all of them are there."""
        return [int(word) for word in self.marker.read_text().split()]


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("vanish", (3,), (Reason.EXIT_CODE, "exit code 3")),
        ("vanish", (0,), (Reason.EXIT_CODE, "exit code 0")),
        ("crash", (), (Reason.SIGNAL, "signal 11 (SIGSEGV)")),
    ],
)
def test_a_process_that_ends_itself_is_told_why_and_replaced(
    fresh: FakeEngine, name: str, args: tuple[int, ...], expected: tuple[Reason, str]
) -> None:
    double = sample(fresh, "double", "x")
    fatal = fresh.claim(sample(fresh, name, *["x"] * len(args)), *args)
    before, after = fresh.claim(double, 1), fresh.claim(double, 2)
    fresh.send([before, fatal, after])
    assert died(fresh) == expected
    worker = fresh.pool.workers[0]
    assert worker.started()[:2] == (fatal.run, 1)  # type: ignore[index]
    assert set(fresh.outcomes) == {before.run}
    log = worker.log_tail(10_000).decode()
    assert "last words" in log or "Segmentation fault" in log
    replaced = fresh.pool.respawn(worker)
    assert (replaced.number, replaced.pid != worker.pid) == (0, True)
    assert fresh.value(fresh.run(double, 21)) == 42
    assert worker.exit_reason() == expected


def test_a_crash_says_where_in_python_it_happened(fresh: FakeEngine) -> None:
    fresh.send([fresh.claim(sample(fresh, "crash"))])
    died(fresh)
    log = fresh.pool.workers[0].log_tail(10_000).decode()
    assert "Segmentation fault" in log
    assert "in crash" in log


def test_a_signal_from_outside_is_the_workers_death_and_not_the_runs_fault(fresh: FakeEngine) -> None:
    os.kill(fresh.pool.workers[0].pid, signal.SIGKILL)
    assert died(fresh) == (Reason.WORKER_DIED, "signal 9 (SIGKILL)")
    assert fresh.pool.workers[0].started() is None


def test_an_executor_that_cannot_go_on_does_not_blame_the_run(fresh: FakeEngine) -> None:
    fresh.send([fresh.claim(sample(fresh, "sabotage"))])
    assert died(fresh) == (Reason.WORKER_DIED, "the worker could not go on")


def test_the_sentinel_tells_the_end_too(fresh: FakeEngine) -> None:
    worker = fresh.pool.workers[0]
    assert select.select([worker.sentinel], [], [], 0)[0] == []
    worker.kill()
    assert select.select([worker.sentinel], [], [], 60)[0]


def test_what_a_dead_attempt_left_is_salvaged(fresh: FakeEngine) -> None:
    claim = fresh.claim(fresh.task(command_spec("echo draft > draft.txt; kill -KILL $PPID; cat /dev/zero")))
    fresh.send([claim])
    assert died(fresh)[0] is Reason.WORKER_DIED
    place = fresh.pool.workers[0].salvage(claim.run, claim.fence)
    assert Path(place, "draft.txt").read_text() == "draft\n"
    assert fresh.pool.workers[0].salvage(claim.run, claim.fence) == ""


def test_killing_a_worker_ends_everything_below_it(fresh: FakeEngine, tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    fresh.send([fresh.claim(sample(fresh, "hang", "marker"), str(hanging.marker))])
    pids = hanging.pids()
    assert pids[0] == fresh.pool.workers[0].pid
    fresh.pool.workers[0].kill()
    assert died(fresh) == (Reason.WORKER_DIED, "signal 9 (SIGKILL)")
    wait_gone(pids)


def test_killing_reaches_processes_that_left_the_group(fresh: FakeEngine, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    os.mkfifo(marker)
    fresh.send([fresh.claim(fresh.task(command_spec(f"setsid sh -c 'echo $$ > {marker}; sleep 1000; true'")))])
    pid = int(marker.read_text())
    assert os.getpgid(pid) != fresh.pool.workers[0].pid
    fresh.pool.workers[0].kill()
    died(fresh)
    wait_gone([pid, *(one.pid for one in processes.table().values() if one.session == pid)])


def test_killing_reaches_processes_that_have_lost_their_parent(fresh: FakeEngine, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    os.mkfifo(marker)
    os.mkfifo(f"{marker}.never")
    orphan = (
        "import os, signal; os.fork() and os._exit(0); os.setpgid(0, 0); "
        f"open({str(marker)!r}, 'w').write(str(os.getpid())); signal.pause()"
    )
    fresh.send([fresh.claim(fresh.task(command_spec(f'{sys.executable} -c "{orphan}"; cat {marker}.never')))])
    pid = int(marker.read_text())
    assert os.getpgid(pid) != os.getsid(pid) == fresh.pool.workers[0].pid
    fresh.pool.workers[0].kill()
    died(fresh)
    wait_gone([pid])


def test_memory_is_that_of_the_whole_tree(fresh: FakeEngine, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    os.mkfifo(marker)
    os.mkfifo(f"{marker}.in")
    program = f"x = bytearray(150_000_000); open('{marker}', 'w').close(); input()"
    fresh.send([fresh.claim(fresh.task(command_spec(f'{sys.executable} -c "{program}" < {marker}.in')))])
    held = os.open(f"{marker}.in", os.O_RDWR)
    marker.read_text()
    pid = fresh.pool.workers[0].pid
    tree = processes.trees([pid], processes.table())[pid]
    assert sum(one.rss for one in tree) > 150_000_000
    assert 150_000_000 < processes.proportional(tree) < sum(one.rss for one in tree)
    os.close(held)


def test_stopping_hands_over_what_is_finished_and_leaves_nothing(tmp_path: Path) -> None:
    with FakeEngine(tmp_path, count=2, path=[SAMPLES]) as engine:
        task = sample(engine, "double", "x")
        claims = [engine.claim(task, number) for number in range(2)]
        for number, claim in enumerate(claims):
            engine.send([claim], number)
            engine.finish(claim.run)
        workers = list(engine.pool.workers)
        engine.pool.stop(grace=30)
        assert [worker.exit_reason()[1] for worker in workers] == ["exit code 0"] * 2
        wait_gone(worker.pid for worker in workers)


def test_stopping_does_not_wait_for_ever(fresh: FakeEngine, tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    fresh.send([fresh.claim(sample(fresh, "hang", "marker"), str(hanging.marker))])
    pids = hanging.pids()
    fresh.pool.stop(grace=0.01)
    wait_gone(pids)


def test_an_interpreter_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    def setup(worker: LocalWorker) -> Setup:
        return Setup(1, str(tmp_path), str(tmp_path / "scratch"), "/no/such/index")

    pool = LocalPool(1, setup, tmp_path / "run")
    pool.start()
    worker = pool.workers[0]
    while worker.channel.receive() is not None:
        select.select([worker.channel], [], [], 60)
    assert worker.exit_reason() == (Reason.WORKER_DIED, "the worker could not go on")
    assert b"/no/such/index" in worker.startup_log() + worker.log_tail(10_000)
    pool.stop()


def test_an_interpreter_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    pool = LocalPool(1, lambda _: Setup(1, "", "", ""), tmp_path, python=str(tmp_path / "python"))
    with pytest.raises(FileNotFoundError):
        pool.start()
    pool.stop()


HOST = """
import os, sys
from pathlib import Path
from tidemill.testing.workers import FakeEngine, command_spec, python_spec

engine = FakeEngine(Path(sys.argv[1]), path=[sys.argv[2]])
engine.__enter__()
if sys.argv[3] == "shell":
    engine.send([engine.claim(engine.task(command_spec(sys.argv[4])))])
else:
    engine.send([engine.claim(engine.task(python_spec(sys.argv[3], ["marker"], module="samples")), sys.argv[4])])
print(engine.pool.workers[0].pid, flush=True)
engine.wait(lambda: False)
"""


def host(directory: Path, function: str, marker: object) -> subprocess.Popen[str]:
    """Another process that runs a pool and one run in it."""
    command = [sys.executable, "-c", HOST, str(directory), SAMPLES, function, str(marker)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_when_the_host_is_killed_the_whole_group_dies(tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    with host(tmp_path / "own", "hang", hanging.marker) as engine:
        pids = hanging.pids()
        engine.kill()
    wait_gone(pids)


def test_an_executor_dies_with_its_host_even_while_user_code_keeps_the_interpreter_busy(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    os.mkfifo(marker)
    with host(tmp_path / "own", "hold_lock", marker) as engine:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        marker.read_text()
        engine.kill()
    wait_gone([pid])


def test_what_a_command_has_detached_is_found_when_the_dead_engine_is_cleared_up(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    os.mkfifo(marker)
    script = f"setsid sh -c 'echo $$ > {marker}; sleep 1000; true' & wait"
    with host(tmp_path / "own", "shell", script) as engine:
        assert engine.stdout is not None
        executor = int(engine.stdout.readline())
        detached = int(marker.read_text())
        record = identity.identity(executor)
        engine.kill()
    wait_gone([executor])
    assert detached in processes.table()
    assert reap_orphans([record], tmp_path / "own" / "run" / ALIVE)
    wait_gone([detached])


def test_an_executor_with_nothing_but_a_socket_dies_with_its_host_too(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    index, hanging = tmp_path / "index", Hanging(tmp_path)
    index.write_bytes(bytes(struct.calcsize(INDEX)))
    command = [sys.executable, "-m", "tidemill.workers.executor", str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        channel = Channel(ours)
        spec = encode_spec(python_spec("hang", ["marker"], module="samples"))
        setup = Setup(7, str(tmp_path / "objects"), str(tmp_path / "work"), str(index), [SAMPLES])
        channel.send_all(encode(setup))
        channel.send_all(encode(Work([Claimed(1, 1, 1, values.encode([str(hanging.marker)]))], [(1, spec)])))
        pids = hanging.pids()
        [hello] = channel.wait() or []
        assert decode_to_engine(hello) == Hello(7, process.pid)
        assert os.getpgid(process.pid) == process.pid == pids[0]
        channel.close()
    wait_gone(pids)


def test_executors_do_not_hear_the_terminal(fresh: FakeEngine) -> None:
    worker = fresh.pool.workers[0]
    assert os.getsid(worker.pid) == os.getpgid(worker.pid) == worker.pid
    os.kill(worker.pid, signal.SIGINT)
    assert fresh.value(fresh.run(sample(fresh, "double", "x"), 1)) == 2


def test_a_workers_identity_is_that_of_its_process(fresh: FakeEngine) -> None:
    worker = fresh.pool.workers[0]
    assert identity.identity(worker.pid).start == worker.start
    assert identity.identity().beside(identity.identity(worker.pid))
    assert processes.table()[worker.pid].parent == os.getpid()
