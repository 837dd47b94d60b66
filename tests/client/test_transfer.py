"""Files from elsewhere as arguments, and files of results to elsewhere."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tests.objects.servers import S3Server
from tests.objects.web import Web, serving
from tidemill.client import transfer
from tidemill.model.digest import digest
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.file import File
from tidemill.stores.state import blocks
from tidemill.testing.objects_data import some_bytes

FLOWS = """
import subprocess
from pathlib import Path
import tidemill as tm


@tm.task
def text(file: tm.File) -> str:
    return f"{type(file).__name__} {file.name}: {file.read_text()}"


@tm.task
def plain(file: Path) -> str:
    return f"{file.is_absolute()} {file.name}: {file.read_text()}"


@tm.task
def louder(file: Path) -> Path:
    Path("loud.txt").write_text(file.read_text().upper())
    return Path("loud.txt")


@tm.task
def folder() -> Path:
    Path("out/deep").mkdir(parents=True)
    Path("out/deep/leaf").write_text("leaf")
    return Path("out")


@tm.task
def grow(url: str):
    return text(tm.File(url))


@tm.task
def give(url: str) -> tm.File:
    return tm.File(url)


@tm.task
def odd() -> Path:
    Path("\\udcff.txt").write_text("odd")
    return Path("\\udcff.txt")


@tm.task
def names(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))


@tm.task
def call(tool: Path) -> str:
    return subprocess.run([tool], capture_output=True, text=True, check=True).stdout


@tm.task
def size(file: Path) -> int:
    return file.stat().st_size


@tm.task
def first(file: Path) -> str:
    return file.read_text()[:1]


copy = tm.command("cat {src} > {out}", inputs={"src": tm.File}, outputs={"out": "copy.txt"})


@tm.workflow
def both(file: tm.File):
    return text(file), plain(file)


@tm.workflow
def each(urls: list[str]):
    return text(tm.sweep([tm.File(url) for url in urls]))
