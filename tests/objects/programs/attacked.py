"""Move files into a store while somebody attacks each at another moment: the n-th thing that the operating system is
asked for. The attacker opens the file (or gives it another name) then, and changes what it has got after the put.

Arguments: a directory, "store" or "cache". Ends well if what was stored is what was put, whenever the attack came.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cache.lab import Place
from tidemill.model.digest import digest
from tidemill.stores.cache import CachedStore
from tidemill.stores.objects import SMALL, LocalStore, ObjectStore
from tidemill.testing.objects_data import some_bytes

EVENTS = ("open", "os.", "fcntl.", "sqlite3.")
PATIENCE = 0.05
"""Seconds for an attacker that the kernel lets wait; one that it does not is through at once."""

base = Path(sys.argv[1])
main = threading.get_ident()
left = 0
strike: Callable[[], None] = lambda: None  # noqa: E731


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    global left  # noqa: PLW0603 - an audit hook has no other place to count
    if left and threading.get_ident() == main and event.startswith(EVENTS):
        left -= 1
        if not left:
            strike()


class Attacker:
    """Opens the victim in one of several ways, in a thread, since it may have to wait."""

    def __init__(self, victim: Path, way: str) -> None:
        self.way = way
        self.victim = victim
        self.other = base / "other name"
        self.held = -1
        self.thread = threading.Thread(target=self._open)

    def strike(self) -> None:
        self.thread.start()
        self.thread.join(PATIENCE)

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            if self.way == "link":
                os.link(self.victim, self.other)
            else:
                os.chmod(self.victim, 0o644)
                self.held = os.open(self.victim, os.O_RDWR if self.way == "write" else os.O_RDONLY)

    def change(self) -> None:
        if self.thread.ident is not None:
            self.thread.join()
        if self.way == "link" and self.other.exists():
            self.other.chmod(0o644)
            self.held = os.open(self.other, os.O_RDWR)
        if self.held < 0:
            return
        if self.way == "read":
            os.fchmod(self.held, 0o644)
            writable = os.open(f"/proc/self/fd/{self.held}", os.O_RDWR)
            os.close(self.held)
            self.held = writable
        os.pwrite(self.held, b"CLOBBER", 0)
        os.close(self.held)
        self.other.unlink(missing_ok=True)


def attack(store: ObjectStore, way: str, moment: int) -> bool:
    """Whether it came to that moment."""
    global left, strike
    data = some_bytes(10 * SMALL, 10 * moment + len(way))
    victim = base / "victim"
    victim.write_bytes(data)
    attacker = Attacker(victim, way)
    left, strike = moment, attacker.strike
    name, size = store.put_file(victim, move=True)
    came, left = not left, 0
    attacker.change()
    assert (name, size) == (digest(data), len(data)), (way, moment)
    assert store.get(name, verify=True) == data, (way, moment)
    assert not victim.exists()
    return came


store: ObjectStore = LocalStore(base / "objects")
if sys.argv[2] == "cache":
    cache = Place(base).cache(1 << 30)
    cache.figures()
    store = CachedStore(cache, write_back=True)
sys.addaudithook(hook)
for way in ("write", "read", "link"):
    moment = 1
    while attack(store, way, moment):
        moment += 1
    assert moment > 5, "there was nothing to attack"
store.close()
