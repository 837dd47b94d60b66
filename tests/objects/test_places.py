"""Looking at, listing and reading files elsewhere; fetching and sending them between places of every kind."""

import io
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.objects.clouds import PAGE, Clouds
from tests.objects.elsewhere import BUCKETS, KINDS, LISTED, Elsewhere
from tests.objects.servers import BUCKET, S3_PAGE, S3Server
from tests.objects.web import Web
from tidemill.model.digest import digest
from tidemill.model.errors import ConfigError, NotFoundError, StoreError, UsageError
from tidemill.stores.objects import (
    SMALL,
    LocalStore,
    ObjectStore,
    decode_manifest,
    fetch_url,
    open_objects,
    places,
    send_dir_url,
    send_url,
    target_url,
)
from tidemill.stores.objects.schemes.bucket import WHOLE
from tidemill.testing.objects_data import digests, some_bytes

SIZES = [0, 1, SMALL, SMALL + 1, WHOLE - 1, WHOLE, WHOLE + 1, 2 * WHOLE + 1]
everywhere = pytest.mark.parametrize("elsewhere", KINDS, indirect=True)
where_listed = pytest.mark.parametrize("elsewhere", LISTED, indirect=True)
in_buckets = pytest.mark.parametrize("elsewhere", BUCKETS, indirect=True)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "objects")
    yield store
    store.close()


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, moto: S3Server) -> Iterator[ObjectStore]:
    """An empty object store."""
    urls = {"local": str(tmp_path / "o"), "memory": f"memory://{secrets.token_hex(8)}", "s3": moto.fresh_url()}
    found = open_objects(urls[request.param])
    yield found
    found.close()


def put(store: ObjectStore, elsewhere: Elsewhere, path: str, data: bytes) -> str:
    """Write a file elsewhere; its address."""
    elsewhere.parent(path)
    send_url(store, store.put(data), elsewhere.url(path))
    return elsewhere.url(path)


def put_tree(store: ObjectStore, elsewhere: Elsewhere, tree: dict[str, bytes]) -> str:
    """Write files below a directory elsewhere; its address."""
    for path, data in tree.items():
        put(store, elsewhere, f"tree/{path}", data)
    return elsewhere.url("tree")


# ---------------------------------------------------------------------------------------------------- every pair, size


@everywhere
def test_files_of_any_size_come_back_from_anywhere(store: ObjectStore, local: LocalStore, elsewhere: Elsewhere) -> None:
    for size in SIZES:
        data = some_bytes(size)
        url = put(store, elsewhere, f"a b/file {size}", data)
        store.delete([digest(data)])
        assert fetch_url(store, url)[:3] == (digest(data), size, f"file {size}")
        assert store.get(digest(data), verify=True) == data


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_moved_into_a_store(store: ObjectStore, tmp_path: Path, size: int) -> None:
    data = some_bytes(size)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "file").chmod(0o755)
    found = fetch_url(store, (tmp_path / "file").as_uri(), move=True)
    assert found == (digest(data), size, "file", found.ref)
    assert found.ref.mode == 0o755
    assert not (tmp_path / "file").exists()
    assert store.get(found.digest, verify=True) == data


def test_only_files_of_this_machine_are_moved(local: LocalStore, web: Web, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be moved"):
        fetch_url(local, web.url + "/a%20file", move=True)
    with pytest.raises(UsageError, match="only files can be moved"):
        fetch_url(local, str(tmp_path), move=True)
    assert tmp_path.exists()
    assert digests(local) == set()


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_the_executable_bit_is_kept_on_this_machine(local: LocalStore, tmp_path: Path, mode: int) -> None:
    (tmp_path / "tool").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "tool").chmod(mode)
    found = fetch_url(local, str(tmp_path / "tool"))
    assert found.ref.mode == mode
    send_url(local, found.digest, str(tmp_path / "out"), found.ref.mode)
    assert os.access(tmp_path / "out", os.X_OK) == (mode == 0o755)


# ---------------------------------------------------------------------------------------------------- looking, reading


@everywhere
def test_what_is_there(local: LocalStore, elsewhere: Elsewhere) -> None:
    url = put(local, elsewhere, "dir/file", b"content")
    assert places.exists(url)
    assert places.size(url) == 7
    assert not places.is_dir(url)
    assert not places.exists(elsewhere.url("dir/fil"))
    assert not places.is_dir(elsewhere.url("di"))
    for ask in (places.size, places.open_url, places.look):
        with pytest.raises(NotFoundError):
            ask(elsewhere.url("dir/fil"))
    target = io.BytesIO()
    assert places.read_url(url, target) == 7
    assert target.getvalue() == b"content"


