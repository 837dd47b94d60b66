"""What is left of an engine that died, and who may end it."""

import contextlib
import fcntl
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.launchers import processes
from tidemill.launchers.reaping import reap_orphans
from tidemill.testing.workers import wait_gone
from tidemill.workers.identity import Identity, alive, identity


class Leftover:
    """Processes that a dead engine has left: a session whose leader runs `script`, holding the liveness lock."""

    def __init__(self, directory: Path) -> None:
        self.lock = directory / "alive"
        self.pids: list[int] = []
        self._pipe = directory / "pipe"
        os.mkfifo(self._pipe)

    def start(self, script: str) -> Identity:
        """Run it; `$pipe` is where it must write the pids of what it started."""
        lock = os.open(self.lock, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_SH)
        self.process = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[lock],
            start_new_session=True,
            env={**os.environ, "pipe": str(self._pipe)},
        )
        os.close(lock)
        record = identity(self.process.pid)
        self.pids = [int(word) for word in self._pipe.read_text().split()]
        return record

    def leader_ends(self) -> None:
        """Let a leader that ends with `read _` end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def answers(self) -> bool:
        """Whether a leader that is `cat` still lives; one that has been sent a signal does not answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(b"x")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return self.process.stdout.read(1) == b"x"

    def end(self) -> None:
        """Kill and collect everything."""
        for pid in [self.process.pid, *self.pids]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


@pytest.fixture
def leftover(tmp_path: Path) -> Iterator[Leftover]:
    found = Leftover(tmp_path)
    yield found
    found.end()


def runs(pid: int) -> bool:
    return pid in processes.table()


def test_a_living_executor_is_killed_with_all_it_started(leftover: Leftover) -> None:
    record = leftover.start("sleep 1000 & a=$!; setsid sleep 1000 & echo $a $! > $pipe; wait")
    assert alive(record)
    assert reap_orphans([record], leftover.lock)
    wait_gone([record.pid, *leftover.pids])


def test_what_an_executor_left_in_its_session_is_killed(leftover: Leftover) -> None:
    record = leftover.start("sleep 1000 & echo $! > $pipe; read _")
    leftover.leader_ends()
    assert not alive(record)
    assert runs(leftover.pids[0])
    assert reap_orphans([record], leftover.lock)
    wait_gone(leftover.pids)


def test_who_left_the_session_is_found_by_the_lock(leftover: Leftover) -> None:
    record = leftover.start("setsid sh -c 'echo $$ > $pipe; sleep 1000; true' & read _")
    leftover.leader_ends()
    assert reap_orphans([record], leftover.lock)
    wait_gone(leftover.pids)


def test_a_pid_that_belongs_to_somebody_else_now_is_left_alone(leftover: Leftover) -> None:
    record = leftover.start("echo $$ > $pipe; exec cat")
    stale = record._replace(start=str(int(record.start) - 1))
    leftover.lock.unlink()
    assert reap_orphans([stale], leftover.lock)
    assert leftover.answers()


@pytest.mark.parametrize("field", ["host", "boot", "namespace"])
def test_where_pids_mean_something_else_nothing_is_killed(leftover: Leftover, field: str) -> None:
    record = leftover.start("echo $$ > $pipe; exec cat")
    foreign = Identity(**{**record._asdict(), field: "another"})
    assert not reap_orphans([foreign], leftover.lock, patience=0.05)
    assert leftover.answers()
    leftover.process.kill()
    assert reap_orphans([foreign], leftover.lock), "the lock tells that it has ended by itself"


def test_without_a_lock_to_ask_foreign_processes_are_not_known_to_be_gone(tmp_path: Path) -> None:
    foreign = identity()._replace(host="another")
    assert not reap_orphans([foreign], tmp_path / "alive", patience=0.05)
    assert reap_orphans([], tmp_path / "alive")


def test_it_waits_for_those_who_are_still_dying(leftover: Leftover) -> None:
    leftover.start("sleep 1000 & echo $! > $pipe; wait")
    start = time.monotonic()
    assert not reap_orphans([], leftover.lock, patience=0.05), "no records: nothing may be killed"
    assert time.monotonic() - start >= 0.05
    assert runs(leftover.process.pid)


def test_a_table_line_describes_a_process() -> None:
    me = processes.table()[os.getpid()]
    assert (me.pid, me.parent, me.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert me.start == identity().start
    assert me.rss > 1_000_000


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["true"])
    descriptor = os.pidfd_open(process.pid)
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)
    assert process.pid not in processes.table()
    with pytest.raises(ProcessLookupError):
        identity(process.pid)
    process.wait()
