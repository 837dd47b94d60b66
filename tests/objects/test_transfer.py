"""Import and export by URL."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.objects.servers import BUCKET, S3Server
from tests.objects.web import LARGE, Web
from tidemill.model.digest import digest
from tidemill.model.errors import ConfigError, NotFoundError, StoreError, UsageError
from tidemill.stores.objects import SMALL, LocalStore, fetch_url, send_dir_url, send_url
from tidemill.testing.objects_data import digests, some_bytes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "objects")
    yield store
    store.close()


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
    assert fetch_url(store, web.url + path)[:3] == (digest(data), len(data), name)
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
        assert fetch_url(store, url)[:3] == (name, len(LARGE), "öut #1?%")
    assert os.listdir(tmp_path / "dir") == ["öut #1?%"]
    with pytest.raises(NotFoundError, match="missing"):
        fetch_url(store, f"file://{tmp_path}/missing")
    with pytest.raises(UsageError, match="is a directory"):
        send_url(store, name, str(tmp_path))
    with pytest.raises(ConfigError, match="three slashes"):
        fetch_url(store, "file://elsewhere/file")


def test_directories(store: LocalStore, web: Web, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a b").mkdir(parents=True)
    (tree / "a b" / "c").write_bytes(b"c")
    (tree / "d?").write_bytes(b"d")
    found, _ = store.put_dir(tree)
    send_dir_url(store, found, f"{web.url}/out/?token=1")
    assert web.files["/out/a%20b/c?token=1"] == b"c"
    assert web.files["/out/d%3F?token=1"] == b"d"
    send_dir_url(store, found, (tmp_path / "back").as_uri())
    assert (tmp_path / "back" / "a b" / "c").read_bytes() == b"c"
    with pytest.raises(UsageError, match="back"):
        send_dir_url(store, found, str(tmp_path / "back"))
    with pytest.raises(UsageError, match="not a kind of address"):
        send_dir_url(store, found, "ftp://host/out")
    (tree / "link").symlink_to("d?")
    linked, _ = store.put_dir(tree)
    with pytest.raises(UsageError, match="link is a symbolic link"):
        send_dir_url(store, linked, f"{web.url}/links")
    assert not any("links" in path for path in web.files)


def test_credentials_do_not_belong_into_addresses(store: LocalStore, web: Web) -> None:
    url = web.url.replace("//", "//me:word@") + "/empty"
    for act in (lambda: fetch_url(store, url), lambda: send_url(store, store.put(b"x"), url)):
        with pytest.raises(UsageError, match="credentials") as told:
            act()
        assert "word" not in str(told.value)


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
    assert fetch_url(store, url)[:3] == (name, len(data), "a file")
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