"""


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "fetching.py").write_text(FLOWS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("fetching")
    sys.modules.pop("fetching", None)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tm.Store]:
    with tm.open(tmp_path / "store") as found:
        yield found


def run(store: tm.Store, call: Any) -> Any:
    return store.run(call, workers=1, progress=False)


def test_a_file_from_the_web(flows: Any, store: tm.Store, web: Web) -> None:
    url = web.url + "/a%20file"
    both = ("File a file: content", "True a file: content")
    assert run(store, flows.both(File(url))) == both
    assert run(store, flows.both(url)) == both
    assert run(store, flows.plain(url)) == both[1]
    assert run(store, flows.copy(File(url))).read_text() == "content"
    assert store.status(2).blocks[0].reused == 2


def test_it_is_known_by_its_content(flows: Any, store: tm.Store, web: Web, tmp_path: Path) -> None:
    """The same content from elsewhere is the same; other content at the same address is not."""
    url = web.url + "/a%20file"
    assert run(store, flows.text(File(url))) == "File a file: content"
    (tmp_path / "a file").write_text("content")
    assert store.plan(flows.text(File(tmp_path / "a file"))).tasks[0].reused == 1
    assert store.plan(flows.text(File((tmp_path / "a file").as_uri()))).tasks[0].reused == 1
    web.files["/a%20file"] = b"changed"
    assert store.plan(flows.text(File(url))).tasks[0].reused == 0
    assert run(store, flows.text(File(url))) == "File a file: changed"


def test_planning_stores_nothing(flows: Any, store: tm.Store, web: Web) -> None:
    assert store.plan(flows.text(File(web.url + "/large"))).tasks[0].total == 1
    assert not Path(store.url).exists()


def test_several_files(flows: Any, store: tm.Store, web: Web, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("here")
    urls = [web.url + "/a%20file", (tmp_path / "local").as_uri(), web.url + "/empty"]
    assert run(store, flows.each(urls)) == ["File a file: content", "File local: here", "File empty: "]


@pytest.mark.parametrize("path", ["/nothing", "/forbidden", "/short"])
def test_a_file_that_is_not_there_is_told_before_anything_is_stored(
    flows: Any, store: tm.Store, web: Web, path: str
) -> None:
    for call in (flows.both(File(web.url + path)), flows.each([web.url + "/empty", web.url + path])):
        with pytest.raises(UsageError, match="cannot be fetched") as told:
            run(store, call)
        assert f"{web.url}{path}" in str(told.value)
    with pytest.raises(UsageError, match="not a kind of address"):
        run(store, flows.text(File("ftp://host/file")))
    run(store, flows.text(File(web.url + "/empty")))
    assert len(blocks.roots(store.db, 10)) == 1


def test_tasks_may_name_addresses_too(flows: Any, store: tm.Store, web: Web) -> None:
    assert run(store, flows.grow(web.url + "/a%20file")) == "File a file: content"
    assert run(store, flows.give(web.url + "/a%20file")).read_text() == "content"


def test_fetch(flows: Any, store: tm.Store, web: Web) -> None:
    found = store.fetch(web.url + "/a%20file")
    assert (found.name, found.read_text()) == ("a file", "content")
    assert found.ref is not None
    assert store.objects.get(found.ref.digest) == b"content"
    assert run(store, flows.text(found)) == "File a file: content"
    with pytest.raises(NotFoundError, match="nothing at"):
        store.fetch(web.url + "/nothing")


def test_what_a_name_stands_for_has_an_address_and_can_be_sent(store: tm.Store, tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("echo 1")
    script.chmod(0o755)
    store.names.put("script", script)
    before = store.names.get("script")
    store.names.put("script", b"something else")
    assert Path(store.url_of(before).removeprefix("file://")).read_text() == "echo 1"
    store.send(before, (tmp_path / "sent.sh").as_uri())
    assert (tmp_path / "sent.sh").read_text() == "echo 1"
    assert os.access(tmp_path / "sent.sh", os.X_OK)
    store.names.delete("script")
    with pytest.raises(NotFoundError, match="given up"):
        store.url_of(store.names.history("script")[-1])


def test_send(flows: Any, store: tm.Store, web: Web, tmp_path: Path) -> None:
    run(store, flows.louder(web.url + "/a%20file"))
    for what in ("1.1", "1", 1, "datum:1"):
        store.send(what, f"{web.url}/{what}")
        assert web.files[f"/{what}"] == b"CONTENT"
    sent = store.send(store.fetch(web.url + "/large"), str(tmp_path / "large"))
    assert (tmp_path / "large").stat().st_size == sent.size == 9 << 20
    (tmp_path / "own").write_text("own")
    store.send(tmp_path / "own", web.url + "/own?token=secret")
    assert web.files["/own?token=secret"] == b"own"
    run(store, flows.folder())
    store.send("2", web.url + "/folder")
    assert web.files["/folder/deep/leaf"] == b"leaf"
    store.send("2", str(tmp_path / "folder"))
    assert (tmp_path / "folder" / "deep" / "leaf").read_text() == "leaf"


def test_what_cannot_be_sent(flows: Any, store: tm.Store, web: Web) -> None:
    run(store, flows.text(web.url + "/a%20file"))
    with pytest.raises(UsageError, match="no file or directory, but a str"):
        store.send("1.1", web.url + "/out")
    with pytest.raises(NotFoundError):
        store.send("1.7", web.url + "/out")
    with pytest.raises(UsageError, match="is not an id"):
        store.send("what", web.url + "/out")
    assert "/out" not in web.files


def test_the_commands(store: tm.Store, web: Web, tmp_path: Path) -> None:
    def tidemill(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tidemill", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    place = ["--store", str(store.url)]
    printed = tidemill("fetch", web.url + "/a%20file", *place)
    assert Path(printed.stdout.strip()).read_text() == "content", printed.stderr
    found = json.loads(tidemill("fetch", web.url + "/a%20file?token=1", *place, "--json").stdout)
    assert (found["name"], found["size"], found["url"]) == ("a file", 7, web.url + "/a%20file")
    (tmp_path / "flow.py").write_text(FLOWS, encoding="utf-8")
    done = tidemill("run", "flow.py", "--workflow", "both", "--set", f"file={web.url}/a%20file", "-q", *place)
    assert "File a file: content" in done.stdout, done.stderr
    (tmp_path / "more.py").write_text(FLOWS + "\n\n@tm.workflow\ndef loud(file: Path):\n    return louder(file)\n")
    done = tidemill("run", "more.py", "--workflow", "loud", "--set", f"file={web.url}/a%20file", "-q", *place)
    assert done.returncode == 0, done.stderr
    sent = json.loads(tidemill("send", "2", web.url + "/out", *place, "--json").stdout)
    assert (sent["size"], sent["url"], web.files["/out"]) == (7, web.url + "/out", b"CONTENT")
    refused = tidemill("send", "1", web.url + "/out", *place)
    assert refused.returncode == 2
    assert "no file or directory" in refused.stderr
    gone = tidemill("fetch", web.url + "/nothing", *place)
    assert gone.returncode == 2
    assert sorted(os.listdir(tmp_path)) == ["flow.py", "more.py", "store"]


def tidemill(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidemill", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with an executable file in it."""
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "leaf").write_text("leaf")
    (tmp_path / "tree" / "tool").write_text("#!/bin/sh\necho tool\n")
    (tmp_path / "tree" / "tool").chmod(0o755)
    return tmp_path / "tree"


