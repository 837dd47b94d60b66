"""The journal: bytes that somebody names are never deleted, and those that nobody names do not stay for ever; whatever
happens in between, and wherever it is interrupted.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.clocks import RunningClock
from tests.engine.tasks import NUMBER
from tidemill.engine import files, names
from tidemill.model.digest import Digest, digest
from tidemill.model.errors import NotFoundError
from tidemill.model.fileid import FileId
from tidemill.server import deletions
from tidemill.stores.objects import LocalStore
from tidemill.stores.state import files as rows
from tidemill.stores.state import names as name_rows
from tidemill.testing.engine import EngineDriver

MARGIN = 0.008
"""Seconds; a file system's clock is some milliseconds behind."""
CONTENTS = 12
ME = names.Writer(0, "me")
CHILD = Path(__file__).parent / "programs" / "write_and_delete.py"
ROOT = Path(__file__).parents[2]


class World:
    """A store in which files, names and directories come and go; what is named must be there."""

    def __init__(self, url: str, directory: Path, seed: int) -> None:
        self.d = EngineDriver(url, [NUMBER], clock=RunningClock())
        self.objects = LocalStore(directory / "objects")
        self.random = random.Random(seed)
        self.directory = directory
        self.ids: dict[FileId, int] = {}
        self.gone: dict[FileId, int] = {}
        self.named: dict[str, set[int]] = {}
        self.versions: set[int] = set()
        self.foldered: set[int] = set()
        self.pending: files.Sentence | None = None

    def content(self, n: int) -> bytes:
        return f"content {n} ".encode() * (1 if n % 2 else 20_000)

    def write(self) -> None:
        n = self.random.randrange(CONTENTS)
        stored = self.objects.put(self.content(n))
        self.ids[self.d.control(files.write, stored, len(self.content(n)), 0o644, "x")] = n

    def delete(self) -> None:
        if self.ids:
            one = self.random.choice(sorted(self.ids))
            self.d.control(files.delete, one)
            self.gone[one] = self.ids.pop(one)

    def name(self) -> None:
        n = self.random.randrange(CONTENTS)
        content = names.Content(self.objects.put(self.content(n)), 1, 0o644, "x", "file")
        self.d.control(names.put, ME, "file", content, None)
        self.named["file"] = {n}
        self.versions.add(n)

    def name_by_id(self) -> None:
        """Whoever asks for it saw the file some time ago."""
        if self.ids or self.gone:
            one = self.random.choice(sorted([*self.ids, *self.gone]))
            content = names.Content(one.digest, one.size, one.mode, one.name, "file", one)
            try:
                self.d.control(names.put, ME, "file", content, None)
            except NotFoundError:
                assert one in self.gone
                return
            assert one in self.ids
            self.named["file"] = {self.ids[one]}
            self.versions.add(self.ids[one])

    def folder(self) -> None:
        found = self.random.sample(range(CONTENTS), 2)
        place = self.directory / "folder"
        place.mkdir(exist_ok=True)
        for old in place.iterdir():
            old.unlink()
        for n in found:
            (place / str(n)).write_bytes(self.content(n))
        stored, size = self.objects.put_dir(place)
        self.d.control(names.put, ME, "folder", names.Content(stored, size, 0o755, "folder", "dir"), None)
        self.named["folder"] = set(found)
        self.foldered.update(found)

    def give_up(self) -> None:
        if self.named:
            name = self.random.choice(sorted(self.named))
            self.d.control(names.give_up, ME, name, None)
            del self.named[name]

    def look(self) -> None:
        """The transaction that finds out what nothing names."""
        self.pending = self.d.control(lambda turn: files.condemned(turn, b"", 100))

    def act(self) -> None:
        """What the thread does, perhaps long after it was told to, and what is recorded of it, unless it is killed."""
        if self.pending is not None:
            done = deletions.execute(self.objects, self.pending, rows.folders(self.d.engine.db), MARGIN, {})
            self.pending = None
            if self.random.random() < 0.7:
                self.d.control(files.gone, done)

    def age(self) -> None:
        """What has been put gets older than the margin."""
        begun = time.time()
        while time.time() < begun + 2 * MARGIN:
            pass

    def crash(self) -> None:
        self.pending = None
        self.d.crash()

    def check(self) -> None:
        """What is named, or was, is there."""
        wanted = self.versions.union(self.ids.values(), *self.named.values())
        lost = {n for n in wanted if not self.objects.exists([digest(self.content(n))])}
        assert not lost

    def settle(self) -> None:
        """Work the journal off."""
        deadline = time.monotonic() + 30.0
        while self.d.engine.journaled:
            assert time.monotonic() < deadline
            self.look()
            self.act()

    def stays(self, gone: set[int]) -> set[int]:
        """Which of these contents are still stored."""
        return {n for n in gone if self.objects.exists([digest(self.content(n))])}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_nothing_that_is_named_is_deleted(url: str, tmp_path: Path, seed: int) -> None:
    world = World(url, tmp_path, seed)
    acts: list[Callable[[], None]] = [
        *[world.write] * 3, *[world.delete] * 3, world.name, *[world.name_by_id] * 2, world.folder, world.give_up,
        *[world.age] * 3, *[world.look] * 2, *[world.act] * 3, world.crash,
    ]  # fmt: skip
    for _ in range(100):
        world.random.choice(acts)()
        world.check()
    world.settle()
    world.check()
    for one in sorted(world.ids):
        world.d.control(files.delete, one)
    world.ids.clear()
    for name in sorted(world.named):
        world.d.control(names.give_up, ME, name, None)
    world.named.clear()
    fresh = [world.d.control(files.write, world.objects.put(world.content(n)), 1, 0o644, "x") for n in range(CONTENTS)]
    for one in fresh:
        world.d.control(files.delete, one)
    world.settle()
    # what ever stood in a directory is left to gc, which reads them all, and so is what a name ever stood for
    assert world.stays(set(range(CONTENTS))) == world.foldered | world.versions
    world.d.close()


