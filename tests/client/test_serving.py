"""Files of a store over HTTP: to who has an address, for a while, and nothing else."""

import http.client
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.objects.conftest import _credentials, moto
from tests.objects.servers import S3Server
from tidemill.client.serving import Served
from tidemill.model.digest import digest
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.stores.objects import local_path
from tidemill.testing.engine import StandingClock
from tidemill.testing.objects_data import some_bytes

__all__ = ["_credentials", "moto"]

LARGE = some_bytes(5 << 20)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(url: str, method: str = "GET", **headers: str) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tm.Store]:
    with tm.open(tmp_path / "store") as store:
        yield store


@pytest.fixture
def served(store: tm.Store) -> Iterator[Served]:
    with store.serve_files() as served:
        yield served


@pytest.fixture
def large(tmp_path: Path) -> Path:
    (tmp_path / "tide.txt").write_bytes(LARGE)
    return tmp_path / "tide.txt"


def test_it_gives_the_bytes_and_says_what_they_are(served: Served, large: Path) -> None:
    url = served.url_of(large)
    assert url.startswith(f"http://127.0.0.1:{served.port}/1/tide.txt?")
    for method, body in (("GET", LARGE), ("HEAD", b"")):
        answer = ask(url, method)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["Content-Length"] == str(len(LARGE))
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''tide.txt"
        assert answer.headers["Accept-Ranges"] == "bytes"
    assert ask(url, "PUT").status == 501
    assert tm.urls.size(url) == len(LARGE)
    with tm.urls.open(url) as stream:
        assert stream.read() == LARGE


@pytest.mark.parametrize(
    "name", ["ebb and flow.txt", "Größe", 'quote".html', "line\r\nX-Other: 1", "a?b#c%2F", "x" * 200]
)
def test_names_go_through(served: Served, store: tm.Store, name: str) -> None:
    answer = ask(served.url_of(store.files.write(b"abc", name)))
    assert answer.body == b"abc"
    assert unquote(answer.headers["Content-Disposition"].partition("''")[2]) == name
    assert "X-Other" not in answer.headers


def test_ranges(served: Served, large: Path) -> None:
    url, size = served.url_of(large), len(LARGE)
    etag = ask(url, "HEAD").headers["ETag"]

    def part(wanted: str, **headers: str) -> Answer:
        return ask(url, Range=wanted, **headers)

    for wanted, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=5-", 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=-{2 * size}", 0, size),
        (f"bytes=100-{2 * size}", 100, size),
    ):
        answer = part(wanted)
        assert (answer.status, answer.body) == (206, LARGE[start:stop])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    for wanted in ("bytes=-", "bytes=9-3", "bytes=1-2,4-5", "lines=1-2"):
        assert part(wanted).status == 200
    for wanted in (f"bytes={size}-", "bytes=-0"):
        answer = part(wanted)
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert part("bytes=1-2", **{"If-Range": etag}).status == 206
    assert part("bytes=1-2", **{"If-Range": '"other"'}).status == 200
    head = ask(url, "HEAD", Range="bytes=1-2")
    assert (head.status, head.headers["Content-Length"], head.body) == (206, "2", b"")


def test_an_address_is_good_until_it_expires(store: tm.Store, large: Path) -> None:
    clock = StandingClock()
    with Served(store, "127.0.0.1", 0, clock.time) as served:
        first, second = served.url_of(large, expires=10), served.url_of(large, expires=20)
        clock.now += 9.9
        assert [ask(url).status for url in (first, second)] == [200, 200]
        clock.now += 0.2
        assert [ask(url).status for url in (first, second)] == [403, 200]
        assert ask(first).body == b"this address has expired\n"
        for expires in (0, -1, float("inf"), float("nan")):
            with pytest.raises(UsageError, match="cannot be valid for"):
                served.url_of(large, expires=expires)


