"""A store that its user may read and not write. Argument: a directory that everybody may use."""

import os
import subprocess
import sys
import time
from pathlib import Path

from as_user import drop_privileges

from tidemill.model.errors import StoreFullError
from tidemill.stores.objects import SMALL, collect, open_objects
from tidemill.testing.objects_data import some_bytes

base = Path(sys.argv[1])
items = [b"small", some_bytes(SMALL + 1)]
writer = open_objects(base / "objects")
names = writer.put_many(items)
writer.close()
subprocess.run(["chmod", "-R", "a-w,a+rX", base / "objects"], check=True)
try:
    drop_privileges()
    store = open_objects(base / "objects")
    assert store.get_many(names, verify=True) == items
    assert store.exists(names) == {one.digest for one in store.list()} == set(names)
    for change in (
        lambda: store.put(b"other"),
        lambda: store.put(some_bytes(SMALL + 2)),
        lambda: store.put(items[0]),
        lambda: store.put(items[1]),
        lambda: store.put_stream([some_bytes(SMALL + 2)]),
        lambda: store.delete(names[:1]),
        lambda: store.delete(names[1:]),
        lambda: collect(store, [], grace_s=0, now=time.time() + 60),
    ):
        try:
            change()
        except StoreFullError as error:
            assert str(base) in str(error), error
            assert "permissions" in error.hint, error.hint
        else:
            raise AssertionError(change)
    assert store.get_many(names, verify=True) == items
    assert collect(store, names, grace_s=0, now=time.time() + 60).live == 2
finally:
    if os.geteuid() != 65534:
        subprocess.run(["chmod", "-R", "u+w", base / "objects"], check=True)
