"""What tasks told their workflows: each message once for each reader, or all of them."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from tidemill.client.connection import Connection
from tidemill.client.files import asking
from tidemill.model.ids import run_id
from tidemill.stores.state import blocks, lineage, messages

if TYPE_CHECKING:
    from tidemill.client.store import Store

PAGE = 200
"""Messages taken at once."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt told its workflow.

    Attributes:
        id: in the order in which they were recorded.
        block: the workflow.
        run: public id of the run.
        attempt: of that run; also one that failed.
        t: seconds since the epoch.
        level: as in `logging`: 20 is INFO, 30 WARNING.
        stream: "" for a line, else the name of the stream that `text` is the whole of.
        text: what it said.
    """

    id: int
    block: int
    run: str
    attempt: int
    t: float
    level: int
    stream: str
    text: str

    def __str__(self) -> str:
        head = f"{time.strftime('%H:%M:%S', time.localtime(self.t))} {level_name(self.level)} {self.run}"
        if self.stream:
            return f"{head} {self.stream}:\n{self.text}"
        return f"{head}: {self.text}"


def level_name(level: int) -> str:
    """A level in a word."""
    return logging.getLevelName(level)


def read(store: Store, block: int | None, reader: str, *, everything: bool) -> list[Message]:
    """The messages that a reader has not been given yet, or all; see `Store.messages`."""
    db = store.db
    roots = messages.roots(db) if block is None else [blocks.find(db, block).root]
    found: list[messages.Message] = []
    if everything:
        for root in roots:
            found += _from(store, root, 0)
    else:
        fresh = [r for r in roots if messages.after(db, r, messages.seen(db, reader, r), 1)]
        if fresh:
            with asking(store) as connection:
                for root in fresh:
                    found += _take(store, connection, reader, root)
    return _shown(store, sorted(found))


def _from(store: Store, root: int, seen: int) -> list[messages.Message]:
    found: list[messages.Message] = []
    while page := messages.after(store.db, root, seen, PAGE):
        found += page
        seen = page[-1].id
    return found


def _take(store: Store, connection: Connection, reader: str, root: int) -> list[messages.Message]:
    """What is new, page by page. A page is given to one of several programs that read under one name at once."""
    found: list[messages.Message] = []
    while True:
        seen = messages.seen(store.db, reader, root)
        page = messages.after(store.db, root, seen, PAGE)
        if not page:
            return found
        told = connection.ask("messages.seen", reader=reader, root=root, before=seen, to=page[-1].id)
        assert isinstance(told, dict)
        if told["moved"]:
            found += page


def _shown(store: Store, found: list[messages.Message]) -> list[Message]:
    heads = lineage.heads(store.db, sorted({m.run for m in found}))
    return [
        Message(
            id=m.id, block=m.root, run=run_id(heads[m.run].block, m.run), attempt=m.fence, t=m.t, level=m.level,
            stream=m.stream, text=m.text,
        )
        for m in found
    ]  # fmt: skip
