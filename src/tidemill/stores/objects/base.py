"""What every implementation does in the same way, in terms of the rest of its interface."""

import re
from abc import abstractmethod

from tidemill.model.digest import Digest
from tidemill.model.errors import UsageError
from tidemill.stores.objects import dirs
from tidemill.stores.objects.interface import ObjectStore, Path
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
