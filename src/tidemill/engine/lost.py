"""Objects that a worker did not find in the object store: the data that they belong to are lost, and made again."""

from tidemill.engine import expire, gathers_read
from tidemill.engine.turn import Turn
from tidemill.stores.state import data, gathers

SLICE = 10_000
"""Members of a collection looked at together."""


def lose_inputs(turn: Turn, run: int, digests: list[bytes]) -> bool:
    """Mark those inputs of a run as lost that are one of these objects or name one; whether there are any.

    Who makes them executes again before the run starts anew.
    """
    wanted = set(digests)
    found: list[int] = []
    collections = _look(turn, [row.datum for row in data.inputs(turn.db, [run])], wanted, found)
    seen: set[int] = set()
    while collections:
        gather = collections.pop()
        if gather not in seen:
            seen.add(gather)
            collections += _members(turn, gather, wanted, found)
    return bool(expire.lose(turn, sorted(set(found))))


def _members(turn: Turn, gather: int, wanted: set[bytes], found: list[int]) -> list[int]:
    size = sum(s.n for s in gathers.stretches(turn.db, gather)) or data.get(turn.db, [gather])[gather].size
    collections: list[int] = []
    for first in range(0, size, SLICE):
        collections += _look(turn, gathers_read.member_ids(turn.db, gather, first, SLICE), wanted, found)
    return collections


def _look(turn: Turn, ids: list[int], wanted: set[bytes], found: list[int]) -> list[int]:
    """Add to `found` which of these data are meant, with the data that hold their values; the collections among
    them.
    """
    rows = [r for r in data.get(turn.db, ids).values() if r.state == data.COMPLETE]
    held = {r.id: r.src or r.id for r in rows if r.kind == data.VALUE}
    named: dict[int, set[bytes]] = {}
    for datum, digest in data.objects_named(turn.db, sorted({*held, *held.values()})):
        named.setdefault(datum, set()).add(bytes(digest))
    for r in rows:
        if r.kind == data.VALUE:
            inside = named.get(r.id, set()) | named.get(held[r.id], set())
            if wanted & inside or (r.value is None and r.digest is not None and bytes(r.digest) in wanted):
                found += {r.id, held[r.id]}
    return [r.src or r.id for r in rows if r.kind == data.GATHER]
