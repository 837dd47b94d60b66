"""Content-addressed bytes: a local directory, a bucket on S3, or memory.

`open_objects` gives an `ObjectStore`; the interface says what it can do. Nothing here knows about runs. Beside it:
`collect` deletes what nothing points to, `fetch_url` and `send_url` import and export files and directories by
address.
"""

import os

from tidemill.model.errors import ConfigError
from tidemill.stores.objects.base import USERS
from tidemill.stores.objects.buckets import check_s3
from tidemill.stores.objects.dirs import Entry, decode_manifest, members
from tidemill.stores.objects.gc import GcReport, collect
from tidemill.stores.objects.interface import SMALL, ObjectStore, Stored
from tidemill.stores.objects.local import LocalStore
from tidemill.stores.objects.notes import BucketNotes, FileNotes
from tidemill.stores.objects.references import REFERENCES, References, ReferringDirectory, ReferringStore
from tidemill.stores.objects.remote import RemoteStore, open_memory, open_s3
from tidemill.stores.objects.sealed import SealedStore, key_of
from tidemill.stores.objects.transfer import Fetched, fetch_url, send_dir_url, send_url, target_url
from tidemill.stores.objects.urls import bucket_place, local_path, scheme_of, seal_of, shown

__all__ = [
    "SMALL",
    "USERS",
    "Entry",
    "Fetched",
    "GcReport",
    "LocalStore",
    "ObjectStore",
    "ReferringStore",
    "RemoteStore",
    "SealedStore",
    "Stored",
    "address_of",
    "collect",
    "decode_manifest",
    "fetch_url",
    "local_path",
    "members",
    "open_objects",
    "same_place",
    "scheme_of",
    "send_dir_url",
    "send_url",
    "shown",
    "target_url",
]


_SCHEMES = ("file", "memory", "s3")
_KNOWN = "Known: file:///directory, s3://bucket/prefix, memory://name."


def open_objects(url: str | os.PathLike[str]) -> ObjectStore:
    """The object store at an address. Nothing is created before the first put.

    Args:
        url: `file:///directory` or a plain path; `s3://bucket/prefix` with options in the query (`endpoint`, `region`,
            `anonymous`, `virtual_host`, `timeout`, `retries`) or in the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`,
            `AWS_ACCESS_KEY_ID`, …); `memory://name`, shared by all who open that name in this process. Before any of
            them, `seal:name:` has the objects sealed by the key of this name, see `sealed.key_of`.

    Raises:
        ConfigError: if the address is not one of these, or is malformed, or there is no such key.
        MissingExtraError: if it needs obstore or cryptography, which is not installed.
    """
    url = address_of(url)
    key, bare = seal_of(url)
    if key:
        return SealedStore(_open(bare), key, key_of(key))
    inner = _open(url)
    if isinstance(inner, LocalStore):
        return ReferringDirectory(inner, References(FileNotes(os.path.join(inner.root, REFERENCES))))
    return ReferringStore(inner, References(BucketNotes(inner.backend, REFERENCES, shown(url))))


def _open(url: str) -> LocalStore | RemoteStore:
    scheme = scheme_of(url)
    if scheme == "s3":
        return open_s3(url)
    return open_memory(url) if scheme == "memory" else LocalStore(url)


def address_of(url: str | os.PathLike[str]) -> str:
    """An address of an object store as it may be kept and given to other processes: a directory as an absolute path,
    anything else as it is. Nothing is opened.

    Raises:
        ConfigError: if it is none, or is malformed.
    """
    url = os.fspath(url)
    key, bare = seal_of(url)
    if bare != url:
        key_of(key)
        return f"seal:{key}:{address_of(bare)}"
    scheme = scheme_of(url)
    if not scheme and url.partition(":")[0].lower() in _SCHEMES:
        raise ConfigError(f"{url!r} lacks the two slashes of an address", hint=_KNOWN)
    if scheme in ("", "file"):
        path = local_path(url)
        if not path or os.path.isfile(path):
            raise ConfigError(f"{url!r} is not a directory for objects", hint="Give the path of a directory.")
        return os.path.abspath(path)
    if scheme == "s3":
        check_s3(url)
    elif scheme != "memory":
        raise ConfigError(f"{shown(url)} is not an address of an object store", hint=_KNOWN)
    return url


def same_place(one: str, other: str) -> bool:
    """Whether two addresses, as `address_of` gives them, lead to the same objects."""
    return _identity(one) == _identity(other)


def _identity(url: str) -> tuple[str, ...]:
    key, bare = seal_of(url)
    if key:
        return "seal", key, *_identity(bare)
    if scheme_of(url) == "s3":
        place = bucket_place(url)
        return "s3", place.bucket, place.key, place.options.get("endpoint", "")
    return ("memory", url) if scheme_of(url) else ("", os.path.realpath(url))
