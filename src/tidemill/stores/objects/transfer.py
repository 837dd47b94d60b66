"""Import and export of files and directories by URL: `file:`, `http:`, `https:`, `s3:`, `gs:`, `az:`, or a plain path.

Everything is streamed. At the target a file appears complete or not at all. Members of a directory are transferred
several at a time.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from tidemill.model.digest import Digest
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.filename import base_name, given_name
from tidemill.model.values import Ref
from tidemill.stores.objects.dirs import Entry, PutFile, decode_manifest, encode_manifest, put_dir
from tidemill.stores.objects.interface import SMALL, ObjectStore
from tidemill.stores.objects.references import ReferringStore
from tidemill.stores.objects.schemes import Bucket, Files, Member, Scheme, Web, scheme_for
from tidemill.stores.objects.schemes.bucket import is_folder
from tidemill.stores.objects.together import side_by_side
from tidemill.stores.objects.urls import bucket_place, local_path, scheme_of, shown

_BATCH = 500
_FILE = stat.S_IFREG | 0o644
_DIRECTORY = stat.S_IFDIR | 0o755


class Fetched(NamedTuple):
    """What `fetch_url` stored.

    Attributes:
        digest: of the content; of a directory's manifest.
        size: bytes; of a directory's files together.
        name: base name.
        ref: what stands for it in values.
    """

    digest: Digest
    size: int
    name: str
    ref: Ref


def fetch_url(store: ObjectStore, url: str, *, move: bool = False, in_place: bool = False) -> Fetched:
    """Store the file or directory at a URL.

    Args:
        store: where to.
        url: `file:///path`, `http://…`, `https://…`, `s3://bucket/key`, `gs://bucket/key`, `az://container/key`
            (options and credentials as for a store), or a path. In a bucket, an address that ends with "/", or that is
            no file but has files below, is a directory.
        move: the store may take a file of this machine itself; it is gone from its place afterwards.
        in_place: the bytes stay where they are and the store refers to them, see `references`. Of a directory, those
            of large files.

    Raises:
        NotFoundError: if there is no such file.
        StoreError: if the server cannot be reached, refuses, or breaks off; nothing is stored then, or some of the
            files of a directory and no directory.
        UsageError: for any other kind of URL, for names in a bucket that cannot be names of files, and if a file cannot
            be moved or referred to.
    """
    scheme = scheme_for(url)
    if move and (in_place or not isinstance(scheme, Files)):
        raise UsageError(
            f"{shown(url)} cannot be moved into the store",
            hint="That can be done with files on this machine, and not together with leaving them in place.",
        )
    refer = _referring(store) if in_place else None
    if isinstance(scheme, Files):
        return _fetch_local(store, scheme, url, move, refer)
    if not isinstance(scheme, Bucket):
        return _fetch_file(store, scheme, url, refer)
    if is_folder(url):
        return _fetch_dir(store, scheme, url, refer)
    try:
        return _fetch_file(store, scheme, url, refer)
    except NotFoundError:
        found = scheme.look(url)
        if found is None or found.kind != "dir":
            raise
        return _fetch_dir(store, scheme, url, refer)


def _referring(store: ObjectStore) -> PutFile:
    if not isinstance(store, ReferringStore):
        raise UsageError(f"{shown(store.url)} cannot refer to files elsewhere", hint="Fetch them as copies.")
    return store.references.refer


def _fetch_local(store: ObjectStore, scheme: Files, url: str, move: bool, refer: PutFile | None) -> Fetched:
    path = local_path(url)
    name = base_name(path)
    found = scheme.look(url)
    if found is None or found.kind == "file":
        digest, size = refer(path) if refer else store.put_file(path, move=True) if move else store.put_file(path)
        return Fetched(digest, size, name, Ref(digest, size, "file", name, found.mode if found else 0o644))
    if move:
        raise UsageError(f"{path} is a directory, and only files can be moved into a store", hint="Fetch it by copy.")
    digest, size = put_dir(store, path, refer) if refer else store.put_dir(path)
    return Fetched(digest, size, name, Ref(digest, size, "dir", name))


def _fetch_file(store: ObjectStore, scheme: Scheme, url: str, refer: PutFile | None) -> Fetched:
    opened = scheme.open(url)
    try:
        digest, size = refer(url) if refer else store.put_stream(opened.chunks)
    finally:
        opened.close()
    return Fetched(digest, size, opened.name, Ref(digest, size, "file", opened.name, opened.found.mode))


def _fetch_dir(store: ObjectStore, scheme: Bucket, url: str, refer: PutFile | None) -> Fetched:
    """The files below a URL: small ones are read side by side and stored in batches, large ones streamed."""
    name = given_name(bucket_place(url).key, "content")
    entries: list[Entry] = []
    batch: list[tuple[bytes, bytes]] = []

    def flush() -> None:
        digests = store.put_many([data for _, data in batch])
        for (path, data), digest in zip(batch, digests, strict=True):
            entries.append(Entry(path, _FILE, digest, len(data)))
        batch.clear()

    for brought in side_by_side(partial(_bring, store, scheme, url, refer), _regular(scheme.walk(url), url)):
        if isinstance(brought, Entry):
            entries.append(brought)
            continue
        batch.append(brought)
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    if not entries and scheme.look(url) is None:
        raise NotFoundError(f"there is nothing at {shown(url)}")
    entries = _without_marks(entries)
    _check_names(entries, url)
    digest, size = store.put(encode_manifest(entries)), sum(one.size for one in entries)
    return Fetched(digest, size, name, Ref(digest, size, "dir", name))


def _bring(
    store: ObjectStore, scheme: Bucket, url: str, refer: PutFile | None, one: Member
) -> Entry | tuple[bytes, bytes]:
    """A large file as it was stored, or the path and content of a small one."""
    path = os.fsencode(one.name)
    place = below(url, path)
    large = one.size is not None and one.size > SMALL
    if large and refer:
        return Entry(path, _FILE, *refer(place))
    try:
        opened = scheme.open(place)
    except NotFoundError:
        if one.size or not scheme.is_mark(place):
            raise
        return Entry(path, _DIRECTORY)
    try:
        return Entry(path, _FILE, *store.put_stream(opened.chunks)) if large else (path, b"".join(opened.chunks))
    finally:
        opened.close()


def _regular(members: Iterator[Member], url: str) -> Iterator[Member]:
    for one in members:
        if not one.name:
            continue  # marks the directory itself
        if any(part in ("", ".", "..") for part in one.name.split("/")):
            raise UsageError(f"{shown(url)} has {one.name!r}, which cannot be the name of a file")
        yield one


def _without_marks(entries: list[Entry]) -> list[Entry]:
    """Without the directories that have something in them: a manifest names only empty ones."""
    full = {one.path[:i] for one in entries for i, byte in enumerate(one.path) if byte == ord("/")}
    return [one for one in entries if one.mode != _DIRECTORY or one.path not in full]


def _check_names(entries: list[Entry], url: str) -> None:
    """Refuse what is a file and a directory at once: a bucket can have that, and a file system cannot."""
    files = {one.path for one in entries}
    for one in entries:
        parts = one.path.split(b"/")
        for i in range(1, len(parts)):
            if (above := b"/".join(parts[:i])) in files:
                name = os.fsdecode(above)
                raise UsageError(f"{shown(url)} has {name!r} as a file and as a directory", hint="Rename one of them.")


# ------------------------------------------------------------------------------------------------------------- sending


def send_url(store: ObjectStore, digest: Digest, url: str, mode: int = 0o644) -> None:
    """Write an object to a file at a URL, replacing one that is there.

    Args:
        store: where from.
        digest: the object.
        url: as for `fetch_url`; over `http:` the file is sent with PUT, as servers of presigned URLs expect it.
        mode: permissions of a file on this machine.

    Raises:
        NotFoundError: if there is no such object, or no directory or bucket to write to.
        StoreFullError: if there is no room at the target.
        StoreError: if the server cannot be reached, or refuses.
        UsageError: for any other kind of URL, and for that of a directory.
    """
    target_url(url, "")  # not the address of a directory
    scheme_for(url).write(url, lambda: store.open(digest), store.size(digest), mode)


def target_url(url: str, name: str) -> str:
    """Where a file of this name comes to when it is sent to a URL: one that ends with a slash is that of a directory,
    in which the file gets its own name. Servers on the web are asked for exactly what is said.

    Raises:
        UsageError: if the file has no name.
    """
    if not is_folder(url) or isinstance(scheme_for(url), Web):
        return url
    if not name:
        raise UsageError(f"{shown(url)} is a directory, and the file has no name", hint="Give an address with a name.")
    return below(url, os.fsencode(name)) if scheme_of(url) else os.path.join(url, name)


def send_dir_url(store: ObjectStore, digest: Digest, url: str) -> list[str]:
    """Write a stored directory to a URL: as a directory, or file by file below the URL where there are no directories.
    Then empty directories in it are left out; which ones.

    Args:
        store: where from.
        digest: of the directory's manifest.
        url: as for `send_url`; on this machine nothing must be there yet, elsewhere files that are there are replaced.

    Raises:
        UsageError: for any other kind of URL; if something is there; for symbolic links that go to a server, and if
            nothing would.
        TidemillError: as for `send_url`.
    """
    scheme = scheme_for(url)
    if isinstance(scheme, Files):
        store.get_dir(digest, local_path(url))
        return []
    entries = decode_manifest(store.get(digest))
    links = [os.fsdecode(one.path) for one in entries if stat.S_ISLNK(one.mode)]
    if links:
        raise UsageError(
            f"{links[0]} is a symbolic link, and {shown(url)} can have none", hint="Send it to a directory."
        )

    files = [one for one in entries if stat.S_ISREG(one.mode)]
    if not files:
        raise UsageError(
            f"there is no file in the directory, and {shown(url)} can have no empty ones",
            hint="Send it to a directory.",
        )

    def bring(one: Entry) -> None:
        send_url(store, one.digest, below(url, one.path))

    for _ in side_by_side(bring, iter(files)):
        pass
    return [os.fsdecode(one.path) for one in entries if stat.S_ISDIR(one.mode)]


def below(url: str, path: bytes) -> str:
    """The address of what has this path relative to an address."""
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}").geturl()
