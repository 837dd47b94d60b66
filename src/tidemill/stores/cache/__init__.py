"""The node's cache in front of an object store elsewhere: one download for all who read, on a disk that several
processes share.

`open_cached` gives an `ObjectStore` that reads through it; `NodeCache` is the cache itself, with jobs that reserve
disk. The cache is not the truth: it may be removed at any time when nobody uses it, and a crash may lose what is in it,
but never half a file is taken for a whole one.

This room imports `model` and, of `stores.objects`, the interface and its helpers for files. All SQL is in `records`,
all states are in `states`.
"""

from tidemill.stores.cache.cached import CachedStore
from tidemill.stores.cache.jobs import Job
from tidemill.stores.cache.node import NodeCache
from tidemill.stores.cache.settings import cache_directory, limit_told, place_of
from tidemill.stores.cache.space import Figures
from tidemill.stores.cache.states import ENTRY, EntryState, RefKind
from tidemill.stores.objects import ObjectStore, open_objects, scheme_of

__all__ = [
    "ENTRY",
    "CachedStore",
    "EntryState",
    "Figures",
    "Job",
    "NodeCache",
    "RefKind",
    "cache_directory",
    "open_cached",
]


def open_cached(url: str, cache_directory: str, limit: int | None = None) -> ObjectStore:
    """The object store at an address, behind the cache of this node if it is elsewhere.

    Its `put_file` writes back: call `flush` before anybody is told of what was put.

    Args:
        url: see `open_objects`.
        cache_directory: for the caches of this node, each place has its own in it; "" for none.
        limit: bytes, see `NodeCache`; default: what the environment says (`TIDEMILL_CACHE_LIMIT`).

    Raises:
        ConfigError: if the address is none, or the environment names a limit that is none.
    """
    store = open_objects(url)
    if not cache_directory or scheme_of(url) != "s3":
        return store
    cache = NodeCache(place_of(url, cache_directory), store, limit_told() if limit is None else limit)
    return CachedStore(cache, write_back=True)