@where_listed
def test_directories_are_listed(local: LocalStore, elsewhere: Elsewhere) -> None:
    tree = {"b/deep/c": b"c", "a": b"aa", "z z": b"", "b2": b"b2"} | {f"m{i}": b"m" for i in range(PAGE)}
    url = put_tree(local, elsewhere, tree)
    put(local, elsewhere, "tree2", b"")
    for asked in (url, elsewhere.url("tree/")):
        assert places.is_dir(asked)
        assert places.list_url(asked) == ["a", "b/", "b2", *(f"m{i}" for i in range(PAGE)), "z z"]
    assert [one.size for one in places.members(url)] == [2, None, 2, *[1] * PAGE, 0]
    assert places.list_url(elsewhere.url("tree/b")) == ["deep/"]
    with pytest.raises(UsageError, match="has no size"):
        places.size(url)
    with pytest.raises(UsageError, match="not a directory"):
        places.list_url(elsewhere.url("tree/a"))
    with pytest.raises(NotFoundError):
        places.list_url(elsewhere.url("tre"))


def test_the_web_has_no_listings(web: Web) -> None:
    assert not places.is_dir(web.url + "/dir/")
    with pytest.raises(UsageError, match="cannot be listed"):
        places.list_url(web.url + "/dir/")


def test_servers_that_answer_no_head(web: Web) -> None:
    """Addresses that are signed for GET only are such."""
    web.heads = False
    assert places.size(web.url + "/large") == 9 << 20
    assert not places.exists(web.url + "/nothing")
    assert places.size(web.url + "/vast") == 1 << 30
    assert web.broken_off.wait(30)


@everywhere
def test_streams_are_read_as_files_are(local: LocalStore, elsewhere: Elsewhere) -> None:
    data = some_bytes(3 << 20)
    url = put(local, elsewhere, "file", data)
    with places.open_url(url) as stream:
        assert stream.readable()
        assert stream.read(1) == data[:1]
        assert stream.read(2 << 20) == data[1 : (2 << 20) + 1]
        assert stream.read() == data[(2 << 20) + 1 :]
        assert stream.read() == b""
    assert stream.closed
    lines = put(local, elsewhere, "lines", b"one\ntwo\n")
    with places.open_url(lines) as stream:
        assert list(stream) == [b"one\n", b"two\n"]


def test_a_stream_closed_early_is_not_transferred(web: Web) -> None:
    with places.open_url(web.url + "/vast") as stream:
        assert stream.read(1) == b"\0"
    assert web.broken_off.wait(30)
    assert web.sent < 1 << 28


@in_buckets
def test_a_stream_from_a_bucket_can_be_closed_early(local: LocalStore, elsewhere: Elsewhere) -> None:
    url = put(local, elsewhere, "file", some_bytes(2 * WHOLE))
    for _ in range(3):
        with places.open_url(url) as stream:
            assert len(stream.read(1)) == 1


@pytest.mark.parametrize("elsewhere", ["s3", "gs", "az", "http"], indirect=True)
def test_places_that_cannot_be_reached(local: LocalStore, elsewhere: Elsewhere, moto: S3Server, web: Web) -> None:
    url = elsewhere.url("file")
    for server in (moto.endpoint, web.url, url.partition("endpoint=")[2].partition("&")[0]):
        if server:
            url = url.replace(server, "http://127.0.0.1:1")
    for ask in (places.exists, places.size, places.open_url):
        with pytest.raises(StoreError, match=r"failed|cannot reach"):
            ask(url)
    with pytest.raises(StoreError, match=r"failed|cannot reach"):
        fetch_url(local, url)
    assert digests(local) == set()


@pytest.mark.parametrize("elsewhere", ["gs", "az"], indirect=True)
def test_clouds_that_refuse(local: LocalStore, elsewhere: Elsewhere, cloud: Clouds) -> None:
    url = put(local, elsewhere, "file", b"content")
    cloud.refuse = True
    for ask in (places.exists, places.open_url, places.list_url):
        with pytest.raises(StoreError, match="refuses access") as told:
            ask(url)
        assert {"gs": "GOOGLE_", "az": "AZURE_"}[elsewhere.kind] in told.value.hint
    with pytest.raises(StoreError, match="refuses access"):
        send_url(local, local.put(b"other"), url)
    cloud.refuse = False
    with pytest.raises(NotFoundError, match="no bucket"):
        places.list_url(url.replace("//things", "//others"))


@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "http", "https"])
def test_credentials_do_not_belong_into_addresses(local: LocalStore, scheme: str) -> None:
    url = f"{scheme}://me:word@host/file"
    for ask in (places.exists, places.size, places.list_url, places.open_url, lambda url: fetch_url(local, url)):
        if scheme.startswith("http") and ask is places.list_url:
            continue
        with pytest.raises(UsageError, match="credentials") as told:
            ask(url)
        assert "word" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://bucket/key?account=me", "'account'"),
        ("gs://bucket/key?anonymous=perhaps", "anonymous=perhaps"),
        ("az://container/key?region=x", "'region'"),
        ("az://container/key?retries=many", "retries=many"),
        ("gs:///key", "names no bucket"),
        ("az://", "names no bucket"),
        ("az://container/key", "(?i)account"),
    ],
)
def test_addresses_that_are_malformed(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=message):
        places.exists(url)


