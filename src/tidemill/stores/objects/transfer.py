"""Import and export of single files by URL: `file:`, `http:`, `https:` and `s3:`, or a plain path.

Everything is streamed. At the target the file appears complete or not at all.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from tidemill.model.digest import Digest
from tidemill.model.errors import NotFoundError, StoreError, TidemillError, UsageError
from tidemill.stores.objects.buckets import s3_backend
from tidemill.stores.objects.dirs import decode_manifest
from tidemill.stores.objects.failures import talking
from tidemill.stores.objects.files import new_file, write_all
from tidemill.stores.objects.interface import CHUNK, ObjectStore
from tidemill.stores.objects.urls import bucket_place, local_path, scheme_of, shown

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import Request

_TIMEOUT_S = 60.0
_WHOLE = 8 << 20  # an S3 object up to this size is sent in one request


class Fetched(NamedTuple):
    """What `fetch_url` stored: digest and size in bytes of the content, and the base name of the file."""

    digest: Digest
    size: int
    name: str


def fetch_url(store: ObjectStore, url: str) -> Fetched:
    """Store the file at a URL.

    Args:
        store: where to.
        url: `file:///path`, `http://…`, `https://…`, `s3://bucket/key` (options and credentials as for a store), or a
            path.

    Raises:
        NotFoundError: if there is no such file.
        StoreError: if the server cannot be reached, refuses, or breaks off; nothing is stored then.
        UsageError: for any other kind of URL.
    """
    fetch = _FETCH.get(scheme_of(url))
    if fetch is None:
        raise _unknown(url)
    return fetch(store, url)


def send_url(store: ObjectStore, digest: Digest, url: str) -> None:
    """Write an object to a file at a URL, replacing one that is there.

    Args:
        store: where from.
        digest: the object.
        url: as for `fetch_url`; over `http:` the file is sent with PUT, as servers of presigned URLs expect it.

    Raises:
        NotFoundError: if there is no such object, or no directory or bucket to write to.
        StoreFullError: if there is no room at the target.
        StoreError: if the server cannot be reached, or refuses.
        UsageError: for any other kind of URL.
    """
    send = _SEND.get(scheme_of(url))
    if send is None:
        raise _unknown(url)
    send(store, digest, url)


def send_dir_url(store: ObjectStore, digest: Digest, url: str) -> None:
    """Write a stored directory to a URL: as a directory, or file by file below the URL where there are no directories.

    Args:
        store: where from.
        digest: of the directory's manifest.
        url: as for `send_url`; on this machine nothing must be there yet, elsewhere files that are there are replaced.

    Raises:
        UsageError: for any other kind of URL; if something is there; for symbolic links that go to a server.
        TidemillError: as for `send_url`.
    """
    scheme = scheme_of(url)
    if scheme in ("", "file"):
        store.get_dir(digest, local_path(url))
        return
    send = _SEND.get(scheme)
    if send is None:
        raise _unknown(url)
    entries = decode_manifest(store.get(digest))
    links = [os.fsdecode(one.path) for one in entries if stat.S_ISLNK(one.mode)]
    if links:
        raise UsageError(
            f"{links[0]} is a symbolic link, and {shown(url)} can have none", hint="Send it to a directory."
        )
    for one in entries:
        if stat.S_ISREG(one.mode):
            send(store, one.digest, _below(url, one.path))


def _below(url: str, path: bytes) -> str:
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}").geturl()


def _unknown(url: str) -> UsageError:
    return UsageError(
        f"{shown(url)} is not a kind of address that files are read from or written to",
        hint="Known are file:, http:, https: and s3:, and plain paths.",
    )


# --------------------------------------------------------------------------------------------------------------- file


def _fetch_file(store: ObjectStore, url: str) -> Fetched:
    path = local_path(url)
    digest, size = store.put_file(path)
    return Fetched(digest, size, os.path.basename(path))


def _send_file(store: ObjectStore, digest: Digest, url: str) -> None:
    chunks = store.open(digest)
    with new_file(local_path(url), durable=True) as target:
        for chunk in chunks:
            write_all(target, chunk)


# --------------------------------------------------------------------------------------------------------------- http


def _fetch_http(store: ObjectStore, url: str) -> Fetched:
    from urllib.request import Request

    _refuse_credentials(url)
    request = Request(url, headers={"User-Agent": "tidemill"})  # noqa: S310 - the scheme is known
    with _asked(request, url) as answer:
        name = answer.headers.get_filename() or unquote(urlsplit(answer.url).path)
        digest, size = store.put_stream(_body(answer, url))
    return Fetched(digest, size, os.path.basename(name) or "download")


def _send_http(store: ObjectStore, digest: Digest, url: str) -> None:
    from urllib.request import Request

    _refuse_credentials(url)
    headers = {
        "User-Agent": "tidemill",
        "Content-Type": "application/octet-stream",
        "Content-Length": str(store.size(digest)),
    }
    request = Request(url, store.open(digest), headers, method="PUT")  # noqa: S310 - the scheme is known
    with _asked(request, url) as answer:
        answer.read()


def _refuse_credentials(url: str) -> None:
    if "@" in urlsplit(url).netloc:
        raise UsageError(
            f"{shown(url)} was given with credentials in it, and addresses are shown",
            hint="Use an address that works without, such as one that the server has signed.",
        )


@contextmanager
def _asked(request: "Request", url: str) -> Iterator["HTTPResponse"]:
    """The answer to a request, if it is a good one."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the scheme is known
            yield answer
    except TidemillError:
        raise
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise NotFoundError(f"there is nothing at {shown(url)} ({error.code} {error.reason})") from error
        raise StoreError(f"{shown(url)} refuses {request.get_method()}: {error.code} {error.reason}") from error
    except URLError as error:
        raise StoreError(f"cannot reach {shown(url)}: {error.reason}") from error
    except (HTTPException, OSError) as error:
        raise StoreError(f"{shown(url)} broke off: {error!r}") from error


