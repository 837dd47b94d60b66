"""Stopping the work of others: of all clients, or of those that follow some blocks. Stopping is not cancelling: leases
go back, nothing is marked, and whoever was attached is told who did it."""

import msgspec

from tidemill.engine import hubs
from tidemill.engine.turn import Turn
from tidemill.model import session
from tidemill.server.desk import Desk
from tidemill.server.sessions import Session
from tidemill.stores.state import settings, workers

_request = msgspec.json.Decoder(session.Halt).decode


def halt(desk: Desk, client: Session | None, message: session.Halt) -> None:
    """Stop work, and if other engines serve the store, leave word for them; `client` is told when it is done here."""
    engine = desk.engine
    # also those that another engine has closed already: their runs may still be here
    mine = {
        h.id for h in engine.hubs.values() if h.block is not None and (not message.blocks or h.block in message.blocks)
    }
    active = {hub for hub in mine if engine.hubs[hub].active}
    if message.now:
        desk.crew.stop_now(mine)
    else:
        desk.crew.drain(mine)
    engine.transact(lambda turn: _close(turn, active, message if client is not None else None))
    leaving = [s for s in desk.sessions if s is not client and s.halting is None and _concerned(s, message.blocks)]
    desk.drop_parts(leaving)
    for other in leaving:
        other.leaving, other.halted = True, message.who
    if client is not None:
        client.halting = (message.number, len(active), mine)


def hear(desk: Desk) -> None:
    """Do what another engine was asked for and has left word of."""
    name = f"{settings.HALT}{desk.engine.id}"
    word = settings.get(desk.engine.db, name)
    if word:
        desk.engine.transact(lambda turn: settings.put(turn.db, name, ""))
        halt(desk, None, _request(word))


def _concerned(client: Session, blocks: list[int]) -> bool:
    """Whether all that a client does is to be stopped."""
    return not blocks or (bool(client.blocks) and client.blocks.keys() <= set(blocks))


def _close(turn: Turn, chosen: set[int], message: session.Halt | None) -> None:
    """Nothing of these hubs is given out any more, here and by other engines."""
    for hub in chosen:
        hubs.set_active(turn, hub, active=False)
    if message is None or turn.engine.alone:
        return
    for other in workers.engines(turn.db):
        if other.id != turn.engine.id:
            settings.put(turn.db, f"{settings.HALT}{other.id}", msgspec.json.encode(message).decode())
