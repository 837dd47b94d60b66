"""Do something with a store, and stop for ever at the n-th thing that the operating system is asked for.

Arguments: n, the store's directory, and what to do. Says "stopped", or "done" if it came to the end; then waits to be
killed.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tidemill.stores.objects import SMALL, open_objects
from tidemill.testing.objects_data import some_bytes

EVENTS = ("open", "os.", "fcntl.", "sqlite3.", "shutil.")
LEFT = int(sys.argv[1])
base = Path(sys.argv[2])
data = some_bytes(10 * SMALL)
left = 0


def stop(said: bytes) -> None:
    os.write(1, said)
    os.read(0, 1)


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    global left  # noqa: PLW0603 - an audit hook has no other place to count
    if left and event.startswith(EVENTS):
        left -= 1
        if not left:
            stop(b"stopped")


def interrupted() -> Iterator[bytes]:
    """A stream that is not finished when the process is killed."""
    yield data[: 5 * SMALL]
    stop(b"stopped")


action = sys.argv[3]
store = open_objects(base / "objects")
store.put(b"there before")
name = store.put(data) if action in ("get_file", "delete") else b""
if action == "get_dir":
    name, _ = store.put_dir(base / "source")
actions: dict[str, Callable[[], object]] = {
    "put": lambda: store.put(data),
    "put_many": lambda: store.put_many([b"small", data]),
    "put_file": lambda: store.put_file(base / "file"),
    "move": lambda: store.put_file(base / "file", move=True),
    "put_stream": lambda: store.put_stream(iter([data[:SMALL], data[SMALL:]])),
    "interrupted": lambda: store.put_stream(interrupted()),
    "put_dir": lambda: store.put_dir(base / "source"),
    "get_file": lambda: store.get_file(name, base / "target", link=True),
    "get_dir": lambda: store.get_dir(name, base / "target"),
    "delete": lambda: store.delete([name]),
}
sys.addaudithook(hook)
left = LEFT
actions[action]()
left = 0
stop(b"done")
