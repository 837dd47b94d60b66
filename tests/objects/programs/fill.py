"""Fill a store until there is no room: nothing that was acknowledged is lost, and nothing half is visible.

Arguments: a directory, and how room is limited: "mount" (a file system of 1 MiB is mounted there, which needs a
mount namespace of this process's own) or "ulimit" (no file may become larger than 1 MiB).
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tidemill.model.errors import StoreFullError
from tidemill.stores.objects import SMALL, open_objects
from tidemill.testing.objects_data import make_tree, some_bytes

LIMIT = 1 << 20
base = Path(sys.argv[1])
large = some_bytes(2 * LIMIT)
source = base / "source"
source.write_bytes(large)
make_tree(base / "tree")
(base / "tree" / "huge").write_bytes(large)
room = base / "room"
room.mkdir()
if sys.argv[2] == "mount":
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LIMIT}", "none", room], check=True)


def limited(limited: bool) -> None:
    if sys.argv[2] == "mount":
        subprocess.run(["mount", "-o", f"remount,size={LIMIT if limited else 50 * LIMIT}", room], check=True)
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT if limited else hard, hard))


def refused(action: Callable[[], object]) -> None:
    caught = None
    try:
        action()
    except StoreFullError as error:
        caught = error
    assert caught, "there was room"
    assert str(room) in str(caught), caught
    assert caught.hint, caught


limited(True)
store = open_objects(room / "objects")
acknowledged: dict[bytes, bytes] = {}


def put_small() -> None:
    for number in range(LIMIT // 500):
        data = some_bytes(1000, len(acknowledged) + number)
        acknowledged[store.put(data)] = data


for action in (
    lambda: store.put(large),
    lambda: store.put_stream([large[:LIMIT], large[LIMIT:]]),
    lambda: store.put_file(source),
    lambda: store.put_dir(base / "tree"),
):
    refused(action)
    assert os.listdir(room / "objects" / "tmp") == []
middle = some_bytes(SMALL + 1)
acknowledged[store.put(middle)] = middle
refused(put_small)
refused(lambda: store.put_many([some_bytes(1000, -number) for number in range(2000)]))
assert len(acknowledged) > 50
assert store.get_many(list(acknowledged), verify=True) == list(acknowledged.values())
for one in store.list():
    store.verify(one.digest)

given = store.put(middle)
(room / "filler").write_bytes(b"")
refused(lambda: [store.get_file(given, room / f"given{number}") for number in range(30)] and store.put(large))
assert all((room / name).stat().st_size == SMALL + 1 for name in os.listdir(room) if name.startswith("given"))
assert not [name for name in os.listdir(room) if name.startswith(".")]

limited(False)
(base / "small").mkdir()
(base / "small" / "file").write_bytes(some_bytes(SMALL - 1))
small, _ = store.put_dir(base / "small")
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL // 2, hard))
refused(lambda: store.get_dir(small, room / "small"))  # a part of the file can be written, and that is no error
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert not [name for name in os.listdir(room) if name == "small" or name.startswith(".")]
assert store.put_file(source)[1] == len(large)
put_small()
assert store.get_many(list(acknowledged), verify=True) == list(acknowledged.values())
assert store.tidy(time.time() + 60) == (0, 0)
store.close()
