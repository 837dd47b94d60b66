"""Services come up again where their users do: a block of users that had ended is open again."""

from tidemill.engine import cone, flags, forget, retry, supersede, wait
from tidemill.engine.turn import Turn
from tidemill.engine.void import void
from tidemill.model.states import RunState
from tidemill.stores.state import leases, runs, serves
from tidemill.stores.state.runs import Run


def serve_again(turn: Turn, reopened: list[int]) -> None:
    """Whoever served these blocks had been told that it is over, or had ended already.

    One that has ended is superseded together with all its users, for each of them may need what the others did to it.
    One that is still coming down is taken its lease, and starts anew. One that failed or was cancelled of itself stays
    as it is: it is the root cause of what its users become.
    """
    found = sorted({run for _, run in serves.of_blocks(turn.db, sorted(set(reopened)))})
    rows = [r for r in runs.get(turn.db, found).values() if not r.flags & flags.SUPERSEDED]
    _start_anew(turn, [r for r in rows if r.state == runs.LIVE])
    skipped = [r for r in rows if r.state == RunState.SKIPPED and r.cause == r.id]
    outdated = forget.Outdated()
    forget.enqueue(turn, skipped, outdated)
    supersede.renew(turn, outdated)
    complete = [r for r in rows if r.state in (RunState.COMPLETE, RunState.INVALID)]
    if complete:
        supersede.supersede(turn, cone.find(turn, complete, [], {}, forced={r.id for r in complete}))


def _start_anew(turn: Turn, rows: list[Run]) -> None:
    held = leases.current(turn.db, [r.id for r in rows])
    down = [r for r in rows if r.id in held]
    if down:
        void(turn, down, held)
        wait.wait_again(turn, wait.users(turn, down))
        retry.requeue(turn, [r.id for r in down])
