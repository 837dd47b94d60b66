"""Clients: a user's program or a command, attached over a socket."""

import time

import msgspec

from tidemill.model import session
from tidemill.workers.wire import Channel


class Followed(msgspec.Struct):
    """A root block that a client follows: its hub, and how many chunks of its delta are stored."""

    hub: int
    stored: int


class Session:
    """One client.

    Attributes:
        since: when it came, seconds since the epoch.
        begun: the root blocks that it submits.
        blocks: the root blocks it follows until they end.
        workers: how many local workers it wants.
        leaving: it has said goodbye and waits for what runs to finish.
        gone: its connection has ended.
        halted: who has ended its work in its place.
        halting: while it waits for others' work to end, the number of its request, how many workflows
            that is, and the hubs of it.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.since = time.time()
        self.begun: set[int] = set()
        self.blocks: dict[int, Followed] = {}
        self.workers = 0
        self.leaving = False
        self.gone = False
        self.halted = ""
        self.halting: tuple[int, int, set[int]] | None = None

    def tell(self, message: session.ToClient) -> None:
        """Send a message, or as much of it as goes without waiting."""
        self.channel.send(session.encode(message))
