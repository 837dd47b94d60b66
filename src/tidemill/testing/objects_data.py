"""Bytes and directories to store, for the tests of object stores."""

import os
from pathlib import Path

from tidemill.model.digest import Digest, digest
from tidemill.stores.objects import SMALL, ObjectStore

ABSENT = digest(b"never stored")


def some_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes that differ for every seed and do not repeat in step with any block size."""
    period = b"".join(digest(f"{seed} {number}".encode()) for number in range(32))[:1021]
    return (period * (size // len(period) + 1))[:size]


def digests(store: ObjectStore) -> set[Digest]:
    """Everything a store lists."""
    return {one.digest for one in store.list()}


def make_tree(root: Path, reverse: bool = False) -> Path:
    """A directory with everything that can be stored."""
    files = {
        "small": b"small",
        "empty": b"",
        "large": some_bytes(SMALL + 1, 7),
        "deep/er/file": b"deep",
        "deep/again": b"small",
        os.fsdecode(b"not \xff UTF-8"): b"name",
    }
    for name, data in sorted(files.items(), reverse=reverse):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "deep" / "again").chmod(0o755)
    (root / "none" / "here").mkdir(parents=True)
    (root / "link").symlink_to("deep/er")
    (root / "deep" / "dangling").symlink_to("../nothing")
    return root


def tree(root: Path) -> dict[str, object]:
    """What is in a directory, in a form that can be compared."""
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink() and not os.readlink(path).startswith("/"):
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found
