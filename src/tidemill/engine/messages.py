"""What attempts tell their workflow, recorded in the order in which it comes in.

What an attempt has said stays said: also what it says while its lease is being taken back, and what failed attempts
said. Only what names no attempt that ever was is dropped.
"""

from tidemill.engine.files import text
from tidemill.engine.turn import Turn
from tidemill.model.protocol import Note
from tidemill.stores.state import messages, meta, runs
from tidemill.stores.state.messages import Message


def take(turn: Turn, notes: list[Note]) -> list[Message]:
    """Record what attempts say; what was recorded."""
    rows = runs.get(turn.db, sorted({n.run for n in notes}))
    real = [n for n in notes if n.run in rows and 0 < n.fence <= rows[n.run].attempt + 1]
    if not real:
        return []
    first = _reserve(turn, len(real))
    found = [
        Message(
            i, turn.engine.facts(turn.db, rows[n.run].block).root, n.run, n.fence, n.t, n.level, text(n.stream),
            text(n.text),
        )
        for i, n in enumerate(real, first)
    ]  # fmt: skip
    messages.add(turn.db, found)
    return found


def _reserve(turn: Turn, count: int) -> int:
    """Ids that ascend in the order of commits, whoever commits: readers go by them."""
    if turn.engine.alone:
        return turn.engine.reserve("message", count)
    return meta.take(turn.db, "message", count)  # its row is locked until the commit


def seen(turn: Turn, reader: str, root: int, before: int, to: int) -> bool:
    """A reader takes the messages behind `before` up to `to`; False if it has been given some of them meanwhile."""
    return messages.move(turn.db, text(reader), root, before, to)
