"""Run keys: what decides whether a result is known already.

The base key of a run is the digest of its task's digest and its argument template. A run without inputs has it as its
key; with inputs the key is the digest of the base key and the inputs' digests in port order. A run that needs n of its
m inputs has those that had come by then in its key, each with its port.
"""

from collections.abc import Iterable

from tidemill.engine.turn import Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.digest import SIZE, digest
from tidemill.stores.state import data
from tidemill.stores.state.data import InputRow

_NOTHING = bytes(SIZE)


def base_key(task_digest: bytes, args: bytes) -> bytes:
    """The base key as every front end makes it."""
    return digest(task_digest + args)


def final_key(base: bytes, flags: int, inputs: Iterable[InputRow]) -> bytes:
    """The key of a run with these ended inputs, which are in port order."""
    if flags & RunFlag.PARTIAL:
        return digest(base + b"".join([i.port.to_bytes(4, "little") + i.digest for i in inputs if i.digest]))
    return digest(base + b"".join([i.digest or _NOTHING for i in inputs]))


def of_ready(turn: Turn, ready: list[Ready]) -> list[bytes]:
    """The keys of runs with nothing pending."""
    missing = [r.id for r in ready if not r.keyed and not r.flags & RunFlag.PARTIAL]
    partial = [r for r in ready if not r.keyed and r.flags & RunFlag.PARTIAL]
    if not missing and not partial:
        return [r.key for r in ready]
    parts: dict[int, list[bytes]] = {}
    for run, found in data.input_digests(turn.db, missing) if missing else []:
        parts.setdefault(run, []).append(found or _NOTHING)
    known = _of_partial(turn, partial) if partial else {}
    return [
        known.get(r.id) or (r.key if r.keyed or r.id not in parts else digest(r.key + b"".join(parts[r.id])))
        for r in ready
    ]


def _of_partial(turn: Turn, partial: list[Ready]) -> dict[int, bytes]:
    inputs: dict[int, list[InputRow]] = {}
    for row in data.inputs(turn.db, [r.id for r in partial]):
        inputs.setdefault(row.run, []).append(row)
    return {r.id: final_key(r.key, r.flags, inputs.get(r.id, [])) for r in partial}
