"""Printing: records as text or JSON on standard output, complaints on standard error."""

import os
import sys
from typing import Any

import msgspec

from tidemill.model.errors import TidemillError
from tidemill.model.file import File

_json = msgspec.json.Encoder(order="deterministic")


def emit(record: Any, *, as_json: bool) -> None:
    """Print a record, or a text or number."""
    if as_json:
        sys.stdout.write(msgspec.json.format(_json.encode(record), indent=2).decode() + "\n")
    else:
        text = str(record)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")


def complain(error: TidemillError, code: int) -> int:
    """Tell what is wrong and what to do about it; the exit code."""
    sys.stdout.flush()
    sys.stderr.write(f"error[{error.code}]: {Exception.__str__(error)}\n")
    if error.hint:
        sys.stderr.write(f"  {error.hint}\n")
    return code


def plain(value: Any) -> Any:
    """A value as JSON can have it: files as paths, arrays as lists, what else there is as text."""
    return msgspec.to_builtins(value, enc_hook=_plain, str_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, (os.PathLike, File)):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, complex):
        return [value.real, value.imag]
    return repr(value)
