"""The attacks of a task whom permissions bind, on what it was given. Argument: a directory all may use."""

import contextlib
import os
import sys
import tempfile  # noqa: F401 (an ordinary user may not be able to read this Python's library)
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import filetasks  # type: ignore[import-not-found]

from tidemill.model.fileid import FileId, Origin
from tidemill.model.values import Ref
from tidemill.stores.objects import open_objects
from tidemill.stores.objects.interface import SMALL, ObjectStore
from tidemill.workers.filestore import FileStore
from tidemill.workers.staging import Scratch


def main(base: Path) -> None:
    objects = open_objects(base / "objects")
    others = objects.put(os.urandom(SMALL + 1000))  # root's, if it is root that starts this
    objects.close()
    if os.geteuid() == 0:
        for path in (base, *base.rglob("*")):
            if path.is_dir():
                path.chmod(0o777)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    assert os.geteuid() != 0
    objects = open_objects(base / "objects")
    (base / "now").mkdir()
    os.chdir(base / "now")
    store = FileStore((1, 1), lambda: objects, base / "now", base / "temp", lambda *_: True)
    for size in (1000, SMALL + 1000):
        for executable in (False, True):
            source = Path(f"source-{size}-{executable}")
            source.write_bytes(os.urandom(size))
            source.chmod(0o755 if executable else 0o644)
            known = store.write(source, None, temporary=False)
            store.intake.flush()
            for attack in filetasks.ATTACKS.values():
                for mutable in (False, True):
                    for link in (False, True):
                        place = store.read(known, None, mutable=mutable, link=link)
                        with contextlib.suppress(OSError, ValueError):
                            attack(place)
                        objects.verify(known.digest)
    change_copies(store, objects, others)
    attack_inputs(base, objects)


def change_copies(store: FileStore, objects: ObjectStore, others: bytes) -> None:
    """A copy to be changed can be, also of what somebody else has stored, where links would do for others."""
    known = FileId.of(Origin(9, 9, 9), others, SMALL + 1000, "theirs", executable=False)
    place = store.read(known, None, mutable=True, link=True)
    with open(place, "r+b") as file:
        file.write(b"CHANGED")
    assert place.stat().st_uid == os.geteuid()
    objects.verify(others)


def attack_inputs(base: Path, objects: ObjectStore) -> None:
    """What is handed to a task as paths: files and directories, small and large."""
    scratch = Scratch(base / "inputs", lambda: objects)
    for executable in (False, True):
        tree = base / f"tree-{executable}"
        tree.mkdir()
        for size in (1000, SMALL + 1000):
            member = tree / f"{size}"
            member.write_bytes(os.urandom(size))
            member.chmod(0o755 if executable else 0o644)
            file = Ref(objects.put_file(member)[0], size, "file", "victim", 0o755 if executable else 0o644)
            directory = Ref(*objects.put_dir(tree), "dir", "victim")
            for attack in filetasks.ATTACKS.values():
                for ref in (file, directory):
                    given = scratch.stage(ref)
                    assert isinstance(given, Path)
                    with contextlib.suppress(OSError, ValueError):
                        attack(given / member.name if ref is directory else given)
                    objects.verify(file.digest)
                    scratch.leave()


main(Path(sys.argv[1]))
