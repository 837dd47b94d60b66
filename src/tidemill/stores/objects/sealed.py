"""Sealed objects: encrypted before they reach the store that holds them, under names that say nothing about them.

Who has the key uses this like any object store, with digests of the plain bytes. The store inside holds each object
under another digest, computed from the plain one with the key, so that nobody else can tell whether it has certain
bytes, or whether two places have the same. Nothing is kept about what belongs to what.

A sealed object is a head of 64 bytes and pieces. The head has a mark of 16 bytes and the plain digest, encrypted; each
piece is 64 KiB of the object (the last one less), encrypted by AES-256-GCM under a key of the object's own, which is
derived from the key and the plain digest. Nonces are the numbers of the pieces, with a mark on the last one: pieces
that were exchanged, repeated or cut off do not decrypt. The same bytes are sealed the same way each time, so they are
stored once, and a nonce is never used for two texts. What can still be seen are sizes and times.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, Protocol

from blake3 import blake3

from tidemill.model.digest import Digest, hasher
from tidemill.model.digest import digest as digest_of
from tidemill.model.errors import ConfigError, IntegrityError, MissingExtraError, NotFoundError, UsageError
from tidemill.stores.objects.base import StoreBase
from tidemill.stores.objects.failures import damaged, writing
from tidemill.stores.objects.files import blocks, new_file, open_regular, remove, write_all
from tidemill.stores.objects.interface import SMALL, Data, Delivered, ObjectStore, Path, Stored
from tidemill.stores.objects.streams import as_bytes, pieces_of
from tidemill.stores.objects.urls import shown

PIECE = 1 << 16
"""Bytes of an object that are encrypted together."""
TAG = 16
"""Bytes by which that makes them longer."""
MARK = b"tidemill sealed1"
HEAD = len(MARK) + 32 + TAG
KEY = 32
"""Bytes of a key."""
MEMBER = "sealed"
"""The name under which a place says, among its users, by which key it is sealed."""

_NAME = re.compile(r"[A-Za-z0-9_]+")


class Inner(ObjectStore, Protocol):
    """A store that keeps bytes under names that are not their digests."""

    def put_as(self, names: Sequence[Digest], items: Sequence[bytes]) -> None:
        """Store items under these names; those that are there become young again. Durable on return."""

    def put_pieces_as(self, name: Digest, size: int, pieces: Iterable[bytes]) -> None:
        """Store what the pieces make up, `size` bytes, under a name. Nothing is there if they raise something."""


def key_of(name: str) -> bytes:
    """The key of this name: 64 hexadecimal digits, in the environment variable `TIDEMILL_SEAL_<NAME>` or in the file
    `~/.config/tidemill/keys/<name>`, which nobody else may read.

    Raises:
        ConfigError: there is none, it is malformed, or others may read the file.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be the name of a key", hint="Use letters, digits and _ only.")
    variable = f"TIDEMILL_SEAL_{name.upper()}"
    path = os.path.join(os.path.expanduser("~"), ".config", "tidemill", "keys", name)
    text, place = os.environ.get(variable, ""), variable
    if not text:
        text, place = _key_file(path, name, variable), path
    try:
        found = bytes.fromhex(text.strip())
    except ValueError:
        found = b""
    if len(found) != KEY:
        raise ConfigError(f"{place} must hold {2 * KEY} hexadecimal digits", hint="openssl rand -hex 32 makes a key")
    return found


def _key_file(path: str, name: str, variable: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"others may read the key in {path}", hint=f"chmod 600 {path}")
            return file.read()
    except OSError as error:
        raise ConfigError(
            f"there is no key {name!r}: {os.strerror(error.errno or 0)}: {path}",
            hint=f"put its {2 * KEY} hexadecimal digits into that file (mode 600) or into {variable}",
        ) from error


