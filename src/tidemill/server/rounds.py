"""One round of the host: what one transaction is about, and what is to be told once it is durable."""

import msgspec

from tidemill.model import session
from tidemill.model.protocol import Answer, Claimed, Outcome, Read, Told
from tidemill.server.crew import Death
from tidemill.server.inquiries import Inquiries
from tidemill.server.sessions import Followed, Session
from tidemill.server.slots import Slot


class Round(msgspec.Struct, eq=False):
    """Messages that have come in, and what comes of them.

    Attributes:
        outcomes, deaths, reads, inquiries: from workers.
        requests: from clients.
        grants, answers: for workers.
        said: what running tasks said that is shown at once.
        after: replies to clients.
        begun, joined: root blocks that clients follow from now on, new ones and older ones.
        paths: entries of `sys.path` that workers must learn.
        leaving: clients that said goodbye, and whether work is to stop at once.
        halting: clients that want others' work stopped, and what they said.
        followers: clients and the root blocks that they follow from now on; whether they submit them, too.
        refused: replies to requests that turned out to be impossible and are no longer among `requests`.
    """

    outcomes: list[tuple[Slot, list[Outcome]]]
    deaths: list[Death]
    reads: list[tuple[Slot, Read]]
    requests: list[tuple[Session, session.ToServer]]
    inquiries: Inquiries = msgspec.field(default_factory=Inquiries)
    grants: list[tuple[Slot, list[Claimed]]] = []
    answers: list[tuple[Slot, Answer | Told]] = []
    said: list[session.Said] = []
    after: list[tuple[Session, session.ToClient]] = []
    begun: list[int] = []
    joined: list[int] = []
    paths: list[list[str]] = []
    leaving: list[tuple[Session, bool]] = []
    halting: list[tuple[Session, session.Halt]] = []
    followers: list[tuple[Session, int, Followed, bool]] = []
    refused: list[tuple[Session, session.ToClient]] = []

    def begin(self) -> None:
        """Start over: an earlier try did not become durable."""
        for slot, claimed in self.grants:
            slot.over([c.run for c in claimed])
        self.grants, self.answers, self.said, self.after = [], [], [], [*self.refused]
        self.begun, self.joined, self.paths, self.leaving, self.followers = [], [], [], [], []
        self.halting = []

    def refuse(self, client: Session, message: session.ToServer, reply: session.ToClient) -> None:
        """Go on without a request."""
        self.requests = [r for r in self.requests if r[1] is not message]
        self.refused.append((client, reply))

    def reply(self, client: Session, message: session.ToClient) -> None:
        """Tell a client once the transaction is durable."""
        self.after.append((client, message))
