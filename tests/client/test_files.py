"""Files, named files and messages as programs outside of tasks have them, with real engines on both databases."""

import importlib
import io
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.lab import Lab
from tidemill.client import garbage
from tidemill.client.store import Store
from tidemill.engine import complete, messages
from tidemill.model.digest import digest
from tidemill.model.errors import ChangedError, ConfigError, NotFoundError, UsageError
from tidemill.model.fileid import FileId, Origin
from tidemill.model.protocol import Claimed, Note, Written
from tidemill.provenance.lineage import ancestors, descendants
from tidemill.stores.objects import LocalStore
from tidemill.testing.state_base import together

ROUNDS, WRITERS = 4, 2


@pytest.fixture
def script(tmp_path: Path) -> Path:
    place = tmp_path / "go.sh"
    place.write_bytes(b"#!/bin/sh\n\xff")
    place.chmod(0o755)
    return place


def test_a_file_goes_in_and_comes_out(store: Store, script: Path, tmp_path: Path) -> None:
    one = store.files.write(script)
    assert (one.name, one.size, one.executable) == ("go.sh", 11, True)
    assert store.files.exists(str(one))
    assert store.files.size(one) == 11
    (tmp_path / "out").mkdir()
    copy = store.files.read(str(one), tmp_path / "out")
    assert copy == tmp_path / "out" / "go.sh"
    assert copy.read_bytes() == script.read_bytes()
    assert copy.stat().st_mode & stat.S_IXUSR
    with copy.open("r+b") as file:  # a private one
        file.write(b"!")
    with pytest.raises(UsageError, match="there is something"):
        store.files.read(one, copy)
    with store.files.open(one) as stream:
        assert stream.read(1) == b"#"
        assert stream.seek(-1, os.SEEK_END) == 10
        assert stream.read() == b"\xff"
    assert [f.id for f in store.files.list()] == [one]


def test_text_bytes_and_streams(store: Store, tmp_path: Path) -> None:
    text = store.files.write("zwölf\r\n".encode() * 3, "t.txt")
    empty = store.files.write(b"")
    large = store.files.write(io.BytesIO(b"0123456789" * 300_000), "large")
    with store.files.open(text, "r") as lines:
        assert next(iter(lines)) == "zwölf\n"
    with store.files.open(text, "r", encoding="ascii", errors="replace") as stream:
        assert stream.read(4) == "zw\ufffd\ufffd"
    assert (empty.name, store.files.size(empty), store.files.open(empty).read()) == ("", 0, b"")
    with store.files.open(large) as stream:  # one byte of it, then closed
        assert stream.read(1) == b"0"
    assert store.files.read(large, tmp_path / "l").stat().st_size == 3_000_000
    for mode in ("w", "rb+", "x"):
        with pytest.raises(UsageError, match="mode"):
            store.files.open(text, mode)
    with pytest.raises(UsageError, match="base name"):
        store.files.write(b"", "a/b")
    with pytest.raises(NotFoundError):
        store.files.write(tmp_path / "missing")


def test_a_deleted_file_is_gone_for_all_who_hold_its_id(store: Store, url: str) -> None:
    one, other = store.files.write(b"same", "a"), store.files.write(b"same", "b")
    assert one != other
    assert store.files.delete(one)
    assert not store.files.delete(one)
    with Store(url) as second:
        for found in (store, second):
            assert not found.files.exists(one)
            assert found.files.size(one) == 0
            for act in (found.files.open, partial(found.files.read, path="nowhere")):
                with pytest.raises(NotFoundError, match="was deleted"):
                    act(one)
        assert second.files.open(other).read() == b"same"
    assert [(f.name, f.state) for f in store.files.list()] == [("a", "deleted"), ("b", "complete")]
    third = store.files.write(b"same", "a")
    assert third not in {one, other}
    with pytest.raises(NotFoundError, match="there is no file"):
        store.files.open(FileId(f"file:99.1.1:{'0' * 64}:4:-:a"))
    with pytest.raises(UsageError, match="not the id"):
        store.files.exists("a.txt")


