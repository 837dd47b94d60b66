"""Addresses of stores and of files to import or export."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from tidemill.model.errors import ConfigError

CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
"""Scheme -> the variables of the environment that give access."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=//)")
_SEAL = re.compile(r"seal:([^:/]*):")


def seal_of(url: str) -> tuple[str, str]:
    """The name of the key in `seal:<name>:<address>`, or "", and the address."""
    match = _SEAL.match(url)
    return (match[1], url[match.end() :]) if match else ("", url)


def scheme_of(url: str) -> str:
    """The scheme in lower case, or "" for a plain path; of a sealed place that of the place."""
    match = _SCHEME.match(seal_of(url)[1])
    return match[1].lower() if match else ""


def local_path(url: str) -> str:
    """The path that a `file:` URL or a plain path stands for.

    Raises:
        ConfigError: if the URL names another machine, has no path, or has a "?" or "#" in it.
    """
    url = seal_of(url)[1]
    if not scheme_of(url):
        return url
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise ConfigError(
            f"{url} does not name a path on this machine", hint="Write file:///directory, with three slashes."
        )
    _refuse_mark(url, "?#")
    return unquote(parts.path, errors="surrogateescape")


def name_at(url: str) -> str:
    """The last part of an address, as it is called there; "" where it ends with a slash."""
    path = local_path(url) if scheme_of(url) in ("", "file") else unquote(urlsplit(url).path)
    return path.rpartition("/")[2]


def shown(url: str) -> str:
    """The URL without what may be secret: user, password and query."""
    if not scheme_of(url):
        return url
    key, bare = seal_of(url)
    if key:
        return f"seal:{key}:{shown(bare)}"
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Place(NamedTuple):
    """What an `s3:`, `gs:`, `az:` or `memory:` URL says.

    Attributes:
        bucket: its name; of an `az:` URL, the container's.
        key: path inside the bucket, without slashes at its ends; may be empty.
        options: the query, decoded.
    """

    bucket: str
    key: str
    options: dict[str, str]


def bucket_place(url: str) -> Place:
    """The parts of `s3://bucket/path?option=value`, or of another scheme that has buckets.

    Raises:
        ConfigError: if there is no bucket, or the URL has credentials or a "#" in it, or is not percent-encoded
            text.
    """
    parts = urlsplit(url)
    _refuse_mark(url, "#")
    if "@" in parts.netloc:
        raise ConfigError(
            f"{shown(url)} was given with credentials in it, and addresses are stored and shown",
            hint=f"Set {CREDENTIALS.get(parts.scheme, CREDENTIALS['s3'])} in the environment instead.",
        )
    if not parts.netloc:
        raise ConfigError(f"{url} names no bucket", hint=f"Write {parts.scheme}://bucket/prefix.")
    try:
        key = unquote(parts.path, errors="strict").strip("/")
    except UnicodeDecodeError:
        raise ConfigError(
            f"{shown(url)} is no address: what its percent signs stand for is no text", hint="Write % itself as %25."
        ) from None
    return Place(parts.netloc, key, dict(parse_qsl(parts.query, keep_blank_values=True)))


def _refuse_mark(url: str, marks: str) -> None:
    """What stands behind these characters would not be part of the name."""
    for mark in marks:
        if mark in url:
            raise ConfigError(
                f"{shown(url)}, which goes on with {mark!r}, is no address of a file",
                hint=f"If {mark!r} is part of the name, write it as {quote(mark)}.",
            )
