"""Killing a program that runs a workflow, its server and its workers, at random points, and looking at what is left.

A `Trial` starts `crash_flows` as a user would, kills some of its processes when so many runs have been executed, starts
the same command again, and so on until it ends. Afterwards the result must be that of an uninterrupted run, nothing
that was acknowledged may have been executed again, nothing may be stuck and no process may be left.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from tidemill.model import events as model_events
from tidemill.model.errors import NotFoundError
from tidemill.model.events import Kind
from tidemill.model.states import AttemptState, BlockState, RunState, WorkerState
from tidemill.model.values import decode
from tidemill.stores.state import attempts, blocks, events, leases, runs, workers
from tidemill.stores.state.database import Database
from tidemill.stores.state.open import open_database
from tidemill.testing import crash_flows
from tidemill.testing.invariants import check_invariants

MARK = "TIDEMILL_CRASH_TRIAL"
"""Environment variable by which all processes of a trial are known."""
PATIENCE = 60.0
"""Seconds after which something that should have happened counts as stuck. Nothing waits this long otherwise."""
STEP = 0.002
"""Seconds between two looks at the log and the process table."""
AHEAD = 32
"""Executions per worker and kill that may have to be repeated. A worker is given a tenth of a second of work ahead, but
sends what it has executed before anything that takes a millisecond, so hardly more than one is expected."""

MOST_INPUTS = 100

Role = Literal["client", "host", "worker", "other"]
What = Literal["client", "host", "worker", "all", "pause", "interrupt", "stop"]
"""What is done: killing one kind of process or everything, stopping the host for a moment, Ctrl-C once and twice."""

KILLS: tuple[What, ...] = ("client", "host", "worker", "all", "pause", "interrupt", "stop")
_GOES_ON: frozenset[What] = frozenset({"worker", "pause"})


class Reference(NamedTuple):
    """An uninterrupted run: the digest of its result, and how many executions it took."""

    result: str
    executions: int


class Report(NamedTuple):
    """What a trial did: kills by kind, executions beyond those of an uninterrupted run, seconds."""

    kills: Counter[What]
    repeated: int
    seconds: float


class Stuck(AssertionError):  # noqa: N818 (a finding, as every failed assertion)
    """Something did not happen."""


class Trial:
    """One store, one workflow, and what happens to it.

    Args:
        directory: for the store, the script and the logs; created.
        shape: name of a workflow of `crash_flows`.
        seed: of everything random.
        workers: how many.
        environment: more variables for the processes.
    """

    def __init__(
        self, directory: Path, shape: str, seed: int, workers: int = 2, environment: dict[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.store = directory / "store"
        self.log = directory / "executions"
        self.log.touch()
        self.shape = shape
        self.workers = workers
        self.random = random.Random(seed)
        self.kills: Counter[What] = Counter()
        self._token = f"{os.getpid()}-{time.monotonic_ns()}"
        self._script = directory / "flows.py"
        shutil.copy(crash_flows.__file__, self._script)
        self._environment = os.environ | {MARK: self._token, crash_flows.LOG: str(self.log)} | (environment or {})
        self._acknowledged: dict[str, int] = {}
        self._starts = 0
        self._client: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------------------------------------------- processes

    def start(self) -> None:
        """Run the command, as often as it takes."""
        self._starts += 1
        name = str(self.directory / str(self._starts))
        with open(f"{name}.out", "wb") as out, open(f"{name}.err", "wb") as err:
            self._client = subprocess.Popen(
                [sys.executable, str(self._script), str(self.store), self.shape, str(self.workers)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self._environment,
                cwd=self.directory,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether the command has not ended yet."""
        return self._client is not None and self._client.poll() is None

    def processes(self) -> dict[int, Role]:
        """What lives of all the processes that this trial ever started."""
        return dict(marked(f"{MARK}={self._token}"))

    def of(self, role: Role) -> list[int]:
        """Pids of one kind."""
        return sorted(pid for pid, found in self.processes().items() if found == role)

    def kill_all(self) -> None:
        """SIGKILL to everything, in random order, until nothing is left."""
        while found := list(self.processes()):
            self.random.shuffle(found)
            for pid in found:
                _signal(pid, signal.SIGKILL)
            if self._client is not None:
                self._client.poll()

    def executions(self) -> Counter[str]:
        """How often each run was executed, by label."""
        return Counter(self.log.read_text(encoding="utf-8").splitlines())

    # ------------------------------------------------------------------------------------------------- what happens

    def hurt(self, what: What, after: int) -> None:
        """Start the command if it does not run, wait until `after` more executions have begun, and do something to it.

        Unless the command goes on after that, it has ended and so have all its processes when this returns.
        """
        if not self.running():
            self.start()
        size = self.log.stat().st_size
        lines = self.log.read_bytes().count(b"\n") + after
        wait_for(lambda: not self.running() or _lines(self.log, size, lines - after) >= lines, "executions to begin")
        time.sleep(self.random.uniform(0.0, 0.02 if after else 0.4))
        self._do(what)
        self.kills[what] += 1
        if what not in _GOES_ON or not self.running():
            self.settle()

    def _do(self, what: What) -> None:
        assert self._client is not None
        if what == "all":
            self.kill_all()
        elif what == "client":
            _signal(self._client.pid, signal.SIGKILL)
        elif what == "pause":
            for pid in self.of("host"):
                _signal(pid, signal.SIGSTOP)
                time.sleep(self.random.uniform(0.01, 0.2))
                _signal(pid, signal.SIGCONT)
        elif what in ("interrupt", "stop"):
            _signal(self._client.pid, signal.SIGINT)
            if what == "stop":
                time.sleep(self.random.uniform(0.0, 0.01))
                _signal(self._client.pid, signal.SIGINT)
        else:
            found = self.of("host" if what == "host" else "worker")
            if found:
                _signal(self.random.choice(found), signal.SIGKILL)

    def settle(self) -> None:
        """Wait until the command has ended and nothing is left of it, and look at the store."""
        wait_for(lambda: not self.running(), f"the command to end ({self._where()})")
        wait_for(lambda: not self.processes(), "the last process to end")
        self.check()

    def finish(self, reference: Reference) -> Report:
        """Run the command until it succeeds, and compare.

        Raises:
            AssertionError: something is not as it should be.
        """
        begun = time.monotonic()
        code = None
        for _ in range(3):
            if not self.running():
                self.start()
            self.settle()
            assert self._client is not None
            code = self._client.returncode
            if code == 0:
                break
        assert code == 0, f"the command does not succeed any more: {self._said()}"
        printed = (self.directory / f"{self._starts}.out").read_text().strip()
        assert printed == reference.result, f"another result than without interruptions ({self._where()})"
        done = self.executions()
        repeated = max(0, done.total() - reference.executions)
        most = self.kills.total() * self.workers * AHEAD
        assert repeated <= most, f"{repeated} executions were repeated after {self.kills} ({self._where()})"
        with closing(open_database(str(self.store), read_only=True)) as db:
            check_over(db)
        return Report(self.kills, repeated, time.monotonic() - begun)

    def _where(self) -> str:
        return f"{self.shape} in {self.directory}"

    def _said(self) -> str:
        return (self.directory / f"{self._starts}.err").read_text(errors="replace")[-2000:]

    # ------------------------------------------------------------------------------------------------- what is left

    def check(self) -> None:
        """Look at a store that nobody serves: what is acknowledged now, and that what was before was left alone.

        Raises:
            AssertionError: something is not as it should be.
        """
        done = self.executions()
        once = {label: n for label, n in self._acknowledged.items() if not label.startswith(crash_flows.AGAIN)}
        for label, times in once.items():
            assert done[label] == times, f"{label!r} was executed again after it was acknowledged ({self._where()})"
        try:
            db = open_database(str(self.store), read_only=True)
        except NotFoundError:
            return  # killed before there was anything
        with closing(db):
            check_store(db)
            for run in every_run(db):
                if run.state == RunState.COMPLETE:
                    label = label_of(run)
                    self._acknowledged[label] = done[label]


