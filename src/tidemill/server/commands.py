"""What clients ask for, one function per message. Each runs inside the host's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.engine import control, hubs, submit
from tidemill.engine.turn import Turn
from tidemill.model import delta, session
from tidemill.model.errors import NotFoundError, TidemillError, UsageError
from tidemill.model.session import (
    Attach,
    Begin,
    Begun,
    Closed,
    Command,
    Detach,
    Part,
    Reply,
    Seal,
    Stored,
    Watch,
    Welcome,
)
from tidemill.model.states import BlockState
from tidemill.server.sessions import Followed, Session
from tidemill.stores.state import blocks

if TYPE_CHECKING:
    from tidemill.server.host import Host

After = list[tuple[Session, session.ToClient]]


def take(host: Host, turn: Turn, client: Session, message: session.ToServer, after: After) -> None:
    """Do what a message asks; replies go to `after` and are sent once the transaction is durable.

    Raises:
        TidemillError: it cannot be done; nothing else of the transaction is affected.
    """
    if isinstance(message, Part):
        followed = client.blocks.get(message.block)
        if followed is None:
            raise UsageError(f"block {message.block} was not begun in this session")
        submit.chunk(turn, message.block, message.seq, message.digest, delta.decode_chunk(message.body))
        followed.stored = max(followed.stored, message.seq + 1)
        after.append((client, Stored(message.block, followed.stored)))
    elif isinstance(message, Seal):
        submit.seal(turn, message.block)
    elif isinstance(message, Begin):
        _begin(host, turn, client, message, after)
    elif isinstance(message, Watch):
        _watch(host, turn, client, message.block, after)
    elif isinstance(message, Attach):
        _attach(host, client, message, after)
    elif isinstance(message, Detach):
        host.leaving.append((client, message.now))
    else:
        after.append((client, Reply(message.number, _command(turn, message))))


def refusal(message: session.ToServer, error: TidemillError) -> Reply:
    """How a client learns that it cannot be done."""
    number = message.number if isinstance(message, (Begin, Command)) else 0
    return Reply(number, None, error.code, str(Exception.__str__(error)), error.hint)


def _attach(host: Host, client: Session, message: Attach, after: After) -> None:
    if message.version != session.VERSION:
        raise UsageError(
            f"this client speaks version {message.version} of the session protocol, the engine {session.VERSION}",
            hint="use the same version of Tidemill, or wait until the running engine has ended",
        )
    host.wanted.append((message.workers, message.path))
    after.append((client, Welcome(host.engine.id, max(message.workers, len(host.slots.all)))))


def _begin(host: Host, turn: Turn, client: Session, message: Begin, after: After) -> None:
    begun = submit.begin(turn, message.key, message.name, message.header, options=message.options)
    digests = blocks.chunk_digests(turn.db, begun.block, begun.chunks) if begun.resumed else []
    after.append((client, Begun(message.number, begun.block, begun.chunks, begun.sealed, begun.resumed, digests)))
    _follow(host, turn, client, begun.block, begun.chunks, fresh=not begun.resumed)


def _watch(host: Host, turn: Turn, client: Session, block: int, after: After) -> None:
    row = blocks.get(turn.db, block)
    if row is None or row.parent is not None:
        raise NotFoundError(f"there is no workflow block {block}", hint="tidemill status lists them")
    if row.state not in (BlockState.OPEN, BlockState.CLOSING):
        after.append((client, Closed(block, row.state)))
        return
    submitted = blocks.delta(turn.db, block)
    _follow(host, turn, client, block, submitted.chunks if submitted else 0, fresh=False)


def _follow(host: Host, turn: Turn, client: Session, block: int, stored: int, *, fresh: bool) -> None:
    row = blocks.get(turn.db, block)
    assert row is not None
    client.blocks[block] = Followed(row.hub, stored, bool(row.flags & blocks.DETACHED))
    host.board.open(block, fresh=fresh)
    if row.state == BlockState.OPEN:
        hubs.set_active(turn, row.hub, active=True)


def _command(turn: Turn, message: Command) -> object:
    args = message.args
    if message.name == "cancel":
        done = []
        for block in _ints(args.get("blocks")):
            control.cancel_block(turn, block)
            done.append(block)
        n = control.cancel_runs(turn, _ints(args.get("runs")), 0, running=True) if args.get("runs") else 0
        return {"blocks": done, "runs": n}
    if message.name == "retry":
        return {"runs": control.retry(turn, _ints(args.get("runs")))}
    raise UsageError(f"there is no command {message.name!r}")


def _ints(value: object) -> list[int]:
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(v, int) for v in value):
        return value
    raise UsageError(f"expected a list of ids, got {value!r}")
