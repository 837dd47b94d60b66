"""The canonical encoding of values, version 1. Equal values of equal types give equal bytes, and those are hashed.

A value is one object in MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md), restricted so that there
is only one way to write it:

* `None`, `bool`: nil, true, false. `int` of at most 64 bits: the shortest form that holds it, unsigned where it is not
  negative. `float`: always float 64, the bits as they are (so 1, 1.0 and True differ, and so do 0.0 and -0.0).
* `str`: UTF-8 in the shortest str form. `bytes`, `memoryview`: the shortest bin form. `list`: the shortest array form.
* `dict` with text keys: the shortest map form, keys sorted by their UTF-8 bytes. It comes back in that order.
* Everything else: the shortest ext form with one of the numbers below. Where the payload says [a, b] it is the
  encoding of that list; "value" stands for any encoded value.

====  ==================  =========================================================================================
 no.  Python type         payload
====  ==================  =========================================================================================
   1  Input               [number, path]; a path has text, integers and arrays of three for slices
   2  Ref, Path, FileId   [digest, size, kind, name, mode]
   3  File                as 2
   4  any other           a pickle, by cloudpickle where that of Python cannot: the only form whose bytes may
                          differ for equal values
   5  tuple               [value, …]
   6  set                 [value, …], sorted by the members' encoded bytes
   7  frozenset           as 6
   8  dict, other keys    [key, value, key, value, …], sorted by the keys' encoded bytes
   9  OrderedDict         [key, value, key, value, …] in its own order
  10  defaultdict         [factory, dict]
  11  Counter             dict
  12  deque               [maxlen or None, [value, …]]
  13  int over 64 bits    two's complement, big-endian, bit length // 8 + 1 bytes
  14  str with lone       UTF-8 in which surrogates are encoded like other characters
      surrogates
  15  bytearray           its bytes
  16  complex             [real, imaginary]
  17  range               [start, stop, step]
  18  slice               [start, stop, step]
  19  date                ISO 8601 text
  20  time                [ISO 8601 text without zone, fold, zone]; a zone is None, [offset in microseconds, name or
                          None] for datetime.timezone, or the key of a zoneinfo.ZoneInfo
  21  datetime            as 20
  22  timedelta           [days, seconds, microseconds]
  23  timezone, ZoneInfo  zone as in 20
  24  Decimal             its text
  25  Fraction            [numerator, denominator]
  26  UUID                16 bytes, big-endian
  27  PurePosixPath, …    ["posix" or "windows", text]
  28  re.Pattern          [pattern, flags]
  29  class, function,    ["module:qualname"], for Python functions also a digest of their bytecode (which is not looked
      module, Ellipsis    at when reading); the module of the running script is always called __main__
  30  Enum                [class, member's name], or [class, None, value] for a combination of flags
  31  named tuple         [class, {field: value}]
  32  object              [class, {field: value}]: dataclass, msgspec.Struct, attrs, SimpleNamespace. Attributes that
                          are no fields are kept too, cached properties are not. pydantic: what `__getstate__` gives
  33  functools.partial   [function, [argument, …], {keyword: argument}]
  40  numpy.ndarray       [dtype, [length, …], bytes in C order]; dtype is text such as "<f8" or the field list of the
                          NPY format (https://numpy.org/neps/nep-0001-npy-format.html). Padding is zero
  41  NumPy scalar        [dtype, bytes]
  42  numpy.dtype         dtype
  43  pyarrow.Table       Arrow IPC stream of the table as one batch, uncompressed
  44  pandas.DataFrame    [stream as in 43, frequency of a time index or None]; frames that Arrow would not give back
                          equal are pickled, and all without pyarrow
  45  pandas.Series       [name, bytes as in 44, with the one column "value"]
====  ==================  =========================================================================================

Objects are rebuilt from their fields without calling `__init__` (msgspec and named tuples: with it). Two references to
one object become two objects, and a value that contains itself has no encoding. No part may exceed 4 GiB.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from tidemill.model import extensions, foreign
from tidemill.model.errors import ValueCodecError
from tidemill.model.extensions import Code, Packer
from tidemill.model.file import File
from tidemill.model.fileid import FileId, Origin

VERSION = 1
"""Version of the encoding, to be kept with what is derived from it."""

Slice = tuple[int | None, int | None, int | None]
Step = str | int | Slice


class Input(msgspec.Struct, frozen=True, array_like=True):
    """A placeholder in an argument or result template.

    Attributes:
        number: which of the run's inputs stands here (the edge's port).
        path: selector applied to that input, see `apply_path`.
    """

    number: int
    path: tuple[Step, ...] = ()


class Ref(msgspec.Struct, frozen=True, array_like=True):
    """Content in the object store.

    Attributes:
        digest: BLAKE3 of the content, 32 bytes; of a directory: of its encoded manifest.
        size: bytes.
        kind: what the content is; "id" where it stands for a `FileId`, not for the file.
        name: base name of a file; of an id, who wrote it before that, as in "12.1.3/reads.fastq".
        mode: permission bits of a file; only the executable bit is kept.
    """

    digest: bytes
    size: int
    kind: Literal["value", "file", "dir", "id"]
    name: str = ""
    mode: int = 0o644


def id_ref(value: FileId) -> Ref:
    """What stands for an id in encoded values."""
    return Ref(value.digest, value.size, "id", ".".join(map(str, value.origin)) + "/" + value.name, value.mode)


def ref_id(ref: Ref) -> FileId:
    """The inverse of `id_ref`."""
    origin, _, name = ref.name.partition("/")
    found = FileId.of(Origin(*map(int, origin.split("."))), ref.digest, ref.size, name, executable=ref.mode == 0o755)
    found.stored = True
    return found


Put = Callable[[object], Ref]
Get = Callable[[Ref], object]

# -------------------------------------------------------------------------------------------------------------- writing

_SAFE = frozenset({float, bool, bytes, type(None)})
_PLAIN = _SAFE | {int, str}
_TEXT = frozenset({str})
_LISTS = frozenset({list})
_encode = Encoder(order="deterministic").encode


class _Unfit(Exception):  # noqa: N818 — becomes a ValueCodecError when its place in the value is known
    """Something in the value has no encoding; `trail` collects where, from the inside out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.trail: list[str] = []


