"""A step that uses files, run alone: it reads the store's, and what it does to them stays aside."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

import tidemill.graph as tm
from tests.client.test_debugging import alone, find, fingerprint
from tidemill.client.apart import apart
from tidemill.client.store import Store
from tidemill.model.errors import UsageError
from tidemill.server.lock import FILE
from tidemill.stores.objects import open_objects

TOY = """
import tidemill as tm
from pathlib import Path


def note(path, text):
    Path(path).write_text(text)


@tm.task
def keep(x: int) -> list[tm.FileId]:
    with tm.files.writing("large") as out:
        out.write(bytes(x))
    path = tm.files.temporary(".txt")
    path.write_text(str(x))
    return [out.id, tm.files.write(path, name="small")]


@tm.task
def use(ids: list[tm.FileId], where: str) -> list[object]:
    tm.defer(note, where, "deferred")
    with tm.files.open(ids[0]) as stream:
        first = len(stream.read())
    mine = tm.files.read(ids[1], mutable=True)
    own = tm.files.write(mine)
    found = [first, mine.read_text(), tm.files.read(own).read_text(), tm.files.exists(own), tm.files.exists(ids[0])]
    found.append(len(tm.files.read(ids[0]).read_bytes()))
    tm.files.delete(ids[0])
    return [*found, tm.files.exists(ids[0])]


@tm.workflow
def flow(where: str):
    ids = keep(100_000)
    return [use(ids, where)]
"""


def test_a_step_that_uses_files_is_run_alone(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    store = tmp_path / "store"
    code = f"import toy; toy.flow({str(tmp_path / 'note')!r}).run(store={str(store)!r}, workers=1, progress=False)"
    subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, timeout=60, check=True)
    with (store / FILE).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # held by the engine until it has ended
    (tmp_path / "note").unlink(missing_ok=True)
    with Store(store) as found:
        before = fingerprint(found)
        done = alone(found, find(found, "use"))
        assert done.error is None, done.traceback
        assert done.values == [[100_000, "100000", "100000", True, True, 100_000, False]]
        assert (tmp_path / "note").read_text() == "deferred"
        [ids] = alone(found, find(found, "keep")).values
        assert [one.name for one in ids] == ["large", "small"]
        assert fingerprint(found) == before


def test_outside_of_it_nothing_is_installed(tmp_path: Path) -> None:
    objects = open_objects(tmp_path / "objects")
    with apart(lambda: objects, tmp_path, 1):
        directory = tm.files.directory()
        with pytest.raises(UsageError, match="alone"):
            tm.files.get("name")
        assert directory.exists()
    assert not directory.exists()
    with pytest.raises(UsageError, match="inside a running task only"):
        tm.files.directory()
    assert not (tmp_path / "objects").exists()
