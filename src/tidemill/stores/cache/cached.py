"""An object store behind the cache of its node: the same interface, fewer downloads."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from tidemill.model.digest import Digest
from tidemill.model.digest import digest as digest_of
from tidemill.model.errors import CacheError, UsageError
from tidemill.stores.cache.node import NodeCache
from tidemill.stores.objects.base import Wrapper
from tidemill.stores.objects.files import read_up_to
from tidemill.stores.objects.interface import CHUNK, SMALL, Data, Delivered, Path, Stored


class CachedStore(Wrapper):
    """`store` behind `cache`.

    A cache that is full, or broken, costs time and never a result: then `store` itself is asked. What another node
    deletes is not seen while it is cached here.

    Args:
        cache: of `store`, on this node.
        write_back: `put_file` returns when the file is in the cache. It is durable, and others see it, when `flush` has
            returned.
    """

    def __init__(self, cache: NodeCache, write_back: bool = False) -> None:
        super().__init__(cache.store)
        self.cache = cache
        self._write_back = write_back

    def flush(self) -> None:
        """Wait until what `put_file` has taken is durable; raises what went wrong with the first that is not."""
        self.cache.flush()

    def abandon(self) -> None:
        """Forget what `put_file` has taken: nobody is going to rely on it."""
        self.cache.abandon()

    def release(self) -> None:
        """Links that `get_file` and `get_dir` have given are not needed any more."""
        with suppress(CacheError):
            self.cache.release()

    def close(self) -> None:
        with suppress(CacheError):
            self.cache.close()
        self.inner.close()

    # ------------------------------------------------------------------------------------------------------------ put

    def put(self, data: Data) -> Digest:
        data = data.cast("B") if isinstance(data, memoryview) else data
        digest = self.inner.put(data)
        self._keep(digest, data)
        return digest

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        if self._write_back:
            with suppress(CacheError):
                return self.cache.put_file(path, move)
        return self.inner.put_file(path, move)

    def _keep(self, digest: Digest, data: Data) -> None:
        """What was just put or read is probably read again here. A small object is as quickly asked for."""
        if len(data) > SMALL:
            with suppress(CacheError):
                self.cache.keep(digest, data)

    # ------------------------------------------------------------------------------------------------------------ get

    def _cached(self, digest: Digest) -> int:
        """A descriptor to read an object, -1 if it has to be read from the store itself."""
        try:
            return self.cache.open(digest)
        except CacheError:
            return -1

    def get(self, digest: Digest, verify: bool = False) -> bytes:
        fd = self._cached(digest)
        if fd < 0:
            return self.inner.get(digest, verify)
        data = _content(fd)
        if verify and digest_of(data) != digest:
            # The disk of this node has changed them.
            self._drop(digest)
            return self.inner.get(digest, verify)
        return data

    def get_many(self, digests: Sequence[Digest], verify: bool = False) -> list[bytes]:
        if len(digests) == 1:
            return [self.get(digests[0], verify)]
        found: dict[Digest, bytes] = {}
        for digest in digests:
            if digest not in found:
                data = self._here(digest)
                if data is not None and not (verify and digest_of(data) != digest):
                    found[digest] = data
        missing = [digest for digest in dict.fromkeys(digests) if digest not in found]
        if missing:
            for digest, data in zip(missing, self.inner.get_many(missing, verify), strict=True):
                found[digest] = data
                self._keep(digest, data)
        return [found[digest] for digest in digests]

    def _here(self, digest: Digest) -> bytes | None:
        with suppress(CacheError):
            fd = self.cache.try_open(digest)
            return _content(fd) if fd >= 0 else None
        return None

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise UsageError(f"not a range: start {start}, length {length}")
        fd = self._cached(digest)
        if fd < 0:
            return self.inner.read_range(digest, start, length)
        try:
            length = min(length, os.fstat(fd).st_size - start)
            os.lseek(fd, start, os.SEEK_SET)
            return read_up_to(fd, length) if length > 0 else b""
        finally:
            os.close(fd)

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        if verify:
            # Whoever wants to know looks at what the store has.
            self._settled()
            return self.inner.open(digest, verify)
        fd = self._cached(digest)
        if fd < 0:
            return self.inner.open(digest)
        chunks = _chunks(fd)
        # Started, it closes the file also if nobody reads it.
        next(chunks)
        return chunks

    def get_file(
        self, digest: Digest, path: Path, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        if not verify:
            with suppress(CacheError):
                return self.cache.get_file(digest, path, link, mode)
        self._settled()
        return self.inner.get_file(digest, path, link, mode, verify)

    # --------------------------------------------------------------------------------------------------------- survey

    def _settled(self) -> None:
        """The store has what was given to this one, apart from what it has refused."""
        if self.cache.pending():
            self.cache.wait()

    def _drop(self, digest: Digest) -> None:
        with suppress(CacheError):
            self.cache.discard(digest)

    def exists(self, digests: Iterable[Digest]) -> set[Digest]:
        self._settled()
        return self.inner.exists(digests)

    def size(self, digest: Digest) -> int:
        with suppress(CacheError):
            fd = self.cache.try_open(digest)
            if fd >= 0:
                size = os.fstat(fd).st_size
                os.close(fd)
                return size
        return self.inner.size(digest)

    def delete(self, digests: Iterable[Digest], before: float | None = None) -> set[Digest]:
        self._settled()
        removed = self.inner.delete(digests, before)
        for digest in removed:
            self._drop(digest)
        return removed

    def list(self) -> Iterator[Stored]:
        self._settled()
        return self.inner.list()


def _content(fd: int) -> bytes:
    """The whole file, which is closed."""
    with open(fd, "rb", buffering=0) as file:
        return file.read()


def _chunks(fd: int) -> Iterator[bytes]:
    """An empty chunk, to be thrown away, and then those of the file."""
    with open(fd, "rb", buffering=0) as file:
        yield b""
        while chunk := file.read(CHUNK):
            yield chunk
