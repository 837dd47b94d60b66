"""Executors that are forked when an engine begins: taken, dismissed, and ended when it ends."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tidemill.launchers import nursery
from tidemill.testing.crash import wait_for
from tidemill.testing.workers import wait_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere interpreters are started")

ROOT = Path(nursery.__file__).parents[2]


def engine(tmp_path: Path, body: str, count: int = 2, **variables: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A process that forks executors first and then does what `body` says; theirs are the numbers."""
    code = textwrap.dedent(
        f"""\
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from tidemill.launchers import nursery
        nursery.fork_executors({count})
        print(*(process.pid for process, _ in nursery._waiting), flush=True)
        """
    ) + textwrap.dedent(body)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **variables},
    )
    assert process.stdout is not None
    return process, [int(pid) for pid in process.stdout.readline().split()]


POOL = """
from pathlib import Path
from tidemill.launchers.local import LocalPool
from tidemill.model import protocol
here = Path.cwd()
def setup(w):
    return protocol.Setup(w.number, str(here / "objects"), str(here / "work"), w.index, [])
pool = LocalPool({count}, setup, here / "run", **{more})
pool.start()
hellos = [protocol.decode_to_engine(w.channel.wait()[0]) for w in pool.workers]
print(*(hello.pid for hello in hellos), flush=True)
print(*(w.startup_log().decode() for w in pool.workers), len(nursery._waiting), flush=True)
"""


def looks(pid: int) -> tuple[list[str], list[str]]:
    """Its open files and directory, and the signals that it ignores, blocks and catches."""
    paths = [*(entry.path for entry in os.scandir(f"/proc/{pid}/fd")), f"/proc/{pid}/cwd"]
    files = [re.sub(rf"\[\d+\]|\b{pid}\b|\bw\d", "*", os.readlink(path)) for path in paths]
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sorted(files), [line for line in status if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]


def opened(pid: int) -> list[str]:
    return sorted(os.readlink(entry.path).partition(":")[0] for entry in os.scandir(f"/proc/{pid}/fd"))


def test_a_pool_takes_what_is_there_and_dismisses_the_rest(tmp_path: Path) -> None:
    process, forked = engine(tmp_path, POOL.format(count=1, more={}) + "sys.stdin.read()\npool.stop()")
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        (taken,) = map(int, process.stdout.readline().split())
        assert taken in forked
        assert process.stdout.readline() == " 0\n", "nothing was printed, nobody waits"
        (rest,) = set(forked) - {taken}
        assert not Path(f"/proc/{rest}").exists(), "it was collected, too"
        assert Path(f"/proc/{taken}/comm").read_text() == "tidemill-worker\n"
        assert os.getsid(taken) == os.getpgid(taken) == taken
        process.stdin.close()
    assert process.returncode == 0
    wait_gone(forked)


def test_a_pool_starts_what_is_missing(tmp_path: Path) -> None:
    process, forked = engine(tmp_path, POOL.format(count=2, more={}) + "sys.stdin.read()\npool.stop()", count=1)
    with process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == len(set(pids)) == 2
        assert set(pids) > set(forked)
        process.stdout.readline()
        assert looks(pids[0]) == looks(pids[1]), "whoever took over looks like who was started"
    assert process.returncode == 0
    wait_gone(pids)


def test_one_that_is_to_have_another_environment_is_started(tmp_path: Path) -> None:
    """A password, for one, that the engine was started with and forgets."""
    process, forked = engine(tmp_path, POOL.format(count=1, more={"environment": {"SECRET": ""}}), SECRET="s")
    with process:
        assert process.stdout is not None
        (started,) = map(int, process.stdout.readline().split())
        assert started not in forked


@pytest.mark.parametrize("end", ["nursery.dismiss()\nsys.stdin.read()", "os.kill(os.getpid(), 9)", "sys.exit()"])
def test_none_outlives_its_engine(tmp_path: Path, end: str) -> None:
    process, forked = engine(tmp_path, f"import os\n{end}")
    with process:
        assert len(forked) == min(2, os.cpu_count() or 1)
        wait_gone(forked)


def test_who_waits_holds_nothing_that_somebody_waits_for(tmp_path: Path) -> None:
    """The user's program may end, and who reads what it prints must hear of it."""
    process, forked = engine(tmp_path, "import os\nos.close(1)\nsys.stdin.read()")
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read() == ""
        for pid in forked:
            wait_for(lambda: opened(pid) == ["/dev/null"] * 3 + ["socket"], "the rest to be closed")  # noqa: B023
        process.stdin.close()


def test_one_that_has_died_is_not_taken(tmp_path: Path) -> None:
    body = "import os, signal\nfor process, _ in nursery._waiting:\n    os.kill(process.pid, signal.SIGKILL)\n"
    body += "    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)\n"
    process, forked = engine(tmp_path, body + POOL.format(count=2, more={}) + "pool.stop()")
    with process:
        assert process.stdout is not None
        started = set(map(int, process.stdout.readline().split()))
        assert len(started) == 2
        assert not started & set(forked)
        process.stdout.read()
    assert process.returncode == 0
