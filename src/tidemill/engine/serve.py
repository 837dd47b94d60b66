"""Services: runs that publish a value while they go on, for others to use, and end when the block of those has ended.

What is published belongs to its attempt. If that dies, whoever uses it waits again, with leases voided, for what the
next attempt publishes.
"""

import math

from tidemill.engine import files, flags, gathers, spread, stand, wait
from tidemill.engine.turn import DONE, Failed, Turn
from tidemill.model.delta import RunFlag
from tidemill.model.events import Kind
from tidemill.model.protocol import Failure, Out, encode
from tidemill.model.states import AttemptState, BlockState, Reason, RunState
from tidemill.stores.state import attempts, blocks, classes, data, leases, runs, serves
from tidemill.stores.state.runs import Run

FIRST = 100
"""Ready runs of a class that are looked at."""
_UNFINISHED = (BlockState.OPEN, BlockState.CLOSING)


def publish(turn: Turn, worker: int, run: int, fence: int, out: Out) -> bool:
    """A service is up: its users go on. False if the lease is not current, or it was up before."""
    lease = turn.engine.flight.get(run)
    if lease is None or leases.current(turn.db, [run]).get(run) != (fence, worker) or lease.fence != fence:
        turn.event(Kind.REFUSED, [run], actor=worker)
        return False
    if not data.publish(turn.db, lease.out, run, 0, out.size, out.digest, out.value):
        return False
    if out.objects:
        data.name_objects(turn.db, [lease.out] * len(out.objects), out.objects)
        files.note_folders(turn, [out])
    turn.event(Kind.PUBLISHED, [run], actor=worker)
    stand.arrived(turn, runs.release(turn.db, [lease.out]))
    return True


def unpublish(turn: Turn, rows: list[Run]) -> None:
    """What these runs published holds no more: its users wait again."""
    wait.wait_again(turn, wait.users(turn, rows))


def completed(turn: Turn, ids: list[int]) -> list[int]:
    """Outputs of services that have ended: those that had been published are complete; their users know them already.
    The others are left to be written.
    """
    settled = data.settle(turn.db, ids)
    if settled and turn.engine.levels:
        gathers.count_members(turn, settled)
    turn.promised += settled
    return settled


def outlived(turn: Turn, rows: list[Run]) -> list[Run]:
    """The services among these runs, which have lost their leases, that had done their work: they were up, and nobody
    needs them any more. They are complete then.
    """
    idle = {r.out: r for r in unneeded(turn, rows)}
    ended = [idle[d] for d in completed(turn, list(idle))]
    if ended:
        ids = [r.id for r in ended]
        runs.complete(turn.db, ids, [r.attempt for r in ended], [r.key for r in ended], [r.flags for r in ended])
        for r in ended:
            turn.count(r.block, DONE)
            turn.note_progress(DONE, [(r.block, r.task)])
        turn.event(Kind.COMPLETED, ids)
        turn.ended += ids
    return ended


def fallen(turn: Turn, services: list[Run]) -> None:
    """These have no lease any more, and are about to stand ready: where nobody needs them they end instead."""
    ended = {r.id for r in outlived(turn, services)}
    rest = [r for r in services if r.id not in ended]
    unpublish(turn, rest)
    spread.finish(turn, [(r, RunState.SKIPPED, 0) for r in unneeded(turn, rest)])


def unneeded(turn: Turn, rows: list[Run]) -> list[Run]:
    """The services among these runs that serve nobody any more."""
    found = [r for r in rows if r.flags & RunFlag.SERVICE]
    needed_still = serves.still_needed(turn.db, [r.id for r in found]) if found else set()
    return [r for r in found if r.id not in needed_still]


def block_closed(turn: Turn, block: int) -> None:
    """The users of services have ended, so these end: asked to where they run, else at once."""
    found = [run for _, run in serves.of_blocks(turn.db, [block])]
    release(turn, found)