class _Cipher:
    """Seals and opens with one key."""

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise MissingExtraError("a sealed object store", "seal") from None
        self._kind, self._invalid = AESGCM, InvalidTag
        self._names = _derived(key, "names")
        self._objects = _derived(key, "objects")
        self._heads = AESGCM(_derived(key, "heads"))
        self.check = blake3(b"tidemill", key=_derived(key, "check")).hexdigest(8)

    def name(self, digest: Digest) -> Digest:
        """The name under which an object is stored."""
        return blake3(digest, key=self._names).digest()

    def head(self, digest: Digest) -> bytes:
        return MARK + self._heads.encrypt(self.name(digest)[:12], digest, MARK)

    def digest(self, name: Digest, head: bytes) -> Digest | None:
        """The plain digest of what is stored under a name; None if it was not sealed by this key."""
        try:
            return self._heads.decrypt(name[:12], head[len(MARK) : HEAD], head[: len(MARK)])
        except (self._invalid, ValueError):
            return None

    def seal(self, digest: Digest, pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
        """The sealed form of an object, given in pieces of `PIECE` bytes, in as many parts."""
        cipher = self._kind(blake3(digest, key=self._objects).digest())
        last = count(size) - 1
        yield self.head(digest)
        number = -1
        for number, piece in enumerate(pieces):
            yield cipher.encrypt(_nonce(number, number == last), piece, None)
        if number < 0:
            yield cipher.encrypt(_nonce(0, True), b"", None)

    def opener(self, digest: Digest, last: int) -> Callable[[int, bytes], bytes]:
        """What decrypts piece number n of an object whose last one has the number `last`.

        It raises `InvalidTag` if that is not it.
        """
        cipher = self._kind(blake3(digest, key=self._objects).digest())
        return lambda number, sealed: cipher.decrypt(_nonce(number, number == last), sealed, None)

    @property
    def invalid(self) -> type[Exception]:
        return self._invalid


def _derived(key: bytes, what: str) -> bytes:
    return blake3(key, derive_key_context=f"tidemill sealed objects 1: {what}").digest()


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))


