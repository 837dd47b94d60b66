"""Reading collections: members in slices, so that nobody holds a million values in one message."""

import msgspec

from tidemill.model.errors import NotFoundError
from tidemill.model.protocol import Input
from tidemill.model.states import DatumState
from tidemill.stores.state import data, gathers
from tidemill.stores.state.database import Database

unpack = msgspec.msgpack.Decoder(list[int]).decode


def members(db: Database, gather: int, first: int, count: int) -> list[Input]:
    """Members `first … first+count-1` of a complete collection, in order; those without a value are empty inputs.

    Raises:
        NotFoundError: there is no such collection, or a member has no value any more.
    """
    ids = member_ids(db, gather, first, count)
    rows = data.get(db, ids)
    sources = data.get(db, [d.src for d in rows.values() if d.src and d.value is None])
    gone = [r.id for r in (*rows.values(), *sources.values()) if r.state in data.GONE]
    if gone:
        raise NotFoundError(f"datum {gone[0]} in collection {gather} has no value any more")
    return [_input(rows.get(i), sources) for i in ids]


def member_ids(db: Database, gather: int, first: int, count: int) -> list[int]:
    """The data that are members `first … first+count-1`.

    Raises:
        NotFoundError: there is no such collection.
    """
    head = data.get(db, [gather]).get(gather)
    if head is not None and head.value is not None:
        return unpack(head.value)[first : first + count]
    found: list[int] = []
    at = 0
    stretches = gathers.stretches(db, gather)
    if not stretches and gathers.get(db, gather) is None:
        raise NotFoundError(f"there is no collection {gather}")
    for s in stretches:
        if at + s.n > first and at < first + count:
            low, high = max(0, first - at), min(s.n, first + count - at)
            found += range(s.lo + low * s.step, s.lo + (high - 1) * s.step + 1, s.step)
        at += s.n
    return found


def _input(row: data.Datum | None, sources: dict[int, data.Datum]) -> Input:
    if row is None or row.state != DatumState.COMPLETE or row.digest is None:
        return Input(None, b"")
    if row.kind == data.GATHER:
        return Input(None, row.digest, row.size, row.src or row.id)
    value = row.value
    if value is None and row.src and row.src in sources:
        value = sources[row.src].value
    return Input(value, row.digest, row.size)
