"""An ordinary user gets links, and cannot change an object through one. Argument: a directory that everybody may use."""

import os
import subprocess
import sys
from pathlib import Path

from as_user import drop_privileges

from tidemill.stores.objects import SMALL, open_objects
from tidemill.testing.objects_data import make_tree, some_bytes

base = Path(sys.argv[1])
drop_privileges()
store = open_objects(base / "objects")
data = some_bytes(SMALL + 1)
name = store.put(data)
given = base / "given"
how = store.get_file(name, given, link=True)
assert how in ("link", "clone"), how
assert given.is_symlink() is (how == "link")
assert store.get_file(name, base / "program", link=True, mode=0o755) != "link"
if how == "link":
    for _ in range(2):
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            try:
                os.open(given, flags)
            except PermissionError:
                continue
            raise AssertionError(flags)
        subprocess.run(["chmod", "-R", "u+w", base / "given", base / "program"], check=True)
        # Named itself, a link is followed by chmod; what programs do is to go through a directory.
        os.chmod(os.path.realpath(given), 0o444)
        (base / "scratch").mkdir(exist_ok=True)
        store.get_file(name, base / "scratch" / "given", link=True)
        subprocess.run(["chmod", "-R", "u+w", base / "scratch"], check=True)
store.verify(name)

tree_name, _ = store.put_dir(make_tree(base / "source"))
store.get_dir(tree_name, base / "target", link=True)
assert (base / "target" / "large").read_bytes() == (base / "source" / "large").read_bytes()
