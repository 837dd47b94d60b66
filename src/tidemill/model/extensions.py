"""The extension types of the value encoding: how each Python type beyond plain data is written and read.

The table of type numbers and payloads stands in `tidemill.model.values`. A *packer* turns a value into an extension
object, or answers None when this very value does not fit its form (it is then pickled); `write` encodes a nested value.
An *unpacker* is the inverse; `read` decodes a nested payload. No library is imported before a value of its types is
met: packers are found by the name of the value's class.
"""

import functools
import importlib
import operator
import sys
import types
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any

from msgspec import Raw, Struct
from msgspec.msgpack import Encoder, Ext

from tidemill.model.digest import digest
from tidemill.model.errors import ValueCodecError

Write = Callable[[object], bytes]
Read = Callable[[bytes | memoryview], Any]
Packer = Callable[[Any, Write], Ext | None]
Unpacker = Callable[[memoryview, Read], object]

_raw = Encoder().encode


class Code:
    """MessagePack extension type numbers. A number is never used again for something else."""

    INPUT = 1
    REF = 2
    FILE = 3
    PICKLE = 4
    TUPLE = 5
    SET = 6
    FROZENSET = 7
    DICT = 8
    ORDERED_DICT = 9
    DEFAULT_DICT = 10
    COUNTER = 11
    DEQUE = 12
    INT = 13
    TEXT = 14
    BYTEARRAY = 15
    COMPLEX = 16
    RANGE = 17
    SLICE = 18
    DATE = 19
    TIME = 20
    DATETIME = 21
    TIMEDELTA = 22
    ZONE = 23
    DECIMAL = 24
    FRACTION = 25
    UUID = 26
    PURE_PATH = 27
    PATTERN = 28
    NAME = 29
    ENUM = 30
    NAMED_TUPLE = 31
    OBJECT = 32
    PARTIAL = 33
    ARRAY = 40
    SCALAR = 41
    DTYPE = 42
    TABLE = 43
    FRAME = 44
    SERIES = 45


# ------------------------------------------------------------------------------------------------------ import names


def import_name(thing: Any) -> str | None:
    """`module:qualname` under which a class, function or module is found again, or None if it is not found there.

    The module of the running script is called `__main__` whatever name it was loaded under.
    """
    if isinstance(thing, types.ModuleType):
        return f"{thing.__name__}:" if sys.modules.get(thing.__name__) is thing else None
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        return None
    loaded = sys.modules.get(module)
    if loaded is None:
        return None
    try:
        if operator.attrgetter(qualname)(loaded) is not thing:
            return None
    except AttributeError:
        return None
    if module == "__mp_main__" or loaded is sys.modules.get("__main__"):
        module = "__main__"
    return f"{module}:{qualname}"


def imported(name: str) -> Any:
    """The object called `name` by `import_name`.

    Raises:
        ValueCodecError: if it cannot be imported here.
    """
    module, _, qualname = name.partition(":")
    problem = ""
    for candidate in ("__main__", "__mp_main__") if module == "__main__" else (module,):
        try:
            found = sys.modules.get(candidate) or importlib.import_module(candidate)
            return operator.attrgetter(qualname)(found) if qualname else found
        except (ImportError, AttributeError) as error:
            problem = problem or str(error)
    raise ValueCodecError(
        f"a stored value needs {name.replace(':', '.').rstrip('.')}, which cannot be imported here: {problem}",
        hint="make the module importable (same project directory, same packages) or restore the old name",
    )


def _code_digest(code: types.CodeType, write: Write) -> bytes:
    consts = [_code_digest(c, write) if isinstance(c, types.CodeType) else write(c) for c in code.co_consts]
    return digest(write([code.co_code, code.co_names, code.co_varnames, code.co_freevars, consts]))


def pack_name(thing: Any, write: Write) -> Ext | None:
    name = import_name(thing)
    if name is None:
        return None
    code = getattr(thing, "__code__", None)
    return Ext(Code.NAME, _raw([name] if code is None else [name, _code_digest(code, write)]))


# ---------------------------------------------------------------------------------------------------------- containers


def pairs(items: Iterable[tuple[object, object]], write: Write) -> list[tuple[bytes, bytes]]:
    return [(write(key), write(value)) for key, value in items]


