"""The extension types for NumPy, Arrow and pandas values, and pickles: a part of `tidemill.model.extensions`.

Nothing here imports a library before a value of that library is written or read.
"""

import functools
import io
import types
from typing import Any

from msgspec import Raw
from msgspec.msgpack import Decoder, Encoder, Ext

from tidemill.model.errors import ValueCodecError
from tidemill.model.extensions import Code, Packer, Read, Unpacker, Write, import_name, imported

_raw = Encoder().encode

# --------------------------------------------------------------------------------------------------------------- NumPy


def _describe(dtype: Any) -> Any:
    """A dtype as text such as `<f8`, or as a list of fields: the form used by the NPY file format."""
    import numpy as np

    return dtype.str if dtype.names is None and dtype.subdtype is None else np.lib.format.dtype_to_descr(dtype)


def _dtype(form: Any) -> Any:
    import numpy as np

    return np.dtype(form) if isinstance(form, str) else np.lib.format.descr_to_dtype(form)


def _padded(dtype: Any) -> bool:
    """Whether elements hold bytes that are not part of the value."""
    if dtype.names is not None:
        fields = [dtype[name] for name in dtype.names]
        return sum(field.itemsize for field in fields) != dtype.itemsize or any(map(_padded, fields))
    return (dtype.subdtype is not None and _padded(dtype.base)) or _float_padding(dtype) > 0


def _float_padding(dtype: Any) -> int:
    """Unused bytes in each number: an x87 long double has 10 bytes of value in 12 or 16."""
    import numpy as np

    if dtype.kind not in "fc" or dtype.itemsize <= (8 if dtype.kind == "f" else 16):
        return 0
    return int(np.dtype(np.longdouble).itemsize) - 10 if np.finfo(np.longdouble).nmant == 63 else 0


def _without_padding(array: Any) -> Any:
    """A copy in which the bytes between fields and behind long doubles are zero."""
    import numpy as np

    clean = np.zeros(array.shape, array.dtype)
    _fill(clean, array)
    return clean


def _fill(clean: Any, array: Any) -> None:
    if array.dtype.names is not None:
        for name in array.dtype.names:
            _fill(clean[name], array[name])
    else:
        clean[...] = _trimmed(array) if _float_padding(array.dtype) else array


def _trimmed(array: Any) -> Any:
    """A copy of long doubles with the bytes behind each number zero."""
    import numpy as np

    copy = np.array(array).reshape(-1)
    if copy.size:
        size = np.dtype(np.longdouble).itemsize
        rest = slice(0, size - 10) if array.dtype.byteorder == ">" else slice(10, size)
        copy.view(np.uint8).reshape(-1, size)[:, rest] = 0
    return copy.reshape(array.shape)


def _bytes(array: Any) -> Any:
    """The elements in C order as a buffer; copied only where they do not lie so."""
    import numpy as np

    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8).data if flat.size and flat.dtype.itemsize else b""


@functools.lru_cache(256)
def _layout(dtype: Any) -> tuple[Any, bool]:
    """The dtype's form and whether it has padding."""
    return _describe(dtype), _padded(dtype)


def _pack_array(value: Any, write: Write) -> Ext | None:
    if value.dtype.hasobject:
        return None
    form, padded = _layout(value.dtype)
    data = _bytes(_without_padding(value) if padded else value)
    if isinstance(form, str) and len(data) < _LARGE:
        return Ext(Code.ARRAY, _raw([form, value.shape, data]))
    head = write([form, list(value.shape), b""])[:-2]
    return Ext(Code.ARRAY, b"".join((head, _bin_header(len(data)), data)))


_LARGE = 1 << 16


def _bin_header(size: int) -> bytes:
    """How MessagePack opens `size` bytes: written apart, so that the bytes of an array are copied only once."""
    if size < 1 << 8:
        return bytes((0xC4, size))
    if size < 1 << 16:
        return b"\xc5" + size.to_bytes(2, "big")
    if size < 1 << 32:
        return b"\xc6" + size.to_bytes(4, "big")
    raise ValueError("larger than 2**32 - 1 bytes")


_parts = Decoder(tuple[Raw, tuple[int, ...], memoryview]).decode


def _unpack_array(payload: memoryview, read: Read) -> Any:
    import numpy as np

    form, shape, data = _parts(payload)
    return _filled(np.empty(shape, _dtype(read(form))), data)


def _filled(array: Any, data: bytes | memoryview) -> Any:
    """A new array is writable and aligned, unlike a view of the received bytes."""
    import numpy as np

    if data:
        array.reshape(-1).view(np.uint8)[...] = np.frombuffer(data, np.uint8)
    return array


def _pack_scalar(value: Any, write: Write) -> Ext | None:
    if value.dtype.hasobject:
        return None
    form, padded = _layout(value.dtype)
    if not padded:
        return Ext(Code.SCALAR, write([form, value.tobytes()[: value.dtype.itemsize]]))
    import numpy as np

    return Ext(Code.SCALAR, write([form, bytes(_bytes(_without_padding(np.asarray(value))))]))


def _unpack_scalar(payload: memoryview, read: Read) -> object:
    import numpy as np

    form, data = read(payload)
    if isinstance(form, str) and data:
        return np.frombuffer(data, form)[0]
    return _filled(np.empty((), _dtype(form)), data)[()]


def _pack_dtype(value: Any, write: Write) -> Ext | None:
    return None if value.hasobject and value.str != "|O" else Ext(Code.DTYPE, write(_describe(value)))


# ----------------------------------------------------------------------------------------------------- Arrow and pandas


def _arrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        return None
    return pa


