"""What comes from outside: external runs, which nobody claims, and data that no run of the graph makes.

The token of an external run is a lease held by nobody; what happens to it is told under its fence, with an idempotency
key.
"""

from tidemill.engine import close, complete, files, keys
from tidemill.engine.complete import Answer
from tidemill.engine.lease import Leased
from tidemill.engine.turn import Dead, Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.errors import ConflictError, NotFoundError
from tidemill.model.events import Kind
from tidemill.model.protocol import Out, Outcome
from tidemill.model.states import BlockState, DatumState
from tidemill.stores.state import blocks, data, events, gathers, leases, runs

OUTSIDE = 0
"""The worker id of a token."""


def open_tokens(turn: Turn, ready: list[Ready]) -> None:
    """READY -> RUNNING for external runs: each gets a token."""
    rows = runs.get(turn.db, [r.id for r in ready])
    fences = [rows[r.id].attempt + 1 for r in ready]
    leases.add(turn.db, [r.id for r in ready], fences, [OUTSIDE] * len(ready), [turn.now] * len(ready))
    turn.event(Kind.CLAIMED, [r.id for r in ready], actor=OUTSIDE)


def token(turn: Turn, run: int) -> int | None:
    """The fence under which an external run is told of now, or None if it is not waiting to be."""
    found = leases.current(turn.db, [run]).get(run)
    return found[0] if found is not None and found[1] == OUTSIDE else None


def tell(turn: Turn, outcome: Outcome, key: str) -> Answer:
    """Hand in the outcome of an external run. The same `key` again gets the same answer and changes nothing."""
    known = events.told(turn.db, key)
    if known is not None:
        return Answer(known[0])
    if token(turn, outcome.run) == outcome.fence:
        row = runs.get(turn.db, [outcome.run])[outcome.run]
        inputs = data.inputs(turn.db, [row.id])
        found = keys.final_key(row.key, row.flags, inputs) if inputs else bytes(row.key)
        turn.engine.flight[outcome.run] = Leased(
            outcome.fence, OUTSIDE, row.task, row.block, row.out, row.cls, found, row.flags | RunFlag.NO_CACHE,
            row.tries, row.losses,
        )  # fmt: skip
    (answer,) = complete.complete(turn, OUTSIDE, [outcome])
    events.tell(turn.db, key, turn.now, bytes([answer]))
    turn.event(Kind.TOLD, [outcome.run], note=key)
    return answer


def begin_datum(turn: Turn, datum: int, key: str) -> Answer:
    """PENDING -> WRITING for a datum that is written outside.

    Raises:
        ConflictError: a run or a collection of the graph makes it.
        NotFoundError: no block has such a datum.
    """
    if (known := _heard(turn, datum, key)) is not None:
        return known
    done = data.open_writing(turn.db, [datum], [None], [0], [int(DatumState.WRITING)], [data.VALUE], [0])
    return _answer(turn, datum, key, accepted=done == 1)


def complete_datum(turn: Turn, datum: int, out: Out, key: str) -> Answer:
    """PENDING or WRITING -> COMPLETE for a datum that was written outside. The same `key` again changes nothing.

    Raises:
        ConflictError: a run or a collection of the graph makes it.
        NotFoundError: no block has such a datum.
    """
    if (known := _heard(turn, datum, key)) is not None:
        return known
    if not data.fill(turn.db, datum, out.size, out.digest, out.value):
        return _answer(turn, datum, key, accepted=False)
    if out.objects:
        data.name_objects(turn.db, [datum] * len(out.objects), out.objects)
        files.note_folders(turn, [out])
    turn.done.append(datum)
    return _answer(turn, datum, key, accepted=True)


def fail_datum(turn: Turn, datum: int, key: str, *, cause: int = 0) -> Answer:
    """PENDING or WRITING -> ERROR for a datum that nobody will write.

    Raises:
        ConflictError: a run or a collection of the graph makes it.
        NotFoundError: no block has such a datum.
    """
    if (known := _heard(turn, datum, key)) is not None:
        return known
    state = int(DatumState.ERROR)
    done = data.bury(turn.db, [datum], [None], [0], [state], [data.VALUE], [0], [cause or None])
    if done:
        turn.dead.append(Dead(datum, state, cause))
    return _answer(turn, datum, key, accepted=done == 1)


def _heard(turn: Turn, datum: int, key: str) -> Answer | None:
    """The answer that was given before; None after making sure that the datum is one to be told of."""
    known = events.told(turn.db, key)
    if known is not None:
        return Answer(known[0])
    _refuse_made(turn, datum)
    return None


def _answer(turn: Turn, datum: int, key: str, *, accepted: bool) -> Answer:
    answer = Answer.ACCEPTED if accepted else Answer.REFUSED
    events.tell(turn.db, key, turn.now, bytes([answer]))
    turn.event(Kind.TOLD, [datum], note=key)
    return answer


def _refuse_made(turn: Turn, datum: int) -> None:
    row = blocks.with_datum(turn.db, datum)
    if row is None:
        raise NotFoundError(f"no block has a datum {datum}")
    submitted = blocks.delta(turn.db, row.id)
    if submitted is not None and not submitted.sealed:
        raise ConflictError(f"block {row.id} is not submitted completely; nobody knows yet who makes datum {datum}")
    if gathers.states(turn.db, [datum]) or _maker(turn, row, datum) is not None:
        raise ConflictError(f"datum {datum} is made by the graph, not outside")


def _maker(turn: Turn, row: blocks.Block, datum: int) -> int | None:
    """The run with this output: outputs ascend with run ids, so it is found by halving."""
    low, high = row.run_lo, row.run_lo + row.run_n
    while low < high:
        mid = (low + high) // 2
        found = runs.get(turn.db, [mid]).get(mid)
        if found is None or found.out > datum:
            high = mid
        elif datum < found.out + turn.engine.ports(found.task):
            return found.id
        else:
            low = mid + 1
    return None


def end_of(turn: Turn, block: int) -> int:
    """The datum that ends when a block does, for edges that only order; complete if the block ends well.

    Raises:
        NotFoundError: there is no such block.
    """
    row = blocks.find(turn.db, block)
    if row.out is not None:
        return row.out
    out = turn.engine.reserve("datum", 1)
    blocks.set_out(turn.db, block, out)
    if row.state not in (BlockState.OPEN, BlockState.CLOSING):
        close.end_datum(turn, row.id, out, BlockState(row.state))
    return out
