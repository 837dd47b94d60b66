"""What every implementation does in the same way, in terms of the rest of its interface."""

from tidemill.model.digest import Digest
from tidemill.stores.objects import dirs
from tidemill.stores.objects.interface import ObjectStore, Path


class StoreBase(ObjectStore):
    """Inherit from this to write an object store; `tidemill.testing.objects` has the suite that it must pass."""

    fresh_s = 0.0

    def verify(self, digest: Digest) -> None:
        for _ in self.open(digest, verify=True):
            pass

    def put_dir(self, path: Path) -> tuple[Digest, int]:
        return dirs.put_dir(self, path)

    def get_dir(self, digest: Digest, path: Path, link: bool = False) -> None:
        dirs.get_dir(self, digest, path, link)

    def tidy(self, before: float, dry_run: bool = False) -> tuple[int, int]:
        return 0, 0

    def close(self) -> None:
        pass

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"
