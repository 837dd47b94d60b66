"""Futures inside lists, tuples, dicts, named tuples and dataclasses: finding and replacing them."""

import copy
import dataclasses
import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tidemill.graph.future import Group, Pending
from tidemill.graph.literals import SCALARS
from tidemill.graph.problems import problem

Visit = Callable[[Any], Any]

SETS = frozenset({set, frozenset})


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Report a value whose parts have no end, as one that contains itself.

    Raises:
        WiringError: in place of a RecursionError in the block.
    """
    try:
        yield
    except RecursionError:
        raise problem(f"{what} contains itself or is nested too deeply") from None


def rewrite(value: Any, visit: Visit, on_list: Visit | None = None) -> Any:
    """`value` with everything pending in it replaced by `visit(it)`; `value` itself if that changes nothing.

    Members of a dict with text keys are visited in the order of the keys, so that equal dicts are treated equally.

    Args:
        value: anything.
        visit: the replacement.
        on_list: may answer a replacement for a whole list, or None.

    Raises:
        WiringError: for something pending in a set.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if isinstance(value, Pending):
        return visit(value)
    if kind is list:
        return _list(value, visit, on_list)
    if isinstance(value, tuple):
        if SCALARS.issuperset(map(type, value)):
            return value
        new = [rewrite(v, visit, on_list) for v in value]
        if _same(new, value):
            return value
        return kind._make(new) if hasattr(kind, "_make") else kind(new)
    if kind is dict:
        return _dict(value, visit, on_list)
    if kind in SETS:
        _check_set(value)
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value, visit, on_list)
    return value


def _same(new: Iterable[Any], old: Iterable[Any]) -> bool:
    return all(map(operator.is_, new, old))


def _check_set(value: Iterable[Any]) -> None:
    if any(isinstance(v, Pending) for v in value):
        raise problem("a set with results that are not known yet has no order; use a list")


def _keys(value: dict[Any, Any]) -> list[Any]:
    return sorted(value) if all(type(k) is str for k in value) else list(value)


def _list(value: list[Any], visit: Visit, on_list: Visit | None) -> Any:
    if SCALARS.issuperset(map(type, value)):
        return value
    found = on_list(value) if on_list is not None else None
    if found is not None:
        return found
    new = [rewrite(v, visit, on_list) for v in value]
    return value if _same(new, value) else new


def _dict(value: dict[Any, Any], visit: Visit, on_list: Visit | None) -> Any:
    if SCALARS.issuperset(map(type, value.values())):
        return value
    keys = _keys(value)
    new = {k: rewrite(value[k], visit, on_list) for k in keys}
    return value if all(new[k] is value[k] for k in keys) else new


def _dataclass(value: Any, visit: Visit, on_list: Visit | None) -> Any:
    names = [f.name for f in dataclasses.fields(value)]
    new = {n: rewrite(getattr(value, n, None), visit, on_list) for n in names}
    changed = {n: v for n, v in new.items() if v is not getattr(value, n, None)}
    if not changed:
        return value
    made = copy.copy(value)
    for name, found in changed.items():
        object.__setattr__(made, name, found)  # frozen ones too; __init__ must not see placeholders
    return made


def pending(value: Any) -> list[Any]:
    """Everything pending in `value` in order, groups followed by what is in them.

    Raises:
        WiringError: for something pending in a set.
    """
    found: list[Any] = []
    if type(value) not in SCALARS:
        _scan(value, found)
    return found


def _scan(value: Any, found: list[Any]) -> None:
    kind = type(value)
    if isinstance(value, Pending):
        found.append(value)
        if kind is Group:
            _scan(value.value_, found)
    elif kind is list or isinstance(value, tuple):
        if not SCALARS.issuperset(map(type, value)):
            for part in value:
                _scan(part, found)
    elif kind is dict:
        if not SCALARS.issuperset(map(type, value.values())):
            for key in _keys(value):
                _scan(value[key], found)
    elif kind in SETS:
        _check_set(value)
    elif kind not in SCALARS and dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            _scan(getattr(value, field.name, None), found)


def leaves(value: Any) -> list[Any]:
    """Everything pending in `value` but the groups themselves."""
    return [leaf for leaf in pending(value) if not isinstance(leaf, Group)]
