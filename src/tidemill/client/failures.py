"""What failed and why: the report a user sees, from the rows."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

import msgspec

from tidemill.client import details, views
from tidemill.client.details import Argument, AttemptInfo
from tidemill.client.naming import store_option
from tidemill.model.errors import RunFailedError
from tidemill.model.ids import run_id
from tidemill.model.preview import duration
from tidemill.provenance.meaning import Specs, meanings
from tidemill.provenance.walk import Walk
from tidemill.stores.state import attempts, blocks, lineage, overview
from tidemill.stores.state.database import Database

SHOWN = 3
"""Failures reported in full."""

MOST = 1000
"""Failures looked at where some are in contained blocks."""

LOG_LINES = 10
"""Last lines of the log that are shown."""


class FailureReport(msgspec.Struct, frozen=True, kw_only=True):
    """One failed run.

    Attributes:
        id, task: as everywhere.
        kind, message: the exception, "exit code 3", ….
        traceback: user frames only, or "".
        arguments: what it was given.
        log: the last lines that it printed.
        attempts: every try.
        scratch: its directory, if that was kept.
        because_of: the run that it failed because of, "" for its own failure.
        contained: it failed in a contained block, so that the workflow did not fail because of it.
        command: runs this step alone in a terminal.
    """

    id: str
    task: str
    kind: str
    message: str
    traceback: str
    arguments: list[Argument]
    log: list[str]
    attempts: list[AttemptInfo]
    scratch: str
    because_of: str
    command: str
    contained: bool = False

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _lines(self) -> Iterator[str]:
        yield f"✗ {self.task} (run {self.id})" + (", in a contained block" if self.contained else "")
        if self.because_of:
            yield f"  because of run {self.because_of}"
        elif self.kind:
            yield f"  {self.kind}: {self.message}"
        if self.traceback:
            yield from _indented(self.traceback.rstrip().splitlines(), 2)
        if self.arguments:
            yield "  inputs:"
            yield from _indented(views.fields((a.port, _with_source(a)) for a in self.arguments).splitlines(), 4)
        if self.log:
            yield "  last lines it printed:"
            yield from _indented(self.log, 4)
        if len(self.attempts) > 1:
            yield f"  {len(self.attempts)} attempts:"
            yield from _indented(map(_tried, self.attempts), 4)
        if self.scratch:
            yield f"  its directory was kept: {self.scratch}"
        yield f"  run it alone, here: {self.command}"


def _indented(lines: Iterable[str], by: int) -> Iterator[str]:
    for line in lines:
        yield " " * by + line


def _with_source(argument: Argument) -> str:
    return argument.value + (f"  ← {', '.join(argument.sources)}" if argument.sources else "")


def _tried(a: AttemptInfo) -> str:
    where = f" on {a.worker}@{a.host}" if a.worker else ""
    took = f" after {duration(a.seconds)}" if a.seconds is not None else ""
    return f"{a.number}. {a.state}{took}{where}{': ' + a.error if a.error else ''}"


def error_of(db: Database, store: str, block: int) -> RunFailedError:
    """The error for a root block that ended with failures: the first of them in full."""
    row = blocks.get(db, block)
    assert row is not None
    failed = [f for f in failures(db, store, block, SHOWN) if not f.contained]
    parts = [str(f) for f in failed]
    more = row.failed - len(failed)
    if more > 0:
        parts.append(f"… and {more} more: tidemill list --state error --block {block}{store_option(store)}")
    what = f"{row.failed} of {row.total} runs failed" + (f", {row.skipped} skipped" if row.skipped else "")
    return RunFailedError(
        f"{row.name}: {what}\n\n" + "\n\n".join(parts),
        run=failed[0].id if failed else "",
        report="\n\n".join(parts),
    )


def without_result(db: Database, store: str, block: int, cause: int) -> RunFailedError:
    """The error for a root block that did not fail, though a part of its result has no value because of run `cause`."""
    row = blocks.get(db, block)
    assert row is not None
    why = report(db, store, cause)
    return RunFailedError(
        f"{row.name} has no result: what it returns needs {why.task} (run {why.id}), which has none\n\n{why}",
        run=why.id,
        report=str(why),
        hint='a task with on_error="run" and on_skipped="run" gets None in its place, and may return something else',
    )


def failures(db: Database, store: str, block: int, limit: int = SHOWN) -> list[FailureReport]:
    """The first runs of a workflow that failed by themselves; those in contained blocks come last."""
    found = blocks.get(db, block)
    aside = overview.contained(db, found.root) if found is not None else set()
    rows = overview.listed(db, state="error", own=True, block=block, limit=MOST if aside else limit)
    rows = sorted(rows, key=lambda r: r.block in aside)[:limit]
    return [msgspec.structs.replace(report(db, store, r.id), contained=r.block in aside) for r in rows]


def report(db: Database, store: str, run: int) -> FailureReport:
    """One failed run: what, why, inputs, the last lines it printed, attempts, and the command that runs it alone."""
    meaning = meanings(db, Specs(db), [run])[run]
    row = meaning.run
    failure = details.last_failure(db, run)
    cause = row.cause if row.cause not in {None, run} else None
    heads = lineage.heads(db, [cause]) if cause is not None else {}
    number = run_id(row.block, run)
    return FailureReport(
        id=number,
        task=meaning.spec.name,
        kind=failure.kind if failure is not None else "",
        message=failure.message if failure is not None else "",
        traceback=failure.traceback if failure is not None else "",
        arguments=details.describe_arguments(db, meaning, Walk(db, order=False)),
        log=_last_lines(db, run),
        attempts=details.attempt_infos(db, run),
        scratch=failure.scratch if failure is not None else "",
        because_of=run_id(heads[cause].block, cause) if cause in heads else "",
        command=f"tidemill debug {number}{store_option(store)}",
    )


def _last_lines(db: Database, run: int) -> list[str]:
    logs = attempts.logs(db, run)
    return logs[-1][1].decode(errors="replace").rstrip().splitlines()[-LOG_LINES:] if logs else []
