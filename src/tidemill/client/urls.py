"""Looking at files elsewhere, and reading them, without a store.

Addresses are `file:///path` and plain paths, `https://…`, `http://…`, `s3://bucket/path`, `gs://bucket/path` and
`az://container/path`. Credentials come from the environment; addresses with credentials in them are refused. Every
function raises `NotFoundError` where something must be there and is not, `StoreError` if a server cannot be reached or
refuses, and `UsageError` for an address of another kind or what its kind cannot do.
"""

from tidemill.stores.objects.places import exists, is_dir, size
from tidemill.stores.objects.places import list_url as list  # noqa: A004
from tidemill.stores.objects.places import open_url as open  # noqa: A004
from tidemill.stores.objects.places import read_url as read

__all__ = ["exists", "is_dir", "list", "open", "read", "size"]
