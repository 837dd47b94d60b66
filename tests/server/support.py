"""Real programs on real stores: started, met at gates, killed, and looked at from outside."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from tidemill.model.protocol import Failure
from tidemill.model.states import RunState
from tidemill.model.values import decode
from tidemill.stores.state import attempts, blocks, runs
from tidemill.stores.state.database import Database
from tidemill.stores.state.open import open_database
from tidemill.testing.crash import MARK, every_run, marked, wait_for

FLOWS = Path(__file__).parent / "programs" / "flows.py"
PATIENCE = 60.0
_failure = msgspec.msgpack.Decoder(Failure).decode


class Gate:
    """A point in a task where it tells that it is there, and waits."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._here = _fifo(directory / f"{name}.here")
        self._gate = _fifo(directory / f"{name}.gate")

    def reached(self) -> int:
        """Wait until somebody is there; its pid."""
        assert select.select([self._here], [], [], PATIENCE)[0], f"nobody came to the gate {self.name}"
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(self._here, 1)
        return int(text)

    def untouched(self) -> bool:
        """Whether nobody has come since the last one was waited for."""
        return not select.select([self._here], [], [], 0)[0]

    def open(self, times: int = 1) -> None:
        """Let so many pass, now or when they come."""
        os.write(self._gate, b"!" * times)

    def close(self) -> None:
        os.close(self._here)
        os.close(self._gate)


def _fifo(path: Path) -> int:
    """A pipe with a name, held open so that neither end ever waits for the other."""
    if not path.exists():
        os.mkfifo(path)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


class Program:
    """The script, running a workflow in a store."""

    def __init__(self, command: list[str], env: dict[str, str], directory: Path) -> None:
        self.process = subprocess.Popen(
            command, env=env, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self.said = b""

    def ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def says(self, text: str) -> None:
        """Wait until it has printed something to standard error."""
        assert self.process.stderr is not None
        while text.encode() not in self.said:
            assert select.select([self.process.stderr], [], [], PATIENCE)[0], f"it did not say {text!r}: {self.said!r}"
            part = os.read(self.process.stderr.fileno(), 4096)
            assert part, f"it ended without saying {text!r}: {self.said.decode()}"
            self.said += part

    def ended(self) -> int:
        """Wait for the end; its exit code as a shell gives it."""
        out, err = self.process.communicate(timeout=PATIENCE)
        self.said += err
        self.printed = out.decode()
        code = self.process.returncode
        return 128 - code if code < 0 else code

    def result(self) -> Any:
        """Wait for the end, which must be a good one; what the workflow returned."""
        code = self.ended()
        assert code == 0, self.said.decode()
        return json.loads(self.printed)

    def error(self) -> str:
        """Wait for the end, which must be an error; the text of it."""
        assert self.ended() == 1, (self.printed, self.said.decode())
        return self.said.decode()


def one_says(programs: list[Program], text: str) -> None:
    """Wait until one of the programs has printed something to standard error."""
    while not any(text.encode() in p.said for p in programs):
        streams = {p.process.stderr: p for p in programs if p.process.stderr is not None}
        found, _, _ = select.select(list(streams), [], [], PATIENCE)
        assert found, f"none said {text!r}: {[p.said for p in programs]}"
        for stream in found:
            part = os.read(stream.fileno(), 4096)
            assert part, f"one ended without saying {text!r}: {[p.said for p in programs]}"
            streams[stream].said += part


class Bench:
    """A directory with a store, gates, and the programs that work on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = str(directory / "store")
        self.script = FLOWS
        self.environment: dict[str, str] = {}
        self._token = f"{os.getpid()}-{directory}"
        self._programs: list[Program] = []
        self._gates: dict[str, Gate] = {}

    def gate(self, name: str) -> Gate:
        if name not in self._gates:
            self._gates[name] = Gate(self.directory, name)
        return self._gates[name]

    def gates(self, names: Iterable[str]) -> list[Gate]:
        return [self.gate(name) for name in names]

    def start(self, flow: str, *args: object, workers: int = 1, prefix: tuple[str, ...] = ()) -> Program:
        """Start the script in a process of its own."""
        command = [*prefix, sys.executable, str(self.script), self.url, str(workers), flow, *map(json.dumps, args)]
        env = os.environ | {MARK: self._token, "TEST_DIRECTORY": str(self.directory)} | self.environment
        program = Program(command, env, self.directory)
        self._programs.append(program)
        return program

    def log(self) -> list[str]:
        """What tasks noted."""
        path = self.directory / "log"
        return path.read_text().splitlines() if path.exists() else []

    def processes(self, role: str = "") -> list[int]:
        """Pids of what the programs started: "host", "worker", "client", "other", or all of it."""
        return [pid for pid, found in marked(f"{MARK}={self._token}") if role in ("", found)]

    def quiet(self) -> None:
        """Wait until no process of any program is left."""
        wait_for(lambda: not self.processes(), "all processes to end")

    def look(self, what: Callable[[Database], Any]) -> Any:
        """Read the store."""
        with closing(open_database(self.url, read_only=True)) as db:
            return what(db)

    def states(self) -> dict[str, RunState]:
        """State of each run by its first argument."""
        found: dict[str, RunState] = self.look(lambda db: {str(first(r)): RunState(r.state) for r in every_run(db)})
        return found

    def run(self, name: object) -> runs.Run:
        """The last run with this first argument."""
        found: list[runs.Run] = self.look(lambda db: [r for r in every_run(db) if first(r) == name])
        return found[-1]

    def attempts(self, name: object) -> list[attempts.Attempt]:
        """The attempts of a run."""
        run = self.run(name)
        found: list[attempts.Attempt] = self.look(lambda db: attempts.of(db, [run.id]))
        return found

    def failures(self, name: object) -> list[Failure]:
        """Why the attempts of a run failed."""
        return [_failure(a.body) for a in self.attempts(name) if a.body is not None]

    def block(self) -> blocks.Block:
        """The newest workflow."""
        found: blocks.Block = self.look(lambda db: blocks.roots(db, 1)[0])
        return found

    def close(self) -> None:
        """End whatever is left, by the pids of what was started here."""
        for program in self._programs:
            if program.process.poll() is None:
                program.process.kill()
            program.process.__exit__(None, None, None)
        while found := self.processes():
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        for gate in self._gates.values():
            gate.close()


def first(run: runs.Run) -> object:
    """The first argument of a run."""
    found = decode(bytes(run.args), [None] * 100, lambda ref: ref)
    return found[0] if isinstance(found, list) and found else None
