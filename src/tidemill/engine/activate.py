"""Activation: what became complete wakes its consumers; what has nothing pending is reused or queued."""

from tidemill.engine import close, control, expire, external, flags, gathers, grow, reuse, spread
from tidemill.engine.turn import Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.digest import SIZE, digest
from tidemill.stores.state import classes, data, queues, runs
from tidemill.stores.state.runs import Fresh

DEAD_SLICE = 2000
"""Ends without a value told in one turn; the rest waits in a durable queue."""

_NOTHING = bytes(SIZE)


def settle(turn: Turn) -> None:
    """Work off the turn's lists until none is left."""
    told = 0
    while True:
        if turn.done:
            found, turn.done = turn.done, []
            release(turn, found)
        elif turn.promised:
            targets, turn.promised = turn.promised, []
            complete_forwards(turn, targets)
        elif turn.ended:
            ended, turn.ended = turn.ended, []
            runs_ended(turn, ended)
        elif turn.regrow:
            again, turn.regrow = turn.regrow, []
            for one in again:
                grow.again(turn, one.run, one.block, one.out, one.source)
        elif turn.fresh:
            ready, turn.fresh = turn.fresh, []
            decide(turn, ready)
        elif turn.dead:
            dead, turn.dead = turn.dead[:DEAD_SLICE], turn.dead[DEAD_SLICE:]
            told += len(dead)
            if told > DEAD_SLICE:
                rest = dead + turn.dead
                turn.dead = []
                queues.doom(turn.db, *zip(*rest, strict=True))
                turn.engine.doomed = True
            else:
                spread.tell(turn, dead)
        elif turn.stop:
            stop, turn.stop = turn.stop, []
            for block in stop:
                control.stop_after_failure(turn, block)
        elif turn.counts:
            counts, turn.counts = turn.counts, {}
            close.count(turn, counts)
        else:
            return


def runs_ended(turn: Turn, ended: list[int]) -> None:
    """Runs whose outputs have ended: who waited for an equal key goes on; inputs that nobody needs any more expire."""
    engine = turn.engine
    engine.index.forget(ended)
    if engine.follows:
        reuse.leaders_ended(turn, ended)
    if engine.lifetimes:
        expire.runs_ended(turn, ended)


def release(turn: Turn, found: list[int]) -> None:
    """Count down everything that waits for these complete data."""
    engine = turn.engine
    arrived(turn, runs.release(turn.db, found))
    if engine.levels:
        gathers.count_members(turn, found, failed=False)
    if engine.forwards:
        complete_forwards(turn, found)


def arrived(turn: Turn, rows: list[Fresh]) -> None:
    """Take the runs whose last input has come from those that were counted down."""
    partial: list[Fresh] = []
    fresh = turn.fresh
    for row in rows:
        if row.pending > 0 or row.state != runs.LIVE:
            continue
        if row.flags & RunFlag.PARTIAL:
            if not row.flags & flags.STARTED:
                partial.append(row)
            continue
        fresh.append(Ready(row.id, bytes(row.key), row.cls, row.flags, row.task, not row.flags & flags.HAS_INPUTS))
    if partial:
        runs.set_flags(turn.db, [r.id for r in partial], [r.flags | flags.STARTED for r in partial])
        fresh += [Ready(r.id, bytes(r.key), r.cls, r.flags | flags.STARTED, r.task, False) for r in partial]


def complete_forwards(turn: Turn, targets: list[int]) -> None:
    """Data that were promised as these targets become aliases of them."""
    links = data.forwarded(turn.db, targets)
    if not links:
        return
    turn.engine.forwards -= len(links)
    found = data.get(turn.db, [f.target for f in links], values=False)
    columns = [
        (f.datum, f.run, f.port, data.COMPLETE, d.kind, d.size, d.src or d.id, d.digest)
        for f in links
        if (d := found.get(f.target)) is not None
    ]
    data.alias(turn.db, *zip(*columns, strict=True))
    turn.done += [c[0] for c in columns]
    turn.ended += {f.run for f in links}


def keys_of(turn: Turn, ready: list[Ready]) -> list[bytes]:
    """The run keys: base key and the digests of the inputs, in port order."""
    missing = [r.id for r in ready if not r.keyed]
    if not missing:
        return [r.key for r in ready]
    parts: dict[int, list[bytes]] = {}
    for run, found in data.input_digests(turn.db, missing):
        parts.setdefault(run, []).append(found or _NOTHING)
    return [r.key if r.keyed or r.id not in parts else digest(r.key + b"".join(parts[r.id])) for r in ready]


def decide(turn: Turn, ready: list[Ready]) -> None:
    """Reuse what is known, let equal runs wait for one another, queue the rest."""
    outside = [r for r in ready if r.flags & RunFlag.EXTERNAL]
    if outside:
        external.open_tokens(turn, outside)
        ready = [r for r in ready if not r.flags & RunFlag.EXTERNAL]
    rest = reuse.settle_known(turn, ready, keys_of(turn, ready))
    queue(turn, rest)


def queue(turn: Turn, ready: list[Ready]) -> None:
    """Ready runs join the turn's hot lists; what no claim takes in this turn goes to the table."""
    hot = turn.hot
    for r in ready:
        found = hot.get(r.cls)
        if found is None:
            hot[r.cls] = [r.id]
        else:
            found.append(r.id)
    several = [r.id for r in ready if r.flags & flags.SEVERAL_HUBS]
    if several:
        for run, cls in classes.actions(turn.db, several):
            hot.setdefault(cls, []).append(run)


def spill(turn: Turn) -> None:
    """Put what became ready and was not claimed into the table."""
    if not turn.hot:
        return
    counts = turn.engine.ready
    cls_column: list[int] = []
    run_column: list[int] = []
    for cls, ids in turn.hot.items():
        ids.sort()
        cls_column += [cls] * len(ids)
        run_column += ids
        counts[cls] = counts.get(cls, 0) + len(ids)
    if cls_column:
        classes.stand(turn.db, cls_column, run_column)
        classes.notify(turn.db)
    turn.hot = {}
