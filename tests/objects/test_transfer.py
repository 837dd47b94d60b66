"""Import and export by URL."""

import os
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.objects.servers import BUCKET, S3Server
from tidemill.model.digest import digest
from tidemill.model.errors import ConfigError, NotFoundError, StoreError, UsageError
from tidemill.stores.objects import SMALL, LocalStore, fetch_url, send_url
from tidemill.testing.objects_data import digests, some_bytes

LARGE = some_bytes(9 << 20)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "objects")
    yield store
    store.close()


class Web(ThreadingHTTPServer):
    """A small web server with a memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/a%20file": b"content", "/large": LARGE, "/dir/": b"index", "/empty": b""}

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
            self.answer(200, b"content", Content_Disposition='attachment; filename="../x/given.txt"')
        elif path == "/short":
            self.answer(200, b"cont", length=7)
            self.close_connection = True
        elif path == "/forbidden":
            self.answer(403, b"no")
        elif path in self.server.files:
            self.answer(200, self.server.files[path])
        else:
            self.answer(404, b"nothing")

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
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "data", "name"),
    [
        ("/a%20file", b"content", "a file"),
        ("/a%20file?token=1#part", b"content", "a file"),
        ("/moved", b"content", "a file"),
        ("/named", b"content", "given.txt"),
        ("/large", LARGE, "large"),
        ("/empty", b"", "empty"),
        ("/dir/", b"index", "download"),
    ],
)
def test_from_the_web(store: LocalStore, web: Web, path: str, data: bytes, name: str) -> None:
    assert fetch_url(store, web.url + path) == (digest(data), len(data), name)
    assert store.get(digest(data), verify=True) == data


@pytest.mark.parametrize("data", [b"", b"small", LARGE])
def test_to_the_web(store: LocalStore, web: Web, data: bytes) -> None:
    send_url(store, store.put(data), web.url + "/new?token=1")
    assert web.files["/new?token=1"] == data


def test_what_the_web_refuses(store: LocalStore, web: Web) -> None:
    name = store.put(b"small")
    with pytest.raises(NotFoundError, match="404"):
        fetch_url(store, web.url + "/absent")
    with pytest.raises(StoreError, match="refuses GET: 403"):
        fetch_url(store, web.url + "/forbidden")
    with pytest.raises(StoreError, match="refuses PUT: 403"):
        send_url(store, name, web.url + "/forbidden")
    with pytest.raises(StoreError, match="4 bytes of 7"):
        fetch_url(store, web.url + "/short")
    assert digests(store) == {name}


def test_secrets_in_addresses_are_not_shown(store: LocalStore, web: Web) -> None:
    port = web.server_port
    for path in ("/absent", "/forbidden", "/short"):
        with pytest.raises(Exception, match=f"http://127.0.0.1:{port}{path}") as caught:
            fetch_url(store, f"{web.url}{path}?signature=confidential")
        assert "confidential" not in str(caught.value)


def test_servers_that_cannot_be_reached(store: LocalStore) -> None:
    # Port 1 is reserved and nobody listens there; names under .invalid never resolve (RFC 2606).
    for host in ("127.0.0.1:1", "host.invalid"):
        with pytest.raises(StoreError, match=f"cannot reach http://{host}/file"):
            fetch_url(store, f"http://{host}/file")
        with pytest.raises(StoreError, match=f"cannot reach http://{host}/file"):
            send_url(store, store.put(b"small"), f"http://{host}/file")


@pytest.mark.parametrize("url", ["ftp://host/file", "gopher://host", "data://x", "s4://bucket/key"])
def test_other_schemes_are_refused(store: LocalStore, url: str) -> None:
    name = store.put(b"small")
    with pytest.raises(UsageError, match="not a kind of address"):
        fetch_url(store, url)
    with pytest.raises(UsageError, match="not a kind of address"):
        send_url(store, name, url)


def test_files(store: LocalStore, tmp_path: Path) -> None:
    target = tmp_path / "dir" / "öut #1?%"
    name = store.put(LARGE)
    with pytest.raises(NotFoundError, match="no directory"):
        send_url(store, name, str(target))
    target.parent.mkdir()
    target.write_bytes(b"old")
    for url in (f"file://{quote(str(target))}", f"file://localhost{quote(str(target))}", str(target)):
        send_url(store, name, url)
        assert target.read_bytes() == LARGE
        assert fetch_url(store, url) == (name, len(LARGE), "öut #1?%")
    assert os.listdir(tmp_path / "dir") == ["öut #1?%"]
    with pytest.raises(NotFoundError, match="missing"):
        fetch_url(store, f"file://{tmp_path}/missing")
    with pytest.raises(UsageError, match="put_dir"):
        fetch_url(store, str(tmp_path))
    with pytest.raises(UsageError, match="is a directory"):
        send_url(store, name, str(tmp_path))
    with pytest.raises(ConfigError, match="three slashes"):
        fetch_url(store, "file://elsewhere/file")


def test_what_is_absent_or_damaged_is_not_sent(store: LocalStore, web: Web, tmp_path: Path) -> None:
    for url in (str(tmp_path / "out"), f"{web.url}/out"):
        with pytest.raises(NotFoundError, match="no object"):
            send_url(store, digest(b"absent"), url)
    assert "/out" not in web.files
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [b"", b"small", some_bytes(SMALL + 1), LARGE], ids=["empty", "small", "file", "parts"])
def test_buckets(store: LocalStore, moto: S3Server, data: bytes) -> None:
    query = f"?endpoint={moto.endpoint}"
    key = f"{secrets.token_hex(4)}/a file"
    url = f"s3://{BUCKET}/{quote(key)}{query}"
    name = store.put(data)
    send_url(store, name, url)
    assert moto.client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
    store.delete([name])
    assert fetch_url(store, url) == (name, len(data), "a file")
    assert store.get(name) == data


def test_buckets_refuse(store: LocalStore, moto: S3Server) -> None:
    query = f"?endpoint={moto.endpoint}&retries=0"
    name = store.put(b"small")
    with pytest.raises(NotFoundError, match="nothing at s3://tidemill-tests/absent"):
        fetch_url(store, f"s3://{BUCKET}/absent{query}")
    with pytest.raises(NotFoundError, match="no bucket s3://no-such-bucket/key"):
        fetch_url(store, f"s3://no-such-bucket/key{query}")
    with pytest.raises(NotFoundError, match="no bucket s3://no-such-bucket/key"):
        send_url(store, name, f"s3://no-such-bucket/key{query}")
    with pytest.raises(UsageError, match="no file in it"):
        fetch_url(store, f"s3://{BUCKET}{query}")
