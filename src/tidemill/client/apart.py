"""What a step that is run alone may ask for: its files are read from the store, and what it writes stays aside."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tidemill.graph import inside
from tidemill.model.digest import Digest
from tidemill.model.errors import NotFoundError, UsageError
from tidemill.model.protocol import Claimed, Note, Published
from tidemill.stores.objects import LocalStore, ObjectStore
from tidemill.stores.objects.interface import Delivered
from tidemill.stores.objects.interface import Path as PathLike
from tidemill.workers.running import Running


@contextmanager
def apart(objects: Callable[[], ObjectStore], scratch: Path, run: int) -> Iterator[None]:
    """In the block tasks of this process may use files, messages and deferred functions; the store is not changed.

    Args:
        objects: the object store, for reading.
        scratch: where the task runs.
        run: its id.
    """
    with tempfile.TemporaryDirectory(prefix="tidemill-apart-") as name:
        base = Path(name)
        own = _Apart(base / "objects", objects)
        running = Running(lambda: own, scratch, base / "temp", base / "deferred", "", _Nobody())
        running.claim = Claimed(run, 0, 0, b"")
        running.install()
        try:
            yield
        finally:
            running.claim = None
            running.end(accepted=False)
            inside.install(None)
            own.close()


class _Nobody:
    """There is no engine."""

    def note(self, note: Note) -> None:
        """It stands in the log, which is the terminal."""

    def publish(self, published: Published) -> None:
        """Nobody uses it."""

    def over(self, run: int, fence: int, seconds: float) -> bool:
        """Nobody uses it."""
        return True

    def ask(self, run: int, fence: int, name: str, args: dict[str, object]) -> object:
        if name == "file.exists":
            return True  # if its bytes are here, which is looked at, too
        raise UsageError("a step that is run alone has no shared names", hint="Give it what they stand for.")


class _Apart(LocalStore):
    """A store of its own, and below it one that is only read."""

    def __init__(self, root: Path, below: Callable[[], ObjectStore]) -> None:
        super().__init__(root)
        self._below = below

    def get_many(self, digests: Sequence[Digest], verify: bool = False) -> list[bytes]:
        own = super().exists(digests)
        return [super(_Apart, self).get_many([d], verify)[0] if d in own else self._below().get(d) for d in digests]

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        try:
            return super().open(digest, verify)
        except NotFoundError:
            return self._below().open(digest, verify)

    def get_file(
        self, digest: Digest, path: PathLike, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        try:
            return super().get_file(digest, path, link, mode, verify)
        except NotFoundError:
            return self._below().get_file(digest, path, link, mode, verify)

    def exists(self, digests: Iterable[Digest]) -> set[Digest]:
        digests = list(digests)
        return super().exists(digests) | self._below().exists(digests)
