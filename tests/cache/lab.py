"""A store whose downloads and uploads are counted and may be held up, and processes that use a cache of it.

Nothing here measures time: a call that is held up waits at a gate, a named pipe, until the test opens it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tidemill.model.digest import Digest
from tidemill.stores.cache import NodeCache
from tidemill.stores.cache.downloads import UNMEASURED
from tidemill.stores.objects import RemoteStore
from tidemill.stores.objects.interface import Path as AnyPath

ROOT = Path(__file__).parents[2]
MEMBER = Path(__file__).parent / "programs" / "member.py"
OVERRIDE = "-dac_override,-dac_read_search"


class Remote(RemoteStore):
    """Memory cannot be shared by processes, so the objects are in a directory; but this looks as if it were elsewhere.
    Each download and upload leaves a line in a file, and waits at its gate if there is one.
    """

    def __init__(self, directory: Path) -> None:
        from obstore.store import LocalStore as Bucket

        self.directory = directory
        objects = directory / "bucket"
        objects.mkdir(exist_ok=True)
        super().__init__(Bucket(objects), "memory://bucket")  # type: ignore[arg-type]

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        self._come(f"get-{digest.hex()}")
        return super().open(digest, verify)

    def put_file(self, path: AnyPath, move: bool = False) -> tuple[Digest, int]:
        data = Path(os.fspath(path)).read_bytes()
        self._come("put")
        return self.put(data), len(data)

    def _come(self, name: str) -> None:
        with open(self.directory / "log", "a") as log:
            log.write(f"{name}\n")
        with suppress(FileNotFoundError), open(self.directory / name, "rb") as gate:
            assert gate.read() == b"", "the store fails"


class Place:
    """A remote store and a cache of it in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "remote").mkdir(exist_ok=True)
        self.remote = Remote(directory / "remote")

    def cache(self, limit: int | None = None, unmeasured: int = UNMEASURED) -> NodeCache:
        """The cache as this process sees it."""
        return NodeCache(self.directory / "cache", self.remote, limit, unmeasured=unmeasured)

    @property
    def log(self) -> list[str]:
        """What was asked of the store."""
        path = self.directory / "remote" / "log"
        return path.read_text().splitlines() if path.exists() else []

    def downloads(self, digest: Digest) -> int:
        return self.log.count(f"get-{digest.hex()}")

    @contextmanager
    def held_up(self, name: str) -> Iterator["Gate"]:
        """Calls of this name wait: `get-` and 64 hex digits, or `put`."""
        gate = Gate(self.directory / "remote" / name)
        yield gate
        gate.open()


class Gate:
    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path)
        self._fd = -1

    def wait(self) -> None:
        """Wait until somebody stands there, who will wait until it is opened."""
        self._fd = os.open(self._path, os.O_WRONLY)
        self._path.unlink()

    def open(self, fail: bool = False) -> None:
        """Let who stands there go on, or fail."""
        if self._fd < 0:
            self._path.unlink(missing_ok=True)
            return
        with suppress(BrokenPipeError):
            if fail:
                os.write(self._fd, b"!")
        os.close(self._fd)
        self._fd = -1


class Member:
    """A process that uses the cache: `tell` gives it something to do, `hear` waits for the answer."""

    def __init__(self, place: Place, ordinary: bool = False, unmeasured: int = UNMEASURED) -> None:
        prefix = ["setpriv", "--bounding-set", OVERRIDE, "--inh-caps", OVERRIDE]
        command = [
            *(prefix if ordinary and os.geteuid() == 0 else []),
            sys.executable,
            str(MEMBER),
            str(place.directory),
            str(unmeasured),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def tell(self, name: str, *arguments: object) -> None:
        assert self.process.stdin is not None
        told = [one.hex() if isinstance(one, bytes) else one for one in arguments]
        self.process.stdin.write(json.dumps([name, *told], default=str) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, name: str, *arguments: object) -> Any:
        self.tell(name, *arguments)
        return self.hear()

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def members(place: Place, count: int, ordinary: bool = False) -> Iterator[list[Member]]:
    """So many processes, ended at the end."""
    made = [Member(place, ordinary) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.process.kill()
            one.end()