def count(size: int) -> int:
    """In how many pieces an object of so many bytes is."""
    return max(1, -(-size // PIECE))


def sealed_size(size: int) -> int:
    """Bytes of the sealed form of an object."""
    return HEAD + size + TAG * count(size)


def plain_size(size: int) -> int:
    """The inverse."""
    body = size - HEAD
    return body - TAG * max(1, -(-body // (PIECE + TAG)))


class _Reader(StoreBase):
    """What reads sealed objects."""

    def __init__(self, inner: Inner, name: str, key: bytes) -> None:
        self._inner = inner
        self._key_name = name
        self._cipher = _Cipher(key)
        self._checked = False
        self.fresh_s = inner.fresh_s

    @property
    def url(self) -> str:
        return f"seal:{self._key_name}:{self._inner.url}"

    def _name(self, digest: Digest) -> Digest:
        """The name of an object, after making sure that this is the right key."""
        if not self._checked:
            self._check(write=False)
        return self._cipher.name(digest)

    def _check(self, *, write: bool) -> None:
        place = shown(self._inner.url)
        said = self._inner.users().get(MEMBER)
        if said is None and not write:
            return
        if said is None and next(self._inner.list(), None) is not None:
            # Another first writer says so before it puts anything: what it put is no object without a word of it.
            said = self._inner.users().get(MEMBER)
            if said is None:
                raise ConfigError(
                    f"{place} holds objects that are not sealed", hint="Use a place of its own for sealed objects."
                )
        if said is None:
            said = f"{self._cipher.check} key {self._key_name}"
            self._inner.add_user(MEMBER, said)
        if said.split(" ")[0] != self._cipher.check:
            raise ConfigError(
                f"the objects in {place} were sealed by another key than {self._key_name!r} has here",
                hint=f"they were sealed by the one called {said.rpartition(' ')[2]!r} at that time",
            )
        self._checked = True

    # --------------------------------------------------------------------------------------------------------- get

    def get(self, digest: Digest, verify: bool = False) -> bytes:
        return self.get_many((digest,), verify)[0]

    def get_many(self, digests: Sequence[Digest], verify: bool = False) -> list[bytes]:
        names = [self._name(d) for d in digests]
        with self._finding(digests):
            sealed = self._inner.get_many(names)
        found = [b"".join(self._plain(d, iter((s,)), len(s))) for d, s in zip(digests, sealed, strict=True)]
        for digest, data in zip(digests, found, strict=True):
            if verify and digest_of(data) != digest:
                raise damaged(digest, self._place)
        return found

    @property
    def _place(self) -> str:
        return shown(self._inner.url)

    def _finding(self, digests: Iterable[Digest]) -> "_Finding":
        return _Finding(self, digests)

    def _plain(self, digest: Digest, sealed: Iterator[bytes], size: int) -> Iterator[bytes]:
        """An object in pieces, from its sealed form of `size` bytes in any parts."""
        last = count(plain_size(size)) - 1 if size >= HEAD + TAG else 0
        unseal = self._cipher.opener(digest, last)
        buffer = bytearray()
        number, start = 0, HEAD
        for part in sealed:
            buffer += part
            while number < last and len(buffer) >= start + PIECE + TAG:
                yield self._piece(digest, unseal, number, bytes(buffer[start : start + PIECE + TAG]))
                del buffer[: start + PIECE + TAG]
                number, start = number + 1, 0
        if number != last:
            raise damaged(digest, self._place)
        if rest := self._piece(digest, unseal, last, bytes(buffer[start:])):
            yield rest

    def _piece(self, digest: Digest, unseal: Callable[[int, bytes], bytes], number: int, sealed: bytes) -> bytes:
        try:
            return unseal(number, sealed)
        except (self._cipher.invalid, ValueError):
            raise damaged(digest, self._place) from None

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise UsageError(f"not a range: start {start}, length {length}")
        size = self.size(digest)
        end = min(start + length, size)
        if start >= end:
            return b""
        first, last = start // PIECE, (end - 1) // PIECE
        whole = PIECE + TAG
        sealed = self._inner.read_range(self._name(digest), HEAD + first * whole, (last - first + 1) * whole)
        unseal = self._cipher.opener(digest, count(size) - 1)
        found = b"".join(
            self._piece(digest, unseal, n, sealed[(n - first) * whole : (n - first + 1) * whole])
            for n in range(first, last + 1)
        )
        return found[start - first * PIECE : end - first * PIECE]

    def open(self, digest: Digest, verify: bool = False) -> Iterator[bytes]:
        name = self._name(digest)
        with self._finding((digest,)):
            size = self._inner.size(name)
            sealed = self._inner.open(name)
        return self._plain(digest, sealed, size)  # each piece is authentic, and so is their number

    def get_file(
        self, digest: Digest, path: Path, link: bool = False, mode: int = 0o644, verify: bool = False
    ) -> Delivered:
        chunks = self.open(digest, verify)
        with new_file(path, mode) as target:
            for chunk in chunks:
                write_all(target, chunk)
        return "copy"

    # ------------------------------------------------------------------------------------------------------- survey

    def exists(self, digests: Iterable[Digest]) -> set[Digest]:
        names = {self._name(d): d for d in digests}
        return {names[n] for n in self._inner.exists(names)}

    def size(self, digest: Digest) -> int:
        name = self._name(digest)
        with self._finding((digest,)):
            return plain_size(self._inner.size(name))


class SealedStore(_Reader):
    """Seals what is put into another store.

    Args:
        inner: where the sealed objects are.
        name: of the key, for messages and addresses.
        key: 32 bytes.

    Raises:
        MissingExtraError: if cryptography is not installed.
        ConfigError: (by what uses it) if the place is sealed by another key, or holds objects that are not sealed.
    """

    # --------------------------------------------------------------------------------------------------------- put

    def put(self, data: Data) -> Digest:
        return self.put_many((data,))[0]

    def put_many(self, items: Sequence[Data]) -> list[Digest]:
        self._ready()
        plain = [bytes(as_bytes(item)) for item in items]
        digests = [digest_of(item) for item in plain]
        sealed = [
            b"".join(self._cipher.seal(d, (p[i : i + PIECE] for i in range(0, len(p), PIECE)), len(p)))
            for d, p in zip(digests, plain, strict=True)
        ]
        self._inner.put_as([self._cipher.name(d) for d in digests], sealed)
        return digests

    def _ready(self) -> None:
        if not self._checked:
            self._check(write=True)

    def put_file(self, path: Path, move: bool = False) -> tuple[Digest, int]:
        source = open_regular(path)
        try:
            found = self._put_descriptor(source, os.fspath(path))
        finally:
            os.close(source)
        if move:
            remove(path)
        return found

    def _put_descriptor(self, source: int, name: str) -> tuple[Digest, int]:
        self._ready()
        h, size = hasher(), 0
        for piece in blocks(source):
            h.update(piece)
            size += len(piece)
        digest = h.digest()
        os.lseek(source, 0, os.SEEK_SET)
        pieces = _unchanged(source, digest, name)
        self._inner.put_pieces_as(self._cipher.name(digest), sealed_size(size), self._cipher.seal(digest, pieces, size))
        return digest, size

    def put_stream(self, source: Iterable[Data] | BinaryIO) -> tuple[Digest, int]:
        head = bytearray()
        pieces = pieces_of(source)
        for piece in pieces:
            head += piece
            if len(head) > SMALL:
                return self._put_spooled(head, pieces)
        return self.put(head), len(head)

    def _put_spooled(self, head: bytearray, pieces: Iterable[Data]) -> tuple[Digest, int]:
        """The name of an object is known when its last byte is: a long stream waits, as it is, in a nameless file."""
        from tempfile import TemporaryFile, gettempdir

        place = gettempdir()
        with writing(place):
            spool = TemporaryFile(buffering=0)  # noqa: SIM115 - the with statement follows
        with spool:
            with writing(place):
                write_all(spool.fileno(), head)
            for piece in pieces:
                with writing(place):
                    write_all(spool.fileno(), piece)
            spool.seek(0)
            return self._put_descriptor(spool.fileno(), "a stream")

    def delete(self, digests: Iterable[Digest], before: float | None = None) -> set[Digest]:
        names = {self._name(d): d for d in digests}
        return {names[n] for n in self._inner.delete(names, before)}

    def tidy(self, before: float, dry_run: bool = False) -> tuple[int, int]:
        return self._inner.tidy(before, dry_run)

    def list(self) -> Iterator[Stored]:
        self._check(write=False)
        for one in self._inner.list():
            try:
                head = self._inner.read_range(one.digest, 0, HEAD)
            except NotFoundError:
                continue  # deleted meanwhile
            digest = self._cipher.digest(one.digest, head)
            if digest is None:
                raise IntegrityError(f"an object in {self._place} was not sealed by the key {self._key_name!r}")
            yield Stored(digest, plain_size(one.size), one.mtime)

    def _keep_user(self, name: str, about: bytes) -> None:
        self._inner.add_user(name, about.decode())

    def users(self) -> dict[str, str]:
        return {name: about for name, about in self._inner.users().items() if name != MEMBER}

    def close(self) -> None:
        self._inner.close()


class _Finding:
    """Tells of missing objects by their plain digests."""

    def __init__(self, store: _Reader, digests: Iterable[Digest]) -> None:
        self._store = store
        self._digests = digests

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, NotFoundError) and self._digests:
            there = self._store.exists(self._digests)
            missing = [d for d in self._digests if d not in there]
            if missing:
                raise NotFoundError(f"no object blake3:{missing[0].hex()} in {self._store.url}") from None


def _unchanged(source: int, digest: Digest, name: str) -> Iterator[bytes]:
    """The rest of a file in pieces, and an error at its end if it does not have this digest any more."""
    h = hasher()
    rest = bytearray()
    for block in blocks(source):
        h.update(block)
        rest += block
        whole = len(rest) - len(rest) % PIECE
        for i in range(0, whole, PIECE):
            yield bytes(rest[i : i + PIECE])
        del rest[:whole]
    if h.digest() != digest:
        raise UsageError(f"{name} was changed while it was being stored", hint="Store it when it is complete.")
    if rest:
        yield bytes(rest)
