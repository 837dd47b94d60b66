"""The values of a run's inputs: from the message, from the object store, or member by member from the engine."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from tidemill.model.protocol import Input
from tidemill.model.values import Get, decode, refs

T = TypeVar("T")

SLICE = 1024
"""Members of a collection asked for at a time."""

CACHE = 32 << 20
"""Bytes of encoded inputs that are remembered, for runs that share them."""

Read = Callable[[int, int, int], list[Input]]
"""(gather, first, count) -> that many members, fewer at the end of the collection."""


class Inputs:
    """Decodes inputs. What is remembered is encoded: each run gets objects of its own, which it may change.

    Args:
        fetch: the bytes of an object by digest.
        stage: what stands for a stored file, see `tidemill.model.values.decode`.
        read: asks the engine for members of a collection.
    """

    def __init__(self, fetch: Callable[[bytes], bytes], stage: Get, read: Read) -> None:
        self._fetch = fetch
        self._stage = stage
        self._read = read
        self._objects: _Recent[bytes] = _Recent()
        self._members: _Recent[list[Input]] = _Recent()

    def values(self, inputs: Sequence[Input]) -> list[object]:
        """The values that the placeholders of an argument template stand for."""
        return [self._value(one) for one in inputs]

    def objects(self, inputs: Sequence[Input]) -> list[bytes]:
        """Digests of the objects that the inputs are, or name where they stand in the message."""
        found: list[bytes] = []
        for one in inputs:
            if one.value is not None:
                found += [ref.digest for ref in refs(one.value)]
            elif one.gather:
                found += self.objects(self._collection(one.gather))
            elif one.digest:
                found.append(one.digest)
        return found

    def _value(self, one: Input) -> object:
        if one.value is not None:
            return decode(one.value, (), self._stage)
        if one.gather:
            return self.values(self._collection(one.gather))
        if not one.digest:
            return None
        return decode(self._object(one.digest), (), self._stage)

    def _object(self, digest: bytes) -> bytes:
        found = self._objects.get(digest)
        if found is None:
            found = self._fetch(digest)
            self._objects.put(digest, found, len(found))
        return found

    def _collection(self, gather: int) -> list[Input]:
        found = self._members.get(gather)
        if found is None:
            found = []
            while True:
                part = self._read(gather, len(found), SLICE)
                found += part
                if len(part) < SLICE:
                    break
            size = sum(len(member.value or b"") + 200 for member in found)
            self._members.put(gather, found, size)
        return found


class _Recent(Generic[T]):
    """The values used last, up to `CACHE` bytes together."""

    def __init__(self) -> None:
        self._items: OrderedDict[bytes | int, tuple[T, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes | int) -> T | None:
        found = self._items.get(key)
        if found is None:
            return None
        self._items.move_to_end(key)
        return found[0]

    def put(self, key: bytes | int, value: T, size: int) -> None:
        if size > CACHE // 2:
            return
        self._items[key] = (value, size)
        self._bytes += size
        while self._bytes > CACHE:
            _, (_, gone) = self._items.popitem(last=False)
            self._bytes -= gone
