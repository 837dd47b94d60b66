"""Priorities and weights. They belong to classes, so that changing them for all runs of a class touches no run; single
runs move to another class."""

from tidemill.engine import reopen, stand
from tidemill.engine.turn import Turn
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.stores.state import blocks, classes, meta, runs
from tidemill.stores.state.classes import Class

SLICE = 1000


def change_class(turn: Turn, cls: int, *, priority: int | None = None, weight: float | None = None) -> None:
    """Another priority or weight for all runs of a class, those to come included.

    Raises:
        NotFoundError: there is no such class.
        UsageError: a negative weight.
    """
    reopen.prepare(turn)
    engine = turn.engine
    engine.learn_shares()
    old = engine.classes.get(cls)
    if old is None:
        raise NotFoundError(f"there is no class {cls}")
    new = _changed(old, priority, weight)
    classes.change(turn.db, cls, new.priority, new.weight)
    engine.remember_class(new)
    meta.bump(turn.db, "shares")


def change_runs(turn: Turn, ids: list[int], *, priority: int | None = None, weight: float | None = None) -> int:
    """Another priority or weight for single runs; how many have not ended and therefore changed.

    Raises:
        UsageError: a negative weight.
    """
    reopen.prepare(turn)
    return _move(turn, ids, priority, weight)


def change_block(turn: Turn, block: int, *, priority: int | None = None, weight: float | None = None) -> int:
    """Another priority or weight for what has not ended in a block and below it; how many runs changed. For the share
    of a whole workflow against others see `hubs.set_weight`.

    Raises:
        NotFoundError: there is no such block.
        UsageError: a negative weight.
    """
    reopen.prepare(turn)
    blocks.find(turn.db, block)
    tree = {b.id: b for b in blocks.subtree(turn.db, block)}
    changed = 0
    for low, n in sorted({blocks.span(turn.db, b) for b in tree.values()}):
        at = low
        while rows := runs.live_between(turn.db, at, low + n, SLICE):
            changed += _move(turn, [r[0] for r in rows if r[1] in tree], priority, weight)
            at = rows[-1][0] + 1
    return changed


def _changed(old: Class, priority: int | None, weight: float | None) -> Class:
    if weight is not None and not weight >= 0:
        raise UsageError(f"a weight is at least 0, not {weight!r}")
    return old._replace(
        priority=old.priority if priority is None else priority, weight=old.weight if weight is None else float(weight)
    )


def _move(turn: Turn, ids: list[int], priority: int | None, weight: float | None) -> int:
    engine = turn.engine
    rows = [r for r in runs.get(turn.db, ids).values() if r.state in (runs.LIVE, runs.HELD)]
    target: dict[int, int] = {}
    for old in {r.cls for r in rows}:
        new = _changed(engine.classes[old], priority, weight)
        target[old] = engine.class_id(turn.db, new.hub, new.spec)
    moving = [r for r in rows if target[r.cls] != r.cls]
    for old in {r.cls for r in moving}:
        mine = [r.id for r in moving if r.cls == old]
        stood = stand.drop_from(turn, old, mine)
        turn.hot.setdefault(target[old], []).extend(stood)
        runs.set_class(turn.db, mine, [target[old]] * len(mine))
        for run in mine:
            if run in engine.flight:
                engine.flight[run] = engine.flight[run]._replace(cls=target[old])
    return len(rows)