def test_without_directories_everything_that_was_deleted_goes(url: str, tmp_path: Path) -> None:
    world = World(url, tmp_path, 9)
    for _ in range(20):
        world.write()
    kept = world.random.choice(sorted(world.ids))
    for one in sorted(world.ids.keys() - {kept}):
        world.d.control(files.delete, one)
        if world.random.random() < 0.3:
            world.look()
            world.act()
    world.settle()
    assert world.stays(set(range(CONTENTS))) == {world.ids[kept]}
    world.d.close()


def test_what_is_put_again_by_somebody_who_has_not_told_yet_is_spared(url: str, tmp_path: Path) -> None:
    world = World(url, tmp_path, 1)
    g = world.d.graph()
    g.run("number", 1)
    one = world.d.control(files.write, world.objects.put(b"shared"), 6, 0o644, "x")
    world.d.control(files.delete, one)
    world.d.submit(g)
    (claimed,) = world.d.take()
    world.objects.put(b"shared")  # as this attempt may, long before its outcome says so
    world.look()
    assert world.pending is not None
    assert [c.digest for c in world.pending.condemned] == [digest(b"shared")]
    deletions.execute(world.objects, world.pending, [], MARGIN, {})
    assert world.objects.get(digest(b"shared")) == b"shared"
    outcome = world.d.execute(claimed)
    assert outcome is not None
    world.d.hand_in(outcome)
    world.settle()
    world.d.close()


class Counting(LocalStore):
    asked = 0

    def get(self, digest: Digest, verify: bool = False) -> bytes:
        self.asked += 1
        return super().get(digest, verify)

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        self.asked += 1
        return super().read_range(digest, start, length)


