"""The canonical encoding of values: its exact bytes, round trips, and what it promises about them."""

import contextlib
import datetime as dt
import functools
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import textwrap
import time as clock
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.model import samples
from tests.model.samples import Attrs, Bit, Colour, Derived, Frozen, Level, Model, Pair, Point, Record
from tidemill.model.errors import ValueCodecError
from tidemill.model.file import File
from tidemill.model.values import Input, Ref, apply_path, decode, encode, inputs_in, pickled, refs

NAIVE = datetime(2026, 2, 3, 4, 5, 6, 7)  # noqa: DTZ001

# fmt: off
VECTORS: list[tuple[object, str]] = [
    (None, "c0"),
    (True, "c3"),
    (0, "00"),
    (1, "01"),
    (-1, "ff"),
    (127, "7f"),
    (128, "cc80"),
    (-33, "d0df"),
    (2**32, "cf0000000100000000"),
    (2**64 - 1, "cfffffffffffffffff"),
    (-(2**63), "d38000000000000000"),
    (2**64, "c7090d010000000000000000"),
    (-(2**63) - 1, "c7090dff7fffffffffffffff"),
    (1.0, "cb3ff0000000000000"),
    (-0.0, "cb8000000000000000"),
    (float("inf"), "cb7ff0000000000000"),
    (float("nan"), "cb7ff8000000000000"),
    ("", "a0"),
    ("Cu", "a24375"),
    ("é", "a2c3a9"),
    ("\ud800", "c7030eeda080"),
    (b"", "c400"),
    (b"\x00\xff", "c40200ff"),
    ([], "90"),
    ([1, 3.4, "Cu"], "9301cb400b333333333333a24375"),
    (["x" * 32], "91d9207878787878787878787878787878787878787878787878787878787878787878"),
    ({}, "80"),
    ({"b": 1, "a": 2, "aa": 3}, "83a16102a2616103a16201"),
    ({"é": 1, "z": 2}, "82a17a02a2c3a901"),
    ((), "d40590"),
    ((1,), "d5059101"),
    ([(1, 2), [1, 2]], "92c70305920102920102"),
    ({3, 1, 2}, "d60693010203"),
    ({"b", "a"}, "c7050692a161a162"),
    (frozenset({1}), "d5079101"),
    ({2: "b", 1: "a"}, "c707089401a16102a162"),
    ({1: 1, "a": 2, (1, 2): 3, None: 4}, "c70f08980101a16102c004c7030592010203"),
    (OrderedDict([("b", 1), ("a", 2)]), "c7070994a16201a16102"),
    (defaultdict(list, a=[1]), "c7180a92c70f1d91ad6275696c74696e733a6c69737481a1619101"),
    (Counter("aab"), "c7070b82a16102a16201"),
    (deque([1, 2], 3), "c7050c9203920102"),
    (bytearray(b"x"), "d40f78"),
    (1 + 2j, "c7131092cb3ff0000000000000cb4000000000000000"),
    (range(0, 10, 3), "d61193000a03"),
    (slice(1, None, 2), "d6129301c002"),
    (date(2026, 2, 3), "c70a13323032362d30322d3033"),
    (time(1, 2, 3, 4, fold=1), "c7131493af30313a30323a30332e30303030303401c0"),
    (NAIVE, "c71e1593ba323032362d30322d30335430343a30353a30362e30303030303700c0"),
    (datetime(2026, 2, 3, tzinfo=dt.UTC), "c7191593b3323032362d30322d30335430303a30303a3030009200c0"),
    (datetime(2026, 2, 3, tzinfo=ZoneInfo("Europe/Berlin")),
     "c7241593b3323032362d30322d30335430303a30303a303000ad4575726f70652f4265726c696e"),
    (timedelta(days=-1, microseconds=5), "d61693ff0005"),
    (timezone(timedelta(hours=1), "X"), "d71792ced693a400a158"),
    (Decimal("1.00"), "c70518a4312e3030"),
    (Fraction(-1, 3), "c7031992ff03"),
    (UUID(int=1), "d81a00000000000000000000000000000001"),
    (PurePosixPath("a/b"), "c70b1b92a5706f736978a3612f62"),
    (re.compile("a+", re.IGNORECASE), "c7051c92a2612b22"),
    (math.sin, "c70a1d91a86d6174683a73696e"),
    (int, "c70e1d91ac6275696c74696e733a696e74"),
    (..., "c7131d91b16275696c74696e733a456c6c6970736973"),
    (Colour.RED, "c7201e92ba74657374732e6d6f64656c2e73616d706c65733a436f6c6f7572a3524544"),
    (Bit.A | Bit.B, "c71b1e93b774657374732e6d6f64656c2e73616d706c65733a426974c003"),
    (Pair(1, (2,)), "c7241f92b874657374732e6d6f64656c2e73616d706c65733a5061697282a16101a162d5059102"),
    (Point(1, [2.0]), "c72b2092b974657374732e6d6f64656c2e73616d706c65733a506f696e7482a17801a17991cb4000000000000000"),
    (SimpleNamespace(a=1), "c71b2092b574797065733a53696d706c654e616d65737061636581a16101"),
    (functools.partial(math.pow, 2), "c7112193c70a1d91a86d6174683a706f77910280"),
    (Input(0), "c70301920090"),
    (Input(300, ("a", 0, (None, 2, None))), "c70c0192cd012c93a1610093c002c0"),
    (Ref(bytes(32), 5, "file", "a.txt"),
     ("c7320295c420000000000000000000000000000000000000000000000000000000000000000005a466696c65a5612e747874"
     "cd01a4")),
    (np.array([1.0, 2.0]), "c7192893a33c66389102c410000000000000f03f0000000000000040"),
    (np.array([[1, 2, 3]], dtype="i2").T, "d82893a33c6932920301c406010002000300"),
    (np.array(7, dtype="u1"), "c7092893a37c753190c40107"),
    (np.zeros((0, 2), dtype=bool), "c70a2893a37c6231920002c400"),
    (np.array(["a", "bc"]), "c7192893a33c55329102c41061000000000000006200000063000000"),
    (np.array([(1, 2.0)], dtype=[("n", "<i4"), ("x", "<f8")]),
     "c726289392c7070592a16ea33c6934c7070592a178a33c66389101c40c010000000000000000000040"),
    (np.array(["2026-02-03"], dtype="M8[D]"), "c7142893a63c4d385b445d9101c4080750000000000000"),
    (np.float64(0.5), "c70f2992a33c6638c408000000000000e03f"),
    (np.int8(-1), "d72992a37c6931c401ff"),
    (np.bool_(True), "d72992a37c6231c40101"),
    (np.dtype("f4"), "d62aa33c6634"),
]
# fmt: on


