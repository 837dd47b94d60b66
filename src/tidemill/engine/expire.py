"""Lifetimes of data: after their last use, when their block closes."""

from tidemill.engine.turn import Turn
from tidemill.model.events import Kind
from tidemill.stores.state import data


def block_closed(turn: Turn, block: int) -> None:
    """Data whose lifetime ends with this block expire: the value goes, the digest and the record stay."""
    gone = data.lifetimes_of(turn.db, [block])
    if gone:
        turn.engine.lifetimes -= len(gone)
        turn.event(Kind.EXPIRED, data.expire(turn.db, gone))


def runs_ended(turn: Turn, ended: list[int]) -> None:
    """Inputs of these runs that nobody waits for any more and that live only until used expire."""
    gone = data.used_up(turn.db, ended)
    if gone:
        turn.engine.lifetimes -= len(gone)
        turn.event(Kind.EXPIRED, data.expire(turn.db, gone))
