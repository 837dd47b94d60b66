"""Serving files of a store over HTTP: to whoever has an address that was given out for one, until that has expired."""

import hashlib
import hmac
import math
import mimetypes
import os
import re
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote

from msgspec.structs import replace

from tidemill.client.store import Store
from tidemill.client.transfer import Sendable, ref_of
from tidemill.model.errors import NotFoundError, TidemillError, UsageError, without_our_frames
from tidemill.model.values import Ref
from tidemill.stores.objects import ObjectStore

IDLE_SECONDS = 60.0
"""After which a connection is closed on which nothing comes or goes."""

_LOOK_SECONDS = 0.1
"""Between two looks whether it is to end."""
_PIECE = 4 << 20
"""Bytes of a part of a file that are asked of the object store at a time."""
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 — what it means, not where we listen


class Served(AbstractContextManager["Served"]):
    """A server of files of a store, as `Store.serve_files` gives it. It goes on until `close`, or the end of `with`.

    It gives out exactly the files that `url_of` was asked for. They are read through the object store, so what is
    sealed there is sent in plain; and by `http`, so who can read the network in between can read the files and the
    addresses.

    Attributes:
        host: where it listens.
        port: on which port.
    """

    def __init__(self, store: Store, host: str, port: int, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        try:
            self._server = _Server((host, port), store.objects, clock)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"cannot serve files on {host or 'every address'}, port {port}: {error}",
                hint="Give an address of this machine and a port that is free; 0 takes any.",
            ) from error
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_SECONDS,), daemon=True)
        self._thread.start()

    @without_our_frames
    def url_of(self, what: Sendable, expires: float = 3600.0) -> str:
        """An address at which anybody who has it can read a file of the store, for `expires` seconds.

        Args:
            what: as for `Store.send`.
            expires: seconds. What was begun by then is sent to its end.

        Raises:
            NotFoundError: there is no such thing, or its bytes are gone.
            UsageError: the value is no file; `expires` is no time.
        """
        if not 0 < expires < math.inf:
            raise UsageError(f"an address cannot be valid for {expires} seconds", hint="Give more than 0.")
        ref = ref_of(self._store, what)
        if ref.kind == "dir":
            raise UsageError(
                f"{ref.name or what} is a directory, and only files are served",
                hint="Send it, or serve files that are in it.",
            )
        size = self._store.objects.size(ref.digest)
        host = socket.getfqdn() if self.host in _EVERYWHERE else self.host
        target = self._server.give_out(replace(ref, size=size), self._clock() + expires)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{target}"

    def wait(self, seconds: float) -> None:
        """Go on serving for so long, and until what was begun by then is sent."""
        self._server.wait(seconds)

    def close(self) -> None:
        """End it: nothing is given out any more, and what is being sent breaks off."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    """Listens, and knows who is connected and what was given out."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], objects: ObjectStore, clock: Callable[[], float]) -> None:
        self.objects = objects
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._files: dict[str, Ref] = {}
        self._connected: set[socket.socket] = set()
        self._closed = False
        self._under_way = 0
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Request)

    def give_out(self, ref: Ref, until: float) -> str:
        """The path, with what signs it, at which a file can be read until that time by the clock."""
        with self._changed:
            path = f"/{len(self._files) + 1}/{quote(os.fsencode(ref.name), safe='')}"
            self._files[path] = ref
        end = f"{until:.3f}"
        return f"{path}?expires={end}&signature={self._sign(path, end)}"

    def find(self, target: str) -> Ref | str:
        """The file that the target of a request was given out for, or why there is none."""
        path, _, query = target.partition("?")
        said = parse_qs(query)
        end, signature = ("".join(said.get(name, [])) for name in ("expires", "signature"))
        ref = self._files.get(path)
        if ref is None or not hmac.compare_digest(self._sign(path, end).encode(), signature.encode(errors="replace")):
            return "this address was not given out here"
        return ref if self._clock() < float(end) else "this address has expired"

    def _sign(self, path: str, end: str) -> str:
        return hmac.new(self._secret, f"{path} {end}".encode(errors="replace"), hashlib.sha256).hexdigest()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A request is under way."""
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
            self._changed.wait_for(lambda: self._closed or not self._under_way)

    def server_bind(self) -> None:
        # HTTPServer's own asks for the name of the host, which may take long.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connected.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connected.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for one in list(self._connected):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who has gone, or asked for what cannot be read, has been told as far as that was possible."""


class _Request(BaseHTTPRequestHandler):
    """One connection: GET and HEAD, with a range of bytes."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "tidemill"
    sys_version = ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: Any) -> None:
        """Nothing: addresses are secrets."""

    def _answer(self, *, body: bool) -> None:
        with self.server.at_work():
            self._send(body=body)

    def _send(self, *, body: bool) -> None:
        ref = self.server.find(self.path)
        if isinstance(ref, str):
            self._refuse(HTTPStatus.FORBIDDEN, ref, body=body)
            return
        etag = f'"{ref.digest.hex()}"'
        part = self._part(ref.size, etag)
        if part is not None and not part:
            self._refuse(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the file has {ref.size} bytes", body=body, size=ref.size
            )
            return
        try:
            pieces = self._pieces(ref, part) if body else iter(())
            first = next(pieces, b"")
        except NotFoundError:
            self._refuse(HTTPStatus.NOT_FOUND, "the file is not in the store any more", body=body)
            return
        except TidemillError:
            # What it says may tell where the objects are.
            self._refuse(HTTPStatus.BAD_GATEWAY, "the file cannot be read", body=body)
            return
        self._head(ref, etag, part)
        self.wfile.write(first)
        for piece in pieces:
            self.wfile.write(piece)

    def _head(self, ref: Ref, etag: str, part: range | None) -> None:
        self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
        if part is not None:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{ref.size}")
        self.send_header("Content-Length", str(ref.size if part is None else len(part)))
        self.send_header("Content-Type", mimetypes.guess_type(ref.name)[0] or "application/octet-stream")
        name = quote(os.fsencode(ref.name), safe="")
        self.send_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "private")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.end_headers()

    def _part(self, size: int, etag: str) -> range | None:
        """The bytes that are wanted, of so many; None for all. Of several ranges, or what is none, all are given."""
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if match is None or self.headers.get("If-Range", etag) != etag:
            return None
        first, last = match.groups()
        if first and last and int(last) < int(first):
            return None
        if first:
            return range(int(first), min(size, int(last) + 1) if last else size)
        return range(max(0, size - int(last)), size) if last else None

    def _pieces(self, ref: Ref, part: range | None) -> Iterator[bytes]:
        objects = self.server.objects
        if part is None:
            yield from objects.open(ref.digest, verify=True)
            return
        for start in range(part.start, part.stop, _PIECE):
            yield objects.read_range(ref.digest, start, min(_PIECE, part.stop - start))

    def _refuse(self, status: HTTPStatus, why: str, *, body: bool, size: int | None = None) -> None:
        text = f"{why}\n".encode()
        self.send_response(status)
        if size is not None:
            self.send_header("Content-Range", f"bytes */{size}")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if body:
            self.wfile.write(text)
