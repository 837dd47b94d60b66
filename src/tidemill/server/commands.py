"""What clients ask for, one function per message. Each runs inside the host's transaction."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import msgspec

from tidemill.engine import hubs, submit
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.model import delta, session
from tidemill.model.errors import NotFoundError, StoreError, TidemillError, UsageError
from tidemill.model.session import (
    Attach,
    Begin,
    Begun,
    Closed,
    Command,
    Detach,
    Halt,
    Part,
    Reply,
    Seal,
    Stored,
    Watch,
    Welcome,
)
from tidemill.model.states import BlockState
from tidemill.server import orders, settling
from tidemill.server.rounds import Round
from tidemill.server.sessions import Followed, Session
from tidemill.stores.state import blocks, settings
from tidemill.stores.state.database import ContentionError

if TYPE_CHECKING:
    from tidemill.server.host import Host


class RefusedError(Exception):
    """A message cannot be done. The round is to be tried again without it.

    Attributes:
        client, message: the request.
        reply: what its client is told.
    """

    def __init__(self, client: Session, message: session.ToServer, reply: Reply) -> None:
        super().__init__(reply.message)
        self.client = client
        self.message = message
        self.reply = reply


def take_all(host: Host, turn: Turn, found: Round) -> None:
    """Do what the clients' messages of a round ask, in order.

    Raises:
        RefusedError: one of them cannot be done; it may be half done, so nothing of the transaction may happen.
        StoreError: the store cannot do it; nothing of the transaction happens.
        ContentionError: another engine was at the same rows; nothing of the transaction happens.
    """
    for client, message in found.requests:
        if client.gone:
            continue
        try:
            _take(host, turn, found, client, message)
        except (StoreError, ContentionError):
            raise
        except TidemillError as error:
            raise RefusedError(client, message, _refusal(message, error)) from error
        except (msgspec.MsgspecError, LookupError, ValueError, TypeError) as error:
            traceback.print_exc()  # into the log of the process: one client's nonsense is nobody else's end
            nonsense = UsageError(f"a message of this client makes no sense: {type(error).__name__}: {error}")
            raise RefusedError(client, message, _refusal(message, nonsense)) from error
        if isinstance(message, Part):
            host.engine.settle(turn)


def _take(host: Host, turn: Turn, found: Round, client: Session, message: session.ToServer) -> None:
    if isinstance(message, Part):
        _part(turn, found, client, message)
    elif isinstance(message, Seal):
        _followed(client, message.block)
        submit.seal(turn, message.block)
    elif isinstance(message, Begin):
        _begin(turn, found, client, message)
    elif isinstance(message, Watch):
        _watch(turn, found, client, message.block)
    elif isinstance(message, Attach):
        _attach(host, turn, found, client, message)
    elif isinstance(message, Detach):
        found.leaving.append((client, message.now))
    elif isinstance(message, Halt):
        found.halting.append((client, message))
    else:
        raise UsageError("a command comes alone")


def obey(engine: Engine, message: Command) -> tuple[Reply, Turn | None]:
    """Do what a command asks in a transaction of its own, so that one that cannot be done changes nothing.

    Raises:
        StoreError: the store cannot do it.
    """
    try:
        return engine.transact(
            lambda turn: (Reply(message.number, orders.order(turn, message.name, message.args)), turn)
        )
    except StoreError:
        raise
    except TidemillError as error:
        return _refusal(message, error), None


def _refusal(message: session.ToServer, error: TidemillError) -> Reply:
    """How a client learns that it cannot be done."""
    number = message.number if isinstance(message, (Begin, Command, Halt)) else 0
    return Reply(number, None, error.code, str(Exception.__str__(error)), error.hint)


def _followed(client: Session, block: int) -> Followed | None:
    """What a client follows; None if the block has ended meanwhile.

    Raises:
        UsageError: the client has nothing to do with this block.
    """
    if block not in client.begun:
        raise UsageError(f"block {block} was not begun in this session")
    return client.blocks.get(block)


def _part(turn: Turn, found: Round, client: Session, message: Part) -> None:
    followed = _followed(client, message.block)
    if followed is None:
        return
    submit.chunk(turn, message.block, message.seq, message.digest, delta.decode_chunk(message.body))
    followed.stored = max(followed.stored, message.seq + 1)
    found.reply(client, Stored(message.block, followed.stored))


def _attach(host: Host, turn: Turn, found: Round, client: Session, message: Attach) -> None:
    if message.version != session.VERSION:
        raise UsageError(
            f"this client speaks version {message.version} of the session protocol, the engine {session.VERSION}",
            hint="use the same version of Tidemill, or wait until the running engine has ended",
        )
    settling.agreed(host.place.state, host.objects, message.objects)
    usual = settings.get(turn.db, settings.WORKERS) if message.usual else ""
    client.workers = int(usual) if usual else message.workers
    found.paths.append(message.path)
    found.reply(client, Welcome(host.engine.id, max(client.workers, len(host.slots.all))))


def _begin(turn: Turn, found: Round, client: Session, message: Begin) -> None:
    begun = submit.begin(turn, message.key, message.name, message.header, options=message.options)
    digests = blocks.chunk_digests(turn.db, begun.block, begun.chunks) if begun.resumed else []
    found.reply(client, Begun(message.number, begun.block, begun.chunks, begun.sealed, begun.resumed, digests))
    if message.started:
        settings.put(turn.db, f"{settings.STARTED}{begun.block}", message.started)
    (found.joined if begun.resumed else found.begun).append(begun.block)
    _follow(turn, found, client, begun.block, begun.chunks, own=True)


def _watch(turn: Turn, found: Round, client: Session, block: int) -> None:
    row = blocks.get(turn.db, block)
    if row is None or row.parent is not None:
        raise NotFoundError(f"there is no workflow block {block}", hint="tidemill status lists them")
    if row.state not in (BlockState.OPEN, BlockState.CLOSING):
        found.reply(client, Closed(block, row.state))
        return
    submitted = blocks.delta(turn.db, block)
    found.joined.append(block)
    _follow(turn, found, client, block, submitted.chunks if submitted else 0)


def _follow(turn: Turn, found: Round, client: Session, block: int, stored: int, *, own: bool = False) -> None:
    row = blocks.get(turn.db, block)
    assert row is not None
    found.followers.append((client, block, Followed(row.hub, stored), own))
    if row.state == BlockState.OPEN:
        hubs.set_active(turn, row.hub, active=True)
