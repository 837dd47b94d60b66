"""Bytes in pieces, what callers hand in and what they get back checked; and the names objects are stored under."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from tidemill.model.digest import SIZE, Digest, hasher
from tidemill.stores.objects.failures import damaged
from tidemill.stores.objects.interface import CHUNK, Data


def as_bytes(data: Data) -> Data:
    """`data` so that `len` counts bytes, without a copy."""
    return data.cast("B") if isinstance(data, memoryview) else data


def digest_of_name(name: str) -> Digest | None:
    """The digest that an object's 64 hex digits stand for; None for anything else that lies about."""
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return None
    return digest if len(digest) == SIZE and digest.hex() == name else None


def pieces_of(source: Iterable[Data] | BinaryIO) -> Iterator[Data]:
    """The pieces of a stream that is an iterable of pieces or an open binary file."""
    read = getattr(source, "read", None)
    if read is not None:
        return iter(lambda: read(CHUNK), b"")
    return map(as_bytes, source)


def checked(chunks: Iterable[bytes], digest: Digest, place: str) -> Iterator[bytes]:
    """The same chunks; the last is held back until all of them are known to have `digest`.

    Raises:
        IntegrityError: in place of the last chunk; `place` is named in the message.
    """
    h = hasher()
    last = b""
    for chunk in chunks:
        h.update(chunk)
        if last:
            yield last
        last = chunk
    if h.digest() != digest:
        raise damaged(digest, place)
    if last:
        yield last