def run_uninterrupted(directory: Path, shape: str, workers: int = 2) -> Reference:
    """The reference for a shape.

    Raises:
        AssertionError: even so it does not succeed.
    """
    trial = Trial(directory, shape, 0, workers)
    trial.start()
    trial.settle()
    assert trial._client is not None and trial._client.returncode == 0, trial._said()  # noqa: SLF001
    return Reference((directory / "1.out").read_text().strip(), trial.executions().total())


def label_of(run: runs.Run) -> str:
    """The first argument of a run that is a text."""
    found = decode(bytes(run.args), [None] * MOST_INPUTS, lambda ref: ref)
    assert isinstance(found, list)
    return next(value for value in found if isinstance(value, str))


# --------------------------------------------------------------------------------------------------------- the store


def every_run(db: Database) -> Iterator[runs.Run]:
    """All runs of a store in order of their ids."""
    low = 0
    while found := runs.between(db, low, 1 << 62, 1000):
        yield from found
        low = found[-1].id + 1


def completions(db: Database) -> Iterator[int]:
    """The runs that were completed, in that order."""
    return (run for event in _events(db) if event.kind == Kind.COMPLETED for run in event.ids)


def _events(db: Database) -> Iterator[model_events.Event]:
    seq = 0
    while rows := events.after(db, seq):
        seq = rows[-1][0]
        yield from (event for row in rows for event in model_events.decode(row[4]))