def _stream(table: Any) -> bytes:
    pa = _arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _table(payload: memoryview, _: Read) -> Any:
    pa = _arrow()
    if pa is None:
        raise ValueCodecError("a stored table cannot be read, because pyarrow is missing", hint="pip install pyarrow")
    return pa.ipc.open_stream(pa.py_buffer(bytes(payload))).read_all()


def _pack_table(value: Any, _: Write) -> Ext:
    return Ext(Code.TABLE, _stream(value))


def _plain_columns(frame: Any) -> bool:
    """Whether Arrow gives every column back as it was: object columns only if they hold text and nothing else."""
    from pandas.api.types import infer_dtype

    parts = [frame.index.get_level_values(n) for n in range(frame.index.nlevels)]
    parts += [frame.iloc[:, n] for n in range(frame.shape[1])]
    return all(part.dtype != object or infer_dtype(part, skipna=False) == "string" for part in parts)


def _without_versions(table: Any) -> Any:
    """The table without the versions of the libraries that made it, which are no part of the value."""
    import json

    meta = json.loads(table.schema.metadata[b"pandas"])
    meta.pop("creator", None)
    meta.pop("pandas_version", None)
    return table.replace_schema_metadata({b"pandas": json.dumps(meta, sort_keys=True).encode()})


def _frame_stream(frame: Any) -> bytes | None:
    """The Arrow stream of a data frame, or None if it would not come back equal."""
    arrow = _arrow()
    if arrow is None or not _plain_columns(frame):
        return None
    try:
        table = _without_versions(arrow.Table.from_pandas(frame))
        back = table.slice(0, 0).to_pandas()
    except (arrow.ArrowException, ValueError, TypeError, NotImplementedError):
        return None
    same = back.dtypes.equals(frame.dtypes) and back.columns.equals(frame.columns)
    same = same and type(back.index) is type(frame.index) and list(back.index.names) == list(frame.index.names)
    same = same and back.index.dtype == frame.index.dtype and getattr(frame.columns, "freq", None) is None
    return _stream(table) if same and not frame.attrs else None


def _pack_frame(value: Any, write: Write) -> Ext | None:
    data = _frame_stream(value)
    return None if data is None else Ext(Code.FRAME, write([data, getattr(value.index, "freqstr", None)]))


def _unpack_frame(payload: memoryview, read: Read) -> Any:
    data, frequency = read(payload)
    frame = _table(data, read).to_pandas()
    if frequency is not None and type(frame.index).__name__ != "PeriodIndex":
        frame.index.freq = frequency
    return frame


def _pack_series(value: Any, write: Write) -> Ext | None:
    if value.attrs:
        return None
    packed = _pack_frame(value.to_frame("value"), write)
    return None if packed is None else Ext(Code.SERIES, write([value.name, packed.data]))


def _unpack_series(payload: memoryview, read: Read) -> object:
    name, data = read(payload)
    return _unpack_frame(data, read)["value"].rename(name)


# ------------------------------------------------------------------------------------------------------------- pickles


def pack_pickle(value: object) -> Ext:
    """The last resort. The bytes of equal values may differ: less so where all classes and functions can be imported,
    the script's own included, because cloudpickle gives those that it carries along a new number each time.

    Raises:
        Exception: whatever the value's own pickling raises.
    """
    try:
        return Ext(Code.PICKLE, _by_name(value))
    except Exception:  # noqa: BLE001 — a class's own methods may raise anything
        import cloudpickle

        return Ext(Code.PICKLE, cloudpickle.dumps(value, protocol=5))


def _by_name(value: object) -> bytes:
    """A plain pickle in which classes and functions are named.

    Raises:
        Exception: not all of them have a name, or whatever the value's own pickling raises.
    """
    out = io.BytesIO()
    _pickler()(out, protocol=5).dump(value)
    return out.getvalue()


@functools.cache
def _pickler() -> Any:
    import pickle

    class Pickler(pickle.Pickler):
        def reducer_override(self, thing: Any) -> Any:
            if not isinstance(thing, (type, types.FunctionType)) or thing.__module__ not in {"__main__", "__mp_main__"}:
                return NotImplemented
            name = import_name(thing)
            if name is None:
                raise pickle.PicklingError(f"{thing!r} has no name of its own")
            return imported, (name,)

    return Pickler


def _unpack_pickle(payload: memoryview, _: Read) -> object:
    import pickle

    try:
        return pickle.loads(payload)
    except Exception as error:
        raise ValueCodecError(
            f"a stored pickle cannot be loaded here: {type(error).__name__}: {error}",
            hint="it needs the packages and the Python version that it was written with",
        ) from error


# ---------------------------------------------------------------------------------------------------------- the tables

_PACKERS: dict[str, Packer] = {
    "numpy.ndarray": _pack_array,
    "numpy.memmap": _pack_array,
    "pyarrow.lib.Table": _pack_table,
    "pandas.DataFrame": _pack_frame,
    "pandas.core.frame.DataFrame": _pack_frame,
    "pandas.Series": _pack_series,
    "pandas.core.series.Series": _pack_series,
}

UNPACKERS: dict[int, Unpacker] = {
    Code.PICKLE: _unpack_pickle,
    Code.ARRAY: _unpack_array,
    Code.SCALAR: _unpack_scalar,
    Code.DTYPE: lambda payload, read: _dtype(read(payload)),
    Code.TABLE: _table,
    Code.FRAME: _unpack_frame,
    Code.SERIES: _unpack_series,
}


def packer(kind: type) -> Packer | None:
    """How values of exactly this type are written, or None."""
    found = _PACKERS.get(f"{kind.__module__}.{kind.__qualname__}")
    if found is None and kind.__module__.startswith("numpy"):
        bases = {f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__}
        if "numpy.generic" in bases:
            return _pack_scalar
        if "numpy.dtype" in bases:
            return _pack_dtype
    return found
