"""Objects whose bytes stay where they are: a note in the store says at which address a digest can be read.

What is elsewhere can change, and an object never does. So a note also has the file's size and its *tag*, which changes
with the file (an ETag; of a file on this machine its inode, size and times). Nothing is given out from a file with
another tag before all of it was read again and had the digest; whole files are held against the digest in any case. A
file that was changed less than two seconds before it was read has no tag yet: within the grain of the clock, another
change would look the same.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tidemill.model.digest import Digest, hasher, show
from tidemill.model.errors import IntegrityError, NewerStoreError, NotFoundError, StoreError, UsageError
from tidemill.stores.objects.base import Wrapper
from tidemill.stores.objects.files import clone, hash_rest, new_file, open_regular, write_all
from tidemill.stores.objects.interface import Delivered, ObjectStore, Path, Stored
from tidemill.stores.objects.local import LocalStore
from tidemill.stores.objects.notes import Notes
from tidemill.stores.objects.schemes import Bucket, Files, Opened, scheme_for
from tidemill.stores.objects.streams import checked, digest_of_name
from tidemill.stores.objects.urls import local_path, scheme_of, shown

REFERENCES = "refs"
"""Directory, or prefix of keys, beside the objects: a note for each object that is elsewhere."""

_KIND = "tidemill.reference"
_VERSION = 1


class Reference(msgspec.Struct, array_like=True, frozen=True):
    """Where an object is.

    Attributes:
        url: its address.
        size: bytes.
        tag: of the file when it was last read whole; "" if that does not tell it from other content.
        kind: says what this note is.
        version: of its format.
    """

    url: str
    size: int
    tag: str
    kind: str = _KIND
    version: int = _VERSION


class References:
    """The notes of one store.

    Args:
        notes: where they are.
        grain_s: a file of this machine that was changed so many seconds ago is told from one that is changed now.
    """

    def __init__(self, notes: Notes, grain_s: float = 2.0) -> None:
        self._notes = notes
        self._grain_s = grain_s

    def refer(self, url: str) -> tuple[Digest, int]:
        """Make the file at a URL an object that stays there. It is read once, for its digest.

        Returns:
            digest and size in bytes.

        Raises:
            NotFoundError: if there is no such file.
            StoreError: if the server cannot be reached, or refuses.
            UsageError: if it cannot be referred to: it was changed while it was read, its address ends to be valid, or
                its server does not say when it changes.
        """
        if scheme_of(url) in ("", "file"):
            url = os.path.abspath(local_path(url))
        elif scheme_of(url).startswith("http") and "?" in url:
            hint = "Fetch it as a copy: what stands behind the question mark may be secret, and may expire."
            raise UsageError(f"{shown(url)} cannot be referred to", hint=hint)
        digest, ref = _read_whole(url, self._grain_s)
        self._note(digest, ref)
        return digest, ref.size

    def _note(self, digest: Digest, ref: Reference) -> None:
        self._notes.write(digest.hex(), msgspec.msgpack.encode(ref))

    def find(self, digest: Digest) -> Reference | None:
        """Where an object is; None if there is no note about it.

        Raises:
            IntegrityError: if the note is damaged.
            NewerStoreError: if a newer version of Tidemill wrote it.
        """
        text = self._notes.read(digest.hex())
        if text is None:
            return None
        try:
            ref = msgspec.msgpack.decode(text, type=Reference)
        except msgspec.DecodeError as error:
            said = f"the note about {show(digest)} is no reference: {error}"
            raise IntegrityError(said, hint="Fetch the file again.") from None
        if ref.version > _VERSION:
            raise NewerStoreError(f"a reference of version {ref.version}", hint="Upgrade Tidemill.")
        return ref

    def get(self, digest: Digest, error: NotFoundError) -> Reference:
        """Where an object is that the store itself has not, or `error`, with which it said so."""
        ref = self.find(digest)
        if ref is None:
            raise error
        return ref

    def open(self, digest: Digest, ref: Reference) -> tuple[Opened, Reference]:
        """The file that is referred to, if it is still what it was; and what is noted about it now."""
        opened = _open(digest, ref)
        if ref.tag and opened.found.tag == ref.tag:
            return opened, ref
        opened.close()
        found, again = _read_whole(ref.url, self._grain_s)
        if found != digest:
            raise _changed(digest, ref)
        self._note(digest, again)
        return _open(digest, again), again

    def chunks(self, digest: Digest, ref: Reference) -> Iterator[bytes]:
        """The content. If it is not what it should be, that is an error at its beginning or in place of its end."""
        opened, _ = self.open(digest, ref)

        def chunks() -> Iterator[bytes]:
            try:
                yield from checked(_unchanged(opened, digest, ref), digest, shown(ref.url))
            except IntegrityError:
                raise _changed(digest, ref) from None
            finally:
                opened.close()

        return chunks()

    def read(self, digest: Digest, ref: Reference) -> bytes:
        """The whole content."""
        return b"".join(self.chunks(digest, ref))

    def range(self, digest: Digest, ref: Reference, start: int, length: int) -> bytes:
        """A part of the content."""
        if start >= ref.size or not length:
            return b""
        data = _range(digest, ref, start, length)
        if data is None:
            opened, ref = self.open(digest, ref)
            opened.close()
            data = _range(digest, ref, start, length)
        return self.read(digest, ref)[start : start + length] if data is None else data

    def give(self, digest: Digest, ref: Reference, path: Path, mode: int) -> Delivered:
        """Write the content to a file. Never a link: who owns the original could change it while a task reads it."""
        with new_file(path, mode) as target:
            if _is_local(ref.url) and _cloned(digest, ref, target):
                return "clone"
            for chunk in self.chunks(digest, ref):
                write_all(target, chunk)
        return "copy"

    def signed(self, digest: Digest, ref: Reference, expires: float) -> str | None:
        """See `ObjectStore.signed`."""
        opened, ref = self.open(digest, ref)
        opened.close()
        scheme = scheme_for(ref.url)
        return scheme.signed(ref.url, expires) if isinstance(scheme, Bucket) else None

    def list(self) -> Iterator[tuple[Digest, float]]:
        """Every object that is referred to, and when that was noted."""
        for name, mtime in self._notes.list():
            digest = digest_of_name(name)
            if digest:
                yield digest, mtime

    def forget(self, digests: Iterable[Digest]) -> None:
        """Remove notes; the files stay."""
        for digest in digests:
            self._notes.remove(digest.hex())


class ReferringStore(Wrapper):
    """An object store, and the objects that it only refers to.

    Args:
        inner: has the bytes that are in the store.
        references: say where the others are.
    """

    def __init__(self, inner: ObjectStore, references: References) -> None:
        super().__init__(inner)
        self.references = references

    # --------------------------------------------------------------------------------------------------------- get

    def get(self, digest: Digest, verify: bool = False) -> bytes:
        try:
            return self.inner.get(digest, verify)
        except NotFoundError as error:
            return self.references.read(digest, self.references.get(digest, error))

    def get_many(self, digests: Sequence[Digest], verify: bool = False) -> list[bytes]:
        try:
            return self.inner.get_many(digests, verify)
        except NotFoundError as error:
            here = self.inner.exists(digests)
            refs = {d: self.references.get(d, error) for d in digests if d not in here}
            found = iter(self.inner.get_many([d for d in digests if d in here], verify))
            return [self.references.read(d, refs[d]) if d in refs else next(found) for d in digests]

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        try:
            return self.inner.read_range(digest, start, length)
        except NotFoundError as error:
            return self.references.range(digest, self.references.get(digest, error), start, length)

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        try:
            return self.inner.open(digest, verify)
        except NotFoundError as error:
            return self.references.chunks(digest, self.references.get(digest, error))

    def get_file(
        self, digest: Digest, path: Path, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        try:
            return self.inner.get_file(digest, path, link, mode, verify)
        except NotFoundError as error:
            if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
                raise
            return self.references.give(digest, self.references.get(digest, error), path, mode)

    def signed(self, digest: Digest, expires: float) -> str | None:
        try:
            return self.inner.signed(digest, expires)
        except NotFoundError as error:
            return self.references.signed(digest, self.references.get(digest, error), expires)

    # ------------------------------------------------------------------------------------------------------- survey

    def exists(self, digests: Iterable[Digest]) -> set[Digest]:
        digests = set(digests)
        found = self.inner.exists(digests)
        if len(found) < len(digests):
            found |= digests.intersection(one for one, _ in self.references.list())
        return found

    def size(self, digest: Digest) -> int:
        try:
            return self.inner.size(digest)
        except NotFoundError as error:
            return self.references.get(digest, error).size

    def delete(self, digests: Iterable[Digest], before: float | None = None) -> set[Digest]:
        doomed = set(digests)
        referred = {digest: mtime for digest, mtime in self.references.list() if digest in doomed}
        young = {digest for digest, mtime in referred.items() if before is not None and mtime >= before}
        self.references.forget(referred.keys() - young)
        removed = self.inner.delete(doomed - young, before)
        return removed | (referred.keys() - young)

    def list(self) -> Iterator[Stored]:
        yield from self.inner.list()
        referred = dict(self.references.list())
        here = self.inner.exists(referred) if referred else set()
        for digest, mtime in referred.items():
            if digest not in here:
                yield Stored(digest, 0, mtime)


# ----------------------------------------------------------------------------------------------------------- the files


def _is_local(url: str) -> bool:
    return not scheme_of(url)


def _open(digest: Digest, ref: Reference, start: int = 0, length: int | None = None) -> Opened:
    try:
        return scheme_for(ref.url).open(ref.url, start, length)
    except NotFoundError as error:
        raise NotFoundError(
            f"the object {show(digest)} is not in the store, which refers to {shown(ref.url)}, and that is gone",
            hint="Put the file back, or fetch it again from elsewhere.",
        ) from error


def _range(digest: Digest, ref: Reference, start: int, length: int) -> bytes | None:
    """A part of a file that has still its tag; None if it has not, or never had one."""
    if not ref.tag:
        return None
    opened = _open(digest, ref, start, length)
    try:
        data = b"".join(opened.chunks)
    finally:
        opened.close()
    tag = _tag_now(ref) if _is_local(ref.url) else opened.found.tag
    return data if tag == ref.tag else None


def _changed(digest: Digest, ref: Reference) -> IntegrityError:
    return IntegrityError(
        f"{shown(ref.url)} was changed since the store refers to it: its content is not {show(digest)} any more",
        hint="Put the old content back; or fetch the file again, and run what used it with the new content.",
    )


def _read_whole(url: str, grain_s: float) -> tuple[Digest, Reference]:
    """A file's digest, and what is to be noted about it."""
    scheme = scheme_for(url)
    start = time.time()
    opened = scheme.open(url)
    try:
        if not opened.found.tag:
            raise UsageError(
                f"{shown(url)} cannot be referred to: its server does not say when it changes",
                hint="Fetch it as a copy.",
            )
        h, size = hasher(), 0
        for chunk in opened.chunks:
            h.update(chunk)
            size += len(chunk)
    finally:
        opened.close()
    tag = opened.found.tag
    if isinstance(scheme, Files):
        after = scheme.look(url)
        if after is None or after.tag != tag:
            raise UsageError(f"{url} was changed while it was read", hint="Fetch it when it is complete.")
        if not _settled(url, start - grain_s):
            tag = ""
    return h.digest(), Reference(url, size, tag)


