"""Deleting objects that nothing points to.

What makes this safe beside running writers: an object becomes young again whenever it is put, and a delete spares
what is young at that moment. So bytes that are put are kept for the grace time at least, which is what their writer
has to commit the row that points to them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

import msgspec

from tidemill.model.digest import Digest
from tidemill.model.errors import NotFoundError
from tidemill.stores.objects.dirs import members
from tidemill.stores.objects.interface import ObjectStore, Stored

_SLICE = 1000
"""Objects asked about and deleted together."""

Live = Callable[[list[Digest]], Collection[Digest]] | Iterable[Digest]


class GcReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `collect` did, or would do.

    Attributes:
        count, bytes: objects deleted.
        live, live_bytes: objects that something points to.
        young, young_bytes: objects that nothing points to (yet), kept since they were put within the grace time.
        leftovers, leftover_bytes: unfinished files of killed writers, removed.
        lost: manifests of live directories that are not in the store, so that nothing can be said about their members.
        dry_run: nothing was changed.
    """

    count: int = 0
    bytes: int = 0
    live: int = 0
    live_bytes: int = 0
    young: int = 0
    young_bytes: int = 0
    leftovers: int = 0
    leftover_bytes: int = 0
    lost: tuple[Digest, ...] = ()
    dry_run: bool = False


def collect(
    store: ObjectStore,
    live: Live,
    *,
    grace_s: float,
    now: float,
    dirs: Iterable[Digest] = (),
    dry_run: bool = False,
) -> GcReport:
    """Delete what is not live and was last put more than `grace_s` seconds ago.

    Args:
        store: where to delete.
        live: the digests to keep, or a function that is given a list of digests and returns those of them to keep. A
            function is asked a thousand at a time, after they were listed and right before they are deleted.
        grace_s: must be longer than any writer takes from its put to the commit of what points to the object. With 0,
            nobody may be writing.
        now: seconds since the epoch, by the clock of the machine that holds the store.
        dirs: those live digests that are manifests of directories: their members are live as well.
        dry_run: change nothing and report what would be done.

    Raises:
        IntegrityError: if one of `dirs` is not a manifest; nothing has been deleted then.
    """
    before = now - grace_s - (store.fresh_s if grace_s else 0.0)
    keep, lost = _expand(store, dirs)
    if not callable(live):
        keep.update(live)
    counts = {"count": 0, "bytes": 0, "live": 0, "live_bytes": 0, "young": 0, "young_bytes": 0}

    def count(name: str, objects: list[Stored]) -> None:
        counts[name] += len(objects)
        counts["bytes" if name == "count" else f"{name}_bytes"] += sum(one.size for one in objects)

    for part in _slices(store.list()):
        alive = keep.intersection(one.digest for one in part)
        if callable(live):
            alive.update(live([one.digest for one in part]))
        count("live", [one for one in part if one.digest in alive])
        dead = [one for one in part if one.digest not in alive]
        old = {one.digest for one in dead if one.mtime < before}
        gone = old if dry_run else store.delete(old, before)
        count("count", [one for one in dead if one.digest in gone])
        count("young", [one for one in dead if one.digest not in gone])
    leftovers, leftover_bytes = store.tidy(before, dry_run)
    return GcReport(**counts, leftovers=leftovers, leftover_bytes=leftover_bytes, lost=lost, dry_run=dry_run)


def _expand(store: ObjectStore, dirs: Iterable[Digest]) -> tuple[set[Digest], tuple[Digest, ...]]:
    """The manifests and their members, and the manifests that are not there."""
    keep: set[Digest] = set()
    lost = []
    for digest in dirs:
        keep.add(digest)
        try:
            keep |= members(store, digest)
        except NotFoundError:
            lost.append(digest)
    return keep, tuple(lost)


def _slices(objects: Iterator[Stored]) -> Iterator[list[Stored]]:
    while part := list(islice(objects, _SLICE)):
        yield part
