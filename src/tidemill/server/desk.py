"""The desk: the host's side towards its clients. Who is there, what they asked for and have not been heard on, what
they are told, and what becomes of their work when they go."""

import contextlib
import selectors
import socket
from collections import deque
from pathlib import Path

import msgspec

from tidemill.engine import hubs
from tidemill.engine.engine import Engine
from tidemill.engine.turn import Turn
from tidemill.model import session
from tidemill.model.errors import EngineLostError, StoreError
from tidemill.server import addresses
from tidemill.server.crew import Crew
from tidemill.server.progress import Board
from tidemill.server.sessions import Session
from tidemill.server.slots import Slots
from tidemill.workers.wire import Channel

PARTS = 32
"""Chunks taken in one transaction while there are no workers; while there are, it is one."""
PARTS_APART = 4
"""The same where several engines serve the store: they are kept apart from each other while one takes submissions."""


class Desk:
    """The clients of a host.

    Args:
        engine: of the store.
        crew, slots: the workers, whose runs may have to be stopped and are counted for displays.
        selector: the host's; clients' channels are registered with their session as data.

    Attributes:
        sessions: clients that are attached.
        requests: their messages that have not been dealt with.
        board: counters of what they follow.
    """

    def __init__(self, engine: Engine, crew: Crew, slots: Slots, selector: selectors.BaseSelector) -> None:
        self.engine = engine
        self.crew = crew
        self.slots = slots
        self.board = Board(engine)
        self.sessions: list[Session] = []
        self.requests: deque[tuple[Session, session.ToServer]] = deque()
        self._selector = selector
        self._listener: socket.socket | None = None

    def listen(self, path: str) -> None:
        """Accept clients on a Unix socket."""
        self._listener = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(FileNotFoundError):
            Path(path).unlink()
        try:
            with addresses.reachable(path) as address:
                self._listener.bind(address)
        except OSError as error:
            raise StoreError(f"no socket for clients can be made at {path}: {error.strerror}") from error
        self._listener.listen(16)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Accept nobody any more."""
        if self._listener is not None:
            self._listener.close()

    def add_client(self, sock: socket.socket) -> None:
        """A connected client."""
        found = Session(Channel(sock))
        self.sessions.append(found)
        self._selector.register(found.channel, selectors.EVENT_READ, found)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.add_client(self._listener.accept()[0])

    def receive(self, client: Session) -> None:
        """Take in what a client has sent."""
        client.channel.flush()
        frames = client.channel.receive()
        if frames is None:
            self.lost(client)
            return
        try:
            for frame in frames:
                self._ask(client, session.decode_to_server(frame))
        except msgspec.MsgspecError:
            text = "a message of this client was not understood: it is another version of Tidemill than the engine"
            client.tell(session.Reply(0, None, EngineLostError.code, text, "wait until the running engine has ended"))
            self.lost(client)
            return
        self.watch_writes(client.channel, client)

    def _ask(self, client: Session, message: session.ToServer) -> None:
        if isinstance(message, session.Detach):
            self.drop_parts([client])
        self.requests.append((client, message))

    def drop_parts(self, leaving: list[Session]) -> None:
        """Who leaves will hand in the rest when it comes back, and does not want to wait for it now."""
        self.requests = deque(
            (c, m) for c, m in self.requests if c not in leaving or not isinstance(m, (session.Part, session.Seal))
        )

    def take_requests(self) -> list[tuple[Session, session.ToServer]]:
        """What clients ask for, up to the next command: of submissions a slice, or more while there are no workers that
        would wait for it.
        """
        taken: list[tuple[Session, session.ToServer]] = []
        parts = PARTS if not self.slots.all else 1 if self.engine.alone else PARTS_APART
        while self.requests and not isinstance(self.requests[0][1], session.Command):
            if isinstance(self.requests[0][1], session.Part):
                if not parts:
                    break
                parts -= 1
            taken.append(self.requests.popleft())
        return taken

    def watch_writes(self, channel: Channel, data: object) -> None:
        """Be woken when a channel that has something to send can send again."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.wants_write else 0)
        with contextlib.suppress(KeyError):
            if self._selector.get_key(channel).events != wanted:
                self._selector.modify(channel, wanted, data)

    def workers_wanted(self) -> int:
        """How many workers are needed."""
        wanted = max((s.workers for s in self.sessions if not s.leaving), default=0)
        return wanted or (int(self.slots.cpus) if self.goes_alone() else 0)

    def goes_alone(self) -> bool:
        """Whether there is work that goes on with nobody attached."""
        found = [h.block for h in self.engine.hubs.values() if h.active and h.block is not None]
        return any(hubs.goes_alone(self.engine.db, block) for block in found)

    def lost(self, client: Session) -> None:
        """A client's connection ended: what has started of its work is finished, the rest waits until it returns."""
        self._selector.unregister(client.channel)
        client.gone = True
        client.channel.close()
        self.sessions.remove(client)
        self._suspend(client, now=False)

    def detach(self, client: Session, *, now: bool) -> None:
        """A client says goodbye: what of its work has started is finished or (`now`) stopped; nothing is marked."""
        if client.gone:
            return
        client.leaving = True
        self._suspend(client, now=now)

    def _own(self, client: Session) -> set[int]:
        """The hubs that nobody but this client is attached to."""
        others = {b for s in self.sessions if s is not client and not s.leaving for b in s.blocks}
        db = self.engine.db
        return {f.hub for b, f in client.blocks.items() if b not in others and not hubs.goes_alone(db, b)}

    def _suspend(self, client: Session, *, now: bool) -> None:
        """What only this client wanted is finished as far as it has started, or (`now`) stopped."""
        mine = self._own(client)
        if now:
            self.crew.stop_now(mine)
        else:
            self.crew.drain(mine)

        def suspend(turn: Turn) -> None:
            for hub in mine:
                hubs.set_active(turn, hub, active=False)

        if any(self.engine.hubs[h].active for h in mine):
            self.engine.transact(suspend)

    def let_go(self) -> None:
        """Clients that are leaving go once nothing of theirs runs."""
        for client in [s for s in self.sessions if s.leaving]:
            mine = self._own(client)
            if not self.crew.holds(mine):
                for block in client.blocks:
                    self.show(client, block)  # the last word on how far it came
                client.tell(session.Gone(len(mine), client.halted))
                client.channel.flush()
                self.lost(client)
        for client in [s for s in self.sessions if s.halting is not None]:
            assert client.halting is not None
            number, stopped, mine = client.halting
            if not self.crew.holds(mine) and not any(s.leaving for s in self.sessions):
                client.halting = None
                client.tell(session.Reply(number, {"stopped": stopped}))
                client.channel.flush()

    def closed(self, block: int, state: int) -> None:
        """A block has ended: if it is a root block, those who follow it are told, and its hub rests."""
        facts = self.engine.facts(self.engine.db, block)
        if facts.root != block:
            return
        for client in self.sessions:
            if block in client.blocks:
                self.show(client, block)
                client.tell(session.Closed(block, state))
                del client.blocks[block]
        self.board.close(block)
        if self.engine.hubs[facts.hub].active:
            self.engine.transact(lambda turn: hubs.set_active(turn, facts.hub, active=False))

    def show(self, client: Session, block: int) -> None:
        """Tell a client how far a block is."""
        running = self.slots.running()
        client.tell(self.board.show(block, client.blocks[block].stored, running))
