from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, List, NewType, Optional  # noqa: UP035

import numpy as np
import pytest

from tidemill.graph import check
from tidemill.graph.policies import Policies
from tidemill.graph.ports import BindError, signature
from tidemill.model import amounts
from tidemill.model.errors import UsageError
from tidemill.model.file import File

Metres = NewType("Metres", float)


def lists(
    a: list[float],
    b: List[float],  # noqa: UP006
    c: Sequence[str],
    d: tuple[int, ...],
    e: list[float] | None,
    f: Annotated[list[float], "eV"],
    g: "list[Missing]",  # type: ignore[name-defined]  # noqa: F821
    h: Iterable[Path],
    i: Optional[list[File]],  # noqa: UP045
) -> None: ...


def singles(  # type: ignore[no-untyped-def]
    a,  # noqa: ANN001
    b: float,
    c: np.ndarray,
    d: tuple[int, float],
    e: dict[str, list[int]],
    f: float | list[float],
    g: set[int],
    h: str,
    i: Any,
    j: "Missing[list[int]]",  # type: ignore[name-defined]  # noqa: F821
) -> None: ...


def files(a: Path, b: File, c: list[Path], d: File | None, e: str, f: bytes) -> None: ...


def test_which_ports_want_lists() -> None:
    assert all(port.many for port in signature(lists, "f").ports)
    assert not any(port.many for port in signature(singles, "f").ports)


def test_which_ports_want_files() -> None:
    assert [port.file for port in signature(files, "f").ports] == ["file"] * 4 + ["", ""]
    assert signature(lists, "f").ports[-1].file == "file"


def test_types_are_kept_as_text() -> None:
    texts = [port.type for port in signature(lists, "f").ports]
    assert texts[0] == "list[float]"
    assert texts[6] == "list[Missing]"
    assert signature(singles, "f").ports[0].type == ""


def example(a: int, b: int = 2, *rest: int, key: int, other: int = 5, **more: int) -> None: ...


def only(a: int, /, b: int) -> None: ...


def test_binding_is_that_of_python() -> None:
    found = signature(example, "example")
    assert found.bind((1,), {"key": 4}) == [1, 2, [], 4, 5, {}]
    assert found.bind((1, 3, 4, 5), {"key": 4, "z": 6}) == [1, 3, [4, 5], 4, 5, {"z": 6}]
    assert found.spread([1, 3, [4, 5], 4, 5, {"z": 6}]) == ([1, 3, 4, 5], {"key": 4, "other": 5, "z": 6})
    assert signature(only, "only").bind((1, 2), {}) == [1, 2]
    assert (signature(only, "only").arity, found.arity) == (2, -1)


@pytest.mark.parametrize(
    ("args", "kwargs", "texts"),
    [
        ((), {}, ["only() is missing 'a', 'b'"]),
        ((1, 2, 3), {}, ["only() takes 2 positional arguments, not 3"]),
        ((1,), {"b": 1, "c": 2}, ["only() has no parameter 'c'; it has 'a', 'b'"]),
        ((1, 2), {"b": 1}, ["only() got 'b' twice"]),
        ((), {"a": 1, "b": 1}, ["only() takes 'a' by position only", "only() is missing 'a'"]),
    ],
)
def test_what_does_not_bind(args: tuple[Any, ...], kwargs: Mapping[str, Any], texts: list[str]) -> None:
    with pytest.raises(BindError) as caught:
        signature(only, "only").bind(args, kwargs)
    assert caught.value.texts == texts


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (int, float), (bool, int), (int, bool), (float, complex), (str, Any), (str, object), (dict, Mapping),
        (list, tuple), (list[int], set[int]), (str, str | None), (None, float), (str, Path), (str, "Missing"),
        (float, Metres), (Metres, float), (list[int], list[float]), (list, list[float]), (int, str | float),
        (str, Sequence[str]), (np.float64, int), (tuple[int, str], list[int]), (Any, int), (check.UNKNOWN, int),
    ],
)  # fmt: skip
def test_what_may_fit(given: object, wanted: object) -> None:
    assert check.fits(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (str, float), (float, int), (str, list[str]), (list, dict), (list[str], list[float]), (bytes, str), (int, str),
        (str | None, float), (Metres, str), (list[list[int]], list[int]), (dict[str, int], float), (complex, float),
        (int, str | bytes), (list[float], float),
    ],
)  # fmt: skip
def test_what_cannot_fit(given: object, wanted: object) -> None:
    assert not check.fits(given, wanted)


@pytest.mark.parametrize(
    ("annotation", "depth", "least"),
    [
        (float, 0, 0), (list[float], 1, 1), (list[list[str]], 2, 2), (list, None, 1), (list[Any], None, 1),
        (Any, None, 0), (Sequence[list[int]], 2, 2), (np.ndarray, None, 0), (list[np.ndarray], None, 1),
        (tuple[int, ...] | None, 1, 1), (list[Path], 1, 1), (check.UNKNOWN, None, 0),
    ],
)  # fmt: skip
def test_how_deep_lists_are(annotation: object, depth: int | None, least: int) -> None:
    assert (check.depth(annotation), check.least_depth(annotation)) == (depth, least)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2 GiB", 2 << 30), ("500MB", 500_000_000), ("1.5 kiB", 1536), ("7", 7), (7, 7), ("3 T", 3 * 1000**4), ("1b", 1)],
)
def test_amounts_of_memory(text: int | str, size: int) -> None:
    assert amounts.size("memory", text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "2 QiB", "2 I", 1.5, True, None])
def test_what_is_no_amount_of_memory(text: Any) -> None:
    with pytest.raises(UsageError):
        amounts.size("memory", text)


def test_policies_change_what_is_named() -> None:
    found = Policies().changed({"memory": "1 KiB", "timeout": 3}).changed({"cpus": 2})
    assert (found.resources.memory, found.resources.cpus, found.timeout) == (1024, 2.0, 3.0)
    assert isinstance(found.timeout, float)