def _settled(path: str, before: float) -> bool:
    """Whether a file was last changed before that time."""
    try:
        return os.stat(path).st_ctime < before
    except OSError:
        return False


def _tag_now(ref: Reference) -> str:
    found = scheme_for(ref.url).look(ref.url)
    return found.tag if found else ""


def _unchanged(opened: Opened, digest: Digest, ref: Reference) -> Iterator[bytes]:
    """The chunks of a file, none of them from after a change that can be seen."""
    for chunk in opened.chunks:
        if _is_local(ref.url) and _tag_now(ref) != opened.found.tag:
            raise _changed(digest, ref)
        yield chunk


def _cloned(digest: Digest, ref: Reference, target: int) -> bool:
    """Share the blocks of a file of this machine with a new one, if that can be done; and look at what they are."""
    try:
        source = open_regular(ref.url)
    except (NotFoundError, UsageError):
        return False
    try:
        if not clone(source, target):
            return False
    except OSError as error:
        raise StoreError(f"{ref.url} cannot be cloned: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(source)
    if hash_rest(target)[0] != digest:
        raise _changed(digest, ref)
    return True


class ReferringDirectory(ReferringStore):
    """The same over a store in a directory of this machine, whose files can be read in place.

    Args:
        inner: the store; it has `root` and `file_of`.
        references: as above.
    """

    def __init__(self, inner: LocalStore, references: References) -> None:
        super().__init__(inner, references)
        self.root = inner.root
        self.file_of = inner.file_of