@pytest.mark.parametrize(("remembered", "asked"), [(deletions.REMEMBERED, 0), (3, 4)])
def test_a_directory_is_read_once_as_far_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int, asked: int
) -> None:
    """And what is in it is kept for as long as it is stored."""
    monkeypatch.setattr(deletions, "REMEMBERED", remembered)
    objects, known = Counting(tmp_path / "objects"), dict[bytes, frozenset[bytes]]()
    folders = [objects.put(b"no directory " * 10_000)]
    for n in range(5):
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / "leaf").write_bytes(b"leaf %d " % n * 10_000)
        folders.append(objects.put_dir(tmp_path / "tree")[0])
    leaf = digest(b"leaf 0 " * 10_000)

    def delete(one: bytes) -> bool:
        """Whether it went."""
        now = time.time()
        condemned = [files.Condemned(one, now)]
        assert deletions.execute(objects, files.Sentence(condemned, now + 10, b""), folders, 1.0, known) == condemned
        return not objects.exists([one])

    assert delete(objects.put(b"one"))
    objects.asked = 0
    assert delete(objects.put(b"two"))
    assert objects.asked == asked
    assert not delete(leaf)
    objects.delete(folders[1:2])
    assert delete(leaf)


def test_what_is_put_again_later_is_left_to_gc(url: str, tmp_path: Path) -> None:
    """As a file that is fetched: nothing names it yet. Where the bytes are, an age may be wrong by an hour downwards,
    but not upwards."""
    world = World(url, tmp_path, 1)
    world.objects.fresh_s = 3600.0
    for n in (0, 1):
        one = world.d.control(files.write, world.objects.put(world.content(n)), 1, 0o644, "x")
        world.d.control(files.delete, one)
    since = max(t for _, t in rows.journaled(world.d.engine.db, b"", 10))
    again, never = digest(world.content(0)), digest(world.content(1))
    place = world.objects.file_of(again)
    assert place is not None
    os.utime(place, (since + 600, since + 600))
    found = world.d.control(lambda turn: files.condemned(turn, b"", 100))
    for later, left in ((700, {again, never}), (5000, {again})):
        done = deletions.execute(world.objects, found._replace(before=since + later), [], deletions.REMOTE_MARGIN, {})
        assert world.objects.exists([again, never]) == left
    assert {c.digest for c in done} == {again, never}
    world.d.close()


def test_a_store_that_is_killed_while_it_deletes(url: str, tmp_path: Path) -> None:
    """A real process, killed again and again: what rows name is there, what they do not goes in the end."""
    objects = LocalStore(tmp_path / "objects")
    for kill in range(6):
        child = subprocess.Popen(
            [sys.executable, str(CHILD), url, str(tmp_path / "objects"), str(kill)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        assert child.stdout is not None
        for _ in range(20 + 13 * kill):
            assert child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        child.stdout.close()
        child.wait()
        with closing(EngineDriver(url, [NUMBER], clock=RunningClock())) as d:
            found = rows.between(d.engine.db, 0, 1)
            live = {bytes(f.digest) for f in found if f.state == rows.COMPLETE} | name_rows.live(d.engine.db)
            assert objects.exists(live) == live
    world = World(url, tmp_path, 0)
    world.settle()
    assert objects.exists(live) == live
    gone = {bytes(f.digest) for f in rows.between(world.d.engine.db, 0, 1)} - live
    named = {v.digest for v in name_rows.history(world.d.engine.db, 1, "latest") if v.digest}
    assert gone - named
    assert objects.exists(gone - named) == set()
    world.d.close()


def test_what_is_given_up_again_while_it_is_being_deleted_is_looked_at_again(url: str, tmp_path: Path) -> None:
    world = World(url, tmp_path, 1)

    def given_up() -> None:
        one = world.d.control(files.write, world.objects.put(b"again"), 5, 0o644, "x")
        world.d.control(files.delete, one)

    given_up()
    world.look()
    assert world.pending is not None
    found = world.pending.condemned
    given_up()
    world.d.control(files.gone, found)  # of the first time
    assert world.d.engine.journaled
    world.settle()
    assert not world.objects.exists([digest(b"again")])
    world.d.close()
