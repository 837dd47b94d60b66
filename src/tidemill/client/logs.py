"""What runs print: of attempts that have ended from the store, of the one under way from the worker's own file."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidemill.model.ids import Id, run_id
from tidemill.model.states import RunState
from tidemill.provenance.find import find_run
from tidemill.server.addresses import Place
from tidemill.stores.state import attempts, blocks, leases, messages, overview, runs
from tidemill.stores.state.database import Database
from tidemill.workers import staging

POLL = 0.1
"""Seconds between two looks at a log that is being written."""


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt printed.

    Attributes:
        run: public id.
        attempt: its number.
        text: standard output and error.
        live: the attempt has not ended.
        stream: "" for what it printed, else the name of the stream that it sent.
    """

    run: str
    attempt: int
    text: str
    live: bool
    stream: str = ""


def logs(db: Database, place: Place, what: Id, attempt: int = 0) -> list[Log]:
    """What a run printed, attempt by attempt, and the streams that it sent; those that printed nothing are left out.

    Args:
        db: the store.
        place: where its workers keep their files.
        what: the run.
        attempt: only this one.

    Raises:
        NotFoundError: there is no such run.
    """
    row = find_run(db, what)
    name = run_id(row.block, row.id)
    found = [
        Log(run=name, attempt=n, text=body.decode(errors="replace"), live=False)
        for n, body in attempts.logs(db, row.id)
        if attempt in {0, n}
    ]
    held = overview.lease(db, row.id)
    if held is not None and attempt in {0, held.fence}:
        path = live_file(place, held.worker)
        text = _read(path, 0).decode(errors="replace") if path is not None else ""
        found.append(Log(run=name, attempt=held.fence, text=text, live=True))
    root = blocks.find(db, row.block).root
    found += [
        Log(run=name, attempt=n, text=text, live=False, stream=stream)
        for n, stream, text in messages.streams(db, root, row.id)
        if attempt in {0, n}
    ]
    return found


def live_file(place: Place, worker: int) -> Path | None:
    """The file into which a worker of this machine prints, None if it is not here."""
    area = place.directory / "work"
    found = [p for pool in area.glob("engine-*-*") if (p := staging.log_file(str(pool), worker)).exists()]
    return found[-1] if found else None


def follow(db: Database, place: Place, what: Id) -> Iterator[str]:
    """The output of a run as it is printed, until the run ends; an attempt that fails is followed by the next.

    Raises:
        NotFoundError: there is no such run.
    """
    row = find_run(db, what)
    told = 0
    while True:
        held = leases.current(db, [row.id]).get(row.id)
        if held is not None:
            yield from _follow_attempt(db, place, row.id, *held)
            told = held[0]
        else:
            yield from _ended(db, row.id, told)
            told = max([told, *(n for n, _ in attempts.logs(db, row.id))])
            if runs.get(db, [row.id])[row.id].state not in {RunState.LIVE, RunState.HELD}:
                return
            time.sleep(POLL)


def _follow_attempt(db: Database, place: Place, run: int, fence: int, worker: int) -> Iterator[str]:
    """One attempt: its file while it runs, and what the store has of it that was not shown."""
    path = live_file(place, worker)
    shown = b""
    while leases.current(db, [run]).get(run) == (fence, worker):
        fresh = _read(path, len(shown)) if path is not None else b""
        if fresh:
            shown += fresh
            yield fresh.decode(errors="replace")
        time.sleep(POLL)
    body = dict(attempts.logs(db, run)).get(fence, b"")
    if body.startswith(shown):
        yield body[len(shown) :].decode(errors="replace")
    elif body:
        yield "\n" + body.decode(errors="replace")


def _ended(db: Database, run: int, after: int) -> Iterator[str]:
    for n, body in attempts.logs(db, run):
        if n > after:
            yield body.decode(errors="replace")


def _read(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except OSError:
        return b""


def tail(found: list[Log], lines: int) -> list[Log]:
    """The last lines of each log."""
    if lines <= 0:
        return found
    return [msgspec.structs.replace(one, text="\n".join(one.text.splitlines()[-lines:])) for one in found]
