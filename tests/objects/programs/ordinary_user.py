"""What a user sees whom permissions bind. Arguments: "link" or "read_only", and a directory that all may use."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tidemill.model.errors import StoreFullError
from tidemill.stores.objects import SMALL, collect, open_objects
from tidemill.testing.objects_data import make_tree, some_bytes


def drop_privileges() -> None:
    """Become nobody, if this is root; otherwise no change."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    assert os.geteuid() != 0


def link(base: Path) -> None:
    """An ordinary user gets links and cannot change an object through one."""
    drop_privileges()
    store = open_objects(base / "objects")
    data = some_bytes(SMALL + 1)
    name = store.put(data)
    scratch = base / "scratch"
    scratch.mkdir()
    how = store.get_file(name, scratch / "given", link=True)
    assert how in ("link", "clone"), how
    assert (scratch / "given").is_symlink() is (how == "link")
    assert store.get_file(name, scratch / "program", link=True, mode=0o755) != "link"
    for _ in range(2):
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            try:
                os.close(os.open(scratch / "given", flags))
            except PermissionError:
                continue
            assert how == "clone"
        # What clean-up code does to be able to remove everything.
        subprocess.run(["chmod", "-R", "u+w", scratch], check=True)
    store.verify(name)

    tree_name, _ = store.put_dir(make_tree(base / "source"))
    store.get_dir(tree_name, base / "target", link=True)
    assert (base / "target" / "large").read_bytes() == (base / "source" / "large").read_bytes()


def read_only(base: Path) -> None:
    """A store that its user may read and not write."""
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
            caught = None
            try:
                change()
            except StoreFullError as error:
                caught = error
            assert caught, "there was a way to write"
            assert str(base) in str(caught), caught
            assert "permissions" in caught.hint, caught.hint
        assert store.get_many(names, verify=True) == items
        assert collect(store, names, grace_s=0, now=time.time() + 60).live == 2
    finally:
        if os.geteuid() != 65534:
            subprocess.run(["chmod", "-R", "u+w", base / "objects"], check=True)


{"link": link, "read_only": read_only}[sys.argv[1]](Path(sys.argv[2]))