def test_nothing_else_is_served(served: Served, store: tm.Store, large: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other")
    url, other = served.url_of(large), served.url_of(tmp_path / "other")
    place, _, query = url.partition("?")
    end, _, signature = query.partition("&")
    root = f"http://127.0.0.1:{served.port}"
    for wrong in (
        place,
        f"{place}?{end}",
        f"{place}?{signature}",
        f"{place}?expires=99999999999.000&{signature}",
        f"{place}?{end}&signature=",
        f"{place}?{end}&signature=%C3%A9",
        f"{place}?{other.partition('?')[2]}",
        f"{other.partition('?')[0]}?{query}",
        f"{root}/?{query}",
        f"{root}/1/../2/other?{query}",
        f"{root}/etc/passwd?{query}",
        f"{root}/{digest(LARGE).hex()}?{query}",
    ):
        answer = ask(wrong)
        assert (answer.status, answer.body) == (403, b"this address was not given out here\n"), wrong
    with store.serve_files() as another:
        assert ask(url.replace(f":{served.port}/", f":{another.port}/")).status == 403


@given(at=st.integers(0, 63), by=st.integers(1, 15))
def test_a_signature_that_was_changed_is_none(signed: tuple[str, str], at: int, by: int) -> None:
    before, signature = signed
    changed = f"{(int(signature[at], 16) + by) % 16:x}"
    assert ask(f"{before}={signature[:at]}{changed}{signature[at + 1 :]}").status == 403


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    place = tmp_path_factory.mktemp("signed")
    (place / "f").write_bytes(b"f")
    with tm.open(place / "store") as store, store.serve_files() as served:
        before, _, signature = served.url_of(place / "f").rpartition("=")
        assert ask(f"{before}={signature}").status == 200
        yield before, signature


def test_what_is_sealed_is_served_in_plain(tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_SEAL_LAB", "6b" * 32)
    with tm.open(tmp_path / "store", objects=f"seal:lab:{tmp_path / 'sealed'}") as store, store.serve_files() as served:
        url = served.url_of(large)
        assert ask(url).body == LARGE
        assert ask(url, Range="bytes=4000000-4999999").body == LARGE[4_000_000:5_000_000]


def test_what_is_in_a_bucket_is_served(moto: S3Server, tmp_path: Path, large: Path) -> None:
    with tm.open(tmp_path / "store", objects=moto.fresh_url()) as store, store.serve_files() as served:
        url = served.url_of(large)
        assert ask(url).body == LARGE
        assert ask(url, Range="bytes=-9").body == LARGE[-9:]


def test_what_cannot_be_served(served: Served, store: tm.Store, large: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "leaf").write_text("leaf")
    with pytest.raises(UsageError, match="tree is a directory, and only files are served"):
        served.url_of(tmp_path / "tree")
    with pytest.raises(NotFoundError):
        served.url_of(FileId.of(Origin(0, 1, 1), digest(b"nobody"), 6, "gone"))
    with pytest.raises(UsageError, match="cannot serve files on"):
        store.serve_files(port=served.port)
    url = served.url_of(large)
    store.objects.delete([digest(LARGE)])
    assert (ask(url).status, ask(url, Range="bytes=0-1").status) == (404, 404)


def test_bytes_that_were_changed_are_not_taken_for_right(served: Served, store: tm.Store, large: Path) -> None:
    url = served.url_of(large)
    place = Path(local_path(store.objects.url)) / digest(LARGE).hex()[:2] / digest(LARGE).hex()[2:]
    place.chmod(0o644)
    with place.open("r+b") as file:
        file.write(b"!")
    with pytest.raises(http.client.IncompleteRead):
        ask(url)


def test_after_the_end_nothing_is_served(store: tm.Store, large: Path) -> None:
    with store.serve_files() as served:
        url = served.url_of(large)
        waiting = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        waiting.request("HEAD", url.partition(str(served.port))[2])
        waiting.getresponse().read()
    with pytest.raises(ConnectionRefusedError):
        ask(url)
    assert waiting.sock is not None
    assert waiting.sock.recv(1) == b""
    waiting.close()
    served.close()


def test_it_listens_where_it_is_told(store: tm.Store, large: Path) -> None:
    with store.serve_files("0.0.0.0") as served:
        assert f"http://{socket.getfqdn()}:{served.port}/" in served.url_of(large)
        assert ask(served.url_of(large).replace(socket.getfqdn(), "127.0.0.1")).body == LARGE


def serve(store: Path, file: FileId, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tidemill", "url", str(file), "--serve", "--store", str(store), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[FileId]:
    with tm.open(tmp_path / "store") as store:
        yield store.files.write(b"gift", "gift.txt")


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path, written: FileId) -> None:
    with serve(tmp_path / "store", written) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert ask(url).body == b"gift"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0


def test_the_command_ends_when_the_address_has_expired(tmp_path: Path, written: FileId) -> None:
    with serve(tmp_path / "store", written, "--expires", "1s") as process:
        out, complaints = process.communicate(timeout=60)
        assert out.startswith("http://127.0.0.1:")
        assert (process.returncode, complaints) == (0, "")