class _Writer:
    """Turns values into what MessagePack can write as it stands.

    A careful writer looks at every integer and text, for the few that have no native form.
    """

    __slots__ = ("careful", "plain", "put")

    def __init__(self, put: Put | None, *, careful: bool = False) -> None:
        self.put = put
        self.careful = careful
        self.plain = _SAFE if careful else _PLAIN

    def write(self, value: object) -> bytes:
        wire = self.wire(value)
        return _large(wire) or _encode(wire) if type(wire) is Ext else _encode(wire)

    def wire(self, value: Any) -> object:
        kind = type(value)
        if kind in self.plain:
            return value
        if kind is list:
            return self.items(value)
        if kind is dict:
            return self.mapping(value)
        if kind is tuple:
            return Ext(Code.TUPLE, _encode(self.items(value)))
        if kind is Input:
            return _placeholder(value)
        return self.special(kind, value)

    def items(self, values: Sequence[object]) -> Sequence[object]:
        if self.plain.issuperset(map(type, values)):
            return values
        if type(values[0]) is list and self.matrix(values):
            return values
        out: list[object] = []
        try:
            out.extend(map(self.wire, values))
        except _Unfit as error:
            error.trail.append(f"[{len(out)}]")
            raise
        return out

    def matrix(self, values: Sequence[Any]) -> bool:
        """Whether these are lists of plain numbers or texts and nothing else."""
        return _LISTS.issuperset(map(type, values)) and self.plain.issuperset(map(type, chain.from_iterable(values)))

    def mapping(self, values: dict[Any, object]) -> object:
        if not _TEXT.issuperset(map(type, values)) or (self.careful and not all(map(_is_utf8, values))):
            return extensions.pack_mapping(values, self.write)
        if self.plain.issuperset(map(type, values.values())):
            return values
        out: dict[Any, object] = {}
        key = None
        try:
            for key, value in values.items():
                out[key] = self.wire(value)
        except _Unfit as error:
            error.trail.append(f"[{key!r}]")
            raise
        return out

    def special(self, kind: type, value: Any) -> object:
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 64 else extensions.pack_int(value)
        if kind is str:
            return value if _is_utf8(value) else extensions.pack_text(value)
        if kind is memoryview:
            return bytes(value)
        if kind is Ref:
            return Ext(Code.REF, _encode(value))
        if isinstance(value, (Path, File)):
            return self.leaf(value)
        if isinstance(value, FileId):
            return Ext(Code.REF, _encode(id_ref(value) if self.put is None else self.put(value)))
        packer = _packer(kind)
        packed = None if packer is None else packer(value, self.write)
        return _pickle(value) if packed is None else packed

    def leaf(self, value: Path | File) -> Ext:
        if self.put is None:
            raise _Unfit(f"the file {str(value)!r} cannot stand here: only arguments and results hold files")
        return Ext(Code.FILE if isinstance(value, File) and not value.as_path else Code.REF, _encode(self.put(value)))


