"""Directories as objects: one object per file and a manifest that names them.

A manifest is the MessagePack array `["tidemill.dir", 1, [entry, …]]`, sorted by path. An entry is
`[path, mode, digest, size, target]`: the path relative to the directory, as the bytes the file system has; the mode
as in `stat`, with the type of file and 0644 or 0755; digest and size of a file; the target of a symbolic link.
Directories are named only if they are empty. Owner, times and finer permissions are left out, so equal trees have
equal manifests.
"""

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import msgspec

from tidemill.model.digest import Digest
from tidemill.model.errors import IntegrityError, NewerStoreError, NotFoundError, UsageError
from tidemill.stores.objects.failures import writing
from tidemill.stores.objects.files import beside, open_regular, read_up_to, remove_tree, write_all
from tidemill.stores.objects.interface import SMALL, ObjectStore, Path
from tidemill.stores.objects.together import side_by_side

KIND = "tidemill.dir"
VERSION = 1

_A = TypeVar("_A")
_B = TypeVar("_B")

_BATCH = 500
"""Small files stored or fetched together."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One line of a manifest.

    Attributes:
        path: relative to the directory, as bytes, with `/` between the parts.
        mode: type of file as in `stat`, and permissions: 0100644, 0100755 (executable), 0120000 (symbolic link),
            0040755 (empty directory).
        digest: of a file's content, else empty.
        size: of a file in bytes.
        target: where a symbolic link points, relative to its own directory.
    """

    path: bytes
    mode: int
    digest: Digest = b""
    size: int = 0
    target: bytes = b""


class _Manifest(msgspec.Struct, array_like=True, frozen=True):
    kind: str
    version: int
    entries: msgspec.Raw
    """A list of `Entry`, decoded when the version is known."""


_decode_manifest = msgspec.msgpack.Decoder(_Manifest).decode
_decode_entries = msgspec.msgpack.Decoder(list[Entry]).decode


def encode_manifest(entries: list[Entry]) -> bytes:
    """The manifest of these entries, which must have distinct paths."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    return msgspec.msgpack.encode(_Manifest(KIND, VERSION, msgspec.Raw(msgspec.msgpack.encode(ordered))))


def decode_manifest(data: bytes) -> list[Entry]:
    """The inverse of `encode_manifest`.

    Raises:
        IntegrityError: if `data` is no manifest, or names a place outside its directory.
        NewerStoreError: if a newer version of Tidemill wrote it.
    """
    try:
        manifest = _decode_manifest(data)
        if manifest.kind != KIND:
            raise IntegrityError(f"not a directory manifest, but {manifest.kind!r}")
        if manifest.version > VERSION:
            raise NewerStoreError(
                f"a directory manifest of version {manifest.version}; this version of Tidemill knows {VERSION}",
                hint="Upgrade Tidemill.",
            )
        entries = _decode_entries(manifest.entries)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"not a directory manifest: {error}") from None
    for entry in entries:
        parts = entry.path.split(b"/")
        if b"\0" in entry.path or any(part in (b"", b".", b"..") for part in parts):
            raise IntegrityError(f"a directory manifest names {os.fsdecode(entry.path)!r}, which is not inside it")
    return entries


_BEGINNING = b"\x93" + msgspec.msgpack.encode(KIND)
"""How every manifest begins."""


def is_manifest(store: ObjectStore, digest: Digest) -> bool:
    """Whether an object looks like the manifest of a directory. A file may begin like one.

    Raises:
        NotFoundError: it is not there.
    """
    return store.read_range(digest, 0, len(_BEGINNING)) == _BEGINNING


def members(store: ObjectStore, digest: Digest) -> set[Digest]:
    """The objects that the directory with this manifest consists of, the manifest itself apart."""
    entries = decode_manifest(store.get(digest, verify=True))
    return {entry.digest for entry in entries if entry.digest}


# ------------------------------------------------------------------------------------------------------------ storing


class _Found(NamedTuple):
    path: str
    relative: bytes
    mode: int
    target: bytes = b""


PutFile = Callable[[str], tuple[Digest, int]]
"""Makes an object of the large file at a path; digest and size in bytes."""


def put_dir(store: ObjectStore, path: Path, put_file: PutFile | None = None) -> tuple[Digest, int]:
    """See `ObjectStore.put_dir`; `put_file` is used instead of the store's."""
    root = os.path.realpath(os.fsdecode(path))
    if not os.path.exists(root):
        raise NotFoundError(f"there is no directory {os.fspath(path)!s}")
    if not os.path.isdir(root):
        raise UsageError(f"{os.fspath(path)!s} is not a directory", hint="Files are stored with put_file.")
    problems: list[str] = []
    found = list(_walk(root, root, problems))
    if problems:
        raise UsageError("\n".join([f"cannot store the directory {root}:", *(f"  {line}" for line in problems)]))
    entries = [Entry(one.relative, one.mode, target=one.target) for one in found if not stat.S_ISREG(one.mode)]
    entries += _put_files(store, [one for one in found if stat.S_ISREG(one.mode)], put_file or store.put_file)
    return store.put(encode_manifest(entries)), sum(entry.size for entry in entries)


