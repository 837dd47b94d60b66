"""The object store of a worker, behind the cache of its node where it is elsewhere."""

from contextlib import ExitStack, suppress

from tidemill.model.errors import CacheError
from tidemill.model.protocol import Setup
from tidemill.stores.cache import CachedStore, open_cached
from tidemill.stores.objects.interface import ObjectStore


class Objects:
    """Opens the object store when it is first called, and gives it from then on.

    Attributes:
        cached: the store, if it is behind a cache and has been opened: what is put into it is to be flushed before the
            engine is told of it.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._store: ObjectStore | None = None
        self.cached: CachedStore | None = None
        self._reserved = ExitStack()

    def __call__(self) -> ObjectStore:
        if self._store is None:
            self._store = open_cached(self._setup.objects, self._setup.cache)
            if isinstance(self._store, CachedStore):
                self.cached = self._store
        return self._store

    def reserve(self, disk: int) -> None:
        """Keep bytes of the disk for the attempt that begins: the cache takes that much less. Where it cannot give
        them, the attempt goes on without.
        """
        if self._setup.cache and isinstance(self(), CachedStore) and self.cached is not None:
            with suppress(CacheError):
                self._reserved.enter_context(self.cached.cache.job(disk))

    def free(self) -> None:
        """The attempt has ended."""
        with suppress(CacheError):
            self._reserved.close()
