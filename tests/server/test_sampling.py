"""What is seen of runs while they execute: this process stands for a worker that does."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tidemill.launchers import processes
from tidemill.model.protocol import Outcome, Started
from tidemill.model.states import AttemptState, Reason
from tidemill.server.sampling import LONG, Sampler, Used
from tidemill.server.slots import Slot
from tidemill.stores.state.classes import Class

MIB = 1 << 20
PLAIN = Class(1, 1, 0, 1.0, 1.0, 0)


class Worker:
    """The process of this test, executing one run since some seconds ago."""

    def __init__(self, directory: Path, ago: float) -> None:
        self.pid = os.getpid()
        self.directory = directory
        self.run = 5
        self.resident = 0
        self._since = time.monotonic() - ago

    def started(self) -> Started:
        return Started(self.run, 1, 0.0, self._since, self.resident)


def watched(directory: Path, cls: Class, ago: float = 0.0, timeout: float = 0.0) -> tuple[Sampler, Slot]:
    spec = SimpleNamespace(timeout=timeout)
    engine = SimpleNamespace(classes={cls.id: cls}, spec=lambda *_: spec, db=None)
    slot = Slot(cast("Any", None), cast("Any", Worker(directory, ago)), 1)
    slot.held = {5: (cls.id, 1), 6: (cls.id, 1)}
    return Sampler(cast("Any", engine)), slot


def done(run: int = 5) -> Outcome:
    return Outcome(run, 1, int(AttemptState.COMPLETE), [], 0.0, 0.0, rss=1, disk=1)


def test_short_runs_that_declared_nothing_are_not_looked_at(tmp_path: Path) -> None:
    sampler, slot = watched(tmp_path, PLAIN)
    assert sampler.check([slot]) == []
    assert sampler.used(slot, 5, 1) == Used()


def test_long_ones_are_and_what_was_seen_counts_where_the_worker_knows_of_less(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MIB))
    sampler, slot = watched(tmp_path, PLAIN, ago=LONG + 1)
    assert sampler.check([slot]) == []
    (tmp_path / "file").unlink()
    seen = sampler.used(slot, 5, 1)
    assert seen.memory > MIB
    assert MIB <= seen.disk < 2 * MIB
    assert sampler.used(slot, 6, 1) == sampler.used(slot, 5, 2) == Used(), "that is another attempt"
    outcome, other = done(), done(6)
    sampler.complement(slot, [other, outcome])
    assert (outcome.rss, outcome.disk) == seen
    assert (other.rss, other.disk) == (1, 1)
    assert sampler.used(slot, 5, 1) == Used()


def test_the_next_run_starts_with_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MIB))
    sampler, slot = watched(tmp_path, PLAIN._replace(disk=5 * MIB))
    sampler.check([slot])
    assert slot.disk_used >= MIB
    (tmp_path / "file").unlink()
    cast("Any", slot.worker).run = 6
    sampler.check([slot])
    assert sampler.used(slot, 6, 1).disk < MIB
    assert sampler.used(slot, 5, 1) == Used()


@pytest.mark.parametrize(
    ("limits", "reason", "text"),
    [
        ({"memory": MIB}, Reason.OUT_OF_MEMORY, "of the 1 MiB it declared"),
        ({"disk": MIB}, Reason.DISK_FULL, "it used 2.1 MB of the 1.05 MB of disk it declared"),
        ({"walltime": 0.5}, Reason.TIMEOUT, "its timeout of 0.5 s"),
    ],
)
def test_who_exceeds_a_limit_is_to_be_ended(tmp_path: Path, limits: dict[str, Any], reason: Reason, text: str) -> None:
    (tmp_path / "file").write_bytes(bytes(2 * MIB))
    sampler, slot = watched(tmp_path, PLAIN._replace(**limits), ago=0.9)
    ((found, ending),) = sampler.check([slot])
    assert (found, ending.reason, ending.run) == (slot, reason, 5)
    assert text in ending.message


def test_the_time_limit_of_the_class_goes_before_that_of_the_task(tmp_path: Path) -> None:
    sampler, slot = watched(tmp_path, PLAIN._replace(walltime=60.0), ago=5.0, timeout=1.0)
    assert sampler.check([slot]) == []
    sampler, slot = watched(tmp_path, PLAIN, ago=5.0, timeout=1.0)  # of a store that knew no limits of classes
    ((_, ending),) = sampler.check([slot])
    assert "its timeout of 1 s" in ending.message


FORKS = """
import os
data = bytearray(os.urandom(1 << 20)) * 64
for _ in range(3):
    if os.fork() == 0:
        break
print(flush=True)
os.read(0, 1)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="only resident sizes can be seen here")
@pytest.mark.parametrize("limit", [160 * MIB, 40 * MIB])
def test_memory_that_processes_share_counts_once(tmp_path: Path, limit: int) -> None:
    with subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as forks:
        assert forks.stdout is not None
        for _ in range(4):
            forks.stdout.readline()
        sampler, slot = watched(tmp_path, PLAIN._replace(memory=limit))
        cast("Any", slot.worker).pid = forks.pid
        found = sampler.check([slot])
        forks.communicate(b"four")
    assert [ending.reason for _, ending in found] == [Reason.OUT_OF_MEMORY] * (limit < 64 * MIB)
    assert 64 * MIB < sampler.used(slot, 5, 1).memory < 160 * MIB


def test_what_earlier_runs_have_left_in_the_process_is_not_the_next_ones(tmp_path: Path) -> None:
    sampler, slot = watched(tmp_path, PLAIN._replace(memory=8 * MIB))
    pid = os.getpid()
    tree = processes.trees([pid], processes.table())[pid]
    cast("Any", slot.worker).resident = processes.proportional(tree)
    assert sampler.check([slot]) == []
    kept = bytes(os.urandom(MIB)) * 32
    ((_, ending),) = sampler.check([slot])
    assert "of the 8 MiB it declared" in ending.message
    assert sampler.used(slot, 5, 1).memory > len(kept)