def release(turn: Turn, ids: list[int]) -> None:
    """Of these services, end those that nobody needs any more."""
    needed = serves.still_needed(turn.db, ids)
    rows = runs.get(turn.db, [i for i in ids if i not in needed])
    live = [r for r in rows.values() if r.state in (runs.LIVE, runs.HELD)]
    # First off the list of what is ready: no other engine can lease them after that, and what it has leased is seen.
    stand.drop(turn, [r for r in live if r.pending <= 0])
    held = leases.current(turn.db, [r.id for r in live])
    turn.over += [(run, fence, worker) for run, (fence, worker) in held.items()]
    idle = [r for r in live if r.id not in held]
    if idle:
        gone = {r.id for r in idle}
        turn.fresh = [r for r in turn.fresh if r.id not in gone]
        unpublish(turn, idle)
        spread.finish(turn, [(r, _idle_end(r), 0) for r in idle])


def _idle_end(row: Run) -> RunState:
    return RunState.CANCELLED if row.state == runs.HELD else RunState.SKIPPED


def needed(turn: Turn, rows: list[Run]) -> list[int]:
    """The services that these runs used, and that would have to be up again for them to execute anew."""
    found: set[int] = set()
    wanted = {r.block for r in rows}
    while wanted:
        above = blocks.get_many(turn.db, sorted(wanted))
        ended = [b.id for b in above.values() if b.flags & blocks.SERVED and b.state not in _UNFINISHED]
        found.update(run for _, run in serves.of_blocks(turn.db, ended))
        wanted = {b.parent for b in above.values() if b.parent is not None}
    services = runs.get(turn.db, sorted(found)).values()
    return [r.id for r in services if r.state == RunState.COMPLETE and not r.flags & flags.SUPERSEDED]


def standing(turn: Turn, ready: list[int]) -> list[tuple[Run, set[int]]]:
    """The first ready runs of these classes, those that are services first, and the services that each uses."""
    known = turn.engine.classes
    found: list[tuple[Run, set[int]]] = []
    used: dict[int, set[int]] = {}
    for cls in sorted(ready, key=lambda c: (not known[c].service, c)):
        rows = runs.get(turn.db, classes.first(turn.db, cls, FIRST))
        for row in rows.values():
            if row.state == runs.LIVE:
                if row.block not in used:
                    used[row.block] = _used(turn, row.block)
                found.append((row, used[row.block]))
    return found


def _used(turn: Turn, block: int) -> set[int]:
    """The services that the runs of a block use."""
    above: list[int] = []
    wanted: int | None = block
    while wanted is not None:
        above.append(wanted)
        row = blocks.get(turn.db, wanted)
        wanted = None if row is None else row.parent
    return {run for _, run in serves.of_blocks(turn.db, above)}


def awaited(turn: Turn) -> bool:
    """Whether something may still happen although nothing that is ready starts: timers, work of any engine that is no
    service in use, external runs, runs that are held back, submissions that go on.
    """
    engine, db = turn.engine, turn.db
    if engine.owes or engine.next_timer < math.inf:
        return True
    leased = runs.get(db, [row[0] for row in leases.every(db)])
    states = data.states(db, [r.out for r in leased.values()])
    if any(states.get(r.out) != data.PUBLISHED for r in leased.values()):
        return True
    if len(serves.still_needed(db, list(leased))) < len(leased):
        return True
    if any(engine.hubs[hub].active for hub in blocks.unsealed_hubs(db)):
        return True
    return any(engine.hubs[hub].active for hub in runs.held_hubs(db))


def give_up(turn: Turn, row: Run, why: str) -> None:
    """End a ready run with an error: it will never fit beside the services that are up."""
    stand.drop(turn, [row])
    failure = Failure(int(Reason.NO_RESOURCES), "no resources", why)
    fence, now = row.attempt + 1, turn.now
    attempts.add(turn.db, [row.id], [fence], [0], [int(AttemptState.ERROR)], [now], [now], [None], [None])
    attempts.fail(turn.db, [(row.id, fence, failure.reason, encode(failure))])
    turn.failures.append(Failed(row.id, row.block, row.task, failure))
    spread.finish(turn, [(row._replace(attempt=fence), RunState.ERROR, 0)])