def same(a: Any, b: Any) -> bool:
    """Equal in value and type all the way down; NaN equals NaN and the sign of zero counts."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(a[k], b[k]) for k in a) and sorted(map(repr, a)) == sorted(map(repr, b))
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, functools.partial):
        return same((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    return bool(a == b)


@pytest.mark.parametrize(
    ("value", "expected"), VECTORS, ids=lambda v: v if isinstance(v, str) and v else type(v).__name__
)
def test_vector(value: object, expected: str) -> None:
    assert encode(value).hex() == expected
    assert same(decode(bytes.fromhex(expected)), value)
    assert not pickled(bytes.fromhex(expected))


# ---------------------------------------------------------------------------------------------------------- properties

texts = st.text(st.characters())
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    texts,
    st.binary(),
    st.complex_numbers(allow_nan=False),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.datetimes(timezones=st.one_of(st.none(), st.timezones())),
    st.sampled_from([Colour.RED, Level.LOW, Bit.A, Bit.A | Bit.B, np.float64(1.5), np.int32(3), np.bool_(False)]),
)
keys = st.recursive(
    st.one_of(texts, st.integers(), st.booleans(), st.binary(), st.none(), st.sampled_from(list(Level))),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        st.builds(Frozen, st.integers(), inner),
        st.builds(deque, st.lists(inner, max_size=3)),
    ),
    max_leaves=12,
)


@given(values)
def test_round_trip_keeps_values_and_types(value: object) -> None:
    data = encode(value)
    back = decode(data)
    assert same(back, value)
    assert encode(back) == data
    assert same(decode(memoryview(data)), value)


@given(st.dictionaries(keys, values, max_size=6), st.randoms())
def test_order_of_insertion_does_not_matter(value: dict[Any, object], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)
    assert encode({k for k, _ in items}) == encode(set(value))


@given(
    hnp.arrays(st.one_of(hnp.scalar_dtypes(), hnp.array_dtypes()), hnp.array_shapes(min_dims=0, min_side=0, max_side=3))
)
def test_arrays(array: Any) -> None:
    data = encode(array)
    back = decode(data)
    assert same(back, np.ascontiguousarray(array).reshape(array.shape)) or back.dtype.names
    assert back.dtype == array.dtype
    assert encode(back) == data
    assert encode(np.asfortranarray(array).reshape(array.shape)) == data
    assert back.flags.writeable


@given(st.binary(max_size=30))
def test_arbitrary_bytes_never_crash(data: bytes) -> None:
    if b"\x04" in data:  # would be taken for a pickle
        return
    with contextlib.suppress(ValueCodecError, ValueError, TypeError, ArithmeticError, LookupError):
        decode(data)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1], (1,)),
        (1, True),
        (1, 1.0),
        (0, False),
        (0.0, -0.0),
        ("a", b"a"),
        ({1}, frozenset({1})),
        (1.0, np.float64(1.0)),
        (np.float32(1.0), np.float64(1.0)),
        (np.float64(1.0), np.array(1.0)),
        ([1.0], np.array([1.0])),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (Level.LOW, 1),
        (Pair(1, ()), (1, ())),
        (Record(1), Attrs(1)),
        (Decimal("1.0"), Decimal("1.00")),
        ({"a": 1}, OrderedDict(a=1)),
        (b"a", bytearray(b"a")),
        ({1: 2}, {"1": 2}),
        (NAIVE, NAIVE.date()),
        (None, ...),
    ],
)
def test_what_differs_is_written_differently(a: object, b: object) -> None:
    assert encode(a) != encode(b)
    assert encode([a]) != encode([b])


# ---------------------------------------------------------------------------------------------------------------- NumPy


def test_padding_of_structured_arrays_is_no_part_of_the_value() -> None:
    dtype = np.dtype([("a", "i1"), ("b", "f8"), ("c", "f4", (3,)), ("d", np.longdouble)], align=True)
    clean, dirty = np.zeros(4, dtype), np.frombuffer(b"\xff" * 4 * dtype.itemsize, dtype).copy()
    for name in ("a", "b", "c", "d"):
        dirty[name] = clean[name] = np.arange(4)[:, None] if name == "c" else np.arange(4)
    assert clean.tobytes() != dirty.tobytes()
    assert encode(clean) == encode(dirty)
    assert (decode(encode(dirty)) == dirty).all()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 1 << 16, (1 << 16) + 1, 1 << 20])
def test_large_arrays_have_the_shortest_headers_too(size: int) -> None:
    array = np.arange(size, dtype="u1")
    data = encode(array)
    payload = msgspec.msgpack.decode(data)
    assert data == msgspec.msgpack.encode(payload)
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(payload.data)) == bytes(payload.data)
    assert encode([array])[1:] == data
    assert same(decode(data), array)


def test_views_and_memory_maps(tmp_path: Path) -> None:
    base = np.arange(24.0).reshape(4, 6)
    assert encode(base[::2, 1::2]) == encode(base[::2, 1::2].copy())
    mapped = np.memmap(tmp_path / "a", dtype="f8", mode="w+", shape=(4, 6))
    mapped[:] = base
    assert encode(mapped) == encode(base)


def test_arrays_of_objects_are_pickled() -> None:
    data = encode([np.array([{"a": 1}, None], dtype=object)])
    assert pickled(data)
    assert decode(data)[0][0] == {"a": 1}


# ------------------------------------------------------------------------------------------------------------- objects


@pytest.mark.parametrize(
    "value",
    [
        Point(1, [2.0]),
        Frozen(1, [Frozen(2)]),
        Attrs(1, (2,)),
        Record(1, (2,)),
        Model(x=1, inner=Model(x=2, y=(3,))),
        [Level.LOW, Colour.RED],
        samples.double,
        functools.partial(samples.double, 1),
        pathlib,
        Model,
    ],
    ids=lambda v: type(v).__name__,
)
def test_objects_are_stored_by_name_and_fields(value: object) -> None:
    data = encode(value)
    assert not pickled(data)
    assert same(decode(data), value)
    assert encode(decode(data)) == data


def test_pydantic_keeps_which_fields_were_set() -> None:
    assert decode(encode(Model(x=1))).model_dump(exclude_unset=True) == {"x": 1}


def test_attributes_beside_the_fields_are_kept_and_caches_are_not() -> None:
    fresh, used = Derived(3.0), Derived(3.0)
    assert used.double == 6.0
    assert encode(fresh) == encode(used)
    back = decode(encode(used))
    assert back.half == 1.5
    assert "double" not in vars(back)


def test_fields_added_since_are_filled_with_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Point(1, [2.0]))
    monkeypatch.setattr(samples, "Point", samples.Grown)
    back = decode(data)
    assert (back.x, back.y, back.z) == (1, [2.0], [])
    monkeypatch.setattr(samples, "Point", samples.Demanding)
    only_x = encode(Frozen(1)).replace(b"Frozen", b"Point\x00")
    with pytest.raises(ValueCodecError):
        decode(only_x)


def test_fields_missing_without_default_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(samples.Grown(1))
    monkeypatch.setattr(samples, "Grown", samples.Frozen)
    with pytest.raises(ValueCodecError, match="no longer has"):
        decode(data)
    data = encode(SimpleNamespace(x=1)).replace(b"types:SimpleNamespace", b"tests.model.samples:D")
    monkeypatch.setattr(samples, "D", samples.Demanding, raising=False)
    with pytest.raises(ValueCodecError, match="'y'"):
        decode(data)


def test_a_class_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode([Point(1, [])])
    monkeypatch.delattr(samples, "Point")
    with pytest.raises(ValueCodecError, match=r"tests\.model\.samples\.Point"):
        decode(data)
    with pytest.raises(ValueCodecError, match="no_such_module"):
        decode(encode(math.sin).replace(b"\xc7\x0a\x1d\x91\xa8math:sin", b"\xc7\x12\x1d\x91\xb0no_such_module:x"))


def test_local_classes_are_pickled() -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    data = encode({"a": (Local(3),)})
    assert pickled(data)
    assert decode(data)["a"][0].x == 3
    assert not pickled(encode({"a": (Point(3, []),)}))


def test_functions_are_told_apart_by_their_code() -> None:
    before = encode(samples.double)
    original = samples.double.__code__
    samples.double.__code__ = (lambda x: 3 * x).__code__
    try:
        assert encode(samples.double) != before
    finally:
        samples.double.__code__ = original
    assert encode(samples.double) == before


SCRIPT = """
import dataclasses, enum, sys

