"""Previews of encoded values: short, true, and made without importing anything."""

import datetime as dt
import sys
from collections import OrderedDict, defaultdict
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.samples import Colour, Pair, Point
from tidemill.model.preview import preview, shorten, size_text
from tidemill.model.values import Input, Ref, encode


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (3.4, "3.4"),
        ("Cu", "'Cu'"),
        ([1, 2.5, True], "[1, 2.5, True]"),
        ((1, (2, 3)), "(1, (2, 3))"),
        ({"a": [1]}, "{'a': [1]}"),
        ({1: "x"}, "{1: 'x'}"),
        ({3}, "{3}"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})" if sys.version_info >= (3, 12) else "OrderedDict([('a', 1)])"),
        (defaultdict(list, {"a": [1]}), "{'a': [1]}"),
        (range(3), "range(0, 3)"),
        (2 + 1j, "(2+1j)"),
        (10**30, "1" + "0" * 30),
        (Fraction(1, 3), "Fraction(1, 3)"),
        (dt.date(2026, 1, 2), "datetime.date(2026, 1, 2)"),
        (PurePosixPath("a/b"), "PurePosixPath('a/b')"),
        (Point(1, [2.0]), "Point(x=1, y=[2.0])"),
        ([Point(1, [2.0])], "[Point(x=1, y=[2.0])]"),
        (Pair(1, (2,)), "Pair(a=1, b=(2,))"),
        (Colour.RED, "Colour.RED"),
        (len, "len"),
        (np.float64(3.5), "3.5"),
        (np.arange(3), "<array i8 3: 0, 1, 2>"),
        (np.linspace(0, 1, 9), "<array f8 9: 0, 0.125, 0.25, 0.375, …>"),
        (np.zeros((2, 3), "f4"), "<array f4 2 × 3: 0, 0, 0, 0, …>"),
        (np.array(["a"]), "<array U1 1>"),
        (Ref(b"0" * 32, 12_345, "file", "a.csv"), "<file a.csv, 12.3 kB>"),
    ],
)
def test_how_values_look(value: Any, text: str) -> None:
    assert preview(encode(value)) == text


def test_long_values_are_shortened() -> None:
    assert preview(encode(list(range(1000)))) == "[0, 1, 2, 3, 4, 5, …]"
    assert len(preview(encode("x" * 10_000))) < 70
    assert len(preview(encode({str(i): "y" * 50 for i in range(50)}), 40)) == 40
    assert preview(encode(b"x" * 2_000_000)) == "<2 MB>"


def test_placeholders_are_named_or_replaced() -> None:
    template = encode([Input(0), Input(1, ("e", (1, None, None))), Input(2)])
    assert preview(template) == "[input 0, input 1['e'][1:], input 2]"
    assert preview(template, inputs={0: "energy", 1: encode({"e": [1, 2, 3]})}) == "[energy, [2, 3], input 2]"


def test_a_path_that_leads_nowhere_is_shown_as_it_is() -> None:
    assert preview(encode(Input(0, ("x", 4))), inputs={0: encode({"x": [1]})}) == "[1][4]"


def test_nothing_is_imported_or_executed() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("a pickle was read",))

    assert preview(encode(Evil())).startswith("<pickle, ")
    encoded = encode(Point(1, [2.0])).replace(b"tests.model.samples", b"tests.model.missing")
    assert preview(encoded) == "Point(x=1, y=[2.0])"
    assert "tests.model.missing" not in sys.modules


@given(st.binary(max_size=60))
def test_any_bytes_have_a_preview(data: bytes) -> None:
    assert isinstance(preview(data), str)


@given(st.text(), st.integers(1, 50))
def test_shortening_keeps_to_the_limit_and_one_line(text: str, limit: int) -> None:
    found = shorten(text, limit)
    assert len(found) <= limit
    assert "\n" not in found


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345, "12.3 kB"), (999_999, "1 MB"), (5 * 10**9, "5 GB")],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert size_text(size) == text
