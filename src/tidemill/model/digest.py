"""Content digests: BLAKE3, 32 bytes inside, `blake3:<hex>` outside.

BLAKE3 is specified at https://github.com/BLAKE3-team/BLAKE3-specs. Digests are always computed on one thread:
for inputs under a megabyte waking a second thread costs a hundred times the hashing.
"""

from collections.abc import Iterable

from blake3 import blake3

SIZE = 32
PREFIX = "blake3:"

Digest = bytes


def digest(data: bytes | bytearray | memoryview) -> Digest:
    """The 32-byte BLAKE3 digest of `data`."""
    return blake3(data).digest()


def digest_all(parts: Iterable[bytes]) -> Digest:
    """The digest of the concatenation of `parts`; every part but the last must be of fixed or encoded length."""
    h = blake3()
    for part in parts:
        h.update(part)
    return h.digest()


def hasher() -> blake3:
    """An incremental hasher with `update(data)` and `digest()`."""
    return blake3()


def show(value: Digest) -> str:
    """The public form, e.g. `blake3:af1349b9…` (64 hex digits)."""
    return PREFIX + value.hex()


def parse(text: str) -> Digest:
    """The inverse of `show`.

    Raises:
        ValueError: if `text` is not `blake3:` and 64 hex digits.
    """
    if not text.startswith(PREFIX):
        raise ValueError(f"not a digest: {text!r}; expected {PREFIX}<64 hex digits>")
    value = bytes.fromhex(text[len(PREFIX) :])
    if len(value) != SIZE:
        raise ValueError(f"not a digest: {text!r}; expected 64 hex digits")
    return value