@dataclasses.dataclass
class Cell:
    a: float
    inner: "Cell | None" = None

class Kind(enum.Enum):
    FCC = 1

def make():
    return [Cell(1.0, Cell(2.0)), Kind.FCC]

if __name__ == "__main__":
    from tidemill.model.values import decode, encode
    data = encode(make())
    assert decode(data) == make()
    sys.stdout.write(data.hex())
"""

WORKER = """
import importlib.util, sys
from tidemill.model.values import decode, encode, pickled

spec = importlib.util.spec_from_file_location("__mp_main__", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["__mp_main__"] = module
if sys.argv[3] == "alias":
    sys.modules["__main__"] = module
spec.loader.exec_module(module)
data = bytes.fromhex(sys.argv[2])
assert decode(data) == module.make()
assert encode(module.make()) == data
assert not pickled(data)
"""


@pytest.mark.parametrize("alias", ["alias", "separate"])
def test_classes_of_the_script_are_found_in_a_worker(tmp_path: Path, alias: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    data = python(str(script))
    python("-c", WORKER, str(script), data, alias)


def python(*args: str, seed: str = "0") -> str:
    path = os.pathsep.join(p for p in sys.path if p)
    env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *args], check=True, capture_output=True, text=True, env=env).stdout


def test_hash_seed_does_not_matter() -> None:
    code = """
    from tidemill.model.values import encode
    print(encode([{"x", "y", "z", ("a", "b")}, {("p", 1): 2, "q": frozenset("hello")}]).hex())
    """
    assert len({python("-c", textwrap.dedent(code), seed=seed) for seed in ("1", "2", "3")}) == 1


def test_no_heavy_library_is_imported() -> None:
    code = """
    import sys
    from tidemill.model.values import decode, encode
    import datetime, decimal
    decode(encode([1, "a", (2.0, {3}), {4: datetime.datetime(2026, 1, 1)}, decimal.Decimal(1)]))
    print(*{"numpy", "pandas", "pyarrow", "attrs", "attr", "pydantic", "cloudpickle"} & set(sys.modules))
    """
    assert python("-c", textwrap.dedent(code)).strip() == ""


# -------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("frame", "as_pickle"),
    [
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), False),
        (pd.DataFrame({"a": [1.5, None], "b": ["x", None]}), False),
        (pd.DataFrame({1: [1, 2]}, index=["x", "y"]), False),
        (pd.DataFrame({"a": pd.Categorical(["x", "y"])}, index=pd.date_range("2026", periods=2)), False),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}), False),
        (pd.DataFrame(np.eye(2), index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["u", "v"])), False),
        (pd.DataFrame({"a": pd.Series(["x", "y"], dtype=object)}), True),
        (pd.DataFrame({"a": [[1], [2, 3]]}), True),
        (pd.DataFrame({"a": [{"k": 1}, {}]}), True),
        (pd.DataFrame(np.eye(2), columns=["a", "a"]), True),
        (pd.DataFrame(), False),
    ],
)
def test_frames(frame: pd.DataFrame, as_pickle: bool) -> None:
    data = encode([frame])
    back = decode(data)[0]
    pd.testing.assert_frame_equal(back, frame)
    assert pickled(data) is as_pickle
    assert encode([back]) == data


def test_attributes_of_a_frame_are_kept() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["unit"] = frame["a"].attrs["unit"] = "eV"
    assert decode(encode(frame)).attrs == {"unit": "eV"}
    series = frame["a"].copy()
    series.attrs["unit"] = "eV"
    assert decode(encode(series)).attrs == {"unit": "eV"}


@pytest.mark.parametrize("name", [None, "energy", ("a", 1)])
def test_series(name: Any) -> None:
    series = pd.Series([1.0, 2.0], index=pd.date_range("2026", periods=2, freq="D"), name=name)
    data = encode(series)
    pd.testing.assert_series_equal(decode(data), series)
    assert not pickled(data)


def test_tables_do_not_depend_on_their_chunks() -> None:
    table = pa.table({"a": [1, 2, None], "b": ["x", "y", "z"]})
    assert decode(encode(table)).equals(table)
    assert encode(pa.concat_tables([table.slice(0, 1), table.slice(1)])) == encode(table)


# --------------------------------------------------------------------------------------------- files and placeholders

REF = Ref(b"\x01" * 32, 3, "file", "a.txt", 0o755)


def test_files_are_put_and_fetched() -> None:
    seen: list[os.PathLike[str]] = []

    def put(leaf: object) -> Ref:
        assert isinstance(leaf, os.PathLike)
        seen.append(leaf)
        return REF

    value = {"p": Path("a.txt"), "nested": [(File("b.txt"),), {Path("c")}]}
    data = encode(value, put)
    assert sorted(os.fspath(leaf) for leaf in seen) == ["a.txt", "b.txt", "c"]
    assert refs(data) == [REF] * 3
    assert decode(data) == {"p": REF, "nested": [(REF,), {REF}]}
    back = decode(data, get=lambda ref: Path("/data") / ref.name)
    assert back == {"p": Path("/data/a.txt"), "nested": [(File("/data/a.txt", REF),), {Path("/data/a.txt")}]}
    assert encode(REF) == encode(Path("a.txt"), put)


def test_a_file_without_put_is_an_error() -> None:
    with pytest.raises(ValueCodecError, match=r"'a\.txt'.*at \[1\]\['f'\]"):
        encode([0, {"f": Path("a.txt")}])


def test_a_file_is_path_like(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    file = File(tmp_path / "a")
    assert Path(file).read_text() == "x"
    assert file == File(str(tmp_path / "a"))
    assert len({file, File(tmp_path / "a")}) == 1
    assert "a" in repr(file)


def test_placeholders_are_replaced() -> None:
    template = encode([Input(0), (1, {"k": Input(20, ("e", (1, None, None), -1))}), [Input(0)]])
    assert [i.number for i in inputs_in(template)] == [0, 20, 0]
    assert decode(template)[1][1]["k"] == Input(20, ("e", (1, None, None), -1))
    inputs = ["first", *[None] * 19, {"e": [1, 2, 3]}]
    assert decode(template, inputs) == ["first", (1, {"k": 3}), ["first"]]
    with pytest.raises(ValueCodecError, match="input 20"):
        decode(template, ["first"])
    assert decode(encode(Input(0)), [Input(0)]) == Input(0)
    assert inputs_in(encode([1, "a", b"\xd4\x01"])) == []


def test_reading_inside_reading() -> None:
    inner = encode([Input(0), REF])
    outer = encode([REF, Input(0)])
    assert decode(outer, ["x"], lambda _: decode(inner, ["y"], lambda _: 1)) == [["y", 1], "x"]
    assert decode(outer, ["x"], lambda _: decode(inner)) == [[Input(0), REF], "x"]


class Box:
    item = 5

    def __getitem__(self, key: str) -> str:
        if key == "known":
            return "by key"
        raise KeyError(key)


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ({"a": [1, 2]}, ("a", 1), 2),
        ({"items": 1}, ("items",), 1),
        ({3: 4}, (3,), 4),
        (Pair(1, (2,)), ("b", 0), 2),
        (Point(1, [2.0]), ("y",), [2.0]),
        ([1, 2, 3, 4], ((1, None, 2),), [2, 4]),
        (np.array([1 + 2j]), ("imag", 0), 2.0),
        (np.array([(1, 2.0)], dtype=[("n", "i4"), ("x", "f8")]), ("x", 0), 2.0),
        (pd.DataFrame({"a": [7]}), ("a", 0), 7),
        (Box(), ("known",), "by key"),
        (Box(), ("item",), 5),
        (5, (), 5),
    ],
)
def test_selectors(value: object, path: Any, expected: object) -> None:
    assert apply_path(value, path) == expected


@pytest.mark.parametrize(
    ("value", "path", "match"),
    [
        ({"a": 1}, ("items",), "dict has nothing at 'items'"),
        ([[1]], (0, 5), r"list at \[0\] has nothing at 5"),
        (3, ("no",), "int has nothing at 'no'"),
        (None, (0,), "NoneType has nothing at 0"),
    ],
)
def test_selectors_that_find_nothing(value: object, path: Any, match: str) -> None:
    with pytest.raises(ValueCodecError, match=match):
        apply_path(value, path)


# --------------------------------------------------------------------------------------------------------------- errors


def _cycle(wrap: Callable[[list[Any]], object]) -> list[Any]:
    loop: list[Any] = [1]
    loop.append(wrap(loop))
    return loop


@pytest.mark.parametrize(
    "wrap",
    [lambda x: x, lambda x: (x,), lambda x: {"a": x}, lambda x: {1: x}, lambda x: Frozen(1, x), lambda x: deque([x])],
)
def test_cycles_are_refused(wrap: Callable[[list[Any]], object]) -> None:
    with pytest.raises(ValueCodecError, match="contains itself"):
        encode(_cycle(wrap))


def _generator() -> Iterator[int]:
    yield 1


def test_what_cannot_be_stored_is_named_with_its_place() -> None:
    with pytest.raises(ValueCodecError, match=r"generator.*at \[1\]\['a'\]\[1\]"):
        encode([2**70, {"a": (3, iter(_generator()))}])


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\x01", b"\x01\x01", b"\xd4\x7f\x00", b"\xd4\x05\xc1"])
def test_bytes_that_are_no_encoding(data: bytes) -> None:
    with pytest.raises(ValueCodecError):
        decode(data)


def test_a_pickle_that_cannot_be_loaded_says_so() -> None:
    bad = pickle.dumps(samples.double).replace(b"double", b"treble")
    with pytest.raises(ValueCodecError, match="treble"):
        decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(4, bad)))


def test_times_in_zones_keep_their_zone() -> None:
    berlin = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    back = decode(encode(berlin))
    assert back.utcoffset() == berlin.utcoffset() == timedelta(hours=1)
    assert isinstance(back.tzinfo, ZoneInfo)
    assert decode(encode(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))).tzinfo is dt.UTC


def test_speed_beside_bare_msgspec(capsys: pytest.CaptureFixture[str]) -> None:
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()
    cases: list[Any] = [[1, 3.4, "Cu"], {"a": 1.0, "b": 2}, [[1.0] * 10] * 100, [(1, 2.0)] * 100, Point(1, [2.0])]
    lines = []
    for value in cases:
        times = [_microseconds(encoder.encode, value), _microseconds(encode, value)]
        times += [_microseconds(decoder.decode, encoder.encode(value)), _microseconds(decode, encode(value))]
        text = "encode bare {:5.2f} us, ours {:5.2f}; decode bare {:5.2f} us, ours {:5.2f}".format(*times)
        lines.append(f"{text}  {repr(value)[:30]}\n")
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(lines))


def _microseconds(action: Callable[[Any], object], value: object, count: int = 500) -> float:
    best = math.inf
    for _ in range(3):
        start = clock.perf_counter()
        for _ in range(count):
            action(value)
        best = min(best, clock.perf_counter() - start)
    return best / count * 1e6


def test_objects_of_a_scripts_own_class_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from tidemill.model.values import decode, encode, pickled\n"
        "class Settings:\n    def __init__(self, v): self.v = v\n"
        "def double(x): return 2 * x\n"
        "data = encode([Settings({'a': 1}), {'f': double}])\n"
        "found = decode(data)\n"
        "assert type(found[0]) is Settings and found[0].v == {'a': 1} and found[1]['f'] is double\n"
        "print(pickled(data), data.hex())\n"
    )
    told = {
        subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout for _ in range(2)
    }
    assert len(told) == 1
    assert told.pop().startswith("True ")
