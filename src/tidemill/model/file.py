"""Files as users name them: by a path, or by an address from which they are fetched."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from tidemill.model.values import Ref

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(value: object) -> bool:
    """Whether this is the address of a file elsewhere."""
    return bool(value.url) if isinstance(value, File) else isinstance(value, str) and _URL.match(value) is not None


class File:
    """A file or directory as a value: its content, not its path, decides what is computed again.

    It can do what its path can: `file.name`, `file.open()`, `file / "part"`.

    Args:
        path: where it is on this machine; or `https://…`, `s3://bucket/path` or `file://…`, from where it is fetched
            when a workflow that is called with it is submitted.
        ref: its content in the object store, if it is there.
        as_path: tasks get its path instead of a `File`.

    Attributes:
        path: where it is on this machine; of a file that is to be fetched, its name.
        url: from where it is to be fetched, or "".
        ref: its content in the object store, once it is there.
    """

    __slots__ = ("as_path", "path", "ref", "url")

    def __init__(self, path: str | os.PathLike[str], ref: Ref | None = None, *, as_path: bool = False) -> None:
        text = os.fspath(path)
        self.url = text if is_url(text) else ""
        self.path = Path(unquote(urlsplit(text).path).rpartition("/")[2] or "download") if self.url else Path(path)
        self.ref = ref
        self.as_path = as_path

    def __fspath__(self) -> str:
        return self.url or str(self.path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.path, name)

    def __truediv__(self, part: str | os.PathLike[str]) -> Path:
        return self.path / part

    def __repr__(self) -> str:
        return f"File({os.fspath(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and os.fspath(self) == os.fspath(other) and self.ref == other.ref

    def __hash__(self) -> int:
        return hash((os.fspath(self), self.ref))
