"""Who serves a store, and having them stop."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from tidemill.client import queries, views
from tidemill.client.connection import connect
from tidemill.model import session
from tidemill.model.errors import StoreBusyError
from tidemill.server.addresses import Place
from tidemill.server.lock import held
from tidemill.stores.state import blocks as block_rows
from tidemill.stores.state import workers
from tidemill.stores.state.database import Database
from tidemill.workers.identity import Identity, alive, identity

if TYPE_CHECKING:
    from tidemill.client.store import Store

PATIENCE = 5.0
"""Seconds in which an engine must answer who wants it to stop at once, before its process is killed."""
ENDING = 15.0
"""Seconds in which engines end that have nothing more to do."""
_AGAIN = 0.02


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A process that serves a store.

    Attributes:
        id: its registration in the store.
        host, pid: which process it is.
        since: when it was started, seconds since the epoch; None where that cannot be seen from here.
        workers: worker processes that it has.
    """

    id: int
    host: str
    pid: int
    since: float | None
    workers: int

    def __str__(self) -> str:
        since = f" since {views.moment(self.since)}" if self.since else ""
        return f"engine {self.id}: process {self.pid} on {self.host}{since}, {self.workers} workers"


def engines(db: Database, place: Place) -> list[EngineInfo]:
    """The processes that serve a store now: one at most, except on PostgreSQL."""
    found = _serving(db, place)
    beside = workers.executors(db, [w.id for w in found])
    return [
        EngineInfo(
            id=w.id, host=w.host, pid=w.pid, since=_since(w), workers=sum(one.parent == w.id for one in beside)
        )
        for w in found
    ]  # fmt: skip


def _serving(db: Database, place: Place) -> list[workers.Worker]:
    found = workers.engines(db)
    if place.alone:
        return found[-1:] if queries.served(place, db) else []
    now = time.time()
    return [w for w in found if w.deadline > now]


def _since(w: workers.Worker) -> float | None:
    import psutil

    with suppress(psutil.Error, ProcessLookupError):
        if _who(w).beside(identity()):
            return float(psutil.Process(w.pid).create_time())
    return None


def _who(w: workers.Worker) -> Identity:
    return Identity(w.host, w.boot, w.space, w.pid, w.start)


# ------------------------------------------------------------------------------------------------------------- stopping


class Halted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of stopping work.

    Attributes:
        served: whether anybody served the store.
        workflows: how many had work under way here.
        killed: the engine did not answer, and its process was killed.
        ended: nobody serves the store any more.
    """

    served: bool
    workflows: int
    killed: bool
    ended: bool

    def __str__(self) -> str:
        if not self.served:
            return "nobody works on this store"
        what = "killed the engine, which did not answer" if self.killed else f"stopped {self.workflows} workflows"
        return what + ("" if self.ended else "; the store is still served")


def halt(store: Store, blocks: list[int], *, now: bool = False) -> Halted:
    """Stop work, whoever is attached to it, and wait until it has stopped. Nothing is marked: `resume` goes on.

    Args:
        store: where.
        blocks: only these workflows; all of them, and the engine itself, if empty.
        now: stop what runs at once, instead of letting it end.

    Raises:
        NotFoundError: there is no store, or no such workflow.
        StoreBusyError: the engine does not answer; with `now`, and if its process can be seen from here, it is killed.
    """
    for block in blocks:
        block_rows.find(store.db, block)
    if not queries.served(store.place, store.db):
        return Halted(served=False, workflows=0, killed=False, ended=True)
    count, killed = 0, False
    try:
        count = _ask(store.place, blocks, now=now)
    except StoreBusyError:
        if not now or not _kill(_serving(store.db, store.place)):
            raise
        killed = True
    return Halted(served=True, workflows=count, killed=killed, ended=not blocks and _wait(store))


def _ask(place: Place, blocks: list[int], *, now: bool) -> int:
    connection = connect(place, patience=PATIENCE)
    try:
        connection.welcome()
        number = connection.next_number()
        connection.send(session.Halt(number, blocks, now, _me()))
        answer = connection.wait_for(lambda m: isinstance(m, session.Reply) and m.number == number)
    finally:
        connection.close()
    return int(answer["stopped"]) if isinstance(answer, dict) else 0


def _me() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()} (tidemill kill)"


def _kill(found: list[workers.Worker]) -> bool:
    """Kill engines whose processes are here beyond doubt; whether there was one. Their workers end by themselves."""
    here = identity()
    mine = [w for w in found if _who(w).beside(here) and w.start and alive(_who(w))]
    for w in mine:
        with suppress(ProcessLookupError):
            os.kill(w.pid, signal.SIGKILL)
    return bool(mine)


def _wait(store: Store) -> bool:
    """Whether all engines end; they do, once their last client has gone."""
    deadline = time.monotonic() + ENDING
    place = store.place
    while queries.served(place, store.db) or (place.alone and held(place.directory)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_AGAIN)
    return True
