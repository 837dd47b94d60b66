"""Objects in a bucket, or in memory, through obstore. Importing this module does not import obstore.

The key of an object is `<prefix>/ab/cdef…`, made of the 64 hex digits of its digest. Any bucket will do: nothing here
needs conditional writes, ordered listings or ETags. Requests are repeated by obstore. A multipart upload whose
process was killed stays invisible but occupies space: give the bucket a rule that aborts incomplete uploads after some
days. Servers do not delete on condition of an age: an object that is put again between the look at its age and its
deletion, two requests apart, is lost.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from tidemill.model.digest import Digest, hasher
from tidemill.model.digest import digest as digest_of
from tidemill.model.errors import NotFoundError, StoreError, UsageError
from tidemill.stores.objects.base import USERS, StoreBase, is_user
from tidemill.stores.objects.buckets import memory_backend, s3_backend, sign
from tidemill.stores.objects.failures import damaged, not_found, talking, writing
from tidemill.stores.objects.files import copy_hashing, hash_rest, new_file, open_regular, read_up_to, remove, write_all
from tidemill.stores.objects.interface import CHUNK, Data, Delivered, Path, Stored
from tidemill.stores.objects.streams import checked, digest_of_name, pieces_of
from tidemill.stores.objects.urls import bucket_place, shown

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from obstore import ObjectMeta
    from obstore.store import MemoryStore, S3Store

PART = 8 << 20
"""Larger objects are sent in parts of at least this size (S3 wants 5 MiB), and not again if they are there."""

_MOST_PARTS = 9_000  # S3 allows 10,000
_PARTS_TOGETHER = 4
_REQUESTS_TOGETHER = 32
_FRESH_S = 3600.0

_A = TypeVar("_A")
_B = TypeVar("_B")


def open_memory(url: str) -> "RemoteStore":
    """The store `memory://name` of this process."""
    return RemoteStore(memory_backend(url), url)


def open_s3(url: str) -> "RemoteStore":
    """The store `s3://bucket/prefix?options`; see `s3_backend` for the options."""
    return RemoteStore(s3_backend(url, bucket_place(url).key), url, requests=_REQUESTS_TOGETHER, fresh_s=_FRESH_S)


class _Bucket(StoreBase):
    """An object store in what obstore calls a store.

    Args:
        backend: the connection; keys are relative to it.
        url: its address.
        requests: how many may be under way at the same time.
        fresh_s: see `ObjectStore.fresh_s`.
    """

    def __init__(self, backend: "S3Store | MemoryStore", url: str, requests: int = 1, fresh_s: float = 0.0) -> None:
        self.backend = backend
        self._url = url
        self._place = shown(url)
        self._requests = requests
        self.fresh_s = fresh_s
        self._threads: ThreadPoolExecutor | None = None
        self._threads_lock = threading.Lock()

    @property
    def url(self) -> str:
        return self._url

    def close(self) -> None:
        with self._threads_lock:
            threads, self._threads = self._threads, None
        if threads:
            threads.shutdown()

    def _keep_user(self, name: str, about: bytes) -> None:
        import obstore

        with talking(self._place, write=True):
            obstore.put(self.backend, f"{USERS}/{name}", about)

    def users(self) -> dict[str, str]:
        import obstore

        with talking(self._place):
            keys = [one["path"] for part in obstore.list(self.backend, prefix=USERS) for one in part]
        names = [name for key in keys if is_user(name := key.rpartition("/")[2])]

        def about(name: str) -> str:
            with talking(self._place):
                return obstore.get(self.backend, f"{USERS}/{name}").bytes().to_bytes().decode(errors="replace")

        return dict(zip(names, self._each(about, names), strict=True))

    def _each(self, call: Callable[[_A], _B], items: Sequence[_A]) -> list[_B]:
        """`call` of every item, in order, several at a time."""
        if self._requests == 1 or len(items) < 2:
            return [call(item) for item in items]
        with self._threads_lock:
            if self._threads is None:
                from concurrent.futures import ThreadPoolExecutor

                self._threads = ThreadPoolExecutor(self._requests, "objects")
            threads = self._threads
        return list(threads.map(call, items))


class RemoteStore(_Bucket):
    """An object store in what obstore calls a store."""

    # --------------------------------------------------------------------------------------------------------- put

    def put(self, data: Data) -> Digest:
        # Memory would keep a reference to what the caller may change.
        data = bytes(data)
        digest = digest_of(data)
        self._put_as(digest, data)
        return digest

    def _put_as(self, name: Digest, data: bytes) -> None:
        import obstore

        if len(data) <= PART or not self._fresh(name, len(data)):
            with talking(self._place, write=True):
                obstore.put(self.backend, _key(name), data, chunk_size=PART, max_concurrency=_PARTS_TOGETHER)

    def put_as(self, names: Sequence[Digest], items: Sequence[bytes]) -> None:
        """Store items under names that are not their digests."""
        self._each(lambda pair: self._put_as(*pair), list(zip(names, items, strict=True)))

    def put_pieces_as(self, name: Digest, size: int, pieces: Iterable[bytes]) -> None:
        """Store what the pieces make up, `size` bytes, under a name that is not its digest."""
        import obstore

        if size <= PART:
            self._put_as(name, b"".join(pieces))
        elif not self._fresh(name, size):
            part = max(PART, -(-size // _MOST_PARTS))
            with talking(self._place, write=True):
                obstore.put(self.backend, _key(name), iter(pieces), chunk_size=part, max_concurrency=_PARTS_TOGETHER)

    def put_many(self, items: Sequence[Data]) -> list[Digest]:
        return self._each(self.put, items)

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        source = open_regular(path)
        try:
            result = self._put_descriptor(source, os.fspath(path))
        finally:
            os.close(source)
        if move:
            remove(path)
        return result

    def _put_descriptor(self, source: int, name: str) -> tuple[Digest, int]:
        if os.fstat(source).st_size <= PART:
            data = read_up_to(source, PART + 1)
            if len(data) <= PART:
                return self.put(data), len(data)
            os.lseek(source, 0, os.SEEK_SET)
        digest, size = hash_rest(source)
        if not self._fresh(digest, size):
            os.lseek(source, 0, os.SEEK_SET)
            self._upload(source, digest, size, name)
        return digest, size

    def _upload(self, source: int, digest: Digest, size: int, name: str) -> None:
        """Send a file in parts. Its digest is computed again on the way, and a difference aborts the upload."""
        import obstore

        part = max(PART, -(-size // _MOST_PARTS))
        with talking(self._place, write=True):
            pieces = _unchanged(source, part, digest, name)
            obstore.put(self.backend, _key(digest), pieces, chunk_size=part, max_concurrency=_PARTS_TOGETHER)
            stored = obstore.head(self.backend, _key(digest))["size"]
        if stored != size:
            raise StoreError(f"{self._place} has stored {stored} bytes of {name} instead of {size}")

    def _fresh(self, digest: Digest, size: int) -> bool:
        """Whether an object is there and young enough not to be sent again."""
        head = self._head(digest)
        if head is None:
            return False
        age = time.time() - head["last_modified"].timestamp()
        return head["size"] == size and age < self.fresh_s

    def put_stream(self, source: Iterable[Data] | BinaryIO) -> tuple[Digest, int]:
        pieces = pieces_of(source)
        head = bytearray()
        for piece in pieces:
            head += piece
            if len(head) > PART:
                return self._put_spooled(chain([head], pieces))
        return self.put(head), len(head)

    def _put_spooled(self, pieces: Iterable[Data]) -> tuple[Digest, int]:
        """An object's key is known when its last byte is, so a long stream waits in a nameless temporary file."""
        from tempfile import TemporaryFile, gettempdir

        place = gettempdir()
        with writing(place):
            spool = TemporaryFile(buffering=0)  # noqa: SIM115 - the with statement follows
        with spool:

            def write(piece: Data) -> None:
                with writing(place):
                    write_all(spool.fileno(), piece)

            digest, size = copy_hashing(pieces, write)
            if not self._fresh(digest, size):
                spool.seek(0)
                self._upload(spool.fileno(), digest, size, "a stream")
        return digest, size

    # --------------------------------------------------------------------------------------------------------- get

    def get(self, digest: Digest, verify: bool = False) -> bytes:
        import obstore

        with talking(self._place, digest):
            data = obstore.get(self.backend, _key(digest)).bytes().to_bytes()
        if verify and digest_of(data) != digest:
            raise damaged(digest, self._place)
        return data

    def get_many(self, digests: Sequence[Digest], verify: bool = False) -> list[bytes]:
        return self._each(lambda digest: self.get(digest, verify), digests)

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        import obstore

        if start < 0 or length < 0:
            raise UsageError(f"not a range: start {start}, length {length}")
        # Servers refuse ranges that are empty or begin past the end.
        length = min(length, self.size(digest) - start)
        if length <= 0:
            return b""
        with talking(self._place, digest):
            return obstore.get_range(self.backend, _key(digest), start=start, length=length).to_bytes()

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        import obstore

        with talking(self._place, digest):
            result = obstore.get(self.backend, _key(digest))
        chunks = _chunks(iter(result.stream(min_chunk_size=CHUNK)), digest, self._place)
        return checked(chunks, digest, self._place) if verify else chunks

    def get_file(
        self, digest: Digest, path: Path, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        chunks = self.open(digest, verify)
        with new_file(path, mode) as target:
            for chunk in chunks:
                write_all(target, chunk)
        return "copy"

    def signed(self, digest: Digest, expires: float) -> str | None:
        # A server signs also what is not there.
        self.size(digest)
        return sign(self.backend, _key(digest), self._place, expires)

    # ------------------------------------------------------------------------------------------------------- survey

    def exists(self, digests: Iterable[Digest]) -> set[Digest]:
        digests = list(digests)
        heads = self._each(self._head, digests)
        found = {digest for digest, head in zip(digests, heads, strict=True) if head}
        if digests and not found:
            # A bucket that does not exist answers like one that is empty, until it is listed.
            next(self.list(), None)
        return found

    def size(self, digest: Digest) -> int:
        head = self._head(digest)
        if head is None:
            raise not_found(digest, self._place)
        return head["size"]

    def _head(self, digest: Digest) -> "ObjectMeta | None":
        import obstore

        try:
            with talking(self._place, digest):
                return obstore.head(self.backend, _key(digest))
        except NotFoundError:
            return None

    def delete(self, digests: Iterable[Digest], before: float | None = None) -> set[Digest]:
        # Each once: a server may delete the keys of one request side by side.
        doomed = list(set(digests))
        if before is None:
            self._remove(doomed)
            return set(doomed)
        removed: set[Digest] = set()
        # Few at a time: what somebody puts between the look at its age and the request is deleted.
        for first in range(0, len(doomed), self._requests):
            some = doomed[first : first + self._requests]
            heads = zip(some, self._each(self._head, some), strict=True)
            old = [digest for digest, head in heads if head and head["last_modified"].timestamp() < before]
            self._remove(old)
            removed.update(old)
        return removed

    def _remove(self, digests: Sequence[Digest]) -> None:
        import obstore

        if digests:
            with talking(self._place, write=True):
                obstore.delete(self.backend, [_key(digest) for digest in digests])

    def list(self) -> Iterator[Stored]:
        import obstore

        with talking(self._place):
            slices = iter(obstore.list(self.backend))
        while True:
            with talking(self._place):
                part = next(slices, None)
            if part is None:
                return
            for one in part:
                digest = digest_of_name(one["path"].replace("/", "", 1))
                if digest:
                    yield Stored(digest, one["size"], one["last_modified"].timestamp())


def _chunks(stream: Iterator[bytes], digest: Digest, place: str) -> Iterator[bytes]:
    while True:
        with talking(place, digest):
            chunk = next(stream, None)
        if chunk is None:
            return
        if chunk:
            yield chunk


def _key(digest: Digest) -> str:
    name = digest.hex()
    return f"{name[:2]}/{name[2:]}"


def _unchanged(source: int, part: int, digest: Digest, name: str) -> Iterator[bytes]:
    """The file in parts, and an error at its end if it does not have `digest` any more."""
    h = hasher()
    while piece := read_up_to(source, part):
        h.update(piece)
        yield piece
    if h.digest() != digest:
        raise UsageError(f"{name} was changed while it was being stored", hint="Store it when it is complete.")
