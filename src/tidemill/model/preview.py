"""Encoded values as short text, for people. Nothing is imported and no user's code runs, so any value can be shown."""

import reprlib
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.msgpack import Decoder

from tidemill.model.extensions import UNPACKERS, Code

LARGEST = 1 << 20
"""Encodings with more bytes are not looked into."""

_NUMBERS = {
    "f8": "d",
    "f4": "f",
    "i8": "q",
    "i4": "i",
    "i2": "h",
    "i1": "b",
    "u8": "Q",
    "u4": "I",
    "u2": "H",
    "u1": "B",
}
_FIRST = 4


class Shown:
    """Stands for a value that is only to be looked at."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, 60, 120
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 6
        self.maxdict, self.maxlong = 8, 40
        self.fillvalue = "…"

    def repr_Shown(self, value: Shown, _level: int) -> str:  # noqa: N802 — reprlib names methods after types
        return value.text


def preview(encoded: bytes | memoryview, limit: int = 100, inputs: Mapping[int, str | bytes] | None = None) -> str:
    """The value as Python would write it, shortened.

    Args:
        encoded: as made by `tidemill.model.values.encode`.
        limit: characters.
        inputs: what stands for the placeholders in a template: what to call it, or its encoded value.
    """
    if len(encoded) > LARGEST:
        return f"<{size_text(len(encoded))}>"
    try:
        return shorten(_Short().repr(_Look(inputs or {}).read(encoded)), limit)
    except (msgspec.DecodeError, ValueError, TypeError, LookupError, RecursionError):
        return f"<{size_text(len(encoded))} that cannot be shown>"


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def size_text(size: int) -> str:
    """`312 B`, `4.5 kB`, `1.2 MB`."""
    if size < 1000:
        return f"{size} B"
    unit = "kB" if size < 999_500 else "MB" if size < 999_500_000 else "GB"
    return f"{size / {'kB': 1e3, 'MB': 1e6, 'GB': 1e9}[unit]:.3g} {unit}"


def duration(seconds: float) -> str:
    """`0.3 ms`, `2.1 s`, `3:05`, `2:04:09`."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, secs = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


class _Look:
    """Decodes into builtins, with `Shown` where there are none."""

    def __init__(self, inputs: Mapping[int, str | bytes]) -> None:
        self._inputs = inputs
        self.read: Callable[[bytes | memoryview], Any] = Decoder(ext_hook=self._hook).decode

    def _hook(self, code: int, payload: memoryview) -> object:
        special = _SPECIAL.get(code)
        if special is not None:
            return special(self, payload)
        unpack = UNPACKERS.get(code)
        return unpack(payload, self.read) if unpack is not None else Shown(f"<{size_text(len(payload))}>")

    def input(self, payload: memoryview) -> object:
        number, path = self.read(payload)
        found = self._inputs.get(number, f"input {number}")
        if isinstance(found, str):
            return Shown(found + "".join(map(_step, path)))
        value = self.read(found)
        for at, step in enumerate(path):
            try:
                value = value[slice(*step) if isinstance(step, list) else step]
            except (LookupError, TypeError):
                return Shown(f"{_Short().repr(value)}{''.join(map(_step, path[at:]))}")
        return value

    def content(self, payload: memoryview) -> Shown:
        _digest, size, kind, name, _mode = self.read(payload)
        return Shown(f"<{kind}{' ' + name if name else ''}, {size_text(size)}>")

    def named(self, payload: memoryview) -> Shown:
        module, _, name = self.read(payload)[0].rpartition(":")
        return Shown(name if module == "builtins" else f"<{module}.{name}>")

    def enum(self, payload: memoryview) -> Shown:
        kind, member, *value = self.read(payload)
        return Shown(f"{_last(kind)}({value[0]!r})" if value else f"{_last(kind)}.{member}")

    def typed(self, payload: memoryview) -> Shown:
        kind, state = self.read(payload)
        parts = [f"{k}={_Short().repr(v)}" for k, v in state.items() if k != "__dict__"]
        return Shown(f"{_last(kind)}({', '.join(parts)})")

    def partial(self, payload: memoryview) -> Shown:
        function, args, keywords = self.read(payload)
        parts = [repr(function), *map(repr, args), *(f"{k}={v!r}" for k, v in keywords.items())]
        return Shown(f"partial({', '.join(parts)})")

    def default_dict(self, payload: memoryview) -> object:
        return self.read(payload)[1]

    def array(self, payload: memoryview) -> Shown:
        dtype, shape, data = self.read(payload)
        lengths = " × ".join(map(str, shape)) or "single"
        return Shown(f"<array {_dtype(dtype)} {lengths}{_numbers(dtype, data)}>")

    def scalar(self, payload: memoryview) -> Shown:
        dtype, data = self.read(payload)
        found = _numbers(dtype, data)
        return Shown(found.removeprefix(": ") or f"<{_dtype(dtype)}>")


def _step(step: object) -> str:
    if not isinstance(step, list):
        return f"[{step!r}]"
    parts = ["" if s is None else str(s) for s in step]
    return f"[{':'.join(parts if parts[2] else parts[:2])}]"


def _last(name: str) -> str:
    return name.rpartition(":")[2]


def _dtype(dtype: object) -> str:
    return dtype.lstrip("<>|=") if isinstance(dtype, str) else "structured"


def _numbers(dtype: object, data: bytes) -> str:
    """The first numbers of an array."""
    code = _NUMBERS.get(_dtype(dtype))
    if code is None or not data:
        return ""
    width = struct.calcsize("<" + code)
    count = min(_FIRST, len(data) // width)
    order = ">" if isinstance(dtype, str) and dtype.startswith(">") else "<"
    found = struct.unpack_from(f"{order}{count}{code}", data)
    more = ", …" if len(data) > count * width else ""
    return ": " + ", ".join(f"{v:.6g}" for v in found) + more


def _bytes_of(what: str) -> Callable[[_Look, memoryview], Shown]:
    return lambda _, payload: Shown(f"<{what}, {size_text(len(payload))}>")


# Every kind whose reading imports something is here; the rest is read as it is.
_SPECIAL: dict[int, Callable[[_Look, memoryview], object]] = {
    Code.INPUT: _Look.input,
    Code.REF: _Look.content,
    Code.FILE: _Look.content,
    Code.PICKLE: _bytes_of("pickle"),
    Code.NAME: _Look.named,
    Code.ENUM: _Look.enum,
    Code.NAMED_TUPLE: _Look.typed,
    Code.OBJECT: _Look.typed,
    Code.PARTIAL: _Look.partial,
    Code.DEFAULT_DICT: _Look.default_dict,
    Code.ARRAY: _Look.array,
    Code.SCALAR: _Look.scalar,
    Code.DTYPE: _bytes_of("dtype"),
    Code.TABLE: _bytes_of("table"),
    Code.FRAME: _bytes_of("DataFrame"),
    Code.SERIES: _bytes_of("Series"),
}
