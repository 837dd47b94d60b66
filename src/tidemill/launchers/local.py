"""Executors on this machine: processes that the host starts, watches and ends.

The pool knows processes, not runs. It never blocks, `stop` excepted: the host has one selector in which each worker's
`channel` (frames) and `sentinel` (readable once the process has ended) are registered.
"""

import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tidemill.launchers import leftovers, nursery, processes
from tidemill.launchers.nursery import Forked
from tidemill.model import protocol
from tidemill.model.protocol import Started
from tidemill.model.states import Reason
from tidemill.workers import staging
from tidemill.workers.failure import FAILED, signal_name
from tidemill.workers.identity import start_time
from tidemill.workers.usage import OutOfMemory
from tidemill.workers.wire import Channel

ALIVE = "alive"
"""Lock file in the run directory. Executors and what they start share it: who gets it alone knows they are gone."""

_INDEX = struct.Struct(protocol.INDEX)
_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP}
)
"""Signals that a program brings upon itself; the others come from outside."""
_DESCRIPTORS = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
"""Directory in which a process finds its own descriptors as files."""
_PATIENCE = 1.0
"""Seconds given to a process to end by itself after it has closed its socket."""
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = "import sys; sys.path.insert(0, {!r}); from tidemill.workers.executor import main; del sys.path[0]; main({!r})"

Process = subprocess.Popen[bytes] | Forked


class LocalWorker:
    """One executor process.

    Attributes:
        number: its place in the pool, 0 … count-1; the process that replaces it gets the same.
        pid: process id; also that of its session and process group.
        start: start time, see `tidemill.workers.identity`.
        channel: frames to and from it.
        sentinel: descriptor that becomes readable when the process has ended, or -1 where there is no such thing.
        index: path of the shared-memory index as the executor sees it, for `Setup.index`.
        setup: what it was told first.
    """

    def __init__(
        self,
        number: int,
        process: subprocess.Popen[bytes] | Forked,
        channel: Channel,
        shared: int,
        lifeline: int,
        startup: Path,
    ) -> None:
        self.number = number
        self.pid = process.pid
        self.start = start_time(process.pid) or ""
        self.channel = channel
        self.sentinel = _sentinel(process.pid)
        self.index = f"{_DESCRIPTORS}/{shared}"
        self.setup: protocol.Setup | None = None
        self._process = process
        self._startup = startup
        self._lifeline = lifeline
        self._reason: tuple[Reason, str] | None = None
        self._out_of_memory = OutOfMemory()
        self._shared = mmap.mmap(shared, _INDEX.size)

    def started(self) -> Started | None:
        """The run that has started; None if none has."""
        found = _INDEX.unpack_from(self._shared)
        while (again := _INDEX.unpack_from(self._shared)) != found:
            found = again
        return Started._make(found) if found[0] else None

    def log_tail(self, size: int) -> bytes:
        """The last `size` bytes of what the run under way has printed, or the last of a dead worker had."""
        if self.setup is None:
            return _tail(self._startup, size)
        return _tail(staging.log_file(self.setup.scratch, self.setup.worker), size)

    def startup_log(self, size: int = 65536) -> bytes:
        """What the process printed before it had its setup: why it did not come up."""
        return _tail(self._startup, size)

    @property
    def directory(self) -> Path:
        """The working directory of the attempt under way."""
        assert self.setup is not None
        return staging.now_directory(self.setup.scratch, self.setup.worker)

    def salvage(self, run: int, fence: int) -> str:
        """After death: keep the directory of the attempt that was under way. Its path, or "" if it was empty."""
        if self.setup is None:
            return ""
        now = staging.now_directory(self.setup.scratch, self.setup.worker)
        return staging.keep(now, staging.kept_directory(self.setup.scratch, run, fence))

    def clear_temporary(self) -> None:
        """After death: remove what the attempt under way had that is temporary."""
        if self.setup is not None:
            staging.remove(staging.temp_directory(self.setup.scratch, self.setup.worker))

    def kill(self) -> None:
        """Kill the process and all that descends from it; then the channel ends."""
        if self._reason is None:
            processes.kill_tree(self.pid)

    def exit_reason(self) -> tuple[Reason, str]:
        """Once the channel has ended: why, and in words such as "signal 11 (SIGSEGV)" or "exit code 3".

        EXIT_CODE and SIGNAL are what user code did to the process, OUT_OF_MEMORY what the kernel did. WORKER_DIED
        is a signal from outside, or a trouble of the worker's own that `log_tail` tells. Waits at most a second. Then
        nothing of the process group is left, and `channel` and `sentinel` are closed.
        """
        if self._reason is None:
            self._end()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # before the pid is free to be used again
            self._reason = self._why(self._process.wait())
            self._close()
        return self._reason

    def _end(self) -> None:
        """Wait until the process has ended without collecting it, and kill it if it does not end."""
        deadline = time.monotonic() + _PATIENCE
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                processes.kill_tree(self.pid)
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                return
            if self.sentinel >= 0:
                select.select([self.sentinel], [], [], left)
            else:
                time.sleep(0.001)

    def _why(self, code: int) -> tuple[Reason, str]:
        if code == FAILED:
            return Reason.WORKER_DIED, "the worker could not go on"
        if code >= 0:
            return Reason.EXIT_CODE, f"exit code {code}"
        if -code == signal.SIGKILL and self._out_of_memory.struck():
            return Reason.OUT_OF_MEMORY, "out of memory (killed)"
        return (Reason.SIGNAL if -code in _FAULTS else Reason.WORKER_DIED), signal_name(-code)

    def _close(self) -> None:
        self.channel.close()
        for descriptor in (self.sentinel, self._lifeline):
            if descriptor >= 0:
                os.close(descriptor)
        self.sentinel = self._lifeline = -1


