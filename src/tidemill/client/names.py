"""Named files of a store, for programs outside of tasks."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from tidemill.client import files, views
from tidemill.client.files import Source
from tidemill.engine import names as engine_names
from tidemill.model.digest import show as show_digest
from tidemill.model.errors import UsageError, without_our_frames
from tidemill.model.fileid import FileId
from tidemill.model.preview import size_text
from tidemill.stores.state import names
from tidemill.stores.state.names import Version

if TYPE_CHECKING:
    from tidemill.client.store import Store


class NamedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a name.

    Attributes:
        name: the name.
        version: counted from 1.
        kind: "file", "dir", or "" where the name was given up.
        base: the name of the file that was put.
        size: bytes.
        digest: of the content, "" where the name was given up.
        executable: whether the file is.
        who: who put it.
        t: when, seconds since the epoch.
    """

    name: str
    version: int
    kind: str
    base: str
    size: int
    digest: str
    executable: bool
    who: str
    t: float

    def __str__(self) -> str:
        what = f"{size_text(self.size)} {self.digest}" if self.digest else "given up"
        return f"{self.name} version {self.version}: {what}, {views.moment(self.t)} by {self.who}"


class NameList(msgspec.Struct, frozen=True, kw_only=True):
    """Named files."""

    names: list[NamedFile]

    def table(self) -> views.Table:
        heads = ["name", "version", "size", "kind", "changed", "by"]
        rows = [
            [n.name, n.version, size_text(n.size) if n.digest else "given up", n.kind, views.moment(n.t), n.who]
            for n in self.names
        ]
        return views.Table(heads, rows, numbers=(1, 2))

    def __str__(self) -> str:
        return str(self.table()) if self.names else "there are no named files"


class Names:
    """The named files of a store: `store.names`.

    A name stands for a file or directory until it is put anew. Each put is a version; no number is used twice.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @without_our_frames
    def get(self, name: str) -> NamedFile:
        """What a name stands for now.

        Raises:
            NotFoundError: for nothing.
            UsageError: it cannot be a name.
        """
        return _shown(self._current(name))

    @without_our_frames
    def put(self, name: str, source: Source, *, expect: int | None = None) -> int:
        """Let a name stand for a file or directory; the version that this is.

        Args:
            name: letters, digits, `.`, `_` and `-`.
            source: a path, bytes, an open binary file, or the id of a file in the store.
            expect: the version that the name must be at, as `get` or `read` gave it (0: nothing); default: any.

        Raises:
            ChangedError: the name is at another version; nothing was changed.
            NotFoundError: there is no such file.
            UsageError: it cannot be a name.
        """
        engine_names.check(name)
        with files.asking(self._store) as connection:
            if isinstance(source, str) and source.startswith("file:"):
                what: dict[str, object] = {"id": str(FileId(source))}
            else:
                found = files.put(self._store.objects, source, folders=True)
                what = {
                    "digest": found.digest.hex(), "size": found.size, "mode": found.mode, "base": found.base or name,
                    "kind": found.kind,
                }  # fmt: skip
            told = connection.ask("name.put", name=name, expect=expect, who=_me(), **what)
        assert isinstance(told, dict)
        return int(told["version"])

    @without_our_frames
    def read(self, name: str, path: str | os.PathLike[str]) -> NamedFile:
        """A private copy of what a name stands for; which version that is.

        Args:
            name: the name.
            path: where to put it, or (for a file) a directory, in which it gets the file's own name. Nothing is
                overwritten.

        Raises:
            NotFoundError: it stands for nothing, or there is no such directory.
            UsageError: something is there already.
        """
        found = self._current(name)
        assert found.digest is not None
        objects = self._store.objects
        if found.kind == "dir":
            objects.get_dir(found.digest, Path(path))
        else:
            files.deliver(objects, found.digest, found.mode, found.base, path)
        return _shown(found)

    @without_our_frames
    def open(self, name: str, mode: str = "rb", *, encoding: str | None = None, errors: str | None = None) -> IO[Any]:
        """The file that a name stands for, open for reading; see `Files.open`."""
        found = self._current(name)
        assert found.digest is not None
        if found.kind != "file":
            raise UsageError(f"{name!r} is a directory", hint="store.names.read gives a copy of it.")
        return files.opened(self._store.objects, found.digest, found.size, mode, encoding, errors)

    @without_our_frames
    def delete(self, name: str, *, expect: int | None = None) -> bool:
        """Give a name up; False if it stood for nothing.

        Raises:
            ChangedError: it is not at the version that was expected.
        """
        engine_names.check(name)
        with files.asking(self._store) as connection:
            told = connection.ask("name.delete", name=name, expect=expect, who=_me())
        assert isinstance(told, dict)
        return bool(told["deleted"])

    @without_our_frames
    def history(self, name: str) -> list[NamedFile]:
        """All versions of a name, the oldest first. The content of older ones is there until garbage is collected.

        Raises:
            NotFoundError: there never was such a name.
        """
        engine_names.check(name)
        found = names.history(self._store.db, engine_names.SCOPE, name) if names.known(self._store.db) else []
        if not found:
            raise engine_names.missing(name, None)
        return [_shown(v) for v in found]

    @without_our_frames
    def list(self) -> list[NamedFile]:
        """All names that stand for something, in order."""
        return [_shown(v) for v in names.every(self._store.db) if v.scope == engine_names.SCOPE]

    def _current(self, name: str) -> Version:
        db = self._store.db
        engine_names.check(name)
        found = names.newest(db, engine_names.SCOPE, name) if names.known(db) else None
        if found is None or found.digest is None:
            raise engine_names.missing(name, found)
        return found


def _me() -> str:
    """Who puts something: the user and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _shown(found: Version) -> NamedFile:
    return NamedFile(
        name=found.name,
        version=found.version,
        kind=found.kind,
        base=found.base,
        size=found.size,
        digest=show_digest(found.digest) if found.digest else "",
        executable=found.kind == "file" and bool(found.mode & 0o100),
        who=found.who,
        t=found.t,
    )
