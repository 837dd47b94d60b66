"""Futures inside lists, tuples, dicts, named tuples and dataclasses: finding and replacing them."""

import copy
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from tidemill.graph.future import Group, Pending
from tidemill.graph.literals import SCALARS
from tidemill.graph.problems import problem

Visit = Callable[[Any], Any]


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
    if kind in {set, frozenset}:
        if any(isinstance(v, Pending) for v in value):
            raise problem("a set with results that are not known yet has no order; use a list")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value, visit, on_list)
    return value


def _same(new: Iterable[Any], old: Iterable[Any]) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))


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
    keys = sorted(value) if all(type(k) is str for k in value) else list(value)
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


def leaves(value: Any) -> list[Any]:
    """Everything pending in `value` in order, looking into groups (which are not named themselves)."""
    if type(value) in SCALARS:
        return []
    found: list[Any] = []

    def visit(leaf: Any) -> Any:
        if isinstance(leaf, Group):
            rewrite(leaf.value_, visit)
        else:
            found.append(leaf)
        return leaf

    rewrite(value, visit)
    return found