def check_store(db: Database, *, quiet: bool = False) -> None:
    """What must hold whenever nobody is changing a store: its rows make sense, and what completed did so exactly once.

    Args:
        db: open for reading.
        quiet: nothing is left to do.

    Raises:
        AssertionError: it does not.
    """
    check_invariants(db, quiet=quiet)
    completed: Counter[int] = Counter()
    reused: Counter[int] = Counter()
    for event in _events(db):
        if event.kind == Kind.COMPLETED:
            completed.update(event.ids)
        elif event.kind == Kind.REUSED:
            reused.update(event.ids)
    found = list(every_run(db))
    tries: dict[int, list[attempts.Attempt]] = {}
    for attempt in attempts.of(db, [r.id for r in found]):
        tries.setdefault(attempt.run, []).append(attempt)
    for run in found:
        good = sum(a.state == AttemptState.COMPLETE for a in tries.get(run.id, []))
        assert good == completed[run.id], f"run {run.id}: {good} complete attempts, {completed[run.id]} completions"
        ends = completed[run.id] + reused[run.id]
        assert ends == (run.state == RunState.COMPLETE), f"run {run.id} in state {run.state} was completed {ends} times"
    live = {r.id for r in found if r.state == RunState.LIVE}
    for run_id, *_ in leases.every(db):
        assert run_id in live, f"run {run_id} has a lease and is not live"


def check_over(db: Database) -> None:
    """What must hold of a store whose last workflow has ended well: nothing is open, held or left.

    Raises:
        AssertionError: it does not.
    """
    check_store(db, quiet=True)
    assert not leases.every(db), "leases are left"
    last = blocks.roots(db, 1)[0]
    assert last.state == BlockState.COMPLETE, f"the workflow's block is {BlockState(last.state).name}"
    assert last.open == 0
    ended = (int(WorkerState.GONE), int(WorkerState.EXPIRED))
    registered = [w for w in workers.engines(db) if w.state not in ended]
    assert not registered, f"engines are left: {registered}"


# --------------------------------------------------------------------------------------------------------- processes


def wait_for(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Look until a condition holds.

    Raises:
        Stuck: it does not come to hold.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise Stuck(f"waited {patience:g} s for {what}")
        time.sleep(STEP)


def _lines(log: Path, size: int, before: int) -> int:
    """Lines of a log that had so many of them when it had that size."""
    if log.stat().st_size == size:
        return before
    return log.read_bytes().count(b"\n")


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def marked(mark: str) -> Iterator[tuple[int, Role]]:
    """Living processes with this in their environment."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(OSError):
            if mark.encode() not in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                continue
            yield int(name), _role(Path("/proc", name))


def _role(process: Path) -> Role:
    """By the name that it gave itself; by its command where it has not done so yet."""
    line = (process / "cmdline").read_bytes()
    named: dict[str, Role] = {"tidemill-engine": "host", "tidemill-worker": "worker"}
    found = named.get((process / "comm").read_text().strip())
    if found is None and b"tidemill.workers.executor" in line:
        return "worker"
    if found is None and b"tidemill.server.main" in line:
        return "host"
    return found or ("client" if b"flows.py" in line else "other")
