"""The attacks of a task whom permissions bind, on what the file store gave it. Argument: a directory all may use."""

import contextlib
import os
import sys
import tempfile  # noqa: F401 (an ordinary user may not be able to read this Python's library)
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import filetasks  # type: ignore[import-not-found]

from tidemill.stores.objects import open_objects
from tidemill.stores.objects.interface import SMALL
from tidemill.workers.filestore import FileStore


def main(base: Path) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    assert os.geteuid() != 0
    objects = open_objects(base / "objects")
    (base / "now").mkdir()
    os.chdir(base / "now")
    store = FileStore((1, 1), lambda: objects, base / "now", base / "temp", print)
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


main(Path(sys.argv[1]))
