"""Commands that look: `status`, `list`, `show`, `logs`, `why`, `lineage`."""

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from tidemill._version import __version__
from tidemill.cli import output
from tidemill.cli.options import AnyId, BlockId, Json, RunId, StorePath, open_store
from tidemill.client import engines, queries
from tidemill.client import failures as client_failures
from tidemill.client import logs as client_logs
from tidemill.model.errors import UsageError
from tidemill.model.ids import parse, parse_as
from tidemill.provenance import lineage as provenance_lineage

State = Literal[
    "waiting", "ready", "running", "complete", "error", "skipped", "cancelled", "invalid", "deleted", "held"
]


def status(
    block: BlockId | None = None,
    /,
    *,
    limit: Annotated[int, Parameter(help="How many workflows.")] = queries.BLOCKS,
    failed: Annotated[
        bool, Parameter(negative="", help="Instead: the runs that failed, why, and the last lines they printed.")
    ] = False,
    engine: Annotated[bool, Parameter(negative="", help="Instead: who works on the store.")] = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """How far workflows are; of one of them, by task.

    A workflow is open while somebody works on it, interrupted while nobody does, and in the end complete, error or
    cancelled.
    """
    if failed and engine:
        raise UsageError("--failed and --engine are two questions", hint="ask one after the other")
    with open_store(store) as found:
        number = parse_as(block, "block").number if block else 0
        if engine:
            serving = engines.engines(found.db, found.place)
            told = "\n".join(map(str, serving)) or "nobody works on this store"
            output.emit(serving if json else told, as_json=json)
            return
        record = found.status(number, limit=limit)
        if failed:
            chosen = [b.id for b in record.blocks if b.failed]
            reports = [one for b in chosen for one in client_failures.failures(found.db, found.url, b, limit)]
            told = "\n\n".join(map(str, reports)) or "nothing failed"
            output.emit(reports if json else told, as_json=json)
            return
    if json:
        output.emit(record, as_json=True)
        return
    if not record.blocks:
        output.emit(record, as_json=False)
        return
    record.table().print(sys.stdout)
    if any(b.tasks for b in record.blocks):
        output.emit("", as_json=False)
        record.task_table().print(sys.stdout)
    if record.more:
        output.emit("(there are older ones: --limit)", as_json=False)


def list_(
    *,
    state: Annotated[State | None, Parameter(help="Only runs in this state.")] = None,
    task: Annotated[str, Parameter(help="Only runs of this task.")] = "",
    block: Annotated[str | None, Parameter(help="Only runs of this block.")] = None,
    workflow: Annotated[str, Parameter(help="Only runs of workflows of this name.")] = "",
    after: Annotated[int, Parameter(help="Go on after this run.")] = 0,
    limit: Annotated[int, Parameter(help="Runs on a page.")] = queries.PAGE,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Runs by state, task, block or workflow, a page at a time."""
    with open_store(store) as found:
        record = found.runs(
            state=state or "",
            task=task,
            block=parse_as(block, "block").number if block else 0,
            name=workflow,
            after=after,
            limit=limit,
        )
    if json or not record.runs:
        output.emit(record, as_json=json)
        return
    record.table().print(sys.stdout)
    if record.after:
        output.emit(f"(there may be more: --after {record.after})", as_json=False)


def show(id: AnyId, /, *, store: StorePath = None, json: Json = False) -> None:
    """Everything about a run, a block or a datum: inputs, outputs, attempts, what went wrong."""
    with open_store(store) as found:
        output.emit(found.show(id), as_json=json)


def logs(
    run: RunId,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Show it as it is printed.")] = False,
    attempt: Annotated[int, Parameter(help="Only this attempt.")] = 0,
    tail: Annotated[int, Parameter(name=["--tail", "-n"], help="Only so many last lines of each attempt.")] = 0,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """What a run printed, attempt by attempt."""
    what = parse_as(run, "run")
    with open_store(store) as found:
        if follow:
            for text in client_logs.follow(found.db, found.place, what):
                sys.stdout.write(text)
                sys.stdout.flush()
            return
        record = client_logs.tail(client_logs.logs(found.db, found.place, what, attempt), tail)
    if json:
        output.emit(record, as_json=True)
        return
    for one in record:
        if len(record) > 1 or one.stream:
            sent = f", stream {one.stream}" if one.stream else ""
            output.emit(f"── attempt {one.attempt}{sent}{' (running)' if one.live else ''}", as_json=False)
        output.emit(one.text, as_json=False)
    if not record:
        sys.stderr.write(f"run {run} has printed nothing\n")


def why(run: RunId, /, *, store: StorePath = None, json: Json = False) -> None:
    """Why a run executed, was reused, waits, or ended as it did: what changed since an earlier one like it."""
    with open_store(store) as found:
        output.emit(found.why(run), as_json=json)


def lineage(
    id: AnyId,
    /,
    *,
    up: Annotated[bool, Parameter(negative="", help="What it came from; this is the default.")] = False,
    down: Annotated[bool, Parameter(negative="", help="What came from it.")] = False,
    depth: Annotated[int | None, Parameter(help="How many runs to follow one after the other.")] = None,
    order: Annotated[bool, Parameter(negative="", help="Also what was only waited for.")] = False,
    limit: Annotated[
        int, Parameter(help="How many of the nearest to look at; 0 for all.")
    ] = provenance_lineage.NEAREST,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """What a run, a datum or a workflow's result came from, or what came from it."""
    what = parse(id)
    directions = [True] * (up or not down) + [False] * down
    with open_store(store) as found:
        for direction in directions:
            record = provenance_lineage.trace(found.db, what, up=direction, depth=depth, order=order, limit=limit)
            output.emit(record, as_json=json)


def version(*, json: Json = False) -> None:
    """The version."""
    output.emit({"version": __version__} if json else __version__, as_json=json)