def test_other_schemes_are_refused() -> None:
    for ask in (places.exists, places.size, places.is_dir, places.list_url, places.open_url):
        with pytest.raises(UsageError, match="not a kind of address"):
            ask("ftp://host/file")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_without_obstore_the_extra_is_named(scheme: str) -> None:
    code = (
        "import sys; sys.modules['obstore'] = sys.modules['obstore.store'] = None\n"
        "from tidemill.stores.objects import places\n"
        "from tidemill.model.errors import MissingExtraError\n"
        f"try: places.exists('{scheme}://bucket/key')\n"
        "except MissingExtraError as error: print(error.hint)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.stdout == "pip install 'tidemill[s3]'\n", said.stderr


# --------------------------------------------------------------------------------------------------------- directories


@where_listed
def test_directories_are_the_same_from_anywhere(store: ObjectStore, elsewhere: Elsewhere, tmp_path: Path) -> None:
    tree = {"a": b"", "b/c d": b"c", "b/é/x": some_bytes(SMALL + 1), "large": some_bytes(WHOLE + 1)}
    url = put_tree(store, elsewhere, tree)
    for path, data in tree.items():
        (tmp_path / "same" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "same" / path).write_bytes(data)
    wanted, size = store.put_dir(tmp_path / "same")
    for asked in (url, elsewhere.url("tree/")):
        found = fetch_url(store, asked)
        assert found == (wanted, size, "tree", found.ref)
        assert (found.ref.kind, found.ref.name) == ("dir", "tree")
    send_dir_url(store, wanted, elsewhere.url("copy"))
    assert fetch_url(store, elsewhere.url("copy")).digest == wanted


@pytest.mark.parametrize("elsewhere", ["path", "memory", "gs"], indirect=True)
def test_a_thousand_files(local: LocalStore, elsewhere: Elsewhere, tmp_path: Path, cloud: Clouds) -> None:
    for i in range(1000):
        path = tmp_path / "many" / str(i % 10) / f"file{i}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % i)
    cloud.page = 100
    wanted, size = local.put_dir(tmp_path / "many")
    send_dir_url(local, wanted, elsewhere.url("out"))
    local.delete([one.digest for one in decode_manifest(local.get(wanted))])
    assert fetch_url(local, elsewhere.url("out"))[:2] == (wanted, size)
    local.get_dir(wanted, tmp_path / "back")
    assert (tmp_path / "back" / "9" / "file999").read_bytes() == b"999"
    # One is to see that there is a directory.
    assert cloud.pages == (11 if elsewhere.kind == "gs" else 0)


def test_more_files_than_s3_lists_at_once(local: LocalStore, moto: S3Server) -> None:
    prefix = secrets.token_hex(6)
    store = open_objects(f"s3://{BUCKET}/{prefix}?endpoint={moto.endpoint}&region=us-east-1")
    names = store.put_many([b"%d" % i for i in range(S3_PAGE + 1)])
    assert moto.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["IsTruncated"]
    found = fetch_url(local, f"s3://{BUCKET}/{prefix}/?endpoint={moto.endpoint}")
    assert {one.digest for one in decode_manifest(local.get(found.digest))} == set(names)


@pytest.mark.parametrize("elsewhere", ["s3", "gs", "az"], indirect=True)
def test_what_marks_a_directory_is_no_file(
    local: LocalStore, elsewhere: Elsewhere, moto: S3Server, cloud: Clouds, tmp_path: Path
) -> None:
    url = put_tree(local, elsewhere, {"a": b"a", "sub/x": b"x"})
    key = url.partition("?")[0].split("/", 3)[3] + "/"
    for mark in (key, f"{key}sub/", f"{key}empty/", f"{key}also/empty/"):
        if elsewhere.kind == "s3":
            moto.client.put_object(Bucket=BUCKET, Key=mark, Body=b"")
        else:
            cloud.files[mark] = b""
    assert places.list_url(url) == ["a", "also/", "empty/", "sub/"]
    for path, data in {"a": b"a", "sub/x": b"x"}.items():
        (tmp_path / "same" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "same" / path).write_bytes(data)
    for name in ("empty", "also/empty"):
        (tmp_path / "same" / name).mkdir(parents=True)
    assert fetch_url(local, url).digest == local.put_dir(tmp_path / "same")[0]


@in_buckets
def test_empty_directories_are_said_to_be_left_out(local: LocalStore, elsewhere: Elsewhere, tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    nothing, _ = local.put_dir(tmp_path / "tree")
    with pytest.raises(UsageError, match="no file in the directory"):
        send_dir_url(local, nothing, elsewhere.url("tree"))
    (tmp_path / "tree" / "file").write_text("1")
    assert send_dir_url(local, local.put_dir(tmp_path / "tree")[0], elsewhere.url("tree")) == ["empty"]
    assert places.list_url(elsewhere.url("tree")) == ["file"]


@pytest.mark.parametrize("path", ["a//b", "a/../b", "./b"])
def test_addresses_that_buckets_cannot_have(local: LocalStore, path: str) -> None:
    url = f"memory://things/{path}"
    name = local.put(b"1")
    for ask in (places.exists, places.size, places.list_url, places.open_url, lambda url: send_url(local, name, url)):
        with pytest.raises(UsageError, match="cannot be an address in a bucket"):
            ask(url)


@pytest.mark.parametrize("path", ["sample#2", "sample%ff"])
@pytest.mark.parametrize("bucket", ["memory://things", "s3://bucket", "gs://bucket", "az://bucket"])
def test_what_would_be_another_name_is_refused(local: LocalStore, bucket: str, path: str) -> None:
    for ask in (places.exists, lambda url: send_url(local, local.put(b"1"), url)):
        with pytest.raises(ConfigError, match="is no address"):
            ask(f"{bucket}/{path}")


@pytest.mark.parametrize("mark", "?#")
def test_a_file_address_has_nothing_behind_its_path(local: LocalStore, tmp_path: Path, mark: str) -> None:
    place = tmp_path / f"a{mark}b"
    place.write_text("1")
    assert places.size(place.as_uri()) == places.size(str(place)) == 1
    with pytest.raises(ConfigError, match="is no address of a file"):
        places.size(f"file://{place}")


@pytest.mark.parametrize("elsewhere", ["path", "file", *BUCKETS], indirect=True)
def test_what_ends_with_a_slash_is_a_directory(local: LocalStore, elsewhere: Elsewhere) -> None:
    put(local, elsewhere, "dir#1/other", b"other")
    name = local.put(b"1")
    url = elsewhere.url("dir#1/")
    with pytest.raises(UsageError, match="is a directory, and the file has no name"):
        send_url(local, name, url)
    send_url(local, name, target_url(url, "a #file"))
    assert places.list_url(url) == ["a #file", "other"]
    assert target_url(elsewhere.url("dir/x"), "file") == elsewhere.url("dir/x")


def test_a_link_to_itself_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    (tmp_path / "b").symlink_to("nothing")
    assert places.list_url(str(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("path", ["/a file", "/zw%C3%B6lf", "/zwölf", "/zwölf?what=ja nein"])
def test_what_cannot_be_in_a_request_is_quoted(local: LocalStore, web: Web, path: str) -> None:
    web.files.update({"/zw%C3%B6lf": b"content", "/zw%C3%B6lf?what=ja%20nein": b"content"})
    assert places.size(web.url + path) == 7
    assert fetch_url(local, web.url + path).name in {"a file", "zwölf"}


@pytest.mark.parametrize("elsewhere", ["gs", "az"], indirect=True)
def test_a_name_that_is_a_file_and_a_directory(local: LocalStore, elsewhere: Elsewhere) -> None:
    url = put_tree(local, elsewhere, {"a": b"a", "a/b": b"b"})
    with pytest.raises(UsageError, match="'a' as a file and as a directory"):
        fetch_url(local, url)


@pytest.mark.parametrize("elsewhere", ["gs", "az"], indirect=True)
def test_a_directory_that_breaks_off_is_none(local: LocalStore, elsewhere: Elsewhere, cloud: Clouds) -> None:
    """A file that goes away between the listing and its reading."""
    url = put_tree(local, elsewhere, {f"f{i}": b"%d" % i for i in range(8)})
    cloud.gone.add(next(key for key in cloud.files if key.endswith("/f5")))
    with pytest.raises(NotFoundError, match="f5"):
        fetch_url(local, url)


@in_buckets
def test_an_empty_directory_is_none_in_a_bucket(local: LocalStore, elsewhere: Elsewhere) -> None:
    put(local, elsewhere, "other", b"")
    with pytest.raises(NotFoundError, match="nothing at"):
        fetch_url(local, elsewhere.url("nothing/"))


def test_an_unfinished_directory_is_not_left_on_this_machine(local: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(some_bytes(SMALL + 1))
    name, _ = local.put_dir(tmp_path / "tree")
    local.delete([digest(some_bytes(SMALL + 1))])
    with pytest.raises(NotFoundError, match="no object"):
        send_dir_url(local, name, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