def _body(answer: "HTTPResponse", url: str) -> Iterator[bytes]:
    """What a server sends, and an error if it was less than announced."""
    announced = answer.headers.get("Content-Length")
    size = 0
    while chunk := answer.read(CHUNK):
        size += len(chunk)
        yield chunk
    if announced is not None and size != int(announced):
        raise StoreError(f"{shown(url)} broke off: {size} bytes of {announced}")


# ----------------------------------------------------------------------------------------------------------------- s3


def _fetch_s3(store: ObjectStore, url: str) -> Fetched:
    import obstore

    backend, key = s3_backend(url, ""), _s3_key(url)
    with talking(shown(url)):
        stream = iter(obstore.get(backend, key).stream(min_chunk_size=CHUNK))

    def chunks() -> Iterator[bytes]:
        while True:
            with talking(shown(url)):
                chunk = next(stream, None)
            if chunk is None:
                return
            yield chunk

    digest, size = store.put_stream(chunks())
    return Fetched(digest, size, os.path.basename(key))


def _send_s3(store: ObjectStore, digest: Digest, url: str) -> None:
    import obstore

    backend, key = s3_backend(url, ""), _s3_key(url)
    data = store.get(digest) if store.size(digest) <= _WHOLE else store.open(digest)
    with talking(shown(url), write=True):
        obstore.put(backend, key, data, chunk_size=_WHOLE)


def _s3_key(url: str) -> str:
    key = bucket_place(url).key
    if not key:
        raise UsageError(f"{shown(url)} names a bucket and no file in it", hint="Write s3://bucket/path/of/file.")
    return key


_FETCH: dict[str, Callable[[ObjectStore, str], Fetched]] = {
    "": _fetch_file,
    "file": _fetch_file,
    "http": _fetch_http,
    "https": _fetch_http,
    "s3": _fetch_s3,
}
_SEND: dict[str, Callable[[ObjectStore, Digest, str], None]] = {
    "": _send_file,
    "file": _send_file,
    "http": _send_http,
    "https": _send_http,
    "s3": _send_s3,
}
