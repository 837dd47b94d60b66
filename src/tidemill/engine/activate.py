"""Activation: what became complete wakes its consumers; what has nothing pending is reused or queued."""

from tidemill.engine import (
    close,
    control,
    expire,
    external,
    gathers,
    grow,
    keys,
    reuse,
    revive,
    serve,
    serve_again,
    spread,
    stand,
)
from tidemill.engine.turn import Ready, Turn
from tidemill.model.delta import RunFlag
from tidemill.stores.state import data, queues, runs

DEAD_SLICE = 2000
"""Ends without a value told in one turn; the rest waits in a durable queue."""


def settle(turn: Turn) -> None:
    """Work off the turn's lists until none is left."""
    told = 0
    while True:
        if turn.done:
            found, turn.done = turn.done, []
            release(turn, found)
        elif turn.hear:
            hear, turn.hear = turn.hear, []
            spread.tell_runs(turn, hear)
        elif turn.unwanted:
            unwanted, turn.unwanted = turn.unwanted, []
            control.cancel_runs(turn, unwanted, 0, running=False)
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
        elif turn.revive:
            revive.go_on(turn)
        elif turn.arming:
            revive.arm(turn)
        elif turn.unserved:
            unserved, turn.unserved = turn.unserved, []
            serve_again.serve_again(turn, unserved)
        elif turn.stop:
            stop, turn.stop = turn.stop, []
            for block, cause in dict(stop[::-1]).items():
                control.stop_after_failure(turn, block, cause)
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
    stand.arrived(turn, runs.release(turn.db, found))
    if engine.levels:
        gathers.count_members(turn, found)
    if engine.forwards:
        complete_forwards(turn, found)


def complete_forwards(turn: Turn, targets: list[int]) -> None:
    """Data that were promised as these targets, of which some may be named twice, become aliases of them."""
    links = data.forwarded(turn.db, list(dict.fromkeys(targets)))
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
    turn.ended += {f.run for f in links} - data.runs_with_promises(turn.db, sorted({f.run for f in links}))


def decide(turn: Turn, ready: list[Ready]) -> None:
    """Reuse what is known, let equal runs wait for one another, queue the rest."""
    outside = [r for r in ready if r.flags & RunFlag.EXTERNAL]
    if outside:
        external.open_tokens(turn, outside)
        ready = [r for r in ready if not r.flags & RunFlag.EXTERNAL]
    rest = reuse.settle_known(turn, ready, keys.of_ready(turn, ready))
    stand.queue(turn, [(r.id, r.cls, r.flags) for r in rest])
    services = [r.id for r in rest if r.flags & RunFlag.SERVICE]
    if services:
        serve.release(turn, services)  # those that serve nobody
