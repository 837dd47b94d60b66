"""External runs: never claimable. Their token is a lease held by nobody; what happens to them is told from outside under its fence,
with an idempotency key."""

from tidemill.engine import complete
from tidemill.engine.complete import Answer
from tidemill.engine.lease import Leased
from tidemill.engine.turn import Ready, Turn
from tidemill.model.events import Kind
from tidemill.model.protocol import Outcome
from tidemill.stores.state import events, leases, runs

OUTSIDE = 0
"""The worker id of a token."""


def open_tokens(turn: Turn, ready: list[Ready]) -> None:
    """READY -> RUNNING for external runs: each gets a token."""
    rows = runs.get(turn.db, [r.id for r in ready])
    fences = [rows[r.id].attempt + 1 for r in ready]
    leases.add(turn.db, [r.id for r in ready], fences, [OUTSIDE] * len(ready), [turn.now] * len(ready))
    turn.event(Kind.CLAIMED, [r.id for r in ready], actor=OUTSIDE)


def tell(turn: Turn, outcome: Outcome, key: str) -> Answer:
    """Hand in the outcome of an external run. The same `key` again gets the same answer and changes nothing."""
    known = events.told(turn.db, key)
    if known is not None:
        return Answer(known[0])
    current = leases.current(turn.db, [outcome.run]).get(outcome.run)
    if current == (outcome.fence, OUTSIDE):
        row = runs.get(turn.db, [outcome.run])[outcome.run]
        turn.engine.flight[outcome.run] = Leased(
            outcome.fence, OUTSIDE, row.task, row.block, row.out, row.cls, bytes(row.key), row.flags | 1, row.tries,
            row.losses,
        )  # fmt: skip
    (answer,) = complete.complete(turn, OUTSIDE, [outcome])
    events.tell(turn.db, key, turn.now, bytes([answer]))
    turn.event(Kind.TOLD, [outcome.run], note=key)
    return answer
