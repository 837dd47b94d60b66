"""Names of files as they are kept: what a file was called where it came from, and is called where it is laid out."""

import os
import re

from tidemill.model.errors import UsageError

LONGEST = 255
"""Bytes; the limit of the usual file systems."""

_NO_TEXT = re.compile("[\ud800-\udfff]")


def legible(text: str) -> str:
    """A text that can be written and sent: what is no text in it (bytes of a name that are not UTF-8) is replaced."""
    return _NO_TEXT.sub("\ufffd", text)


def file_name(name: str) -> str:
    """A name as it is kept: what is no text in it is replaced.

    Raises:
        UsageError: if it cannot be the name of a file.
    """
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise UsageError(f"{legible(name)!r} cannot be the name of a file", hint="Give a base name, without a slash.")
    kept = legible(name)
    if (size := len(kept.encode())) > LONGEST:
        raise UsageError(
            f"{kept!r} cannot be the name of a file: it has {size} bytes, and file systems take {LONGEST}",
            hint="Give a shorter one.",
        )
    return kept


def base_name(path: str | os.PathLike[str]) -> str:
    """The name under which the file or directory at a path is kept; of `..` and the like, that of what they mean.

    Raises:
        UsageError: if it is too long.
    """
    name = os.path.basename(path)
    if name in {"", ".", ".."}:
        name = os.path.basename(os.path.realpath(path)) or "root"
    return file_name(name)


def given_name(name: str, other: str) -> str:
    """What a server, an address or a record calls a file, or `other` where that cannot be the name of one."""
    try:
        return file_name(os.path.basename(name))
    except UsageError:
        return other