def test_directories_as_arguments(flows: Any, store: tm.Store, tree: Path) -> None:
    for given in (store.fetch(tree.as_uri()), File(tree.as_uri()), store.fetch(str(tree), in_place=True)):
        assert run(store, flows.names(given)) == ["deep", "deep/leaf", "tool"]
    assert [block.reused for block in store.status().blocks].count(1) == 2


def test_executables_stay_executable(flows: Any, store: tm.Store, tree: Path, tmp_path: Path) -> None:
    found = store.fetch(str(tree / "tool"))
    assert os.access(found.path, os.X_OK)
    assert run(store, flows.call(found)) == run(store, flows.call(File((tree / "tool").as_uri()))) == "tool\n"
    assert store.status(2).blocks[0].reused == 1
    store.send(found, str(tmp_path / "out"))
    assert os.access(tmp_path / "out", os.X_OK)


def test_moving(store: tm.Store, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    found = store.fetch(str(tmp_path / "large"), move=True)
    assert not (tmp_path / "large").exists()
    assert found.read_bytes() == bytes(1 << 20)


def test_a_file_that_stays_where_it_is(flows: Any, store: tm.Store, web: Web, tmp_path: Path) -> None:
    """It is not stored, tasks read it, and what it has become is not taken for what it was."""
    (tmp_path / "large").write_text("x" * 100_000)
    found = store.fetch(str(tmp_path / "large"), in_place=True)
    assert found.ref is not None
    assert found.read_text() == "x" * 100_000
    assert run(store, flows.size(found)) == 100_000
    assert not [one for one in store.objects.list() if one.size == 100_000]
    assert run(store, flows.size(store.fetch(web.url + "/large", in_place=True))) == 9 << 20
    (tmp_path / "large").write_text("y" * 100_000)
    with pytest.raises(tm.RunFailedError) as told:
        run(store, flows.first(found))
    assert "was changed since the store refers to it" in str(told.value)


def test_urls_of_stored_files(flows: Any, store: tm.Store, web: Web, tree: Path) -> None:
    run(store, flows.louder(web.url + "/a%20file"))
    for what in ("1.1", 1, "datum:1"):
        url = store.url_of(what)
        assert url.startswith("file:///")
        with tm.urls.open(url) as stream:
            assert stream.read() == b"CONTENT"
        assert not os.stat(Path(url.removeprefix("file://"))).st_mode & 0o222
    assert tm.urls.list(store.url_of(store.fetch(str(tree)))) == ["deep/", "tool"]
    ident = store.files.write(b"CONTENT", "named.txt")
    for what in (ident, str(ident)):
        assert store.url_of(what).endswith("/named.txt")
    store.send(ident, web.url + "/named")
    assert web.files["/named"] == b"CONTENT"
    with pytest.raises(UsageError, match="is not the id of a file"):
        store.url_of("file:1.1.1:x")


def test_what_is_deleted_is_not_given_away(store: tm.Store, tmp_path: Path) -> None:
    """Not its address either, though its bytes may be there for a while."""
    one = store.files.write(b"gone", "gone.txt")
    assert store.url_of(one) and store.send(one, str(tmp_path / "before")).size == 4
    store.files.delete(one)
    for given in (one, str(one)):
        with pytest.raises(NotFoundError, match="was deleted"):
            store.url_of(given)
        with pytest.raises(NotFoundError, match="was deleted"):
            store.send(given, str(tmp_path / "after"))
    assert not (tmp_path / "after").exists()


def test_signed_urls(moto: S3Server, tmp_path: Path) -> None:
    """Whoever has one needs no credentials, for a while."""
    data = some_bytes(100_000)
    (tmp_path / "file").write_bytes(data)
    with tm.open(tmp_path / "store", objects=moto.fresh_url()) as store:
        found = store.fetch(str(tmp_path / "file"))
        url = store.url_of(found, expires=60)
        assert url.startswith(f"{moto.endpoint}/")
        assert "X-Amz-Expires=60" in url
        with tm.urls.open(url) as stream:
            assert stream.read() == data
        assert tm.urls.size(url) == len(data)
        for expires in (0, 8 * 24 * 3600):
            with pytest.raises(UsageError, match="1 to 604800 seconds"):
                store.url_of(found, expires=expires)
        store.objects.delete([digest(data)])
        with pytest.raises(NotFoundError):
            store.url_of(found)


def test_commands_for_addresses(store: tm.Store, web: Web, tree: Path, tmp_path: Path) -> None:
    place = ["--store", str(store.url)]
    found = tidemill(tmp_path, "fetch", str(tree), web.url + "/a%20file", *place)
    paths = found.stdout.split("\n")
    assert sorted(os.listdir(paths[0])) == ["deep", "tool"], found.stderr
    assert Path(paths[1]).read_text() == "content"
    both = json.loads(tidemill(tmp_path, "fetch", str(tree), web.url + "/empty", *place, "--json").stdout)
    assert [one["name"] for one in both] == ["tree", "empty"]
    assert tidemill(tmp_path, "ls", str(tree)).stdout.split() == ["-", "deep/", "20", "tool"]
    listed = json.loads(tidemill(tmp_path, "ls", web.url + "/large", "--json").stdout)
    assert listed == {"url": web.url + "/large", "kind": "file", "entries": [{"name": "large", "size": 9 << 20}]}
    ident = store.files.write(b"content", "named.txt")
    url = tidemill(tmp_path, "url", ident, *place, "--expires", "10m")
    assert Path(url.stdout.strip().removeprefix("file://")).read_text() == "content", url.stderr
    for words in (["fetch"], ["ls", web.url + "/nothing"], ["ls", web.url.replace("//", "//me:word@")]):
        refused = tidemill(tmp_path, *words)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
        assert "word@" not in refused.stderr


def test_a_file_gets_its_own_name_in_a_directory(store: tm.Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for given, sent in (("out/", "out/own"), ("out/other", "out/other")):
        (tmp_path / "own").write_text("own")
        assert store.send(tmp_path / "own", f"{tmp_path}/{given}").url == f"{tmp_path}/{sent}"
        assert (tmp_path / sent).read_text() == "own"
    with pytest.raises(NotFoundError, match="no directory"):
        store.send(tmp_path / "own", f"{tmp_path}/missing/")


def test_what_was_left_out_is_said(store: tm.Store, tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "tree" / "file").write_text("1")
    sent = store.send(tmp_path / "tree", "memory://left-out/tree")
    assert sent.left_out == ["empty"]
    assert "left out, since they are empty: empty" in str(sent)
    assert store.send(tmp_path / "tree", str(tmp_path / "copy")).left_out == []


def test_what_dots_mean_is_fetched(flows: Any, store: tm.Store, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "deep")
    for given in ("..", "../", "../.", "../deep/.."):
        found = store.fetch(given)
        assert (found.name, sorted(os.listdir(found))) == ("tree", ["deep", "tool"])
        assert run(store, flows.names(found)) == run(store, flows.names(Path(given))) == ["deep", "deep/leaf", "tool"]


@pytest.mark.parametrize("name", [".", "..", "a/..", "x" * 300])
def test_a_server_cannot_say_where_a_file_is_laid_out(store: tm.Store, web: Web, name: str) -> None:
    web.name = name
    found = store.fetch(web.url + "/named")
    assert (found.name, found.read_text()) == ("download", "content")


def test_names_that_are_no_text(flows: Any, store: tm.Store, tmp_path: Path) -> None:
    """What is no text in them is replaced."""
    (tmp_path / "in").mkdir()
    odd = tmp_path / "in" / os.fsdecode(b"\xff.txt")
    odd.write_text("odd")
    assert store.fetch(str(odd)).name == store.fetch(odd.as_uri()).name == "\ufffd.txt"
    assert store.files.write(odd).name == "\ufffd.txt"
    store.names.put("odd", odd)
    assert store.names.get("odd").base == "\ufffd.txt"
    assert run(store, flows.size(odd)) == 3
    assert run(store, flows.odd()).name == "\ufffd.txt"
    assert store.send(odd, f"{tmp_path}/").size == 3
    listed = tidemill(tmp_path, "ls", "in", "--json")
    assert json.loads(listed.stdout)["entries"] == [{"name": "\ufffd.txt", "size": 3}], listed.stderr


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "\u6f6e" * 86])
def test_names_that_no_file_can_have(store: tm.Store, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a file"):
        store.files.write(b"1", name)


def test_the_name_of_a_file_is_listed_as_it_is(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a%20file").write_text("1")
    (tmp_path / "a file").write_text("1")
    for url, name in (
        (web.url + "/a%20file", "a file"),
        ((tmp_path / "a file").as_uri(), "a file"),
        (str(tmp_path / "a%20file"), "a%20file"),
    ):
        assert [one.name for one in transfer.listing(url).entries] == [name]