def _walk(root: str, directory: str, problems: list[str]) -> Iterator[_Found]:
    """Everything under `directory` that is to be stored; what cannot be is added to `problems`."""
    try:
        with os.scandir(directory) as listing:
            inside = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{directory} cannot be read: {os.strerror(error.errno or 0)}")
        return
    if not inside and directory != root:
        yield _Found(directory, _relative(root, directory), stat.S_IFDIR | 0o755)
    for entry in inside:
        relative = _relative(root, entry.path)
        if entry.is_symlink():
            target = os.readlink(entry.path)
            if _leaves(root, entry.path, target):
                problems.append(f"{entry.path} is a link to {target}, which is not inside the directory")
            yield _Found(entry.path, relative, stat.S_IFLNK, os.fsencode(target))
        elif entry.is_dir():
            yield from _walk(root, entry.path, problems)
        elif not entry.is_file():
            problems.append(f"{entry.path} is neither a file nor a directory nor a link")
        elif not os.access(entry.path, os.R_OK):
            problems.append(f"{entry.path} may not be read")
        else:
            executable = entry.stat().st_mode & 0o111
            yield _Found(entry.path, relative, stat.S_IFREG | (0o755 if executable else 0o644))


def _relative(root: str, path: str) -> bytes:
    return os.fsencode(path[len(root.rstrip("/")) + 1 :])


def _leaves(root: str, link: str, target: str) -> bool:
    """Whether a symbolic link is absolute or leads out of `root`, by its text or by way of other links."""
    if os.path.isabs(target):
        return True
    by_text = os.path.normpath(os.path.join(os.path.dirname(link), target))
    return not all(_inside(root, place) for place in (by_text, os.path.realpath(link)))


def _inside(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _put_files(store: ObjectStore, found: list[_Found], put_file: PutFile) -> list[Entry]:
    entries = []
    batch: list[tuple[_Found, bytes]] = []

    def flush() -> None:
        digests = store.put_many([data for _, data in batch])
        for (one, data), digest in zip(batch, digests, strict=True):
            entries.append(Entry(one.relative, one.mode, digest, len(data)))
        batch.clear()

    large = []
    for one in found:
        data = _small(one.path)
        if data is None:
            large.append(one)
            continue
        batch.append((one, data))
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    entries += _each(lambda one: Entry(one.relative, one.mode, *put_file(one.path)), large)
    return entries


def _each(call: Callable[[_A], _B], items: list[_A]) -> list[_B]:
    """`call` of every item, in any order; threads only where there is something to do side by side."""
    return list(side_by_side(call, iter(items)) if len(items) > 1 else map(call, items))


def _small(path: str) -> bytes | None:
    """The content of a small file, None for a large one."""
    fd = open_regular(path)
    try:
        if os.fstat(fd).st_size > SMALL:
            return None
        data = read_up_to(fd, SMALL + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(fd)
    return data if len(data) <= SMALL else None


# ------------------------------------------------------------------------------------------------------------ fetching


def get_dir(store: ObjectStore, digest: Digest, path: Path, link: bool = False) -> None:
    """See `ObjectStore.get_dir`."""
    entries = decode_manifest(store.get(digest))
    target = os.path.realpath(os.fsdecode(path))
    if os.path.lexists(target) and not (os.path.isdir(target) and not os.listdir(target)):
        raise UsageError(f"{target} is there already", hint="Remove it, or give another place.")
    above, name = os.path.split(target)
    if not os.path.isdir(above):
        raise NotFoundError(f"there is no directory {above} to put {name} into")
    temp = beside(above)
    with writing(above):
        os.mkdir(temp)
        try:
            _fill(store, entries, temp, link)
            os.rename(temp, target)
        except BaseException:
            remove_tree(temp)
            raise


def _fill(store: ObjectStore, entries: list[Entry], root: str, link: bool) -> None:
    """Write the entries into the empty directory `root`: links last, so that no file is written through one."""
    small: list[Entry] = []
    large: list[Entry] = []
    links: list[Entry] = []
    made = {root}
    for entry in entries:
        place = _place(root, entry)
        directory = place if stat.S_ISDIR(entry.mode) else os.path.dirname(place)
        if directory not in made:
            os.makedirs(directory, exist_ok=True)
            made.add(directory)
        if stat.S_ISLNK(entry.mode):
            links.append(entry)
        elif entry.size > SMALL:
            large.append(entry)
        elif stat.S_ISREG(entry.mode):
            small.append(entry)
        if len(small) == _BATCH:
            _write_small(store, small, root)
            small.clear()
    _write_small(store, small, root)
    _each(lambda one: store.get_file(one.digest, _place(root, one), link=link, mode=one.mode & 0o777), large)
    for entry in links:
        try:
            os.symlink(os.fsdecode(entry.target), _place(root, entry))
        except FileExistsError:
            raise IntegrityError(f"a directory manifest has {os.fsdecode(entry.path)!r} twice") from None
    for entry in links:
        if _leaves(root, _place(root, entry), os.fsdecode(entry.target)):
            raise IntegrityError(f"a directory manifest has a link {os.fsdecode(entry.path)!r} that leads out of it")


def _place(root: str, entry: Entry) -> str:
    return f"{root}/{os.fsdecode(entry.path)}"


def _write_small(store: ObjectStore, entries: list[Entry], root: str) -> None:
    contents = store.get_many([entry.digest for entry in entries])
    for entry, data in zip(entries, contents, strict=True):
        fd = os.open(_place(root, entry), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, entry.mode & 0o777)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