def flat(encoded: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An array key, value, key, value, … of parts that are encoded already."""
    return _raw([Raw(part) for pair in encoded for part in pair])


def _members(code: int, value: Iterable[object], write: Write) -> Ext:
    return Ext(code, _raw([Raw(part) for part in sorted(map(write, value))]))


def pack_mapping(value: Any, write: Write) -> Ext:
    """A dict with keys other than text: sorted by encoded key."""
    return Ext(Code.DICT, flat(sorted(pairs(value.items(), write))))


def _unflat(payload: bytes | memoryview, read: Read) -> list[tuple[Any, Any]]:
    parts = read(payload)
    return list(zip(parts[::2], parts[1::2], strict=True))


def _pack_default_dict(value: Any, write: Write) -> Ext:
    return Ext(Code.DEFAULT_DICT, write([value.default_factory, dict(value)]))


def _unpack_default_dict(payload: memoryview, read: Read) -> object:
    from collections import defaultdict

    factory, items = read(payload)
    return defaultdict(factory, items)


def _unpack_deque(payload: memoryview, read: Read) -> object:
    from collections import deque

    length, items = read(payload)
    return deque(items, length)


def _unpack_ordered(payload: memoryview, read: Read) -> object:
    from collections import OrderedDict

    return OrderedDict(_unflat(payload, read))


def _unpack_counter(payload: memoryview, read: Read) -> object:
    from collections import Counter

    return Counter(read(payload))


# ------------------------------------------------------------------------------------------------ numbers, text, times


def pack_int(value: int) -> Ext:
    size = value.bit_length() // 8 + 1
    return Ext(Code.INT, value.to_bytes(size, "big", signed=True))


def pack_text(value: str) -> Ext:
    return Ext(Code.TEXT, value.encode("utf-8", "surrogatepass"))


def _pack_complex(value: complex, write: Write) -> Ext:
    return Ext(Code.COMPLEX, write([value.real, value.imag]))


def _zone(zone: tzinfo | None) -> object:
    """None, [offset in microseconds, name or None], or the IANA key; False for a kind that has no such form."""
    if zone is None:
        return None
    if type(zone) is timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [offset // timedelta(microseconds=1), name[0] if name else None]
    key = getattr(zone, "key", None)
    return key if type(zone).__name__ == "ZoneInfo" and isinstance(key, str) else False


def _unzone(form: Any) -> tzinfo | None:
    if form is None:
        return None
    if isinstance(form, str):
        from zoneinfo import ZoneInfo

        return ZoneInfo(form)
    offset, name = form
    delta = timedelta(microseconds=offset)
    return timezone(delta) if name is None else timezone(delta, name)


def _pack_moment(code: int, value: Any, _: Write) -> Ext | None:
    zone = _zone(value.tzinfo)
    return None if zone is False else Ext(code, _raw([value.replace(tzinfo=None).isoformat(), value.fold, zone]))


def _unpack_moment(kind: Any, payload: memoryview, read: Read) -> object:
    text, fold, zone = read(payload)
    return kind.fromisoformat(text).replace(fold=fold, tzinfo=_unzone(zone))


def _pack_zone(value: tzinfo, _: Write) -> Ext | None:
    zone = _zone(value)
    return None if zone is False else Ext(Code.ZONE, _raw(zone))


def _unpack_decimal(payload: memoryview, read: Read) -> object:
    from decimal import Decimal

    return Decimal(read(payload))


def _unpack_fraction(payload: memoryview, read: Read) -> object:
    from fractions import Fraction

    return Fraction(*read(payload))


def _unpack_uuid(payload: memoryview, _: Read) -> object:
    from uuid import UUID

    return UUID(bytes=bytes(payload))


def _unpack_pure_path(payload: memoryview, read: Read) -> object:
    import pathlib

    flavour, text = read(payload)
    return (pathlib.PureWindowsPath if flavour == "windows" else pathlib.PurePosixPath)(text)


def _unpack_pattern(payload: memoryview, read: Read) -> object:
    import re

    return re.compile(*read(payload))


# ------------------------------------------------------------------------------------------------------- typed objects


def _pack_enum(value: Enum, write: Write) -> Ext | None:
    name = import_name(type(value))
    if name is None:
        return None
    if value._name_ in type(value).__members__:
        return Ext(Code.ENUM, _raw([name, value._name_]))
    return Ext(Code.ENUM, write([name, None, value.value]))


def _unpack_enum(payload: memoryview, read: Read) -> object:
    name, member, *value = read(payload)
    kind = imported(name)
    try:
        return kind(value[0]) if value else kind[member]
    except (KeyError, ValueError) as error:
        raise ValueCodecError(f"a stored value is {member or value[0]} of {name}, which has no such member") from error


def _pack_named_tuple(value: Any, write: Write) -> Ext | None:
    name = import_name(type(value))
    return None if name is None else Ext(Code.NAMED_TUPLE, write([name, dict(zip(value._fields, value, strict=True))]))


def _extras(value: Any, fields: Iterable[str]) -> dict[str, Any]:
    """Attributes that are no fields, such as those set after construction; cached properties are not state."""
    known = set(fields)
    kind = type(value)
    return {
        name: item
        for name, item in getattr(value, "__dict__", {}).items()
        if name not in known and type(getattr(kind, name, None)).__name__ != "cached_property"
    }


def _find_fields(kind: Any) -> tuple[str, ...] | None:
    """Names of the fields of a dataclass, msgspec.Struct, attrs class or plain namespace."""
    if hasattr(kind, "__dataclass_fields__"):
        import dataclasses

        return tuple(field.name for field in dataclasses.fields(kind))
    if issubclass(kind, Struct):
        return tuple(kind.__struct_fields__)
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(attribute.name for attribute in kind.__attrs_attrs__)
    return () if kind is types.SimpleNamespace else None


_fields: Callable[[Any], tuple[str, ...] | None] = functools.lru_cache(1024)(_find_fields)


def _is_pydantic(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_fields_set__") or hasattr(kind, "__fields_set__")


def _state(value: Any) -> dict[str, Any]:
    """What an object is made of, by name."""
    kind = type(value)
    fields = _fields(kind)
    if fields is not None:
        state = {name: getattr(value, name) for name in fields if hasattr(value, name)}
        return {**state, **_extras(value, fields)}
    state = dict(value.__getstate__())
    state["__dict__"] = _extras(value, ())
    return state


def _pack_object(value: Any, write: Write) -> Ext | None:
    name = import_name(type(value))
    return None if name is None else Ext(Code.OBJECT, write([name, _state(value)]))


def _unpack_named_tuple(payload: memoryview, read: Read) -> object:
    name, state = read(payload)
    return _construct(name, imported(name), state)


def _unpack_object(payload: memoryview, read: Read) -> object:
    name, state = read(payload)
    kind = imported(name)
    if issubclass(kind, Struct):
        return _construct(name, kind, state)
    made = kind.__new__(kind)
    if _fields(kind) is None:
        made.__setstate__(state)
        return made
    try:
        for field, item in (_defaults(name, kind, state) | state).items():
            object.__setattr__(made, field, item)
    except AttributeError as error:
        raise ValueCodecError(f"a stored {name} has a field that the class no longer has: {error}") from error
    return made


def _construct(name: str, kind: Any, state: dict[str, Any]) -> object:
    try:
        return kind(**state)
    except TypeError as error:
        raise ValueCodecError(f"a stored {name} does not fit the class as it is now: {error}") from error


def _defaults(name: str, kind: Any, state: dict[str, Any]) -> dict[str, Any]:
    """Values for the fields of a dataclass that were added after the object was stored."""
    if not hasattr(kind, "__dataclass_fields__"):
        return {}
    import dataclasses

    found = {}
    for field in dataclasses.fields(kind):
        if field.name in state:
            continue
        if field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.init:
            raise ValueCodecError(f"a stored {name} has no field {field.name!r}, which the class now requires")
    return found


def _pack_partial(value: Any, write: Write) -> Ext | None:
    return Ext(Code.PARTIAL, write([value.func, list(value.args), value.keywords]))


def _unpack_partial(payload: memoryview, read: Read) -> object:
    function, args, keywords = read(payload)
    return functools.partial(function, *args, **keywords)


# ---------------------------------------------------------------------------------------------------------- the tables

_PACKERS: dict[str, Packer] = {
    "builtins.set": lambda v, write: _members(Code.SET, v, write),
    "builtins.frozenset": functools.partial(_members, Code.FROZENSET),
    "collections.OrderedDict": lambda v, write: Ext(Code.ORDERED_DICT, flat(pairs(v.items(), write))),
    "collections.defaultdict": _pack_default_dict,
    "collections.Counter": lambda v, write: Ext(Code.COUNTER, write(dict(v))),
    "collections.deque": lambda v, write: Ext(Code.DEQUE, write([v.maxlen, list(v)])),
    "builtins.bytearray": lambda v, _: Ext(Code.BYTEARRAY, bytes(v)),
    "builtins.complex": _pack_complex,
    "builtins.range": lambda v, write: Ext(Code.RANGE, write([v.start, v.stop, v.step])),
    "builtins.slice": lambda v, write: Ext(Code.SLICE, write([v.start, v.stop, v.step])),
    "datetime.date": lambda v, _: Ext(Code.DATE, v.isoformat().encode()),
    "datetime.time": functools.partial(_pack_moment, Code.TIME),
    "datetime.datetime": functools.partial(_pack_moment, Code.DATETIME),
    "datetime.timedelta": lambda v, _: Ext(Code.TIMEDELTA, _raw([v.days, v.seconds, v.microseconds])),
    "datetime.timezone": _pack_zone,
    "zoneinfo.ZoneInfo": _pack_zone,
    "decimal.Decimal": lambda v, _: Ext(Code.DECIMAL, _raw(str(v))),
    "fractions.Fraction": lambda v, write: Ext(Code.FRACTION, write([v.numerator, v.denominator])),
    "uuid.UUID": lambda v, _: Ext(Code.UUID, v.bytes),
    "pathlib.PurePosixPath": lambda v, write: Ext(Code.PURE_PATH, write(["posix", str(v)])),
    "pathlib.PureWindowsPath": lambda v, write: Ext(Code.PURE_PATH, write(["windows", str(v)])),
    "re.Pattern": lambda v, write: Ext(Code.PATTERN, write([v.pattern, v.flags])),
    "functools.partial": _pack_partial,
    "builtins.function": pack_name,
    "builtins.builtin_function_or_method": pack_name,
    "builtins.module": pack_name,
    "builtins.ellipsis": lambda _, __: Ext(Code.NAME, _raw(["builtins:Ellipsis"])),
    "builtins.NotImplementedType": lambda _, __: Ext(Code.NAME, _raw(["builtins:NotImplemented"])),
}

UNPACKERS: dict[int, Unpacker] = {
    Code.TUPLE: lambda payload, read: tuple(read(payload)),
    Code.SET: lambda payload, read: set(read(payload)),
    Code.FROZENSET: lambda payload, read: frozenset(read(payload)),
    Code.DICT: lambda payload, read: dict(_unflat(payload, read)),
    Code.ORDERED_DICT: _unpack_ordered,
    Code.DEFAULT_DICT: _unpack_default_dict,
    Code.COUNTER: _unpack_counter,
    Code.DEQUE: _unpack_deque,
    Code.INT: lambda payload, _: int.from_bytes(payload, "big", signed=True),
    Code.TEXT: lambda payload, _: str(payload, "utf-8", "surrogatepass"),
    Code.BYTEARRAY: lambda payload, _: bytearray(payload),
    Code.COMPLEX: lambda payload, read: complex(*read(payload)),
    Code.RANGE: lambda payload, read: range(*read(payload)),
    Code.SLICE: lambda payload, read: slice(*read(payload)),
    Code.DATE: lambda payload, _: date.fromisoformat(str(payload, "ascii")),
    Code.TIME: functools.partial(_unpack_moment, time),
    Code.DATETIME: functools.partial(_unpack_moment, datetime),
    Code.TIMEDELTA: lambda payload, read: timedelta(*read(payload)),
    Code.ZONE: lambda payload, read: _unzone(read(payload)),
    Code.DECIMAL: _unpack_decimal,
    Code.FRACTION: _unpack_fraction,
    Code.UUID: _unpack_uuid,
    Code.PURE_PATH: _unpack_pure_path,
    Code.PATTERN: _unpack_pattern,
    Code.NAME: lambda payload, read: imported(read(payload)[0]),
    Code.ENUM: _unpack_enum,
    Code.NAMED_TUPLE: _unpack_named_tuple,
    Code.OBJECT: _unpack_object,
    Code.PARTIAL: _unpack_partial,
}

NESTED = frozenset(range(Code.TUPLE, Code.DEQUE + 1)) | {
    Code.SLICE, Code.ENUM, Code.NAMED_TUPLE, Code.OBJECT, Code.PARTIAL
}  # fmt: skip
"""Types whose payload is itself an encoded value in which anything may stand."""

_CONTAINERS = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, BaseException)


def packer(kind: type) -> Packer | None:
    """How values of exactly this type are written, or None if they can only be pickled."""
    found = _PACKERS.get(f"{kind.__module__}.{kind.__qualname__}")
    if found is not None:
        return found
    if issubclass(kind, type):
        return pack_name
    if issubclass(kind, Enum):
        return _pack_enum
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _pack_named_tuple
    if not issubclass(kind, _CONTAINERS) and (_fields(kind) is not None or _is_pydantic(kind)):
        return _pack_object
    return None
