"""What a store does when nobody says otherwise: settings that are kept in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tidemill.model.errors import NotFoundError, UsageError
from tidemill.stores.state import settings

if TYPE_CHECKING:
    from tidemill.client.store import Store

GRACE = "gc-grace"
_DURATION = re.compile(r"\d+(\.\d+)?\s*(s|m|min|h|d|w)?")


class Known(NamedTuple):
    """A setting.

    Attributes:
        meaning: what it does.
        usual: the value that counts where none is set.
        good: whether a text is a value of it.
        wants: such values in words.
    """

    meaning: str
    usual: str
    good: Callable[[str], bool]
    wants: str


KNOWN = {
    settings.WORKERS: Known(
        "worker processes for those who do not say how many", "one per processor", lambda v: v.isdigit() and int(v) > 0,
        "a positive integer",
    ),
    GRACE: Known(
        "what is younger is kept by gc and clean", "1d", lambda v: bool(_DURATION.fullmatch(v)),
        "a duration such as 30m, 12h or 7d",
    ),
}  # fmt: skip
"""The settings by name."""


def configuration(store: Store) -> dict[str, str]:
    """The settings of a store by name, "" where none is set."""
    found = settings.every(store.db)
    return {name: found.get(name, "") for name in KNOWN}


def setting(store: Store, name: str) -> str:
    """One setting, or what counts where it is not set.

    Raises:
        UsageError: there is no such setting.
    """
    known = _known(name)
    try:
        return settings.get(store.db, name) or known.usual
    except NotFoundError:  # no store yet
        return known.usual


def configure(store: Store, name: str, value: str) -> None:
    """Change a setting, for everybody who uses the store; "" for what is usual.

    Raises:
        NotFoundError: there is no store.
        UsageError: there is no such setting, or it cannot have this value.
    """
    known = _known(name)
    value = value.strip()
    if value and not known.good(value):
        raise UsageError(f"{name} must be {known.wants}, not {value!r}")
    store.command("configure", setting=name, value=value)


def _known(name: str) -> Known:
    if name not in KNOWN:
        raise UsageError(f"there is no setting {name!r}", hint=f"there are {', '.join(KNOWN)}")
    return KNOWN[name]