def test_a_name_is_put_read_and_given_up(store: Store, script: Path, tmp_path: Path) -> None:
    assert store.names.put("model", b"first") == 1
    assert store.names.put("model", script, expect=1) == 2
    assert store.names.put("model", store.files.write(b"third", "x.bin"), expect=2) == 3
    assert [(v.version, v.base, v.executable) for v in store.names.history("model")] == [
        (1, "model", False),
        (2, "go.sh", True),
        (3, "x.bin", False),
    ]
    read = store.names.read("model", tmp_path / "m")
    assert (read.version, (tmp_path / "m").read_bytes()) == (3, b"third")
    assert store.names.open("model", "r").read() == "third"
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("a")
    assert store.names.put("folder", tmp_path / "folder") == 1
    assert store.names.read("folder", tmp_path / "copy").kind == "dir"
    assert (tmp_path / "copy" / "a").read_text() == "a"
    assert [n.name for n in store.names.list()] == ["folder", "model"]
    assert store.names.delete("model", expect=3)
    assert not store.names.delete("model")
    for act in (store.names.get, store.names.open):
        with pytest.raises(NotFoundError, match="gave it up"):
            act("model")
    assert store.names.put("model", b"again", expect=0) == 5


def test_a_name_that_was_changed_by_others(store: Store) -> None:
    store.names.put("n", b"1")
    store.names.put("n", b"2", expect=1)
    with pytest.raises(ChangedError, match=r"'n' is at version 2, not at version 1; .*@.* changed it at"):
        store.names.put("n", b"3", expect=1)
    with pytest.raises(ChangedError):
        store.names.delete("n", expect=1)
    assert store.names.open("n").read() == b"2"
    for name in ("a/b", "", "ü"):
        with pytest.raises(UsageError, match="cannot be the name"):
            store.names.put(name, b"")
    gone = store.files.write(b"4")
    store.files.delete(gone)
    with pytest.raises(NotFoundError):
        store.names.put("n", gone)


def test_of_programs_that_put_at_once_one_wins_each_round(store: Store, url: str) -> None:
    """Nothing is lost, and nobody believes to have won who has not."""
    store.names.put("counter", b"0")

    def attempt(who: int) -> int:
        with Store(url) as mine:
            at = mine.names.get("counter").version
            try:
                return mine.names.put("counter", f"{who}".encode(), expect=at)
            except ChangedError:
                return 0

    won = [found for _ in range(ROUNDS) for found in together(*[partial(attempt, n) for n in range(WRITERS)])]
    versions = [v for v in won if v]
    assert sorted(versions) == list(range(2, 2 + len(versions)))
    assert len(versions) >= ROUNDS
    assert store.names.get("counter").version == 1 + len(versions)


