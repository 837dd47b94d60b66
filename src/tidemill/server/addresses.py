"""Where the parts of a store are, from its URL."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from tidemill.stores.state.open import is_postgres

_LONGEST_SOCKET = 100


class Place(NamedTuple):
    """A store.

    Attributes:
        state: URL of the state store.
        objects: URL of the object store.
        directory: local directory for workers' files (and, embedded, for everything).
        socket: Unix socket of the process that serves it.
        alone: one engine at a time (SQLite).
    """

    state: str
    objects: str
    directory: Path
    socket: str
    alone: bool


def place_of(url: str, objects: str = "") -> Place:
    """The parts of the store at `url` (a directory or `postgresql://…`)."""
    if is_postgres(url):
        name = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
        directory = Path(tempfile.gettempdir()) / f"tidemill-{os.getuid()}" / name
        return Place(url, objects or str(directory / "objects"), directory, "", False)
    directory = Path(url.removeprefix("file://")).absolute()
    socket = str(directory / "engine.sock")
    if len(socket.encode()) > _LONGEST_SOCKET:
        # the address of a Unix socket has room for 107 bytes only
        name = hashlib.blake2b(str(directory.resolve()).encode(), digest_size=12).hexdigest()
        socket = str(Path(tempfile.gettempdir()) / f"tidemill-{os.getuid()}-{name}.sock")
    return Place(str(directory), objects or str(directory / "objects"), directory, socket, True)
