"""What tasks took: time, processors, memory and disk, from every attempt that was made."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from statistics import fmean, median
from typing import Literal

import msgspec

from tidemill.client import views
from tidemill.model.errors import UsageError
from tidemill.model.ids import run_id
from tidemill.model.preview import duration
from tidemill.model.states import AttemptState, RunState
from tidemill.provenance.meaning import Specs
from tidemill.stores.state import blocks as block_rows
from tidemill.stores.state import statistics, workers
from tidemill.stores.state.database import Database
from tidemill.stores.state.statistics import Used

Sort = Literal["wall", "cpu", "memory", "disk", "runs", "failed", "task"]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How a quantity is spread over attempts: seconds, or bytes. All 0 where none was measured (`count` 0)."""

    count: int = 0
    min: float = 0.0
    median: float = 0.0
    mean: float = 0.0
    max: float = 0.0
    total: float = 0.0


class TaskStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of one task took.

    Attributes:
        task: its name; versions of it count together.
        runs: that were attempted (results that were reused took nothing).
        attempts: of these.
        failed: runs that failed in the end.
        retried: runs that were attempted more than once.
        wall: seconds from the begin to the end of an attempt.
        cpu: seconds of processors.
        wait: seconds of `wall` that no processor was busy with it: it slept, read, or waited for a processor.
        memory: peak bytes.
        disk: peak bytes, where that was measured.
    """

    task: str
    runs: int
    attempts: int
    failed: int
    retried: int
    wall: Spread
    cpu: Spread
    wait: Spread
    memory: Spread
    disk: Spread


class RunStats(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt took; seconds and bytes, None where that was not measured."""

    run: str
    task: str
    attempt: int
    state: str
    host: str
    started: float | None
    wall: float | None
    cpu: float | None
    wait: float | None
    memory: int | None
    disk: int | None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What tasks took, the one that took most first; `runs` are there if they were asked for."""

    tasks: list[TaskStats]
    runs: list[RunStats]

    def table(self) -> views.Table:
        """Some lines per task, one for each quantity that was measured."""
        heads = ["task", "runs", "failed", "retried", "", "min", "median", "mean", "max", "total"]
        return views.Table(heads, [line for t in self.tasks for line in _lines(t)], numbers=(1, 2, 3, 5, 6, 7, 8, 9))

    def run_table(self) -> views.Table:
        """One line per attempt."""
        heads = ["run", "task", "try", "state", "host", "started", "wall", "cpu", "wait", "memory", "disk"]
        rows = [
            [
                r.run, r.task, r.attempt, r.state, r.host, views.moment(r.started),
                views.span(r.wall), views.span(r.cpu), views.span(r.wait),
                views.memory(r.memory), views.memory(r.disk),
            ]
            for r in self.runs
        ]  # fmt: skip
        return views.Table(heads, rows, numbers=(2, *range(6, len(heads))))

    def __str__(self) -> str:
        if not self.tasks:
            return "nothing has been executed there"
        return str(self.table()) + (f"\n\n{self.run_table()}" if self.runs else "")

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.table().html() + (self.run_table().html() if self.runs else "")


def _lines(t: TaskStats) -> Iterator[list[object]]:
    first: list[object] = [t.task, t.runs, t.failed, t.retried]
    for name in ("wall", "cpu", "wait", "memory", "disk"):
        found: Spread = getattr(t, name)
        if found.count:
            show = (lambda n: views.memory(round(n))) if name in {"memory", "disk"} else duration
            total = "" if name in {"memory", "disk"} else show(found.total)
            yield [*first, name, show(found.min), show(found.median), show(found.mean), show(found.max), total]
            first = ["", "", "", ""]
    if first[0]:
        yield [*first, "", "", "", "", "", ""]


# ------------------------------------------------------------------------------------------------------------- counting


class _Tally:
    """What was found of one task so far."""

    def __init__(self) -> None:
        self.attempts = self.runs = self.failed = self.retried = 0
        self.wall, self.cpu, self.wait, self.memory, self.disk = (array("d") for _ in range(5))
        self._run, self._twice = 0, False

    def add(self, one: Used) -> None:
        """Take in an attempt; those of a run come one after the other. One that was given back unused is none."""
        if one.state == AttemptState.RELEASED:
            return
        self.attempts += 1
        if one.run != self._run:
            self._run, self._twice = one.run, False
            self.runs += 1
            self.failed += one.run_state == RunState.ERROR
        elif not self._twice:
            self._twice = True
            self.retried += 1
        if one.t0 is not None and one.t1 is not None:
            wall = max(0.0, one.t1 - one.t0)
            self.wall.append(wall)
            if one.cpu is not None:
                self.wait.append(max(0.0, wall - one.cpu))
        if one.cpu is not None:
            self.cpu.append(one.cpu)
        if one.rss:
            self.memory.append(one.rss)
        if one.disk:
            self.disk.append(one.disk)

    def stats(self, task: str) -> TaskStats:
        """The record."""
        return TaskStats(
            task=task,
            runs=self.runs,
            attempts=self.attempts,
            failed=self.failed,
            retried=self.retried,
            wall=spread(self.wall),
            cpu=spread(self.cpu),
            wait=spread(self.wait),
            memory=spread(self.memory),
            disk=spread(self.disk),
        )


def spread(found: array[float]) -> Spread:
    """How numbers are spread."""
    if not found:
        return Spread()
    return Spread(
        count=len(found), min=min(found), median=median(found), mean=fmean(found), max=max(found), total=sum(found)
    )


def stats(db: Database, block: int = 0, *, per_run: bool = False, sort: Sort = "wall") -> Stats:
    """What the tasks of a workflow took, or those of the whole store.

    Args:
        db: the store.
        block: the workflow's block; 0 for all workflows.
        per_run: also each attempt.
        sort: what the tasks are ordered by: the total of time, the peak of memory and disk, the number of runs.

    Raises:
        NotFoundError: there is no such block.
        UsageError: it is part of a workflow and none itself.
    """
    if block and (row := block_rows.find(db, block)).parent is not None:
        raise UsageError(f"block {block} is a part of block {row.root}", hint=f"ask for {row.root}")
    specs, hosts = Specs(db), _Hosts(db)
    names: dict[int, str] = {}
    found: dict[str, _Tally] = {}
    single: list[RunStats] = []
    after = (0, 0)
    while page := statistics.used(db, block, after):
        after = (page[-1].run, page[-1].n)
        for one in page:
            name = names.get(one.task)
            if name is None:
                name = names[one.task] = specs.of(one.task).name
            tally = found.get(name)
            if tally is None:
                tally = found[name] = _Tally()
            tally.add(one)
        if per_run:
            hosts.learn(page)
            single += [_single(one, names[one.task], hosts) for one in page]
    return Stats(tasks=_sorted([tally.stats(name) for name, tally in found.items()], sort), runs=single)


def _sorted(found: list[TaskStats], sort: Sort) -> list[TaskStats]:
    if sort == "task":
        return sorted(found, key=lambda t: t.task)

    def size(t: TaskStats) -> float:
        if sort in {"runs", "failed"}:
            return float(getattr(t, sort))
        kept: Spread = getattr(t, sort)
        return kept.max if sort in {"memory", "disk"} else kept.total

    return sorted(found, key=lambda t: (-size(t), t.task))


class _Hosts:
    """The machines of workers."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.of: dict[int, str] = {}

    def learn(self, page: list[Used]) -> None:
        """Look up the workers of these attempts."""
        fresh = sorted({one.worker for one in page} - self.of.keys())
        if fresh:
            self.of |= {row[0]: str(row[2]) for row in workers.names(self._db, fresh).values()}


def _single(one: Used, task: str, hosts: _Hosts) -> RunStats:
    wall = one.t1 - one.t0 if one.t0 is not None and one.t1 is not None else None
    return RunStats(
        run=run_id(one.block, one.run),
        task=task,
        attempt=one.n,
        state=AttemptState(one.state).name.lower(),
        host=hosts.of.get(one.worker, ""),
        started=one.t0,
        wall=wall,
        cpu=one.cpu,
        wait=max(0.0, wall - one.cpu) if wall is not None and one.cpu is not None else None,
        memory=one.rss or None,
        disk=one.disk or None,
    )
