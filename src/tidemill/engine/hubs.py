"""Hubs: whose ready runs are given out."""

from tidemill.engine.turn import Turn
from tidemill.model.events import Kind
from tidemill.stores.state import classes


def suspend_all(turn: Turn) -> None:
    """Attached work waits until somebody asks for it again."""
    engine = turn.engine
    found = [h.id for h in engine.hubs.values() if h.active]
    for hub in found:
        set_active(turn, hub, active=False)


def set_active(turn: Turn, hub: int, *, active: bool) -> None:
    """Open or close a hub for claims; its ready runs stay where they are."""
    engine = turn.engine
    known = engine.hubs[hub]
    if bool(known.active) == active:
        return
    classes.set_active(turn.db, hub, active)
    engine.hubs[hub] = known._replace(active=int(active))
    if active:
        engine.stale_hubs.add(hub)
    turn.event(Kind.ACTIVATED if active else Kind.SUSPENDED, [hub])