class LocalPool:
    """Executors on this machine.

    Args:
        count: how many.
        setup_for: makes the first message for a worker that has just been started; `index` must be the worker's own.
        run_dir: directory of this pool alone, on a local file system; created.
        python: interpreter to start.
        environment: variables to set for the executors beyond those of this process.
    """

    def __init__(
        self,
        count: int,
        setup_for: Callable[[LocalWorker], protocol.Setup],
        run_dir: Path,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.workers: list[LocalWorker] = []
        self.run_dir = run_dir
        self._count = count
        self._setup_for = setup_for
        self._python = python
        self._environment = nursery.environment_of({**os.environ, **(environment or {})})
        self._alive = -1
        self._leftovers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the executors. Each says Hello on its channel when it is ready.

        Raises:
            OSError: if the interpreter cannot be started.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._alive = os.open(self.run_dir / ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._alive, fcntl.LOCK_SH)
        for number in range(self._count):
            self.workers.append(self._spawn(number))
        nursery.dismiss()

    def respawn(self, worker: LocalWorker) -> LocalWorker:
        """Start the process that takes the place of a dead worker, and put it in `workers`."""
        worker.exit_reason()
        fresh = self._spawn(worker.number)
        self.workers[worker.number] = fresh
        return fresh

    def clear_up(self, worker: LocalWorker) -> None:
        """After the death of a worker: remove what was temporary, and start to do what its attempt had deferred."""
        worker.clear_temporary()
        self._leftovers = [process for process in self._leftovers if process.poll() is None]
        if worker.setup is not None:
            started = leftovers.start(Path(worker.setup.scratch), self._environment)
            self._leftovers += [started] if started is not None else []

    def request_stop(self) -> None:
        """Ask every executor to finish the run that has started, send its outcome and end."""
        for worker in self.workers:
            worker.channel.send(protocol.encode(protocol.Stop()))

    def stop(self, grace: float = 5.0) -> None:
        """End all executors and wait for it: politely for `grace` seconds, then by killing them. What they still send
        is dropped.

        Args:
            grace: seconds; 0 kills at once. What was deferred is waited for as long, too.
        """
        if grace > 0:
            self.request_stop()
            self._drain(time.monotonic() + grace)
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.exit_reason()
            self.clear_up(worker)
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1
        for process in self._leftovers:
            leftovers.let_go(process, grace)
        self._leftovers.clear()

    def _drain(self, deadline: float) -> None:
        open_ = {worker.channel.fileno(): worker for worker in self.workers if worker.channel.fileno() >= 0}
        while open_ and (left := deadline - time.monotonic()) > 0:
            poll = select.poll()
            for descriptor, worker in open_.items():
                poll.register(descriptor, select.POLLIN | (select.POLLOUT if worker.channel.wants_write else 0))
            for descriptor, _ in poll.poll(left * 1000):
                worker = open_[descriptor]
                worker.channel.flush()
                if worker.channel.receive() is None:
                    del open_[descriptor]

    def _spawn(self, number: int) -> LocalWorker:
        ours, theirs = socket.socketpair()
        far, near = os.pipe()
        shared = _shared_memory(self.run_dir)
        start = self.run_dir / f"w{number}.start"
        passed = [theirs.fileno(), far, self._alive, shared]
        process: Process | None = None
        try:
            process = self._process(passed, start)
            worker = LocalWorker(number, process, Channel(ours), shared, near, start)
        except OSError:
            ours.close()
            os.close(near)
            if process is not None:
                process.wait()  # it has nobody to talk to
            raise
        finally:
            theirs.close()
            os.close(far)
            os.close(shared)
        worker.setup = self._setup_for(worker)
        worker.channel.send(protocol.encode(worker.setup))
        return worker

    def _process(self, passed: list[int], start: Path) -> Process:
        with open(start, "wb") as startup:
            if self._python == sys.executable:
                forked = nursery.take(self._environment, passed, startup.fileno())
                if forked is not None:
                    return forked
            return subprocess.Popen(
                [self._python, "-P", "-c", _BOOT.format(_ROOT, passed[:3])],
                stdin=subprocess.DEVNULL,
                stdout=startup,
                stderr=startup,
                pass_fds=passed,
                env=self._environment,
                start_new_session=True,
            )


def _shared_memory(directory: Path) -> int:
    """A descriptor of a nameless file for the index, in memory where the system can do that."""
    if sys.platform == "linux":
        shared = os.memfd_create("tidemill-index")
    else:
        import tempfile

        shared, name = tempfile.mkstemp(dir=directory)
        os.unlink(name)
    os.ftruncate(shared, _INDEX.size)
    return shared


def _sentinel(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1


def _tail(path: Path, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)
    except OSError:
        return b""
