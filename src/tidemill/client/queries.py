"""The questions that commands and notebooks ask of a store: how far workflows are, and which runs there are.

Answers are plain records; `msgspec.json.encode` turns any of them into JSON.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

import msgspec

from tidemill.client import views
from tidemill.engine import flags
from tidemill.model.errors import UsageError
from tidemill.model.ids import run_id
from tidemill.model.preview import preview
from tidemill.model.protocol import Failure
from tidemill.model.states import BlockState, RunState
from tidemill.model.values import inputs_in
from tidemill.provenance.meaning import Specs
from tidemill.provenance.ports import arguments
from tidemill.server.addresses import Place, reachable
from tidemill.stores.state import attempts, blocks, lineage, overview, runs, workers
from tidemill.stores.state.blocks import Block
from tidemill.stores.state.database import Database
from tidemill.stores.state.overview import Listed

BLOCKS = 20
"""Workflows shown when nobody says how many."""

_LOOKED_UP = 5000
"""Runs looked up at a time."""
PAGE = 50
"""Runs listed when nobody says how many."""

_failure = msgspec.msgpack.Decoder(Failure).decode
_LAST = 1 << 62


class TaskCount(msgspec.Struct, kw_only=True):
    """The runs of one task in a workflow, by state. `complete` includes `reused`."""

    name: str
    total: int = 0
    waiting: int = 0
    ready: int = 0
    running: int = 0
    complete: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    other: int = 0


class BlockStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far a workflow is.

    Attributes:
        id: of its block.
        state: "open", "closing", "complete", "error", "cancelled"; "interrupted" is open while nobody works on it.
        total: runs known so far; `ended` of them have ended, of these `done` well, `reused` of them without executing.
        opened, closed: seconds since the epoch.
        tasks: by task; read for open workflows and where one is asked for.
    """

    id: int
    name: str
    state: str
    total: int
    ended: int
    done: int
    reused: int
    running: int
    failed: int
    skipped: int
    cancelled: int
    opened: float
    closed: float | None
    tasks: list[TaskCount]

    def __str__(self) -> str:
        return str(Status(store="", served=False, blocks=[self], more=False))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return Status(store="", served=False, blocks=[self], more=False)._repr_html_()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The workflows of a store.

    Attributes:
        store: its address.
        served: whether a process is working on it now.
        blocks: the newest first.
        more: there are older ones.
    """

    store: str
    served: bool
    blocks: list[BlockStatus]
    more: bool

    def table(self) -> views.Table:
        """One line per workflow."""
        more = ["cancelled"] * any(b.cancelled for b in self.blocks)
        heads = ["block", "workflow", "state", "ended", "of", "reused", "running", "failed", "skipped", *more]
        numbers = (0, *range(3, len(heads)), len(heads) + 1)
        rows = [_block_row(b, cancelled=bool(more)) for b in self.blocks]
        return views.Table([*heads, "opened", "took"], rows, numbers=numbers)

    def task_table(self) -> views.Table:
        """One line per task, of the workflows whose tasks were counted."""
        more = ["cancelled"] * any(t.cancelled for b in self.blocks for t in b.tasks)
        heads = ["task", "runs", "complete", "reused", "running", "ready", "waiting", "failed", "skipped", *more]
        several = len(self.blocks) > 1
        rows = [_task_row(b, t, several, cancelled=bool(more)) for b in self.blocks for t in b.tasks]
        return views.Table(heads, rows, numbers=range(1, len(heads)))

    def __str__(self) -> str:
        if not self.blocks:
            return f"nothing has been run in {self.store}"
        parts = [str(self.table())]
        if any(b.tasks for b in self.blocks):
            parts.append(str(self.task_table()))
        return "\n\n".join(parts) + "\n(there are older ones: --limit)" * self.more

    def _repr_html_(self) -> str:
        tasks = self.task_table().html() if any(b.tasks for b in self.blocks) else ""
        return self.table().html(self.store) + tasks

    def __repr__(self) -> str:
        return str(self)


def _block_row(b: BlockStatus, *, cancelled: bool) -> list[object]:
    took = (b.closed or time.time()) - b.opened if b.state in {"open", "closing"} or b.closed else None
    return [
        str(b.id), b.name, b.state, b.ended, b.total, b.reused, b.running, b.failed, b.skipped,
        *[b.cancelled] * cancelled, views.moment(b.opened), views.span(took),
    ]  # fmt: skip


def _task_row(b: BlockStatus, t: TaskCount, several: bool, *, cancelled: bool) -> list[object]:
    name = f"{b.id} {t.name}" if several else t.name
    counts = [t.total, t.complete, t.reused, t.running, t.ready, t.waiting, t.failed, t.skipped]
    return [name, *counts, *[t.cancelled] * cancelled]


def served(place: Place, db: Database) -> bool:
    """Whether a process serves the store now."""
    if not place.alone:
        return any(w.deadline > time.time() for w in workers.engines(db))
    return answers(place)


def answers(place: Place) -> bool:
    """Whether a process takes clients of a store in a directory."""
    try:
        with reachable(place.socket) as address, socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address)
    except OSError:
        return False
    return True


def status(db: Database, place: Place, url: str, *, block: int = 0, limit: int = BLOCKS) -> Status:
    """How far the newest workflows are, or one of them.

    Raises:
        NotFoundError: there is no such block.
        UsageError: it is part of a workflow and none itself.
    """
    _check_limit(limit)
    if block:
        row = blocks.find(db, block)
        if row.parent is not None:
            raise UsageError(
                f"block {block} is a part of block {row.root}", hint=f"ask for {row.root}, or show {block}"
            )
        found = [row]
    else:
        found = overview.roots(db, _LAST, limit + 1)
    alive = served(place, db)
    active = overview.active_hubs(db) if alive else set()
    running = _running(db)
    specs = Specs(db)
    shown = [_status(db, specs, b, running, active, counted=bool(block)) for b in found[:limit]]
    return Status(store=url, served=alive, blocks=shown, more=len(found) > limit)


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise UsageError(f"a page has at least one line: the limit cannot be {limit}")


def ended_badly(db: Database, block: int, *states: str) -> list[int]:
    """The runs of a block that ended in these states by themselves, not because of another."""
    chosen: list[int] = []
    for state in states:
        after = 0
        while part := overview.listed(db, state=state, own=True, block=block, after=after, limit=_LOOKED_UP):
            chosen += [r.id for r in part]
            after = part[-1].id
    return chosen


def block_status(db: Database, place: Place, row: Block) -> BlockStatus:
    """How far a block is; of a workflow, by task."""
    active = overview.active_hubs(db) if served(place, db) else set()
    running = _running(db) if row.parent is None else {}
    return _status(db, Specs(db), row, running, active, counted=row.parent is None)


def _running(db: Database) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for root, task, n in overview.running(db):
        found.setdefault(root, {})[task] = n
    return found


def _status(
    db: Database, specs: Specs, row: Block, running: dict[int, dict[int, int]], active: set[int], *, counted: bool
) -> BlockStatus:
    open_ = row.state in {BlockState.OPEN, BlockState.CLOSING}
    root = row.parent is None
    tasks = count_tasks(db, specs, row.id, running.get(row.id, {})) if root and (open_ or counted) else []
    state = BlockState(row.state).name.lower()
    if row.state == BlockState.OPEN and row.hub not in active:
        state = "interrupted"

    def number(field: str, stored: int) -> int:
        return sum(getattr(t, field) for t in tasks) if tasks else stored

    done, failed = number("complete", row.done), number("failed", row.failed)
    skipped, cancelled = number("skipped", row.skipped), number("cancelled", row.cancelled)
    return BlockStatus(
        id=row.id,
        name=row.name,
        state=state,
        total=number("total", row.total),
        ended=done + failed + skipped + cancelled + number("other", 0),
        done=done,
        reused=number("reused", row.reused),
        running=sum(running.get(row.id, {}).values()),
        failed=failed,
        skipped=skipped,
        cancelled=cancelled,
        opened=row.t_open,
        closed=row.t_close,
        tasks=tasks,
    )


_FIELD = {RunState.ERROR: "failed", RunState.SKIPPED: "skipped", RunState.CANCELLED: "cancelled"}


def count_tasks(db: Database, specs: Specs, root: int, running: dict[int, int]) -> list[TaskCount]:
    """The runs of a workflow by task and state; `running` counts leased runs by task."""
    found: dict[str, TaskCount] = {}
    for task, state, pending, attempted, n in sorted(overview.counts(db, root, flags.SUPERSEDED)):
        name = specs.of(task).name
        one = found.setdefault(name, TaskCount(name=name))
        one.total += n
        if state == RunState.LIVE:
            field = "waiting" if pending else "ready"
        elif state == RunState.COMPLETE:
            field = "complete"
            one.reused += 0 if attempted else n
        else:
            field = _FIELD.get(RunState(state), "other")
        setattr(one, field, getattr(one, field) + n)
    for task, n in running.items():
        name = specs.of(task).name
        if name in found:
            found[name].running += n
            found[name].ready -= n
    return list(found.values())


# --------------------------------------------------------------------------------------------------------------- lists


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a list.

    Attributes:
        arguments: a preview.
        seconds: how long its last attempt took.
        error: of a failed one, what went wrong; of one that ended because of another, that one's id.
    """

    id: str
    task: str
    state: str
    arguments: str
    attempts: int
    seconds: float | None
    error: str


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs; ask again with `after` for the next, 0 if this is the last."""

    runs: list[RunRow]
    after: int

    def table(self) -> views.Table:
        """One line per run."""
        heads = ["run", "task", "state", "tries", "took", "arguments", "error"]
        rows = [[r.id, r.task, r.state, r.attempts, views.span(r.seconds), r.arguments, r.error] for r in self.runs]
        return views.Table(heads, rows, numbers=(3, 4))

    def __str__(self) -> str:
        if not self.runs:
            return "there are no such runs"
        return f"{self.table()}" + f"\n(there may be more: --after {self.after})" * bool(self.after)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.table().html()


def list_runs(
    db: Database, *, state: str = "", task: str = "", block: int = 0, name: str = "", after: int = 0, limit: int = PAGE
) -> RunList:
    """Runs in the order of their ids, a page at a time.

    Args:
        db: the store.
        state: as users see it: "waiting", "ready", "running", "complete", "error", "skipped", "cancelled", …
        task: name of a task.
        block: only runs of this block and those below it.
        name: only runs of workflows of this name.
        after: the integer of the last run of the page before.
        limit: runs on a page.

    Raises:
        NotFoundError: there is no such block.
        UsageError: no such state, or no task of this name.
    """
    _check_limit(limit)
    if state and state not in overview.STATES:
        raise UsageError(f"there is no run state {state!r}", hint=f"it is one of {', '.join(overview.STATES)}")
    specs = Specs(db)
    versions = specs.versions(task) if task else None
    if versions == []:
        raise UsageError(f"no task {task!r} has been run in this store", hint="tidemill status BLOCK names the tasks")
    if block:
        blocks.find(db, block)
    found = overview.listed(db, state=state, tasks=versions, block=block, name=name, after=after, limit=limit)
    return RunList(runs=_rows(db, specs, found), after=found[-1].id if len(found) == limit else 0)


def _rows(db: Database, specs: Specs, found: Sequence[Listed]) -> list[RunRow]:
    ids = [r.id for r in found]
    rows = runs.get(db, ids)
    causes = lineage.heads(db, sorted({r.cause for r in found if r.cause is not None and r.cause != r.id}))
    tried: dict[int, list[attempts.Attempt]] = {}
    for a in attempts.of(db, ids):
        tried.setdefault(a.run, []).append(a)
    made = []
    for r in found:
        mine = tried.get(r.id, [])
        last = mine[-1] if mine else None
        took = last.t1 - last.t0 if last is not None and last.t0 is not None and last.t1 is not None else None
        made.append(
            RunRow(
                id=run_id(r.block, r.id),
                task=specs.of(r.task).name,
                state=str(runs.view(r.state, r.pending, r.leases)),
                arguments=arguments_text(specs, rows[r.id]),
                attempts=len(mine),
                seconds=took,
                error=_error(r, mine, causes),
            )
        )
    return made


def arguments_text(specs: Specs, row: runs.Run, limit: int = 60) -> str:
    """The arguments of a run in a few words."""
    pieces, replica = arguments(specs.of(row.task), row.args)
    words = [f"{a.port}={preview(a.encoded, 30, _labels(a.encoded))}" for a in pieces]
    text = ", ".join(words + [f"repetition {replica}"] * bool(replica))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _labels(piece: bytes) -> dict[int, str]:
    return {found.number: "⟨result⟩" for found in inputs_in(piece)}


def _error(row: Listed, tried: Sequence[attempts.Attempt], causes: dict[int, lineage.Head]) -> str:
    if row.cause is not None and row.cause != row.id:
        return f"because of run {run_id(causes[row.cause].block, row.cause)}"
    bodies = [a.body for a in tried if a.body]
    if row.state == RunState.ERROR and bodies:
        failure = _failure(bodies[-1])
        return f"{failure.kind}: {failure.message}"
    return ""


def contained(status: BlockStatus, row: Block) -> str:
    """What is left out of the counters of a workflow that has ended."""
    found = [(status.failed - row.failed, "failed"), (status.skipped - row.skipped, "skipped")]
    return ", ".join(f"{n} {what}" for n, what in found if n > 0)
