"""Standing ready: where runs with nothing pending wait for a claim, in the turn's hot lists and in the table."""

from tidemill.engine import flags
from tidemill.engine.turn import Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.stores.state import classes, runs
from tidemill.stores.state.runs import Fresh, Run


def arrived(turn: Turn, rows: list[Fresh], *, again: bool = False) -> None:
    """Take the runs whose last input has come from those that were counted down; `again`: even those that had it
    before.
    """
    partial: list[Fresh] = []
    fresh = turn.fresh
    for row in rows:
        if row.pending > 0 or row.state != runs.LIVE:
            continue
        if row.flags & RunFlag.PARTIAL:
            if again or not row.flags & flags.STARTED:
                partial.append(row)
            continue
        fresh.append(Ready(row.id, bytes(row.key), row.cls, row.flags, row.task, not row.flags & flags.HAS_INPUTS))
    if partial:
        runs.set_flags(turn.db, [r.id for r in partial], [r.flags | flags.STARTED for r in partial])
        fresh += [Ready(r.id, bytes(r.key), r.cls, r.flags | flags.STARTED, r.task, False) for r in partial]


def queue(turn: Turn, ready: list[tuple[int, int, int]]) -> None:
    """Runs (id, class, flags) join the turn's hot lists; what no claim takes in this turn goes to the table."""
    hot = turn.hot
    for run, cls, _ in ready:
        found = hot.get(cls)
        if found is None:
            hot[cls] = [run]
        else:
            found.append(run)
    several = [run for run, _, bits in ready if bits & flags.SEVERAL_HUBS]
    if several:
        for run, cls in classes.actions(turn.db, several):
            hot.setdefault(cls, []).append(run)


def also(turn: Turn, pairs: list[tuple[Run, int]]) -> set[int]:
    """Let runs stand in further classes from now on, too; those of the runs that did not yet."""
    engine = turn.engine
    known = set(classes.actions(turn.db, sorted({row.id for row, _ in pairs})))
    new = {(row.id, cls): row for row, cls in pairs if (row.id, cls) not in known}
    if not new:
        return set()
    classes.act(turn.db, *zip(*new, strict=True))
    rows = {row.id: row for row in new.values()}
    runs.set_flags(turn.db, list(rows), [row.flags | flags.SEVERAL_HUBS for row in rows.values()])
    per_class: dict[int, list[int]] = {}
    for row in rows.values():
        per_class.setdefault(row.cls, []).append(row.id)
        if row.id in engine.flight:
            engine.flight[row.id] = engine.flight[row.id]._replace(flags=row.flags | flags.SEVERAL_HUBS)
    ready = {run for cls, ids in per_class.items() for run in standing(turn, cls, ids)}
    for run, cls in new:
        if run in ready:
            turn.hot.setdefault(cls, []).append(run)
    return set(rows)


def standing(turn: Turn, cls: int, ids: list[int]) -> set[int]:
    """Which of these runs stand in a class, in this turn's list or in the table."""
    return set(turn.hot.get(cls, [])).intersection(ids).union(classes.stand_in(turn.db, cls, ids))


def spill(turn: Turn) -> None:
    """Put what became ready and was not claimed into the table."""
    if not turn.hot:
        return
    engine = turn.engine
    counts = engine.ready
    cls_column: list[int] = []
    run_column: list[int] = []
    for cls, ids in turn.hot.items():
        if not ids:
            continue
        ids.sort()
        cls_column += [cls] * len(ids)
        run_column += ids
        counts[cls] = counts.get(cls, 0) + len(ids) if engine.alone else 1
    if cls_column:
        classes.stand(turn.db, cls_column, run_column)
        classes.notify(turn.db)
        engine.spilled = True
    turn.hot = {}


def taken(turn: Turn, cls: int, n: int) -> None:
    """`n` runs no longer stand in a class's table."""
    engine = turn.engine
    if engine.alone:
        engine.ready[cls] = max(0, engine.ready.get(cls, 0) - n)


def drop(turn: Turn, rows: list[Run]) -> dict[int, list[int]]:
    """Take runs out of wherever they stand ready: class -> those that stood there."""
    pairs = [(r.cls, r.id) for r in rows]
    several = [r.id for r in rows if r.flags & flags.SEVERAL_HUBS]
    if several:
        pairs += [(cls, run) for run, cls in classes.actions(turn.db, several)]
    per_class: dict[int, list[int]] = {}
    for cls, run in pairs:
        per_class.setdefault(cls, []).append(run)
    return {cls: found for cls, ids in per_class.items() if (found := drop_from(turn, cls, ids))}


def drop_from(turn: Turn, cls: int, ids: list[int]) -> list[int]:
    """Take runs off one class; those that stood there, in this turn's list or in the table."""
    wanted = set(ids)
    hot = turn.hot.get(cls, [])
    found = [run for run in hot if run in wanted]
    if found:
        turn.hot[cls] = [run for run in hot if run not in wanted]
    stood = classes.stand_in(turn.db, cls, ids)
    if stood:
        taken(turn, cls, classes.drop(turn.db, [cls] * len(stood), stood))
    return sorted({*found, *stood})
