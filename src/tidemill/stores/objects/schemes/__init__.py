"""Where files can be elsewhere, one module per kind: `files` on this machine, `web`, and `bucket`s.

`base` says what a kind can do; `scheme_for` finds the kind of an address.
"""

from tidemill.model.errors import UsageError
from tidemill.stores.objects.schemes.base import Found, Member, Opened, Scheme
from tidemill.stores.objects.schemes.bucket import Bucket
from tidemill.stores.objects.schemes.files import Files
from tidemill.stores.objects.schemes.web import Web
from tidemill.stores.objects.urls import scheme_of, shown

__all__ = ["Bucket", "Files", "Found", "Member", "Opened", "Scheme", "Web", "scheme_for"]

_FILES, _WEB, _BUCKET = Files(), Web(), Bucket()
_SCHEMES: dict[str, Scheme] = {
    "": _FILES,
    "file": _FILES,
    "http": _WEB,
    "https": _WEB,
    "s3": _BUCKET,
    "gs": _BUCKET,
    "az": _BUCKET,
    "memory": _BUCKET,
}


def scheme_for(url: str) -> Scheme:
    """What reads and writes at addresses of this kind.

    Raises:
        UsageError: if there is no such kind.
    """
    found = _SCHEMES.get(scheme_of(url))
    if found is None:
        raise UsageError(
            f"{shown(url)} is not a kind of address that files are read from or written to",
            hint="Known are file:, http:, https:, s3:, gs: and az:, and plain paths.",
        )
    return found
