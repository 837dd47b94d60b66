"""Where a node's cache is, and how large it may become: what the environment says."""

import os
import re

from tidemill.model.digest import digest
from tidemill.model.errors import ConfigError
from tidemill.stores.objects import address_of, scheme_of

CACHE = "TIDEMILL_CACHE"
"""Environment variable: the directory of the caches of this node; `off` for none."""

LIMIT = "TIDEMILL_CACHE_LIMIT"
"""Environment variable: how large a cache may become."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{unit}I": 1 << 10 * power for power, unit in enumerate("KMGT", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", re.IGNORECASE)


def cache_directory(url: str, default: str) -> str:
    """The directory for caches of the node that the environment names, else `default`; "" if none is wanted, or the
    objects at `url` are on this machine anyway.
    """
    if scheme_of(address_of(url)) != "s3":
        return ""
    named = os.environ.get(CACHE, "")
    if named.lower() == "off":
        return ""
    return os.path.abspath(named or default)


def place_of(url: str, directory: str) -> str:
    """The directory of the cache of one object place, below that of all caches: another one for each place, since a
    place gives nobody what only another one has.
    """
    return os.path.join(directory, digest(address_of(url).encode()).hex()[:16])


def limit_told() -> int | None:
    """The limit in bytes that the environment names, None where it does not.

    Raises:
        ConfigError: if it is none.
    """
    text = os.environ.get(LIMIT, "").strip()
    if not text:
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{LIMIT} is {text!r}, which is no size", hint="Say it like 50G, 500 GiB or 1000000000.")
    return int(float(match[1]) * _UNITS[match[2].upper()])
