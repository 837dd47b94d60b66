"""Stores in which real processes have worked."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from tests.client.conftest import TOY
from tidemill.client.store import Store
from tidemill.server.lock import FILE

_RUN = """
import contextlib, sys
import tidemill as tm
from toy import *
with contextlib.suppress(tm.RunFailedError):
    ({call}).run(store={store!r}, workers=2, progress=False)
"""


def copied(store: Store, folder: Path) -> Store:
    """A copy of a store that a test may change."""
    shutil.copytree(store.place.directory, folder, ignore=shutil.ignore_patterns("*.sock"))
    return Store(folder)


def worked(folder: Path, *calls: str) -> Store:
    """A SQLite store in which these calls of the module `toy` were executed, each by a program of its own."""
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    store = folder / "store"
    for call in calls:
        code = _RUN.format(call=call, store=str(store))
        subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, check=True, timeout=60)
    with (store / FILE).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # held by the engine until it has ended
    return Store(store)
