"""Killed processes and full disks: nothing acknowledged is lost, nothing half is visible."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.objects.running import command, run
from tidemill.model.digest import digest
from tidemill.stores.objects import SMALL, LocalStore, collect
from tidemill.testing.objects_data import make_tree, some_bytes, tree

DATA = some_bytes(10 * SMALL)


def killed_at(moment: int, base: Path, action: str) -> bool:
    """Run the action in a process that is killed at that moment; whether it came to it."""
    line = command("stop_at.py", moment, base, action)
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = os.read(process.stdout.fileno(), 100)
        process.kill()
    assert said in (b"stopped", b"done")
    return said == b"stopped"


ACTIONS = ["put", "put_many", "put_file", "move", "put_stream", "put_dir", "get_file", "get_dir", "delete"]


@pytest.mark.parametrize("action", ACTIONS)
def test_killed_at_any_moment(action: str, tmp_path: Path) -> None:
    make_tree(tmp_path / "source")
    moment = 0
    came_to_it = True
    while came_to_it:
        moment += 1
        base = tmp_path / str(moment)
        base.mkdir()
        (base / "file").write_bytes(DATA)
        (base / "source").symlink_to(tmp_path / "source")
        came_to_it = killed_at(moment, base, action)
        check(base, action)
    assert moment > 2


def check(base: Path, action: str) -> None:
    store = LocalStore(base / "objects")
    everything = {one.digest for one in store.list()}
    assert digest(b"there before") in everything
    for name in everything:
        store.verify(name)
    if action == "move":
        assert (base / "file").exists() or digest(DATA) in everything
    if (base / "file").exists():
        assert (base / "file").read_bytes() == DATA
    target = base / "target"
    if target.is_dir():
        assert tree(target) == tree(base / "source")
    elif target.exists():
        assert target.read_bytes() == DATA
    # What was left behind is swept, and the same again succeeds.
    collect(store, everything, grace_s=0, now=time.time() + 60)
    assert list((base / "objects").glob("tmp/*")) == []
    assert store.get(store.put(DATA), verify=True) == DATA
    store.close()


def test_killed_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    assert killed_at(0, tmp_path, "interrupted")
    store = LocalStore(tmp_path / "objects")
    assert [one.digest for one in store.list()] == [digest(b"there before")]
    (left,) = (tmp_path / "objects" / "tmp").iterdir()
    assert left.stat().st_size == 5 * SMALL
    assert collect(store, [], grace_s=3600, now=time.time()).leftovers == 0
    report = collect(store, [], grace_s=3600, now=time.time() + 7200)
    assert (report.leftovers, report.leftover_bytes, report.count) == (1, 5 * SMALL, 1)
    assert not left.exists()
    store.close()


@pytest.mark.parametrize("batches", [1, 2, 30])
def test_what_was_acknowledged_survives(batches: int, tmp_path: Path) -> None:
    line = command("put_and_say.py", tmp_path / "objects")
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = 0
        while said < batches:
            said += len(os.read(process.stdout.fileno(), 1))
        process.kill()
    store = LocalStore(tmp_path / "objects")
    items = [some_bytes(500, number) for number in range(10 * batches)]
    assert store.get_many([digest(item) for item in items], verify=True) == items
    assert store.get(store.put(b"more")) == b"more"
    store.close()


def own_mounts() -> tuple[str, ...]:
    """A command prefix that gives a process mounts of its own, if this machine lets it have them."""
    prefix = ("unshare", "--map-root-user", "--mount")
    try:
        return prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else ()
    except FileNotFoundError:
        return ()


# A limit on the size of files works everywhere; a file system that is really full, where mounting is allowed.
@pytest.mark.parametrize("kind", ["ulimit", "mount"] if own_mounts() else ["ulimit"])
def test_a_full_disk(kind: str, tmp_path: Path) -> None:
    run("fill.py", tmp_path, kind, prefix=own_mounts() if kind == "mount" else ())
