"""A web server for the tests, with files in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tidemill.model.digest import digest
from tidemill.testing.objects_data import some_bytes

LARGE = some_bytes(9 << 20)


class Web(ThreadingHTTPServer):
    """A small web server with a memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = "../x/given.txt"
        self.heads = self.tags = self.ranges = True
        self.sent = 0
        self.broken_off = threading.Event()
        self.files = {"/a%20file": b"content", "/large": LARGE, "/dir/": b"index", "/empty": b""}

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go when they like."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Web

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/moved":
            self.answer(302, b"", Location="/a%20file")
        elif path == "/named":
            self.answer(200, b"content", Content_Disposition=f'attachment; filename="{self.server.name}"')
        elif path == "/short":
            self.answer(200, b"cont", length=7)
            self.close_connection = True
        elif path == "/forbidden":
            self.answer(403, b"no")
        elif path == "/vast":
            self.vast()
        elif path in self.server.files:
            self.file(self.server.files[path])
        else:
            self.answer(404, b"nothing")

    def do_HEAD(self) -> None:
        if self.server.heads:
            self.do_GET()
        else:
            self.answer(501, b"")

    def file(self, data: bytes) -> None:
        headers = {"ETag": f'"{digest(data).hex()}"'} if self.server.tags else {}
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if not asked or not self.server.ranges:
            self.answer(200, data, None, **headers)
            return
        first, _, last = asked.partition("-")
        part = data[int(first) : int(last) + 1 if last else None]
        if not part:
            self.answer(416, b"")
            return
        where = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        self.answer(206, part, None, Content_Range=where, **headers)

    def vast(self) -> None:
        """A file of a gigabyte. Whoever stops reading it is noticed."""
        self.answer(200, b"", length=1 << 30)
        try:
            while self.command == "GET" and self.server.sent < 1 << 30:
                self.wfile.write(bytes(1 << 16))
                self.server.sent += 1 << 16
        except OSError:
            self.server.broken_off.set()
            self.close_connection = True

    def do_PUT(self) -> None:
        if self.path.startswith("/forbidden"):
            self.answer(403, b"no")
            self.close_connection = True
            return
        self.server.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, b"")

    def answer(self, code: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Web]:
    """A server while the block lasts."""
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
