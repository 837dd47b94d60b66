"""Deleting what is stored: what finished workflows hold, or a whole store. Only what is the store's own is deleted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidemill.client import queries
from tidemill.client.helpers import remove_tree
from tidemill.client.queries import answers
from tidemill.model.errors import NotFoundError, StoreBusyError, StoreFullError, TidemillError
from tidemill.model.states import BlockState
from tidemill.server.addresses import LOG, Place
from tidemill.server.lock import FILE as LOCK
from tidemill.server.lock import StoreLock
from tidemill.stores.state import drop, overview, schema
from tidemill.stores.state import place as places
from tidemill.stores.state.open import FILE, open_database, shown
from tidemill.stores.state.postgres import PostgresDatabase

if TYPE_CHECKING:
    from tidemill.client.store import Store

_STATE = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal")
_PARTS: dict[str, re.Pattern[str]] = {
    "work": re.compile(r"engine-\d+-\d+"),
    "files": re.compile(r"[0-9a-f]{16}"),
    "objects": re.compile(r"[0-9a-f]{2}|tmp|users|refs|pack\.db(-\w+)?|pack\.lock|lock"),
}
"""Directories of a store, and the names in them that are its own."""

_ENDING = 15.0
"""Seconds in which an engine ends that has nothing more to do."""
_AGAIN = 0.02
_ENDED = (BlockState.COMPLETE, BlockState.ERROR, BlockState.CANCELLED)
_LAST = 1 << 62
_PAGE = 1000


class Destroyed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of deleting a store.

    Attributes:
        store: its address.
        found: whether there was anything of it.
        kept: files in its directory that are not its own, and are still there.
        objects: where objects of it were left, because that is not in the store; "" if nowhere.
    """

    store: str
    found: bool
    kept: list[str]
    objects: str

    def __str__(self) -> str:
        if not self.found:
            return f"there is no store in {self.store}"
        lines = [f"deleted the store {self.store}"]
        if self.kept:
            lines.append(f"kept what is not its own: {', '.join(self.kept[:5])}{', …' * (len(self.kept) > 5)}")
        if self.objects:
            lines.append(f"its objects are elsewhere and were left: {self.objects}")
        return "\n".join(lines)


def destroy(place: Place) -> Destroyed:
    """Delete a store, whole, half deleted or damaged, while nobody serves it. Once more does no harm.

    Raises:
        StoreBusyError: somebody works on it.
        StoreFullError: something cannot be deleted.
    """
    objects = "" if not _exists(place) else _elsewhere(place)
    found = _drop(place) if not place.alone else False
    directory = place.directory
    if not _marked(directory) and (place.alone or not directory.exists()):
        return Destroyed(store=shown(place.state), found=found, kept=[], objects=objects)
    lock = StoreLock(directory)
    try:
        if not _taken(lock, place):
            raise StoreBusyError(f"somebody works on the store {shown(place.state)}", hint="tidemill kill ends that")
        try:
            kept = _empty(directory)
        except OSError as error:
            raise StoreFullError(f"{error.filename} cannot be deleted: {error.strerror}") from error
    finally:
        lock.release()
    return Destroyed(store=shown(place.state), found=True, kept=kept, objects=objects)


def _taken(lock: StoreLock, place: Place) -> bool:
    """Take the lock; an engine that serves nobody any more is waited for."""
    deadline = time.monotonic() + _ENDING
    while not lock.take():
        if answers(place) or time.monotonic() > deadline:
            return False
        time.sleep(_AGAIN)
    return True


def _marked(directory: Path) -> bool:
    """Whether a directory is that of a store, or of what is left of one: the lock goes last."""
    return (directory / FILE).is_file() or (directory / LOCK).is_file()


def _exists(place: Place) -> bool:
    return not place.alone or _marked(place.directory)


def _elsewhere(place: Place) -> str:
    """Where the objects of a store are if they are not in it, as far as that can be read."""
    with suppress(TidemillError), closing(open_database(place.state, read_only=True)) as db:
        return shown(places.read(db).objects or "")
    return ""


def _drop(place: Place) -> bool:
    """Drop the tables of a store in PostgreSQL; whether there were any.

    Raises:
        StoreBusyError: an engine serves it.
    """
    with closing(PostgresDatabase(place.state)) as db:
        if not schema.version(db):
            drop.drop(db)  # what is left, if a table is missing
            return False
        if queries.served(place, db):
            raise StoreBusyError(f"somebody works on the store {shown(place.state)}", hint="tidemill kill ends that")
        drop.drop(db)
        return True


def _empty(directory: Path) -> list[str]:
    """Delete what is the store's own, the state last but for the lock; what else there is."""
    for name, own in _PARTS.items():
        part = directory / name
        if part.is_dir() and not part.is_symlink():
            for entry in list(part.iterdir()):
                if own.fullmatch(entry.name):
                    remove_tree(entry)
            with suppress(OSError):
                part.rmdir()
    for name in (*_STATE, Path(LOG).name, "engine.sock", LOCK):
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if not p.is_dir() or p.is_symlink())


# ------------------------------------------------------------------------------------------------------------- cleaning


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """What came of cleaning up.

    Attributes:
        blocks: the workflows whose results were deleted.
        runs: how many runs those were.
        bytes: that were freed.
        dry_run: nothing was deleted.
    """

    blocks: list[int]
    runs: int
    bytes: int
    dry_run: bool

    def __str__(self) -> str:
        if not self.blocks:
            return "there is nothing to clean up"
        would = "would delete" if self.dry_run else "deleted"
        return f"{would} {self.runs:,} runs of {len(self.blocks):,} workflows: {', '.join(map(str, self.blocks))}"


def ended(store: Store, *, older: float = 0.0, states: tuple[BlockState, ...] = _ENDED) -> Iterator[int]:
    """Workflows that have ended so, at least `older` seconds ago, and whose results have not been deleted."""
    until = time.time() - older
    before = _LAST
    while page := overview.roots(store.db, before, _PAGE):
        before = page[-1].id
        for row in page:
            if row.state in states and (row.t_close or 0.0) <= until and _holds(store, row.id):
                yield row.id


def _holds(store: Store, block: int) -> bool:
    """Whether anything of a workflow is left to be deleted."""
    return any(
        bool(overview.listed(store.db, state=s, block=block, limit=1)) for s in ("complete", "error", "cancelled")
    )


def clean(store: Store, blocks: list[int], *, grace: float, dry_run: bool = False) -> Cleaned:
    """Delete the results of workflows that have ended, and then the bytes that nothing needs any more. What ran, when
    and from what stays on record; results that other workflows reuse stay with these.

    Args:
        store: where.
        blocks: root blocks.
        grace: seconds; bytes that are younger stay.
        dry_run: change nothing.

    Raises:
        ConflictError: a workflow has not ended, or what it made is needed by one that has not.
        NotFoundError: there is no such workflow.
    """
    runs = sum(queries.status(store.db, store.place, store.url, block=block).blocks[0].total for block in blocks)
    if dry_run or not blocks:
        return Cleaned(blocks=blocks, runs=runs, bytes=0, dry_run=dry_run)
    answer = store.command("delete", blocks=blocks)
    deleted = int(answer["runs"]) if isinstance(answer, dict) else 0
    store.close()
    try:
        freed = store.gc(grace=grace).object_bytes
    except NotFoundError:
        freed = 0
    return Cleaned(blocks=blocks, runs=deleted, bytes=freed, dry_run=False)
