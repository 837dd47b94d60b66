"""How a workflow was started: kept with it, so that `tidemill resume` goes on in the same way."""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
import time

import msgspec

from tidemill._version import __version__
from tidemill.stores.state import blocks, settings
from tidemill.stores.state.database import Database

KEPT = ("TIDEMILL_LEASE_SECONDS",)
"""Environment variables that change how a workflow is worked on wherever that is, and that `resume` restores. What a
machine has for it (accelerators, a cache and its limit) is for the machine, or the part of it, to say that goes on."""

_LONG = 1000
"""Characters of a word that are kept."""
_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^@\s]*(?=@)|((?i:password)=)[^&\s]*")


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow was started, the last time that its submission was begun.

    Attributes:
        workers: as many as were asked for; None if nobody said how many.
        stop: nothing more was to start after the first failure.
        detached: it goes on with nobody attached.
        cwd: working directory.
        argv: the command line, the interpreter first; passwords in addresses are left out.
        environment: of the variables in `KEPT`, those that were set.
        version: of Tidemill.
        user, host, time: who did it, where, and when (seconds since the epoch).
    """

    workers: int | None = None
    stop: bool = False
    detached: bool = False
    cwd: str = ""
    argv: list[str] = []
    environment: dict[str, str] = {}
    version: str = ""
    user: str = ""
    host: str = ""
    time: float = 0.0


_decode = msgspec.json.Decoder(Started).decode


def now(workers: int | None, options: int) -> str:
    """How this program starts a workflow, as it is stored; `options` are flags of its block."""
    found = Started(
        workers=workers,
        stop=bool(options & blocks.STOP_ON_FAILURE),
        detached=bool(options & blocks.DETACHED),
        cwd=_directory(),
        argv=[without_passwords(word)[:_LONG] for word in sys.orig_argv],
        environment={name: os.environ[name] for name in KEPT if name in os.environ},
        version=__version__,
        user=_user(),
        host=socket.gethostname(),
        time=time.time(),
    )
    return msgspec.json.encode(found).decode()


def of(db: Database, block: int) -> Started | None:
    """How a workflow was started; None if that is not known."""
    text = settings.get(db, f"{settings.STARTED}{block}")
    return _decode(text) if text else None


def restore(db: Database, block: int, workers: int | None) -> int | None:
    """Be as who started a workflow was: the workers that were wanted then, unless `workers` says another number, and
    the variables, unless they are set now."""
    found = of(db, block)
    if found is None:
        return workers
    for name, value in found.environment.items():
        os.environ.setdefault(name, value)
    return found.workers if workers is None else workers


def without_passwords(word: str) -> str:
    """A word of a command line, addresses in it without the passwords."""
    return _PASSWORD.sub(lambda match: (match[1] or match[2]) + "***", word)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
