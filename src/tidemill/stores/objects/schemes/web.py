"""Files on web servers: `http:` and `https:`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from tidemill.model.errors import NotFoundError, StoreError, TidemillError, UsageError
from tidemill.model.filename import given_name
from tidemill.stores.objects.interface import CHUNK
from tidemill.stores.objects.schemes.base import Found, Member, Opened, range_end
from tidemill.stores.objects.urls import shown

if TYPE_CHECKING:
    from http.client import HTTPResponse

_TIMEOUT_S = 60.0
_NO_HEAD = {400, 403, 405, 501}
"""What servers answer that do not know HEAD, or that have signed the address for GET only."""


class Web:
    """See `Scheme`. There are no directories on the web: everything that answers is a file."""

    def look(self, url: str) -> Found | None:
        try:
            try:
                answer = _ask(url, "HEAD")
            except _RefusedError as error:
                if error.status not in _NO_HEAD:
                    raise
                answer = _ask(url, "GET")
        except NotFoundError:
            return None
        with suppress(OSError):
            answer.close()
        return _found(answer)

    def list(self, url: str) -> Iterator[Member]:
        raise _no_listing(url)

    def open(self, url: str, start: int = 0, length: int | None = None) -> Opened:
        ranged = (start, length) != (0, None)
        last = "" if length is None else str(start + length - 1)
        answer = _ask(url, "GET", headers={"Range": f"bytes={start}-{last}"} if ranged and length != 0 else {})
        name = answer.headers.get_filename() or unquote(urlsplit(answer.url).path)
        found = _found(answer)
        chunks = _body(answer, url)
        if ranged:
            # A server may answer with the whole file instead.
            first = 0 if answer.status != 206 else start
            chunks = _slice(chunks, start - first, length)
            found = found._replace(size=_whole(answer, found.size))
        return Opened(given_name(name, "download"), found, chunks, answer.close)

    def write(self, url: str, chunks: Callable[[], Iterator[bytes]], size: int, mode: int) -> None:
        del mode
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        answer = _ask(url, "PUT", chunks(), headers)
        with _reading(url):
            answer.read()
        answer.close()


def _no_listing(url: str) -> UsageError:
    return UsageError(
        f"{shown(url)} cannot be listed: web servers do not say which files they have",
        hint="Name the files one by one.",
    )


class _RefusedError(StoreError):
    """An answer that is no good one, with its status."""

    status = 0


def _ask(
    url: str, method: str, data: Iterator[bytes] | None = None, headers: dict[str, str] | None = None
) -> "HTTPResponse":
    """The answer to a request, if it is a good one."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    if "@" in urlsplit(url).netloc:
        raise UsageError(
            f"{shown(url)} was given with credentials in it, and addresses are shown",
            hint="Use an address that works without, such as one that the server has signed.",
        )
    headers = {"User-Agent": "tidemill", **(headers or {})}
    request = Request(_quoted(url), data, headers, method=method)  # noqa: S310 - the scheme is known
    try:
        with _reading(url):
            answer: HTTPResponse = urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - the scheme is known
            return answer
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise NotFoundError(f"there is nothing at {shown(url)} ({error.code} {error.reason})") from error
        if error.code == 416:
            return error  # type: ignore[return-value]
        refused = _RefusedError(f"{shown(url)} refuses {method}: {error.code} {error.reason}")
        refused.status = error.code
        raise refused from error
    except URLError as error:
        raise StoreError(f"cannot reach {shown(url)}: {error.reason}") from error


def _quoted(url: str) -> str:
    """The address with percent signs for what cannot be in a request, such as spaces and umlauts."""
    parts = urlsplit(url)
    path, query = (
        quote(part, safe="%/:=&?~+!$,;'@()*[]|", errors="surrogateescape") for part in (parts.path, parts.query)
    )
    return parts._replace(path=path, query=query, fragment="").geturl()


@contextmanager
def _reading(url: str) -> Iterator[None]:
    from http.client import HTTPException
    from urllib.error import URLError

    try:
        yield
    except (TidemillError, URLError):
        raise
    except (HTTPException, OSError, ValueError) as error:
        raise StoreError(f"{shown(url)} broke off: {error!r}") from error


def _found(answer: "HTTPResponse") -> Found:
    length = answer.headers.get("Content-Length", "")
    tag = answer.headers.get("ETag") or ""
    # A weak one may stay the same for content that is only similar.
    return Found("file", int(length) if length.isdecimal() else None, tag="" if tag.startswith("W/") else tag)


def _whole(answer: "HTTPResponse", size: int | None) -> int | None:
    """The size of the file of which a part was answered."""
    if answer.status == 200:
        return size
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(whole) if whole.isdecimal() else None


def _body(answer: "HTTPResponse", url: str) -> Iterator[bytes]:
    """What a server sends, and an error if it was less than announced."""
    if answer.status == 416:  # the range begins past the end
        return
    announced = answer.headers.get("Content-Length")
    size = 0
    while True:
        with _reading(url):
            chunk = answer.read(CHUNK)
        if not chunk:
            break
        size += len(chunk)
        yield chunk
    if announced is not None and size != int(announced):
        raise StoreError(f"{shown(url)} broke off: {size} bytes of {announced}")


def _slice(chunks: Iterator[bytes], start: int, length: int | None) -> Iterator[bytes]:
    position = 0
    for chunk in chunks:
        end = range_end(position + len(chunk), start, length)
        if wanted := chunk[max(0, start - position) : max(0, end - position)]:
            yield wanted
        position += len(chunk)
        if length is not None and position >= start + length:
            return
