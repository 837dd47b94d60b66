"""What every implementation does in the same way, in terms of the rest of its interface."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from tidemill.model.digest import Digest
from tidemill.model.errors import UsageError
from tidemill.stores.objects import dirs
from tidemill.stores.objects.interface import Data, ObjectStore, Path
from tidemill.stores.objects.urls import shown

USERS = "users"
"""Directory, or prefix of keys, beside the objects: a small file for each user."""

_USER = re.compile(r"[A-Za-z0-9_-]+")


def is_user(name: str) -> bool:
    """Whether this may be the name of a user."""
    return _USER.fullmatch(name) is not None


class StoreBase(ObjectStore):
    """Inherit from this to write an object store; `tidemill.testing.objects` has the suite that it must pass."""

    fresh_s = 0.0

    def add_user(self, name: str, about: str) -> None:
        if not is_user(name):
            raise UsageError(f"{name!r} is no name of a user of {shown(self.url)}", hint="letters, digits, - and _")
        self._keep_user(name, about.encode())

    @abstractmethod
    def _keep_user(self, name: str, about: bytes) -> None:
        """Write what is said about a user to a place of its own, `USERS/name`."""

    def verify(self, digest: Digest) -> None:
        for _ in self.open(digest, verify=True):
            pass

    def put_dir(self, path: Path) -> tuple[Digest, int]:
        return dirs.put_dir(self, path)

    def get_dir(self, digest: Digest, path: Path, link: bool = False) -> None:
        dirs.get_dir(self, digest, path, link)

    def signed(self, digest: Digest, expires: float) -> str | None:
        return None

    def tidy(self, before: float, dry_run: bool = False) -> tuple[int, int]:
        return 0, 0

    def close(self) -> None:
        pass

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


class Wrapper(StoreBase):
    """A store that passes on to another one what it does not do in its own way.

    Attributes:
        inner: the other one.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.fresh_s = inner.fresh_s

    @property
    def url(self) -> str:
        return self.inner.url

    def put(self, data: Data) -> Digest:
        return self.inner.put(data)

    def put_many(self, items: Sequence[Data]) -> list[Digest]:
        return self.inner.put_many(items)

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        return self.inner.put_file(path, move)

    def put_stream(self, source: Iterable[Data] | BinaryIO) -> tuple[Digest, int]:
        return self.inner.put_stream(source)

    def signed(self, digest: Digest, expires: float) -> str | None:
        return self.inner.signed(digest, expires)

    def tidy(self, before: float, dry_run: bool = False) -> tuple[int, int]:
        return self.inner.tidy(before, dry_run)

    def add_user(self, name: str, about: str) -> None:
        self.inner.add_user(name, about)

    def _keep_user(self, name: str, about: bytes) -> None:
        self.inner.add_user(name, about.decode())

    def users(self) -> dict[str, str]:
        return self.inner.users()

    def close(self) -> None:
        self.inner.close()
