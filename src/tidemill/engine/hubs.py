"""Hubs: whose ready runs are given out."""

from tidemill.engine.turn import Turn
from tidemill.model.events import Kind
from tidemill.stores.state import blocks, classes
from tidemill.stores.state.database import Database


def suspend_attached(turn: Turn) -> None:
    """Work that somebody was attached to waits until it is asked for again; detached work goes on."""
    for hub in [h for h in turn.engine.hubs.values() if h.active and h.block is not None]:
        assert hub.block is not None
        if not goes_alone(turn.db, hub.block):
            set_active(turn, hub.id, active=False)


def goes_alone(db: Database, block: int) -> bool:
    """Whether a root block is worked on with nobody attached: it is detached, and all of it is submitted."""
    row, submitted = blocks.get(db, block), blocks.delta(db, block)
    return row is not None and submitted is not None and bool(row.flags & blocks.DETACHED and submitted.sealed)


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
