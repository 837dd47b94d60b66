"""Collecting garbage: stored bytes that nothing points to, directories that dead engines and failed runs left."""

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidemill.client import views
from tidemill.launchers.local import ALIVE
from tidemill.model.delta import decode_chunk
from tidemill.model.digest import Digest, parse
from tidemill.model.errors import ConfigError, NotFoundError, UsageError
from tidemill.model.preview import size_text
from tidemill.server.deletions import REMOTE_MARGIN
from tidemill.stores.objects import USERS, ObjectStore, collect, local_path, scheme_of, shown
from tidemill.stores.objects.dirs import is_manifest
from tidemill.stores.state import blocks, data, files, names, overview
from tidemill.stores.state.database import Database
from tidemill.stores.state.open import FILE
from tidemill.workers.staging import remove

GRACE = 24 * 3600.0
"""Seconds for which what nothing points to is kept: what is being written must get its row in that time."""

_WHOLE_LOG = re.compile(rb"the whole log is (blake3:[0-9a-f]{64})")
_LONG_LOG = 32_000
"""Bytes; logs that were shortened are longer than this."""

_KEPT = re.compile(r"\d+\.\d+")


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted, or would be.

    Attributes:
        objects, object_bytes: stored bytes that nothing points to.
        live, live_bytes: what is in use.
        young, young_bytes: not in use, but written within the grace time, or since the oldest attempt under way began.
        directories, directory_bytes: of attempts.
        kept: directories of failed runs that are younger than the grace time.
        missing: directories named by results whose manifests are not in the store.
        dry_run: nothing was changed.
    """

    objects: int
    object_bytes: int
    live: int
    live_bytes: int
    young: int
    young_bytes: int
    directories: int
    directory_bytes: int
    kept: int
    missing: int
    dry_run: bool

    def __str__(self) -> str:
        word = "would be deleted" if self.dry_run else "deleted"
        rows = [
            (f"objects {word}", self.objects, size_text(self.object_bytes)),
            (f"directories {word}", self.directories, size_text(self.directory_bytes)),
            ("objects in use", self.live, size_text(self.live_bytes)),
            ("objects kept for now", self.young, size_text(self.young_bytes)),
            ("directories of failed runs kept", self.kept, ""),
            ("objects that are missing", self.missing, ""),
        ]
        shown = [row for row in rows if row[1]]
        return (
            str(views.Table(["", "number", "size"], shown, numbers=(1, 2))) if shown else "there is nothing to delete"
        )

    def __repr__(self) -> str:
        return str(self)


def refuse_shared(objects: ObjectStore, store: str, directory: Path) -> None:
    """Make sure that nobody else keeps objects in a place: all but our own would look like garbage.

    Args:
        objects: the place.
        store: our store's name.
        directory: our store's own.

    Raises:
        ConfigError: somebody else does.
    """
    where = shown(objects.url)
    others = {name: about for name, about in objects.users().items() if name != store}
    if others:
        told = ", ".join(about or name for name, about in others.items())
        files = ", ".join(f"{USERS}/{name}" for name in others)
        raise ConfigError(
            f"{where} has objects of other stores too, which must not be collected from here: {told}",
            hint=f"use a place of its own for each store; if one of these is gone, delete {files} there",
        )
    if scheme_of(objects.url) in ("", "file"):
        above = Path(os.path.realpath(local_path(objects.url))).parent
        if (above / FILE).exists() and above != Path(os.path.realpath(directory)):
            raise ConfigError(
                f"{where} is inside of another store, whose objects must not be collected from here",
                hint="use a place of its own for each store",
            )


def collect_garbage(
    db: Database,
    objects: ObjectStore,
    directory: Path,
    *,
    grace: float = GRACE,
    dry_run: bool = False,
    served: bool = False,
    now: float | None = None,
) -> Collected:
    """Delete what nothing points to.

    Args:
        db: the state, for reading.
        objects: where the bytes are.
        directory: the store's own, with the workers' files.
        grace: seconds; what is younger stays. So does what was written since the oldest attempt under way began: it may
            be that attempt's, which tells of it at its end. With 0 nobody may be working, and that is not looked at.
        dry_run: change nothing.
        served: whether somebody is working on the store.
        now: seconds since the epoch.

    Raises:
        UsageError: a grace time of 0 while the store is being worked on, or a negative one.
    """
    if grace < 0 or (grace == 0 and served):
        raise UsageError(
            "the grace time must be positive while somebody works on the store", hint="for example: --grace 1h"
        )
    now = time.time() if now is None else now
    # Before it is seen what is live: an attempt that ends in between has named what it wrote by then.
    spared = max(grace, _under_way(db, now)) if grace else 0.0
    live = live_digests(db)
    found = collect(
        objects, live, grace_s=spared, now=now, dirs=[d for d in live if _is_manifest(objects, d)], dry_run=dry_run
    )
    gone, kept = _directories(db, directory / "work", now - grace)
    size = sum(_size(path) for path in gone)
    if not dry_run:
        for path in gone:
            remove(path)
    return Collected(
        objects=found.count + found.leftovers,
        object_bytes=found.bytes + found.leftover_bytes,
        live=found.live,
        live_bytes=found.live_bytes,
        young=found.young,
        young_bytes=found.young_bytes,
        directories=len(gone),
        directory_bytes=size,
        kept=kept,
        missing=len(found.lost),
        dry_run=dry_run,
    )


# -------------------------------------------------------------------------------------------------------------- objects


def _under_way(db: Database, now: float) -> float:
    """For how many seconds the oldest attempt under way may have been putting objects."""
    oldest = files.oldest_lease(db) if files.known(db) else None
    return 0.0 if oldest is None else now - oldest + REMOTE_MARGIN


def live_digests(db: Database) -> set[Digest]:
    """Everything that a result, an argument, a file that tasks wrote, a name or a log points to."""
    live = data.live_objects(db) | names.live(db)
    if files.known(db):
        live |= files.live(db)
    for body in overview.long_logs(db, _LONG_LOG):
        live.update(parse(found.decode()) for found in _WHOLE_LOG.findall(body))
    for block in overview.unfinished(db):
        seq = 0
        while (stored := blocks.chunk(db, block, seq)) is not None:
            if stored[1] is not None:
                live.update(decode_chunk(bytes(stored[1])).objects)
            seq += 1
    return live


def _is_manifest(objects: ObjectStore, digest: Digest) -> bool:
    """Whether an object is the manifest of a directory. A file that begins like one only keeps more alive."""
    try:
        return is_manifest(objects, digest)
    except NotFoundError:
        return False


# ---------------------------------------------------------------------------------------------------------- directories


def _directories(db: Database, work: Path, before: float) -> tuple[list[Path], int]:
    """What of the workers' directories nobody needs, and how many directories of failed runs stay."""
    gone: list[Path] = []
    kept = 0
    stopped = set(overview.stopped_engines(db))
    for pool in sorted(work.glob("engine-*-*")):
        mine = [p for p in pool.iterdir() if _KEPT.fullmatch(p.name)] if pool.is_dir() else []
        old = [p for p in mine if _changed(p) < before]
        kept += len(mine) - len(old)
        if _engine_of(pool) not in stopped or _in_use(pool):
            gone += old
        elif len(old) == len(mine):
            gone.append(pool)
        else:
            gone += [p for p in pool.iterdir() if p not in mine or p in old]
    return gone, kept


def _engine_of(pool: Path) -> int:
    number = pool.name.split("-")[1]
    return int(number) if number.isdigit() else 0


def _in_use(pool: Path) -> bool:
    """Whether a process of the pool still lives."""
    try:
        descriptor = os.open(pool / ALIVE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _changed(path: Path) -> float:
    """When a directory or anything right in it was last written."""
    return max([path.stat().st_mtime, *(p.lstat().st_mtime for p in path.iterdir())])


def _size(path: Path) -> int:
    return sum(found.st_size for found in _stats(path) if stat.S_ISREG(found.st_mode))


def _stats(path: Path) -> Iterator[os.stat_result]:
    for root, _, found in os.walk(path):
        for name in found:
            try:
                yield os.lstat(os.path.join(root, name))
            except OSError:
                continue
