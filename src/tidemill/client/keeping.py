"""What a store keeps beside workflows and their results, as part of `Store`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, cast

from tidemill.client.later import Later
from tidemill.model.errors import UsageError, without_our_frames

if TYPE_CHECKING:
    from tidemill.client import files, messages, names
    from tidemill.client.store import Store
else:
    files, messages, names = (Later(f"tidemill.client.{name}") for name in ("files", "messages", "names"))


class Keeping:
    """Files, named files and messages of a store."""

    @cached_property
    def files(self) -> files.Files:
        """Files that tasks wrote, and others that are put beside them; see `Files`."""
        return files.Files(cast("Store", self))

    @cached_property
    def names(self) -> names.Names:
        """Named files, which tasks and programs share; see `Names`."""
        return names.Names(cast("Store", self))

    @without_our_frames
    def messages(self, block: int | None = None, *, reader: str = "me", all: bool = False) -> list[messages.Message]:
        """What tasks told their workflows since a reader asked last: each is given each message once.

        Args:
            block: only of this workflow.
            reader: who reads; the store remembers up to where each reader has read.
            all: everything there is, also what has been given before; the reader's place does not move.

        Raises:
            NotFoundError: there is no such workflow.
        """
        if not reader or "\0" in reader:
            raise UsageError(f"{reader!r} cannot be the name of a reader")
        return messages.read(cast("Store", self), block, reader, everything=all)
