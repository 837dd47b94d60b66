"""Files in buckets, through obstore: `s3:`, `gs:`, `az:`, and `memory:` for trying things out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from tidemill.model.errors import NotFoundError, StoreError, UsageError
from tidemill.model.filename import given_name
from tidemill.stores.objects.ahead import Ahead
from tidemill.stores.objects.buckets import backend, sign
from tidemill.stores.objects.failures import talking
from tidemill.stores.objects.interface import CHUNK
from tidemill.stores.objects.schemes.base import Found, Member, Opened, range_end
from tidemill.stores.objects.urls import bucket_place, scheme_of, shown

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

    from tidemill.stores.objects.buckets import Backend

WHOLE = 8 << 20
"""A file up to this size is sent in one request."""

_MOST_PARTS = 9_000  # S3 allows 10,000
_PAGE = 1000

_A = TypeVar("_A")


class Bucket:
    """See `Scheme`. A directory is what names begin with, up to a slash; it is there as long as it has members."""

    def look(self, url: str) -> Found | None:
        connection, key = backend(url, ""), bucket_place(url).key
        import obstore

        if key and not is_folder(url):
            try:
                with talking(shown(url)):
                    return _found(obstore.head(connection, key))
            except NotFoundError:
                pass
        return Found("dir") if self._below(connection, url, key) else None

    def _below(self, connection: "Backend", url: str, key: str) -> bool:
        """Whether anything is below a prefix. The bucket itself is a directory also when it is empty."""
        first = next(_each(_pages(connection, key, shown(url), 1)), None)
        return first is not None or not key

    def is_mark(self, url: str) -> bool:
        """Whether what was listed as a file of 0 bytes marks a directory: its key ends with a slash, and listings have
        no such slash.
        """
        connection, key = backend(url, ""), _key(url)
        import obstore

        if self._below(connection, url, key):
            return True
        with talking(shown(url)):  # where a listing leaves out what is called as its prefix
            found = obstore.list_with_delimiter(connection, key.rpartition("/")[0] or None)
        return any(prefix.rstrip("/") == key for prefix in found["common_prefixes"])

    def list(self, url: str) -> Iterator[Member]:
        connection, key = backend(url, ""), bucket_place(url).key
        import obstore

        with talking(shown(url)):
            found = obstore.list_with_delimiter(connection, key or None)
        above = f"{key}/" if key else ""
        members = [Member(f"{prefix.rstrip('/').removeprefix(above)}/", None) for prefix in found["common_prefixes"]]
        members += [Member(one["path"].removeprefix(above), one["size"]) for one in found["objects"]]
        # What marks an empty directory has its name.
        members = [one for one in members if one.name and one.name != key]
        if not members and key and not self._below(connection, url, key):
            self._complain(connection, url, key)
        yield from sorted(members)

    def _complain(self, connection: "Backend", url: str, key: str) -> None:
        import obstore

        with talking(shown(url)):
            obstore.head(connection, key)
        raise UsageError(f"{shown(url)} is not a directory")

    def walk(self, url: str) -> Iterator[Member]:
        """Every file below a directory, with its path relative to it, in no particular order. What marks a directory
        is among them, as a file of 0 bytes that cannot be opened by this path.
        """
        connection, key = backend(url, ""), bucket_place(url).key
        above = f"{key}/" if key else ""
        for one in _each(_pages(connection, key, shown(url), _PAGE)):
            if one["path"].startswith(above):
                yield Member(one["path"].removeprefix(above), one["size"])

    def open(self, url: str, start: int = 0, length: int | None = None) -> Opened:
        connection, key = backend(url, ""), _key(url)
        import obstore

        options: GetOptions = {}
        with talking(shown(url)):
            if (start, length) != (0, None):
                head = obstore.head(connection, key)
                end = range_end(head["size"], start, length)
                # Servers refuse ranges that are empty or begin past the end.
                if start >= end:
                    return Opened(given_name(key, "download"), _found(head), iter(()), _nothing)
                options = {"range": (start, end)}
            answer = obstore.get(connection, key, options=options)
            stream = iter(answer.stream(min_chunk_size=CHUNK))
        chunks = (chunk.to_bytes() if hasattr(chunk, "to_bytes") else bytes(chunk) for chunk in _told(stream, url))
        return Opened(given_name(key, "download"), _found(answer.meta), chunks, chunks.close)

    def write(self, url: str, chunks: Callable[[], Iterator[bytes]], size: int, mode: int) -> None:
        del mode
        connection, key = backend(url, ""), _key(url)
        import obstore

        if size <= WHOLE:
            data = b"".join(chunks())
            with talking(shown(url), write=True):
                obstore.put(connection, key, data)
            return
        with Ahead(chunks()) as source:
            try:
                with talking(shown(url), write=True):
                    obstore.put(connection, key, source, chunk_size=max(WHOLE, -(-size // _MOST_PARTS)))
            except StoreError:
                # obstore may tell only that the source has failed, and not with what.
                if source.error is not None:
                    raise source.error from None
                raise

    def signed(self, url: str, expires: float) -> str | None:
        """An address at which anybody can read a file for `expires` seconds, see `buckets.sign`."""
        return sign(backend(url, ""), _key(url), shown(url), expires)


def is_folder(url: str) -> bool:
    """Whether an address ends as those of directories do."""
    return (url.partition("?")[0].partition("#")[0] if scheme_of(url) else url).endswith("/")


def _key(url: str) -> str:
    key = bucket_place(url).key
    if not key:
        hint = f"Write {scheme_of(url)}://bucket/path/of/file."
        raise UsageError(f"{shown(url)} names a bucket and no file in it", hint=hint)
    return key


def _found(head: "ObjectMeta") -> Found:
    return Found("file", head["size"], tag=head["e_tag"] or head["last_modified"].isoformat())


def _pages(connection: "Backend", key: str, place: str, size: int) -> Iterator[Sequence["ObjectMeta"]]:
    """What is below a prefix, page by page, as the server gives it."""
    import obstore

    with talking(place):
        pages = iter(obstore.list(connection, prefix=key or None, chunk_size=size))
    while True:
        with talking(place):
            page = next(pages, None)
        if page is None:
            return
        yield page


def _each(pages: Iterator[Sequence[_A]]) -> Iterator[_A]:
    for page in pages:
        yield from page


def _told(stream: Iterator[_A], url: str) -> Iterator[_A]:
    """The chunks, and what goes wrong with them as errors of ours."""
    while True:
        with talking(shown(url)):
            chunk = next(stream, None)
        if chunk is None:
            return
        if chunk:
            yield chunk


def _nothing() -> None:
    pass
