"""Clients: a user's program or a command, attached over a socket."""

from dataclasses import dataclass

from tidemill.workers.wire import Channel


@dataclass
class Followed:
    """A root block that a client follows: its hub, how much of its delta is stored, whether it goes on without the client."""

    hub: int
    stored: int
    detached: bool


class Session:
    """One client.

    Attributes:
        blocks: the root blocks it follows.
        leaving: it has said goodbye and waits for what runs to finish.
        gone: its connection has ended.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.blocks: dict[int, Followed] = {}
        self.leaving = False
        self.gone = False
