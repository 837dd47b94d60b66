"""What every group needs: rows, processes and what they used, the share of others, the cost of a flush."""

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Self

from goals import GOALS, Goal

_TICK = os.sysconf("SC_CLK_TCK")
_SAMPLE = 0.05
"""Seconds between two looks at our processes."""
BUSY = 0.2
"""Share of the machine used by others above which a figure is a lower bound only."""


@dataclass
class Row:
    """One line of the table.

    Attributes:
        name: of a goal in `goals`.
        figure: what was measured, in the goal's unit.
        limit: what stands beside it, measured in the same run, in the same unit; 0 where the figure is a ratio already.
        against: what that is.
        others: share of the machine that processes other than ours used meanwhile.
        flush: milliseconds that appending 4 kB and `fdatasync` took in the same minute.
        more: further figures, for the JSON lines.
    """

    name: str
    figure: float
    limit: float = 0.0
    against: str = ""
    others: float = 0.0
    flush: float = 0.0
    more: dict[str, float] = field(default_factory=dict)

    @property
    def goal(self) -> Goal:
        return GOALS[self.name]

    @property
    def ratio(self) -> float:
        """What gate and goal are held against."""
        return self.figure / self.limit if self.limit else self.figure

    @property
    def verdict(self) -> str:
        return self.goal.verdict(self.ratio)

    def line(self) -> str:
        """One JSON object."""
        told = {"verdict": self.verdict, "ratio": self.ratio, "unit": self.goal.unit, "time": time.time()}
        return json.dumps({**asdict(self), **told})


# --------------------------------------------------------------------------------------------------------- processes


@dataclass
class Used:
    """What a process used: CPU in seconds, its children's not included, and its largest resident size in bytes."""

    role: str
    cpu: float = 0.0
    peak: int = 0


class Watch:
    """Watches the processes below this one while its body runs.

    Engines are asked about until they have ended, so the CPU of their last acts counts; the time does not.

    Args:
        servers: pids of further processes that are ours (a database server); their children count too.

    Attributes:
        seconds: of the body.
        client: CPU seconds of this process.
        others: share of the machine used by processes that are not ours.
    """

    def __init__(self, *servers: int) -> None:
        self.seconds = self.client = self.others = 0.0
        self.used: dict[int, Used] = {}
        self._servers = servers
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._before = _machine()
        self._own = _own()
        self._server_cpu = self._cpu_of_servers()
        self._sampler.start()
        self._client = time.process_time()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self.client = time.process_time() - self._client
        busy, total = (now - then for now, then in zip(_machine(), self._before, strict=True))
        self._look()
        ours = _own() - self._own + self._cpu_of_servers() - self._server_cpu
        alive = sum(u.cpu for pid, u in self.used.items() if _state(pid) not in {"", "gone"})
        self.others = max(0.0, busy - ours - alive) / max(total, _SAMPLE)
        self._ended.set()
        self._sampler.join()
        self._until_engines_end()

    def of(self, role: str) -> list[Used]:
        """What the processes of a role used."""
        return [u for u in self.used.values() if u.role == role]

    @property
    def engine(self) -> float:
        """CPU seconds of all engines."""
        return sum(u.cpu for u in self.of("engine"))

    @property
    def worker(self) -> float:
        """CPU seconds of all workers."""
        return sum(u.cpu for u in self.of("worker"))

    def peak(self, role: str) -> float:
        """The largest resident size of a process of this role, in MB."""
        return max((u.peak for u in self.of(role)), default=0) / 1e6

    def _cpu_of_servers(self) -> float:
        return sum(_cpu(pid) for server in self._servers for pid in (server, *below(server)))

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE):
            self._look()

    def _look(self) -> None:
        for pid in below(os.getpid()):
            used = self.used.get(pid)
            if used is None:
                used = self.used[pid] = Used(_role(pid))
            elif not used.role:
                used.role = _role(pid)
            used.cpu = max(used.cpu, _cpu(pid))
            used.peak = max(used.peak, _peak(pid))

    def _until_engines_end(self) -> None:
        deadline = time.monotonic() + 30
        waiting = [pid for pid, u in self.used.items() if u.role == "engine"]
        while waiting and time.monotonic() < deadline:
            self._look()
            waiting = [pid for pid in waiting if _state(pid) not in {"", "Z"}]
            time.sleep(0.01)


def _machine() -> tuple[float, float]:
    """(busy, all) CPU seconds of the machine since it started, see proc(5)."""
    with open("/proc/stat") as file:
        ticks = [int(v) for v in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / _TICK, sum(ticks) / _TICK


def _own() -> float:
    """CPU seconds of this process and the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    todo = [pid]
    while todo:
        parent = todo.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    children = [int(child) for child in file.read().split()]
                found += children
                todo += children
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, [] if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICK if fields else 0.0


def _peak(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _role(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as file:
        return {"tidemill-engine": "engine", "tidemill-worker": "worker"}.get(file.read().strip(), "")
    return ""


# ---------------------------------------------------------------------------------------------------- places and times


def flush_ms(directory: Path) -> float:
    """Median milliseconds of appending 4 kB and `fdatasync`."""
    page, times = os.urandom(4096), []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(40):
            start = time.perf_counter()
            os.write(file.fileno(), page)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


@contextlib.contextmanager
def fresh(directory: Path) -> Iterator[Path]:
    """A new empty directory below `directory`, removed afterwards; what was written before is on the disk by then."""
    place = Path(tempfile.mkdtemp(dir=directory))
    os.sync()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def p99(times: Sequence[float]) -> float:
    """The 99th percentile, nearest rank."""
    return sorted(times)[max(0, -(-len(times) * 99 // 100) - 1)]


def median_of(n: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(n))


def prepare(directory: Path) -> Path:
    """Make the directory of a bench, and let children keep their byte code: compiling it is not what is measured."""
    directory.mkdir(parents=True, exist_ok=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return directory


# -------------------------------------------------------------------------------------------------------------- table


def shown(value: float) -> str:
    """Three significant digits."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{round(value, 2 - len(str(int(abs(value)))) + 1):,.0f}"
    return f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = ("measure", "figure", "limit or peer of the same run", "ratio", "gate", "goal", "verdict", "others", "flush")
    lines = [head, tuple("-" * len(h) for h in head)]
    for row in rows:
        goal = row.goal
        limit = f"{shown(row.limit)} {row.against}" if row.limit else row.against
        others = f"{row.others:.0%}{' (busy)' if row.others > BUSY else ''}"
        bounds = [f"{goal.sign} {shown(b)}" for b in (goal.gate_ratio, goal.goal_ratio)]
        figure = f"{shown(row.figure)} {goal.unit}"
        lines.append((goal.text, figure, limit, shown(row.ratio), *bounds, row.verdict, others, f"{row.flush:.2f} ms"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def row_of(line: str) -> Row:
    """The inverse of `Row.line`."""
    found = json.loads(line)
    return Row(**{f.name: found[f.name] for f in fields(Row)})


def main(rows: Callable[[Path], Iterator[Row]]) -> None:
    """The command of a group: `[--dir DIRECTORY] [--lines]`; a table, or JSON lines as soon as they are there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, default=Path(__file__).parent / ".work")
    parser.add_argument("--lines", action="store_true")
    options = parser.parse_args()
    found = rows(prepare(options.dir.absolute()))
    if not options.lines:
        print(table(list(found)))
        return
    for row in found:
        print(row.line(), flush=True)
