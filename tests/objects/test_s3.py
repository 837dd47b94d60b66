"""What the store in a bucket does beyond the conformance suite."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.objects.servers import BUCKET, S3Server
from tidemill.model.digest import Digest, digest
from tidemill.model.errors import ConfigError, IntegrityError, NotFoundError, StoreError, StoreFullError, UsageError
from tidemill.stores.objects import ObjectStore, ReferringStore, RemoteStore, collect, open_objects
from tidemill.stores.objects.buckets import s3_backend
from tidemill.stores.objects.remote import PART
from tidemill.testing.objects_data import digests, make_tree, some_bytes, tree

HUGE = some_bytes(2 * PART + 100_000)


class Suite:
    """For any S3 server; the fixture `server` says which."""

    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    def url(self, server: S3Server) -> str:
        return server.fresh_url(retries=0)

    @pytest.fixture
    def store(self, url: str) -> Iterator[ObjectStore]:
        store = open_objects(url)
        yield store
        store.close()

    def key(self, url: str, name: Digest) -> str:
        prefix = url.split("/", 3)[3].partition("?")[0]
        return f"{prefix}/{name.hex()[:2]}/{name.hex()[2:]}"

    def test_layout(self, store: ObjectStore, url: str, server: S3Server) -> None:
        name = store.put(b"small")
        assert server.client.get_object(Bucket=BUCKET, Key=self.key(url, name))["Body"].read() == b"small"
        assert open_objects(store.url).get(name) == b"small"

    @pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, len(HUGE)])
    def test_parts(self, store: ObjectStore, size: int, tmp_path: Path) -> None:
        data = HUGE[:size]
        name = digest(data)
        path = tmp_path / "file"
        path.write_bytes(data)
        puts: list[Callable[[], object]] = [
            lambda: store.put(data),
            lambda: store.put_stream(data[at : at + 1_000_000] for at in range(0, size, 1_000_000)),
            lambda: store.put_file(path, move=True),
        ]
        for put in puts:
            put()
            assert [(one.digest, one.size) for one in store.list()] == [(name, size)]
            assert b"".join(store.open(name, verify=True)) == data
            assert store.read_range(name, size - 10, 100) == data[-10:]
            store.delete([name])
        assert not path.exists()

    def test_a_large_object_that_is_there_is_left_alone_until_it_ages(
        self, store: ObjectStore, url: str, server: S3Server, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_bytes(HUGE)
        name = store.put(HUGE)
        key = self.key(url, name)
        # Other bytes of the same length, in place of what should not be sent again.
        server.client.put_object(Bucket=BUCKET, Key=key, Body=bytes(len(HUGE)))
        assert store.put_file(tmp_path / "file")[0] == store.put_stream([HUGE])[0] == store.put(HUGE) == name
        assert store.get(name) == bytes(len(HUGE))
        ageing = RemoteStore(s3_backend(url, key.rpartition("/")[0].rpartition("/")[0]), url, fresh_s=0.0)
        ageing.put_file(tmp_path / "file")
        assert store.get(name, verify=True) == HUGE

    def test_what_was_cut_short_is_sent_again(self, store: ObjectStore, url: str, server: S3Server) -> None:
        name = store.put(HUGE)
        server.client.put_object(Bucket=BUCKET, Key=self.key(url, name), Body=HUGE[:-1])
        store.put(HUGE)
        assert store.get(name, verify=True) == HUGE

    def test_damage_is_found_on_request(self, store: ObjectStore, url: str, server: S3Server, tmp_path: Path) -> None:
        name = store.put(b"sound")
        server.client.put_object(Bucket=BUCKET, Key=self.key(url, name), Body=b"rotten")
        asks: list[Callable[[], object]] = [
            lambda: store.verify(name),
            lambda: store.get(name, verify=True),
            lambda: store.get_many([name], verify=True),
            lambda: store.get_file(name, tmp_path / "out", verify=True),
        ]
        for ask in asks:
            with pytest.raises(IntegrityError, match=name.hex()):
                ask()
        assert os.listdir(tmp_path) == []
        assert store.get(name) == b"rotten"

    def test_what_else_is_in_the_bucket_is_no_object(self, store: ObjectStore, url: str, server: S3Server) -> None:
        name = store.put(b"small")
        prefix = self.key(url, name).rpartition("/")[0].rpartition("/")[0]
        for key in (f"{prefix}/README", f"{prefix}/ab/cd", f"{prefix}x/{name.hex()[:2]}/{name.hex()[2:]}", "top"):
            server.client.put_object(Bucket=BUCKET, Key=key, Body=b"")
        assert digests(store) == {name}
        assert collect(store, [], grace_s=0, now=time.time() + 3600).count == 1
        assert server.client.get_object(Bucket=BUCKET, Key="top")["Body"].read() == b""

    def test_directories_go_from_store_to_store(self, store: ObjectStore, tmp_path: Path) -> None:
        name, size = store.put_dir(make_tree(tmp_path / "source"))
        store.get_dir(name, tmp_path / "target")
        assert tree(tmp_path / "target") == tree(tmp_path / "source")
        assert open_objects(tmp_path / "objects").put_dir(tmp_path / "target") == (name, size)

    def test_a_bucket_that_does_not_exist(self, server: S3Server, tmp_path: Path) -> None:
        store = open_objects(server.fresh_url(bucket="no-such-bucket", retries=0))
        name = digest(b"")
        (tmp_path / "file").write_bytes(HUGE)
        asks: list[Callable[[], object]] = [
            lambda: store.put(b""),
            lambda: store.put_many([b"", b"a"]),
            lambda: store.put_file(tmp_path / "file"),
            lambda: store.exists([name]),
            lambda: list(store.list()),
            lambda: store.get(name),
            lambda: collect(store, [], grace_s=0, now=time.time()),
        ]
        for ask in asks:
            with pytest.raises(NotFoundError, match="no-such-bucket") as caught:
                ask()
            assert "there is no bucket" in str(caught.value)
        store.close()


class TestMoto(Suite):
    @pytest.fixture
    def server(self, moto: S3Server) -> S3Server:
        return moto


@pytest.mark.ceph
class TestCeph(Suite):
    @pytest.fixture
    def server(self, ceph: S3Server) -> S3Server:
        return ceph

    def test_a_wrong_key_is_refused(self, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        store = open_objects(server.fresh_url(retries=0))
        with pytest.raises(StoreFullError, match="refuses access") as caught:
            store.put(b"")
        assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint
        for ask in (lambda: store.get(digest(b"")), lambda: list(store.list())):
            with pytest.raises(StoreError, match="refuses access"):
                ask()


def test_the_endpoint_may_come_from_the_environment(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = moto.fresh_url().partition("?")[0]
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        with monkeypatch.context() as patch:
            patch.setenv(name, moto.endpoint)
            assert open_objects(url).get(open_objects(url).put(b"small")) == b"small"


def test_a_server_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    # Port 1 is reserved and nobody listens there.
    store = open_objects("s3://bucket/prefix?endpoint=http://127.0.0.1:1&retries=0")
    asks: list[Callable[[], object]] = [
        lambda: store.put(b""),
        lambda: store.get(digest(b"")),
        lambda: store.exists([digest(b"")]),
        lambda: list(store.list()),
    ]
    for ask in asks:
        with pytest.raises(StoreError, match="s3://bucket/prefix has failed"):
            ask()


def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_objects(moto.fresh_url())
    path = tmp_path / "file"
    path.write_bytes(HUGE)
    with path.open("r+b") as file:

        class Turncoat(RemoteStore):
            """Asks whether the object is there between the two times it reads the file; that is when it changes."""

            def _fresh(self, digest: Digest, size: int) -> bool:
                file.write(b"changed")
                file.flush()
                return False

        assert isinstance(store, ReferringStore)
        assert isinstance(store.inner, RemoteStore)
        with pytest.raises(UsageError, match="was changed while"):
            Turncoat(store.inner.backend, store.url).put_file(path)
    assert digests(store) == set()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://key:secret@bucket/prefix", "credentials"),
        ("s3://bucket/prefix?endpont=x", "'endpont'"),
        ("s3://bucket/prefix?anonymous=perhaps", "anonymous=perhaps"),
        ("s3://bucket/prefix?retries=many", "retries=many"),
        ("ftp://host/directory", "ftp://host/directory is not"),
        ("file://host/directory", "three slashes"),
        ("memory:name", "two slashes"),
        ("S3:bucket/prefix", "two slashes"),
        ("", "not a directory"),
        (__file__, "not a directory"),
    ],
)
def test_wrong_addresses(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_objects(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "memory://name"])
def test_without_obstore_the_extra_is_named(url: str) -> None:
    code = (
        "import sys; sys.modules['obstore'] = None; from tidemill.stores.objects import open_objects\n"
        f"try: open_objects({url!r})\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "object store needs an optional dependency" in said
    assert "pip install 'tidemill[s3]'" in said


def test_ages_are_looked_at_shortly_before_the_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put again while others are deleted is young again, and stays."""
    import obstore

    one, other = open_objects("memory://deleted"), open_objects("memory://deleted")
    items = [some_bytes(10, number) for number in range(20)]
    names = one.put_many(items)
    before = time.time()
    real, asked = obstore.delete, 0

    def delete(*args: Any) -> None:
        nonlocal asked
        asked += 1
        real(*args)
        if asked == 1:
            other.put_many(items)

    monkeypatch.setattr(obstore, "delete", delete)
    removed = one.delete(names, before=before)
    assert len(removed) == 1
    assert digests(one) == set(names)


def test_memory_is_shared_by_name() -> None:
    name = open_objects("memory://shared").put(b"small")
    assert open_objects("memory://shared").get(name) == b"small"
    assert open_objects("memory://other").exists([name]) == set()
