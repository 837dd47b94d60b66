"""Import and export by URL: files from elsewhere into a store, and files of results to elsewhere."""

import os
from pathlib import Path
from typing import Literal

import msgspec

from tidemill.client.files import asking, there
from tidemill.client.names import NamedFile
from tidemill.client.results import Reader
from tidemill.client.store import Store, read
from tidemill.graph.literals import describe
from tidemill.model.digest import parse, show
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.file import File
from tidemill.model.fileid import FileId
from tidemill.model.filename import legible
from tidemill.model.preview import size_text
from tidemill.model.values import Ref
from tidemill.stores.objects import fetch_url, local_path, scheme_of, send_dir_url, send_url, shown, target_url
from tidemill.stores.objects.places import look, members
from tidemill.stores.objects.urls import name_at

Sendable = str | int | File | Path | NamedFile
"""What names a file of a store: a run, a workflow, a datum, the id of a file, what a name stands for, or a file."""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory that was fetched.

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


class FetchedList(list[Fetched]):
    """Several of them, one path a line."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """Something at an address: its name, that of a directory with "/" at its end, and bytes, None if not known."""

    name: str
    size: int | None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What is at an address, by name.

    Attributes:
        url: the address, without what may be secret.
        kind: "file", which is the one entry; or "dir", with what is right in it.
        entries: names and sizes.
    """

    url: str
    kind: str
    entries: list[Listed]

    def __str__(self) -> str:
        return "\n".join(f"{'-' if one.size is None else one.size:>14}  {one.name}" for one in self.entries)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent.

    Attributes:
        digest: of its content.
        size: bytes.
        url: where to, without what may be secret; of a file sent to a directory, its own address there.
        left_out: empty directories in it, which there can be none of at that address.
    """

    digest: str
    size: int
    url: str
    left_out: list[str] = []

    def __str__(self) -> str:
        sent = f"sent {size_text(self.size)} to {self.url}"
        return f"{sent}\nleft out, since they are empty: {', '.join(self.left_out)}" if self.left_out else sent


class _Names(Reader):
    """Gives the names of files in the object store instead of files."""

    def get(self, ref: Ref) -> object:
        return super().get(ref) if ref.kind == "value" else ref


def fetch(store: Store, url: str, *, move: bool = False, in_place: bool = False) -> File:
    """Get the file or directory at a URL into a store; see `Store.fetch`."""
    with asking(store):
        found = fetch_url(store.objects, url, move=move, in_place=in_place)
    if in_place:
        return _staying(url, found.ref)
    path = store.reader.get(found.ref)
    assert isinstance(path, Path)
    return File(path, found.ref)


def _staying(url: str, ref: Ref) -> File:
    """A file that is used where it is: by its address, with the content that it has."""
    if scheme_of(url) not in ("", "file"):
        return File(url, ref)
    path = Path(os.path.abspath(local_path(url)))
    file = File(path.as_uri(), ref)
    file.path = path
    return file


def fetched(url: str, file: File) -> Fetched:
    """What is said of a file that was fetched."""
    assert file.ref is not None
    return Fetched(
        url=legible(shown(url)),
        name=file.ref.name,
        digest=show(file.ref.digest),
        size=file.ref.size,
        path=os.fspath(file),
    )


def listing(url: str) -> Listing:
    """What is at an address.

    Raises:
        NotFoundError: nothing is.
        StoreError: the server cannot be reached, or refuses.
        UsageError: another kind of address.
    """
    found = look(url)
    if found.kind == "dir":
        entries = [Listed(name=legible(one.name), size=one.size) for one in members(url)]
    else:
        entries = [Listed(name=legible(name_at(url)), size=found.size)]
    return Listing(url=legible(shown(url)), kind=found.kind, entries=entries)


def send(store: Store, what: Sendable, url: str) -> Sent:
    """Write a file or directory of a store to a URL; see `Store.send`."""
    ref = ref_of(store, what)
    left_out: list[str] = []
    if ref.kind == "dir":
        left_out = send_dir_url(store.objects, ref.digest, url)
    else:
        url = target_url(url, ref.name)
        send_url(store.objects, ref.digest, url, ref.mode)
    return Sent(digest=show(ref.digest), size=ref.size, url=legible(shown(url)), left_out=list(map(legible, left_out)))


def url_of(store: Store, what: Sendable, expires: float) -> str:
    """An address at which a file of a store can be read; see `Store.url_of`."""
    ref = ref_of(store, what)
    if ref.kind != "dir":
        signed = store.objects.signed(ref.digest, expires)
        if signed is not None:
            return signed
    path = store.reader.get(ref)
    assert isinstance(path, Path)
    return path.absolute().as_uri()


def ref_of(store: Store, what: Sendable) -> Ref:
    """The file or directory of a store that is meant; a file on this machine is put into it.

    Raises:
        NotFoundError: there is no such thing.
        UsageError: the value is no file or directory.
    """
    if isinstance(what, str) and what.startswith("file:") and not what.startswith("file:/"):
        what = FileId(what)
    if isinstance(what, FileId):
        there(store, what)
        return Ref(what.digest, what.size, "file", what.name, what.mode)
    if isinstance(what, NamedFile):
        if not what.digest:
            raise NotFoundError(f"the name {what.name!r} was given up", hint="store.names.history has its versions.")
        kind: Literal["dir", "file"] = "dir" if what.kind == "dir" else "file"
        return Ref(parse(what.digest), what.size, kind, what.base, 0o755 if what.executable else 0o644)
    if isinstance(what, File) and what.ref is not None:
        return what.ref
    if isinstance(what, (File, Path)):
        return _stored(store, what)
    names = _Names(store.db, lambda: store.objects, store.place.directory / "files")
    value = read(store, what, names)
    if isinstance(value, File):
        value = value.ref
    if isinstance(value, FileId):
        return ref_of(store, value)
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
    return Ref(digest, size, ref.kind, ref.name, ref.mode)
