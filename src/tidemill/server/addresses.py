"""Where the parts of a store are, from its URL."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tidemill.model.errors import ConfigError
from tidemill.stores.objects import address_of
from tidemill.stores.state.open import is_postgres, shown

LOG = "engine.log"
"""File in a store's directory: what the process that serves it has to say when something goes wrong."""


KNOWN = "use a directory or postgresql://user@host/database"
"""What the address of a store may be."""
STORE = "TIDEMILL_STORE"
"""Environment variable: the address of the store, where none is given."""

_SOCKET = "engine.sock"
_LONGEST_SOCKET = 100
"""Bytes; the address of a Unix socket has room for a few more (unix(7): 108 with the final zero)."""
_OWN_DESCRIPTORS = "/proc/self/fd"


class Place(NamedTuple):
    """A store.

    Attributes:
        state: URL of the state store.
        objects: address of the place of its objects, if one was asked for; else "".
        directory: local directory for workers' files (and, embedded, for everything).
        socket: Unix socket of the process that serves it.
        alone: one engine at a time (SQLite).
    """

    state: str
    objects: str
    directory: Path
    socket: str
    alone: bool

    @property
    def inside(self) -> str:
        """The place of objects when no other was asked for: in the store's directory, and moved with it."""
        return str(self.directory / "objects")


def place_of(url: str, objects: str = "") -> Place:
    """The parts of the store at `url` (a directory or `postgresql://…`).

    Raises:
        ConfigError: one of them is no such address.
    """
    if not url:
        raise ConfigError("the address of the store is empty", hint=KNOWN)
    if "://" in url and not url.startswith("file://") and not is_postgres(url):
        raise ConfigError(f"not a store address: {shown(url)}", hint=KNOWN)
    objects = address_of(objects) if objects else ""
    if objects.startswith("memory:"):
        raise ConfigError(
            f"{objects} is the memory of one process, and those that work on a store are several",
            hint="use a directory or s3://bucket/prefix for objects",
        )
    if is_postgres(url):
        directory = _data_home() / "tidemill" / _name_of(url)
        return Place(url, objects, directory, "", False)
    directory = Path(url.removeprefix("file://")).absolute()
    return Place(str(directory), objects, directory, str(directory / _SOCKET), True)


def _data_home() -> Path:
    """Where a user's data are kept (XDG base directory specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser().absolute()


def _name_of(url: str) -> str:
    """A short name of a database, whatever password is used for it."""
    import hashlib

    parts = urlsplit(url)
    database = f"{parts.username or ''}@{parts.hostname or ''}:{parts.port or ''}{parts.path}?{parts.query}"
    return hashlib.blake2b(database.encode(), digest_size=8).hexdigest()


@contextlib.contextmanager
def reachable(path: str) -> Iterator[str]:
    """An address for the socket at `path`: the path itself, or if that is too long, a short way to its directory.

    Raises:
        ConfigError: the path is too long for this system.
        OSError: there is no such directory.
    """
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        yield path
        return
    if not os.path.isdir(_OWN_DESCRIPTORS):
        raise ConfigError(f"the path {path} is too long for a socket", hint="use a store directory with a shorter path")
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"{_OWN_DESCRIPTORS}/{descriptor}/{name}"
    finally:
        os.close(descriptor)
