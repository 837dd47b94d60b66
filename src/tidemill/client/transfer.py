"""Import and export by URL: files from elsewhere into a store, and files of results to elsewhere."""

import os
from pathlib import Path

import msgspec

from tidemill.client.connection import connect
from tidemill.client.results import Reader
from tidemill.client.store import Store, read
from tidemill.graph.literals import describe
from tidemill.model.digest import show
from tidemill.model.errors import UsageError
from tidemill.model.file import File
from tidemill.model.preview import size_text
from tidemill.model.values import Ref
from tidemill.stores.objects import fetch_url, send_dir_url, send_url, shown


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was fetched.

    Attributes:
        url: from where, without what may be secret.
        name: its base name.
        digest: of its content, in the object store.
        size: bytes.
        path: where it is laid out, to be read and to be given to workflows.
    """

    url: str
    name: str
    digest: str
    size: int
    path: str

    def __str__(self) -> str:
        return self.path


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent: its digest, its size in bytes, and where to, without what may be secret."""

    digest: str
    size: int
    url: str

    def __str__(self) -> str:
        return f"sent {size_text(self.size)} to {self.url}"


class _Names(Reader):
    """Gives the names of files in the object store instead of files."""

    def get(self, ref: Ref) -> object:
        return super().get(ref) if ref.kind == "value" else ref


def fetch(store: Store, url: str) -> File:
    """Get the file at a URL into a store; see `Store.fetch`."""
    connection = connect(store.place)
    try:
        connection.welcome()
    finally:
        connection.close()
    found = fetch_url(store.objects, url)
    ref = Ref(found.digest, found.size, "file", found.name)
    path = store.reader.get(ref)
    assert isinstance(path, Path)
    return File(path, ref)


def fetched(url: str, file: File) -> Fetched:
    """What is said of a file that was fetched."""
    assert file.ref is not None
    return Fetched(
        url=shown(url), name=file.ref.name, digest=show(file.ref.digest), size=file.ref.size, path=os.fspath(file)
    )


def send(store: Store, what: str | int | File | Path, url: str) -> Sent:
    """Write a file or directory of a store to a URL; see `Store.send`."""
    ref = _ref(store, what)
    (send_dir_url if ref.kind == "dir" else send_url)(store.objects, ref.digest, url)
    return Sent(digest=show(ref.digest), size=ref.size, url=shown(url))


def _ref(store: Store, what: str | int | File | Path) -> Ref:
    if isinstance(what, File) and what.ref is not None:
        return what.ref
    if isinstance(what, (File, Path)):
        return _stored(store, what)
    names = _Names(store.db, lambda: store.objects, store.place.directory / "files")
    value = read(store, what, names)
    if isinstance(value, File):
        value = value.ref
    if not isinstance(value, Ref):
        raise UsageError(
            f"the value of {what} is no file or directory, but a {type(value).__name__}",
            hint="name the run or the datum that is one: tidemill show lists them",
        )
    return value


def _stored(store: Store, path: File | Path) -> Ref:
    """A file on this machine, in the store."""
    try:
        ref = describe(os.fspath(path))
    except OSError as error:
        raise UsageError(f"the file {os.fspath(path)!r} cannot be read: {error.strerror}") from error
    put = store.objects.put_dir if ref.kind == "dir" else store.objects.put_file
    digest, size = put(path)
    return Ref(digest, size, ref.kind, ref.name)
