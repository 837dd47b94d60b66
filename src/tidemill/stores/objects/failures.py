"""What the operating system or SQLite says, as an error of ours that says what to do."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from tidemill.model.digest import Digest, show
from tidemill.model.errors import IntegrityError, NotFoundError, StoreError, StoreFullError, TidemillError, UsageError
from tidemill.stores.objects.urls import CREDENTIALS

_NO_ROOM = {
    errno.ENOSPC: "Free space there, or put the store elsewhere.",
    errno.EDQUOT: "Your quota there is used up: free space, or put the store elsewhere.",
    errno.EFBIG: "The limit on the size of a file is reached (see `ulimit -f`).",
    errno.EROFS: "That file system is read-only.",
    errno.EACCES: "Check the permissions of that directory.",
    errno.EPERM: "Check the permissions of that directory.",
}

_SQLITE_NO_ROOM = {
    sqlite3.SQLITE_FULL: "Free space there, or put the store elsewhere.",
    sqlite3.SQLITE_READONLY: "Check the permissions of that directory.",
    sqlite3.SQLITE_CANTOPEN: "Check the permissions of that directory.",
    sqlite3.SQLITE_PERM: "Check the permissions of that directory.",
}

# SQLite tells only ENOSPC from other refused writes, so a quota or a file size limit comes out as one of these.
_SQLITE_REFUSED = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE}


def not_found(digest: Digest, place: str, others: int = 0) -> NotFoundError:
    """The error for an object that is not in the store at `place`, with the number of `others` missing besides."""
    more = f" and {others} more" if others else ""
    return NotFoundError(f"no object {show(digest)}{more} in {place}")


def damaged(digest: Digest, place: str) -> IntegrityError:
    """The error for stored bytes that do not have the digest they are stored under."""
    return IntegrityError(
        f"the bytes stored under {show(digest)} in {place} have another digest",
        hint="The medium has changed them. Restore the object, or delete it and let its producer run again.",
    )


def refused(error: OSError, place: str) -> StoreError:
    """A refused write at `place` as `StoreFullError`, any other failure there as `StoreError`."""
    text = os.strerror(error.errno) if error.errno else str(error)
    hint = _NO_ROOM.get(error.errno or 0)
    if hint is None:
        return StoreError(f"cannot write to {place}: {text}")
    return StoreFullError(f"cannot write to {place}: {text}", hint=hint)


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Turn an `OSError` of the body, which writes at `place`, into ours."""
    try:
        yield
    except TidemillError:
        raise
    except OSError as error:
        raise refused(error, place) from error


def sqlite_failure(error: sqlite3.Error, place: str) -> StoreError:
    """A failure of the SQLite file at `place`."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    if code in _SQLITE_NO_ROOM:
        verb = "open" if code == sqlite3.SQLITE_CANTOPEN else "write to"
        return StoreFullError(f"cannot {verb} {place}: {error}", hint=_SQLITE_NO_ROOM[code])
    if extended in _SQLITE_REFUSED:
        return StoreFullError(
            f"cannot write to {place}: {error}",
            hint="The disk refused it: a quota or a limit on the size of files is reached, or the disk is failing.",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return IntegrityError(f"{place} is damaged: {error}", hint="Restore it from a copy.")
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"{place} is in use and has not become free: {error}", hint="Look for a stopped process.")
    return StoreError(f"cannot use {place}: {error}")


def first_line(error: BaseException) -> str:
    """What obstore says, without its debugging output."""
    return str(error).partition("\n")[0]


_METADATA = ("169.254.169.254", "metadata.google.internal", "169.254.170.2")


@contextmanager
def talking(place: str, digest: Digest | None = None, *, write: bool = False) -> Iterator[None]:
    """Turn what obstore raises in the body into our errors.

    Args:
        place: the address, as shown to people.
        digest: the object that is asked for, if it is one.
        write: the body writes.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except TidemillError:
        raise
    except ValueError as error:
        if "parse path" not in str(error):
            raise StoreError(f"{place} has failed: {first_line(error)}") from error
        hint = "Between its slashes there must be something, other than . and .."
        raise UsageError(f"{place} cannot be an address in a bucket", hint=hint) from error
    except (BaseError, OSError) as error:
        raise _remote_failure(error, place, digest, write) from error


def _remote_failure(error: Exception, place: str, digest: Digest | None, write: bool) -> TidemillError:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    text = str(error)
    scheme = place.partition(":")[0]
    variables = CREDENTIALS.get(scheme, CREDENTIALS["s3"])
    if "NoSuchBucket" in text or "ContainerNotFound" in text or (write and isinstance(error, FileNotFoundError)):
        return NotFoundError(f"there is no bucket {place}")
    if isinstance(error, FileNotFoundError):
        return not_found(digest, place) if digest else NotFoundError(f"there is nothing at {place}")
    if "QuotaExceeded" in text:
        return StoreFullError(f"cannot write to {place}: its quota is used up", hint="Free space there.")
    # Without credentials obstore asks the metadata service that machines in these clouds have.
    if any(service in text for service in _METADATA):
        return StoreError(f"there are no credentials for {place}", hint=f"Set {variables}.")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "403 Forbidden" in text:
        kind = StoreFullError if write else StoreError
        hint = f"Check {variables}, and what that key may do."
        return kind(f"{place} refuses access: {first_line(error)}", hint=hint)
    return StoreError(f"{place} has failed: {first_line(error)}")
