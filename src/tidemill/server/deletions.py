"""Deleting bytes that nobody names any more, beside the loop that serves the store: object stores may be slow.

The loop looks, in a transaction, which digests of the journal nothing names; a thread deletes their objects; in another
transaction the loop takes them off the journal. Killed anywhere in between, it is done again. What keeps this from
deleting what somebody is just putting: an object that was put since the oldest attempt under way began, or since the
oldest client came, is spared, and looked at again later.
"""

import queue
import selectors
import socket
import threading
import time
import traceback
from collections.abc import Iterable

from tidemill.engine import files as engine_files
from tidemill.engine.engine import Engine
from tidemill.engine.files import Condemned, Sentence
from tidemill.model.errors import IntegrityError, NotFoundError, TidemillError
from tidemill.stores.objects import ObjectStore, open_objects, scheme_of
from tidemill.stores.objects.dirs import is_manifest, members
from tidemill.stores.state import files

SLICE = 500
"""Digests looked at in one transaction."""
REMEMBERED = 200_000
"""Members of directories that are kept in memory, some 25 MB. Directories beyond that are read for each slice."""
AGAIN_SECONDS = 5.0
"""Between two looks at what has been spared."""
TROUBLE_SECONDS = 60.0
"""After the object store refused."""
LOCAL_MARGIN = 1.0
"""Seconds by which the age of an object may be wrong on this machine, and on another one."""
REMOTE_MARGIN = 60.0
SHARED_MARGIN = 900.0
"""Where several engines serve the store: clients of the others are not seen from here."""


class Deletions:
    """The deletions of one engine.

    Args:
        engine: of the store.
        url: of its objects.
        selector: of the loop; it is woken when a slice has been dealt with.
        margin: seconds; see `LOCAL_MARGIN`.
    """

    def __init__(self, engine: Engine, url: str, selector: selectors.BaseSelector, margin: float | None = None) -> None:
        self._engine = engine
        self._url = url
        self._margin = _margin(engine, url) if margin is None else margin
        self._done: queue.SimpleQueue[tuple[list[Condemned], bool]] = queue.SimpleQueue()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        selector.register(self._woken, selectors.EVENT_READ, self.finish)
        self._thread: threading.Thread | None = None
        self._folders: dict[bytes, frozenset[bytes]] = {}
        self._after = b""
        self._next = 0.0

    def look(self, since: float) -> None:
        """Begin with the next slice, if there is one and it is time.

        Args:
            since: seconds since the epoch; who came then may have put objects that it has not told of.
        """
        if self._thread is not None or not self._engine.journaled or time.monotonic() < self._next:
            return
        after = self._after
        found, folders = self._engine.transact(
            lambda turn: (engine_files.condemned(turn, after, SLICE), files.folders(turn.db))
        )
        self._after = found.last
        if not found.last:
            self._next = time.monotonic() + AGAIN_SECONDS
        found = found._replace(before=min(found.before, since))
        if found.condemned:
            self._thread = threading.Thread(target=self._delete, args=(found, folders), daemon=True)
            self._thread.start()
        elif not found.last:
            self._engine.transact(lambda turn: engine_files.gone(turn, []))

    def _delete(self, found: Sentence, folders: list[bytes]) -> None:
        """In the thread: nothing but objects is touched."""
        try:
            objects = open_objects(self._url)
            self._done.put((execute(objects, found, folders, self._margin, self._folders), True))
            objects.close()
        except TidemillError:
            self._done.put(([], False))
        except Exception:  # noqa: BLE001 (into the log of the process; the journal stays)
            traceback.print_exc()
            self._done.put(([], False))
        self._waker.send(b"!")

    def finish(self) -> None:
        """Take what has been deleted off the journal."""
        try:
            self._woken.recv(16)
        except BlockingIOError:
            return
        assert self._thread is not None
        self._thread.join()
        self._thread = None
        found, good = self._done.get()
        if not good:
            self._next = time.monotonic() + TROUBLE_SECONDS
        self._engine.transact(lambda turn: engine_files.gone(turn, found))

    def last(self, patience: float) -> None:
        """Before the end: what is under way and one slice more, if they take no longer than `patience` seconds."""
        deadline = time.monotonic() + patience
        self._settle(deadline)
        self._next = 0.0
        self.look(time.time())
        self._settle(deadline)

    def close(self) -> None:
        """After the last: let go of what is not in use by a deletion that takes longer."""
        if self._thread is None:
            self._woken.close()
            self._waker.close()

    def _settle(self, deadline: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
            if not self._thread.is_alive():
                self.finish()


def _margin(engine: Engine, url: str) -> float:
    local = LOCAL_MARGIN if scheme_of(url) in ("", "file") else REMOTE_MARGIN
    return local if engine.alone else max(local, SHARED_MARGIN)


def execute(
    objects: ObjectStore, found: Sentence, folders: Iterable[bytes], margin: float, known: dict[bytes, frozenset[bytes]]
) -> list[Condemned]:
    """Delete objects; those that need not be looked at again. An object that was put after it came into the journal is
    one of these: it is somebody else's, who may not have named it yet, and `gc` decides about it.

    Args:
        folders: objects that may be directories: what is in them stays.
        margin: seconds by which the age of an object may be wrong.
        known: what is in them, nothing in what is no directory, as far as that has been found out and has room.
    """
    clock = min(margin, REMOTE_MARGIN)
    margin += objects.fresh_s
    kept = _in_folders(objects, folders, {c.digest for c in found.condemned}, known)
    done = set(kept)
    groups: dict[float, list[bytes]] = {}
    for digest, since in found.condemned:
        if digest not in kept:
            groups.setdefault(min(since + clock, found.before - margin), []).append(digest)
    times = {c.digest: c.since for c in found.condemned}
    for before, digests in groups.items():
        removed = objects.delete(digests, before=before)
        left = [d for d in digests if d not in removed]
        there = objects.exists(left) if left else set()
        done |= removed | {d for d in left if d not in there or before == times[d] + clock}
    return [one for one in found.condemned if one.digest in done]


def _in_folders(
    objects: ObjectStore, folders: Iterable[bytes], wanted: set[bytes], known: dict[bytes, frozenset[bytes]]
) -> set[bytes]:
    """Those of the wanted objects that are in a directory which is stored. What is in one never changes; whether it is
    stored does.
    """
    found: set[bytes] = set()
    room = REMEMBERED - sum(map(len, known.values()))
    for digest in folders:
        inside = known.get(digest)
        try:
            if inside is None:
                inside = frozenset(members(objects, digest) if is_manifest(objects, digest) else ())
                if len(inside) <= room:
                    known[digest] = inside
                    room -= len(inside)
                found |= wanted & inside
            elif (held := wanted & inside) and objects.exists([digest]):
                found |= held
        except (NotFoundError, IntegrityError):
            continue
    return found
