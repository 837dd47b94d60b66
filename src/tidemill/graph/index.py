"""Axes of sweeps, and which element of what a combination of their positions means.

Runs of a mapped call are numbered in row-major order over its axes, the last axis fastest. Whatever such a run uses is
found at an index that is a sum of *terms*, `((position on the axis) // div) % mod * stride`. Plain sweeps have div 1
and mod the axis' length; `product` makes one axis out of several and needs the rest.
"""

from collections.abc import Sequence
from typing import NamedTuple

Flat = tuple[tuple[int, int, int], ...]
"""Terms of the run number instead of positions: (div, mod, stride), by ascending div."""


class Axis:
    """One direction of a sweep: arguments with the same axis move together, different axes cross."""

    __slots__ = ("name", "size")

    def __init__(self, size: int, name: str | None = None) -> None:
        self.size = size
        self.name = name

    def __repr__(self) -> str:
        return f"{self.name or 'sweep'}[{self.size}]"


class Term(NamedTuple):
    axis: Axis
    div: int
    mod: int
    stride: int


def total(axes: Sequence[Axis]) -> int:
    """The number of combinations."""
    n = 1
    for axis in axes:
        n *= axis.size
    return n


def row_major(axes: Sequence[Axis], stride: int = 1) -> tuple[Term, ...]:
    """Terms of something laid out in row-major order over `axes`, `stride` apart."""
    terms = []
    for axis in reversed(axes):
        terms.append(Term(axis, 1, axis.size, stride))
        stride *= axis.size
    return tuple(reversed(terms))


def flatten(terms: Sequence[Term], axes: Sequence[Axis]) -> Flat:
    """The terms on `axes` as functions of the row-major number over `axes`; terms on other axes are left out."""
    inner = {}
    size = 1
    for axis in reversed(axes):
        inner[axis] = size
        size *= axis.size
    found = sorted((inner[t.axis] * t.div, t.mod, t.stride) for t in terms if t.axis in inner and t.mod > 1)
    merged: list[tuple[int, int, int]] = []
    for div, mod, stride in found:
        if merged and div == merged[-1][0] * merged[-1][1] and stride == merged[-1][2] * merged[-1][1]:
            first = merged[-1]
            merged[-1] = (first[0], first[1] * mod, first[2])
        else:
            merged.append((div, mod, stride))
    return tuple(merged)


def indices(flat: Flat, low: int, high: int, size: int) -> Sequence[int]:
    """The index at each of the numbers `low … high-1` out of `size`."""
    if not flat or size == 0:
        return [0] * (high - low)
    if len(flat) == 1:
        return _one(*flat[0], low, high, size)
    columns = [_one(*term, low, high, size) for term in flat]
    return list(map(sum, zip(*columns, strict=True)))


def _one(div: int, mod: int, stride: int, low: int, high: int, size: int) -> Sequence[int]:
    if div * mod >= size:
        if div == 1:
            return range(low * stride, high * stride, stride)
        return [p // div * stride for p in range(low, high)]
    if div == 1:
        return [p % mod * stride for p in range(low, high)]
    return [p // div % mod * stride for p in range(low, high)]


def at(flat: Flat, number: int) -> int:
    """The index at one number."""
    return sum(number // div % mod * stride for div, mod, stride in flat)


def stretches(flat: Flat, size: int) -> list[tuple[int, int, int]]:
    """All `size` indices in order as (first, count, step); a step is never 0."""
    if size == 0:
        return []
    if not flat:
        return [(0, 1, 1)] * size
    div, mod, stride = flat[0]
    if div > 1:
        rest = tuple((d // div, m, s) for d, m, s in flat)
        return [(first, 1, 1) for first in indices(rest, 0, size // div, size // div) for _ in range(div)]
    outer = tuple((d // mod, m, s) for d, m, s in flat[1:])
    return [(first, mod, stride) for first in indices(outer, 0, size // mod, size // mod)]


FAR = 1 << 59
"""A step as long as this leads from one kind of slots to another."""


def compress(slots: Sequence[int]) -> list[tuple[int, int, int]]:
    """Any sequence of indices as (first, count, step) with positive steps, each within one kind of slots."""
    found: list[tuple[int, int, int]] = []
    i, n = 0, len(slots)
    while i < n:
        step = slots[i + 1] - slots[i] if i + 1 < n else 1
        if not 1 <= step < FAR:
            found.append((slots[i], 1, 1))
            i += 1
            continue
        j = i + 1
        while j < n and slots[j] - slots[j - 1] == step:
            j += 1
        found.append((slots[i], j - i, step if j - i > 1 else 1))
        i = j
    return found