_placeholders = [Ext(Code.INPUT, _encode(Input(number))) for number in range(16)]


def _placeholder(value: Input) -> Ext:
    number = value.number
    return _placeholders[number] if 0 <= number < 16 and not value.path else Ext(Code.INPUT, _encode(value))


def _large(part: Ext) -> bytes:
    """A large ext object, copied only once; empty for another."""
    size = memoryview(part.data).nbytes
    if not 1 << 16 <= size < 1 << 32:
        return b""
    return b"".join((b"\xc9", size.to_bytes(4, "big"), bytes((part.code,)), part.data))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pickle(value: object) -> Ext:
    try:
        return foreign.pack_pickle(value)
    except Exception as error:
        kind = type(value)
        raise _Unfit(f"a {kind.__module__}.{kind.__qualname__} cannot be stored ({error})") from error


_packers: dict[type, Packer | None] = {}


def _packer(kind: type) -> Packer | None:
    try:
        return _packers[kind]
    except KeyError:
        found = _packers[kind] = extensions.packer(kind) or foreign.packer(kind)
        return found


def _is_plain(value: Any) -> bool:
    """Whether MessagePack can write it as it stands (but for integers over 64 bits and lone surrogates)."""
    kind = type(value)
    if kind is list:
        return _PLAIN.issuperset(map(type, value))
    if kind is dict:
        return _TEXT.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values()))
    return kind in _PLAIN


def encode(value: object, put: Put | None = None) -> bytes:
    """The canonical bytes of `value`.

    Args:
        value: anything in the table above.
        put: stores the content of a `pathlib.Path` or `File` and answers its `Ref`; it is also told of each `FileId`,
            whose `Ref` is `id_ref`.

    Raises:
        ValueCodecError: if a part has no encoding, contains itself, exceeds 4 GiB, or is a file and there is no `put`.
    """
    try:
        return _encode(value) if _is_plain(value) else _Writer(put).write(value)
    except (_Unfit, RecursionError, OverflowError, ValueError) as error:
        return _again(value, put, error)


def _again(value: object, put: Put | None, error: Exception) -> bytes:
    """Write carefully what has no native form, or say what is wrong."""
    if isinstance(error, (OverflowError, UnicodeEncodeError)):
        try:
            return _Writer(put, careful=True).write(value)
        except (_Unfit, RecursionError, ValueError) as second:
            error = second
    hint = ""
    if isinstance(error, _Unfit):
        place = "".join(reversed(error.trail))
        text = f"{error}, at {place} of the value" if place else str(error)
        hint = "use numbers, text, arrays, tables, files, dataclasses, or lists and dicts of these"
    elif isinstance(error, RecursionError):
        text = "the value contains itself or is nested too deeply to be stored"
    elif "2**32" in str(error):
        text, hint = "a part of the value is larger than 4 GiB", "return it as a file"
    else:
        raise error
    raise ValueCodecError(text, hint=hint) from error


# -------------------------------------------------------------------------------------------------------------- reading


class _Context(threading.local):
    """What the decoding that is under way in this thread puts in place of `Input` and `Ref`."""

    inputs: Sequence[object] = ()
    get: Get | None = None


_context = _Context()
_input = Decoder(Input).decode
_ref = Decoder(Ref).decode


def _resolve_input(payload: memoryview) -> object:
    found = _input(payload)
    inputs = _context.inputs
    if not inputs:
        return found
    if found.number >= len(inputs):
        raise ValueCodecError(f"the template asks for input {found.number}, but there are only {len(inputs)}")
    value = inputs[found.number]
    return apply_path(value, found.path) if found.path else value


