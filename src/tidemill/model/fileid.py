"""Ids of files that running tasks write to the store: texts that say everything that is needed to read the file.

    file:12.1.3:5f0c…:4096:x:reads.fastq

after `file:` the run, its attempt and the file's number in it, which together are never used again; the BLAKE3 digest
of the content in hexadecimal; its size in bytes; `x` if it is executable, else `-`; the name that it was written under.
"""

import re
from typing import NamedTuple, Self

from tidemill.model.errors import UsageError

_TEXT = re.compile(r"file:(\d+)\.(\d+)\.(\d+):([0-9a-f]{64}):(\d+):([x-]):([^/\0]*)", re.DOTALL)


class Origin(NamedTuple):
    """Who wrote a file: the run (0 for none), its attempt, and the file's number in it."""

    run: int
    fence: int
    n: int


class FileId(str):
    """The id of a file in the store.

    It is a text, so it can be printed, put into other files and passed through other programs; `FileId(text)` reads it
    again.

    Attributes:
        origin: who wrote it.
        digest: 32 bytes, BLAKE3 of the content.
        size: bytes.
        executable: whether the file it was written from had its owner's executable bit.
        name: base name.
        stored: it was read from a value in the store: who put it there had it from an attempt that has ended well.

    Raises:
        UsageError: if the text is not such an id.
    """

    __slots__ = ("digest", "executable", "name", "origin", "size", "stored")

    origin: Origin
    digest: bytes
    size: int
    executable: bool
    name: str
    stored: bool

    def __new__(cls, text: object) -> Self:
        if isinstance(text, cls):
            return text
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise UsageError(f"{text!r} is not the id of a file", hint="Give what writing the file returned.")
        made = super().__new__(cls, found.string)
        made.origin = Origin(int(found[1]), int(found[2]), int(found[3]))
        made.digest = bytes.fromhex(found[4])
        made.size = int(found[5])
        made.executable = found[6] == "x"
        made.name = found[7]
        made.stored = False
        return made

    @classmethod
    def of(cls, origin: Origin, digest: bytes, size: int, name: str, *, executable: bool = False) -> Self:
        """The id of a file, from its parts."""
        run, fence, n = origin
        return cls(f"file:{run}.{fence}.{n}:{digest.hex()}:{size}:{'x' if executable else '-'}:{name}")

    @property
    def mode(self) -> int:
        """Permission bits of a private copy."""
        return 0o755 if self.executable else 0o644

    @property
    def shared(self) -> bool:
        """Whether a shared name gave it: no attempt wrote this file, and it is there while its bytes are."""
        return self.origin.run == self.origin.fence == 0

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (str(self),)
