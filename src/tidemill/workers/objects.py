"""The object store of a worker, behind the cache of its node where it is elsewhere."""

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

    def __call__(self) -> ObjectStore:
        if self._store is None:
            self._store = open_cached(self._setup.objects, self._setup.cache)
            if isinstance(self._store, CachedStore):
                self.cached = self._store
        return self._store
