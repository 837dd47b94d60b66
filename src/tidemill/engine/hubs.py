"""Hubs: whose ready runs are given out."""

from tidemill.engine import flags, reopen, reuse, stand
from tidemill.engine.turn import Turn
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.events import Kind
from tidemill.stores.state import blocks, classes, memo, meta, runs
from tidemill.stores.state.classes import Hub
from tidemill.stores.state.database import Database
from tidemill.stores.state.runs import Run

NOWHERE = "nowhere"


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
    meta.bump(turn.db, "shares")
    engine.hubs[hub] = known._replace(active=int(active))
    turn.event(Kind.ACTIVATED if active else Kind.SUSPENDED, [hub])
    if active:
        engine.stale_hubs.add(hub)
    if engine.follows:
        _look_after_equals(turn, hub)


def _look_after_equals(turn: Turn, hub: int) -> None:
    """Runs that wait for equal ones go on when a hub opens or closes.

    Runs of a hub that closes stand by with those that wait for them. Who waits for a run of a suspended workflow that
    grew, or that waits itself, goes on without it: it grows the same, and finds what is done already.
    """
    engine = turn.engine
    pairs = memo.following(turn.db, hub)
    rows = runs.get(turn.db, sorted({leader for _, leader, _ in pairs}))
    reuse.stand_by(turn, [(leader, cls) for _, leader, cls in pairs])
    wanted = {leader for _, leader, cls in pairs if engine.hubs[engine.classes[cls].hub].active}
    stuck = [leader for leader in sorted(wanted) if rows[leader].state == runs.COMPLETE or rows[leader].pending > 0]
    stuck = [leader for leader in stuck if not reuse.reachable(turn, leader)]
    engine.index.forget(stuck)
    reuse.leaders_ended(turn, stuck)


def set_weight(turn: Turn, hub: int, weight: float) -> None:
    """Another share of the workers' attention for a hub; no run is touched.

    Raises:
        NotFoundError: there is no such hub.
        UsageError: a negative weight.
    """
    known = _get(turn, hub)
    if not weight >= 0:
        raise UsageError(f"a weight is at least 0, not {weight!r}")
    classes.set_weight(turn.db, hub, float(weight))
    meta.bump(turn.db, "shares")
    turn.engine.hubs[hub] = known._replace(weight=float(weight))


def create(turn: Turn, name: str, weight: float = 1.0) -> int:
    """A hub of its own, on which runs of any workflow can be actioned; its id.

    Raises:
        UsageError: a negative weight.
    """
    if not weight >= 0:
        raise UsageError(f"a weight is at least 0, not {weight!r}")
    return turn.engine.add_hub(turn, name, None, float(weight))


def action(turn: Turn, ids: list[int], hub: int, weight: float = 1.0) -> int:
    """Let runs also be claimed through a hub, with a weight there; how many have not ended.

    Raises:
        NotFoundError: there is no such hub.
        UsageError: a negative weight.
    """
    reopen.prepare(turn)
    _get(turn, hub)
    if not weight >= 0:
        raise UsageError(f"a weight is at least 0, not {weight!r}")
    engine = turn.engine
    rows = [r for r in runs.get(turn.db, ids).values() if r.state in (runs.LIVE, runs.HELD)]
    _forget_actions(turn, rows, hub)
    for r in rows:
        own = engine.classes[r.cls]
        cls = engine.class_id(turn.db, hub, own._replace(weight=float(weight)).spec)
        stand.also(turn, [(r, cls)])
    return len(rows)


def withdraw(turn: Turn, ids: list[int], hub: int) -> int:
    """Take runs off a hub, which changes no status; how many were on it. A run on no hub waits until it is actioned
    again.

    Raises:
        NotFoundError: there is no such hub.
    """
    reopen.prepare(turn)
    _get(turn, hub)
    rows = [r for r in runs.get(turn.db, ids).values() if r.state in (runs.LIVE, runs.HELD)]
    mine = [r for r in rows if turn.engine.classes[r.cls].hub == hub]
    taken = _forget_actions(turn, rows, hub) | {r.id for r in mine}
    for r in mine:
        _leave_own(turn, r)
    if taken and turn.engine.follows:
        _look_after_equals(turn, hub)
    return len(taken)


def _get(turn: Turn, hub: int) -> Hub:
    if hub not in turn.engine.hubs:
        turn.engine.learn_shares()
    known = turn.engine.hubs.get(hub)
    if known is None:
        raise NotFoundError(f"there is no hub {hub}")
    return known


def _forget_actions(turn: Turn, rows: list[Run], hub: int) -> set[int]:
    """Take runs off the further classes of a hub; those that stood or would have stood there."""
    several = [r.id for r in rows if r.flags & flags.SEVERAL_HUBS]
    pairs = [(run, cls) for run, cls in classes.actions(turn.db, several) if turn.engine.classes[cls].hub == hub]
    for run, cls in pairs:
        stand.drop_from(turn, cls, [run])
        classes.withdraw(turn.db, [run], [cls])
    return {run for run, _ in pairs}


def _leave_own(turn: Turn, row: Run) -> None:
    """The class that a run has by birth becomes one of its further classes, or one of the hub that nobody claims
    from.
    """
    engine = turn.engine
    stood = stand.drop_from(turn, row.cls, [row.id])
    further = sorted(cls for _, cls in classes.actions(turn.db, [row.id]))
    own = engine.classes[row.cls]
    if further:
        cls = further[0]
        classes.withdraw(turn.db, [row.id], [cls])
    else:
        cls = engine.class_id(turn.db, _nowhere(turn), own.spec)
    runs.set_class(turn.db, [row.id], [cls])
    if row.id in engine.flight:
        engine.flight[row.id] = engine.flight[row.id]._replace(cls=cls)
    if stood and row.id not in stand.standing(turn, cls, [row.id]):
        turn.hot.setdefault(cls, []).append(row.id)


def _nowhere(turn: Turn) -> int:
    """The hub of runs that were withdrawn from all others: never active."""
    engine = turn.engine
    engine.learn_shares()
    known = [h.id for h in engine.hubs.values() if h.name == NOWHERE]
    return known[0] if known else engine.add_hub(turn, NOWHERE, None, 0.0, active=False)
