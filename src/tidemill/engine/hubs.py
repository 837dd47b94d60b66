"""Hubs: whose ready runs are given out."""

from tidemill.engine.turn import Turn
from tidemill.model.events import Kind
from tidemill.stores.state import blocks, classes


def suspend_attached(turn: Turn) -> None:
    """Work that somebody was attached to waits until it is asked for again; detached work goes on."""
    for hub in [h for h in turn.engine.hubs.values() if h.active and h.block is not None]:
        assert hub.block is not None
        row = blocks.get(turn.db, hub.block)
        if row is not None and not row.flags & blocks.DETACHED:
            set_active(turn, hub.id, active=False)


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