def _resolve_ref(code: int, payload: memoryview) -> object:
    found = _ref(payload)
    get = _context.get
    if get is None:
        return found
    if found.kind == "id":
        return ref_id(found)
    value = get(found)
    return File(value, found) if code == Code.FILE and isinstance(value, (str, Path)) else value


def _hook(code: int, payload: memoryview) -> object:
    if code == Code.TUPLE:
        return tuple(_read(payload))
    if code == Code.INPUT:
        return _resolve_input(payload)
    if code in {Code.REF, Code.FILE}:
        return _resolve_ref(code, payload)
    unpacker = extensions.UNPACKERS.get(code) or foreign.UNPACKERS.get(code)
    if unpacker is None:
        raise ValueCodecError(
            f"the stored value has a part of type {code}, which this version does not know",
            hint="it was written by a newer version of Tidemill: upgrade",
        )
    return unpacker(payload, _read)


_read: Callable[[bytes | memoryview], Any] = Decoder(ext_hook=_hook).decode


def decode(data: bytes | memoryview, inputs: Sequence[object] = (), get: Get | None = None) -> Any:
    """The value that `encode` wrote.

    Args:
        data: the encoding.
        inputs: what stands for each `Input`, by number; without any, the `Input`s themselves are returned.
        get: fetches the content of a `Ref`; without it, the `Ref`s themselves are returned.

    Raises:
        ValueCodecError: if `data` is no encoding, or needs a class or package that cannot be imported here, or an input
            has nothing at the selected place.
    """
    try:
        if not inputs and get is None and _context.get is None and not _context.inputs:
            return _read(data)
        outer = _context.inputs, _context.get
        _context.inputs, _context.get = inputs, get
        try:
            return _read(data)
        finally:
            _context.inputs, _context.get = outer
    except msgspec.DecodeError as error:
        raise ValueCodecError(f"the bytes are not an encoded value: {error}") from error
    except RecursionError as error:
        raise ValueCodecError("the stored value is nested too deeply to be read here") from error


# ---------------------------------------------------------------------------------------------------- looking, choosing

_EXT_BYTES = re.compile(rb"[\xc7-\xc9\xd4-\xd8]")


def _extensions(data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """Number and payload of each extension object, nested ones included, outer before inner."""
    if _EXT_BYTES.search(data) is None:
        return
    found: list[tuple[int, bytes]] = []
    scan = Decoder(ext_hook=lambda code, payload: found.append((code, bytes(payload)))).decode
    scan(data)
    for code, payload in found:
        yield code, payload
        if code in extensions.NESTED:
            yield from _extensions(payload)


def pickled(data: bytes | memoryview) -> bool:
    """Whether any part of the encoded value is a pickle."""
    return any(code == Code.PICKLE for code, _ in _extensions(data))


def refs(data: bytes | memoryview) -> list[Ref]:
    """Every content that the encoded value names, in order, repetitions included."""
    return [_ref(payload) for code, payload in _extensions(data) if code in {Code.REF, Code.FILE}]


def inputs_in(data: bytes | memoryview) -> list[Input]:
    """Every placeholder in the encoded value, in order, repetitions included."""
    return [_input(payload) for code, payload in _extensions(data) if code == Code.INPUT]


def apply_path(value: Any, path: Sequence[Step]) -> Any:
    """The part of `value` that a selector names.

    Each step is an integer index or key, a slice (start, stop, step), or a text: a key where the value has such a key,
    else an attribute.

    Raises:
        ValueCodecError: if there is no such part; it says which step failed.
    """
    for number, step in enumerate(path):
        try:
            value = _step(value, step)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            done = "".join(f"[{slice(*s) if isinstance(s, tuple) else s!r}]" for s in path[:number])
            raise ValueCodecError(
                f"a {type(value).__qualname__}{' at ' + done if done else ''} has nothing at {step!r}"
            ) from error
    return value


def _step(value: Any, step: Step) -> Any:
    if isinstance(step, tuple):
        return value[slice(*step)]
    if isinstance(step, int):
        return value[step]
    if isinstance(value, dict):
        return value[step]
    if hasattr(value, "__getitem__") and not isinstance(value, (str, bytes, list, tuple)):
        with contextlib.suppress(LookupError, TypeError, ValueError):
            return value[step]
    return getattr(value, step)