def test_a_store_with_nothing(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.files.list()
    store.names.put("a", b"")
    assert store.files.list() == []
    assert store.messages() == []


# --------------------------------------------------------------------------------------------------------- with tasks


LabAt = Callable[[], Lab]


class Said:
    """A workflow of the module `toy` whose first two attempts tell more: the first writes files and says something, the
    second reads what the first wrote, and deletes some of it.
    """

    def __init__(self, lab: Lab) -> None:
        toy = importlib.import_module("toy")
        self.objects = LocalStore(Path(os.environ["TEST_OBJECTS"]))
        self.block = lab.submit(toy.sums(2))
        self.writer, self.reader = (self._one(lab) for _ in range(2))
        lab.work()

    def _one(self, lab: Lab) -> Claimed:
        (claimed,) = lab.claim()
        outcome = lab._attempt(claimed)
        notes = []
        if not hasattr(self, "ids"):
            stored = [self.objects.put(data) for data in (b"kept", b"scratch", b"gone")]
            outcome.files = [Written(n, one, 4, 0o644, f"f{n}", temporary=n == 2) for n, one in enumerate(stored, 1)]
            self.ids = [
                FileId.of(Origin(claimed.run, claimed.fence, w.n), w.digest, w.size, w.name) for w in outcome.files
            ]
            notes = [(20, "", "begun"), (40, "", "hot"), (20, "table", "a b\n" * 200_000)]
        else:
            outcome.used = [
                (self.ids[0].digest, 5.0, "inputs/f1", self.ids[0].origin.run),
                (self.ids[1].digest, 6.0, "", self.ids[1].origin.run),
            ]
            outcome.deleted = [str(self.ids[2])]
        with lab.engine.turn() as turn:
            messages.take(turn, [Note(claimed.run, claimed.fence, 1.5, *one) for one in notes])
            complete.complete(turn, lab.worker, [outcome])
        lab.settle()
        return claimed


@pytest.fixture
def said(toy: Path, lab_at: LabAt, store: Store, monkeypatch: pytest.MonkeyPatch) -> Said:
    monkeypatch.setenv("TEST_OBJECTS", str(store.place.inside))
    lab = lab_at()
    return Said(lab)


def test_what_a_run_wrote_and_used(said: Said, store: Store) -> None:
    kept, scratch, gone = said.ids
    assert [(f.name, f.state, f.temporary, f.attempt) for f in store.files.list(said.block)] == [
        ("f1", "complete", False, 1),
        ("f2", "expired", True, 1),
        ("f3", "deleted", False, 1),
    ]
    writer = store.files.list(said.block)[0].run
    assert [f.id for f in store.files.list(writer)] == said.ids
    assert store.files.open(kept).read() == b"kept"
    with pytest.raises(NotFoundError, match="was temporary"):
        store.files.open(scratch)
    with pytest.raises(NotFoundError, match="was deleted"):
        store.files.open(gone)
    shown = str(store.show(writer))
    assert "wrote" in shown
    assert kept in shown
    assert "inputs/f1" in str(store.show(f"run:{said.reader.run}"))


def test_a_run_comes_from_those_whose_files_it_read(said: Said, store: Store) -> None:
    writer, reader = said.writer.run, said.reader.run
    assert writer in ancestors(store.db, reader)
    assert reader in descendants(store.db, writer)
    up = store.lineage(f"run:{reader}", depth=1)
    assert ("used", writer, reader) in {(e.kind, e.source, e.target) for e in up.edges}
    assert "file of: number" in str(up)
    assert "file for: " in str(store.lineage(f"run:{writer}", up=False))


def test_each_message_is_given_once_and_all_again_on_request(said: Said, store: Store, url: str) -> None:
    found = store.messages()
    assert [(m.level, m.stream, m.text[:5], m.attempt) for m in found] == [
        (20, "", "begun", 1),
        (40, "", "hot", 1),
        (20, "table", "a b\na", 1),
    ]
    assert len(found[2].text) == 800_000
    assert found[0].run == store.files.list(said.block)[0].run
    with Store(url) as other:
        assert store.messages() == other.messages() == other.messages(said.block) == []
        assert other.messages(said.block, reader="you") == found
        assert other.messages(reader="you") == []
        assert other.messages(all=True) == other.messages(said.block, all=True) == found
    with pytest.raises(NotFoundError):
        store.messages(12345)


def test_readers_of_one_name_share_what_there_is(said: Said, store: Store, url: str) -> None:
    def read() -> list[int]:
        with Store(url) as mine:
            return [m.id for m in mine.messages()]

    found = together(*[read] * 3)
    assert sorted(i for part in found for i in part) == [m.id for m in store.messages(all=True)]


def test_streams_are_shown_with_the_logs(said: Said, store: Store) -> None:
    logs = store.logs(f"run:{said.writer.run}")
    assert [(one.stream, len(one.text)) for one in logs] == [("table", 800_000)]


def test_gc_keeps_what_files_and_names_stand_for(said: Said, store: Store) -> None:
    store.names.put("n", b"old")
    store.names.put("n", b"new")
    before = {one.digest for one in store.objects.list()}
    live = garbage.live_digests(store.db)
    assert {said.ids[0].digest, digest(b"new")} <= live & before
    assert not {said.ids[1].digest, said.ids[2].digest, digest(b"old")} & live
    assert digest(b"old") in before


def test_a_store_whose_objects_are_sealed(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine and its workers find the key as this program does; without it, nobody reads anything."""
    monkeypatch.setenv("TIDEMILL_SEAL_LAB", "5a" * 32)
    secret = b"a secret of the laboratory " * 9000
    with Store(url, objects=f"seal:lab:{tmp_path / 'sealed'}") as store:
        one = store.files.write(secret, "secret")
        store.names.put("secret", one)
    with Store(url) as store:  # where they are is recorded
        assert store.names.open("secret").read() == secret
        assert store.files.read(one, tmp_path / "copy").read_bytes() == secret
        assert store.gc(dry_run=True).live == 1
    stored = [p.read_bytes() for p in (tmp_path / "sealed").rglob("*") if p.is_file()]
    assert stored
    assert not any(secret[:27] in content for content in stored)
    monkeypatch.setenv("TIDEMILL_SEAL_LAB", "5b" * 32)
    with Store(url) as store, pytest.raises(ConfigError, match="sealed by another key"):
        store.names.open("secret")
    monkeypatch.delenv("TIDEMILL_SEAL_LAB")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Store(url) as store, pytest.raises(ConfigError, match="there is no key 'lab'"):
        store.names.open("secret")
