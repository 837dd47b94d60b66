"""What annotations say about values, and whether a value can possibly fit one.

The answers are cautious: anything that is not certain to be wrong fits.
"""

import inspect
import types
from collections import abc
from collections.abc import Iterable
from pathlib import PurePath
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, get_args, get_origin

from tidemill.model.file import File

UNKNOWN: object = inspect.Parameter.empty
"""The type of what has no annotation, or one that cannot be resolved."""

_LISTS = frozenset({list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection})
_NUMBERS = (bool, int, float, complex)
_COLLECTIONS = frozenset({list, tuple, set, frozenset})
_ATOMS = frozenset({*_NUMBERS, *_COLLECTIONS, str, bytes, dict})


def plain(annotation: object) -> object:
    """The annotation without `Annotated`, `NewType` and a choice of None."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            choices = [c for c in members(annotation) if c is not type(None)]
            if len(choices) != 1 or choices[0] is annotation:
                return annotation
            annotation = choices[0]


def members(annotation: object) -> tuple[object, ...]:
    """The members of a union; of anything else, itself."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return get_args(annotation)
    return (annotation,)


def inner(annotation: object) -> object:
    """What a list-like annotation is a list of; None if it is not list-like, `UNKNOWN` if it does not say."""
    annotation = plain(annotation)
    if len(members(annotation)) > 1:
        found = [inner(m) for m in members(annotation)]
        return None if any(f is None for f in found) else UNKNOWN
    origin = get_origin(annotation) or annotation
    args = get_args(annotation)
    if isinstance(origin, type) and origin in _LISTS:
        return args[0] if args else UNKNOWN
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return args[0]
    return None


def depth(annotation: object) -> int | None:
    """How many lists are nested in values of this type; None where that is not known."""
    annotation = plain(annotation)
    if annotation is UNKNOWN or annotation is Any or isinstance(annotation, (str, TypeVar)):
        return None
    found = inner(annotation)
    if found is None:
        return 0 if sorts(annotation) or is_file(annotation) else None
    below = depth(found)
    return None if below is None else below + 1


def least_depth(annotation: object) -> int:
    """How many lists are nested in values of this type at least."""
    found = inner(annotation)
    return 0 if found is None else 1 + least_depth(found)


def depth_of(value: object) -> int:
    """How many lists are nested in this value, judged by the first member of each."""
    return 1 + (depth_of(value[0]) if value else 0) if isinstance(value, (list, tuple)) else 0


def is_file(annotation: object, classes: type | tuple[type, ...] = (PurePath, File)) -> bool:
    """Whether values are files, or lists of files, of these classes."""
    annotation = plain(annotation)
    found = inner(annotation)
    if found is None or found is UNKNOWN:
        return isinstance(annotation, type) and issubclass(annotation, classes)
    return is_file(found, classes)


def tuple_length(annotation: object) -> int | None:
    """The length of a tuple type with a fixed one."""
    annotation = plain(annotation)
    args = get_args(annotation)
    if get_origin(annotation) is not tuple or Ellipsis in args or args == ((),):
        return None
    return len(args) or None


def sorts(annotation: object) -> frozenset[type] | None:
    """The built-in classes that values of this type belong to; None unless all are known."""
    annotation = plain(annotation)
    if get_origin(annotation) is Literal:
        return _known(type(value) for value in get_args(annotation))
    if len(members(annotation)) > 1:
        found = [sorts(m) for m in members(annotation) if m is not type(None)]
        return None if None in found else frozenset().union(*[f for f in found if f is not None])
    origin = get_origin(annotation) or annotation
    return _known([origin] if isinstance(origin, type) else [object])


def _known(classes: Iterable[type]) -> frozenset[type] | None:
    found = frozenset(classes) - {type(None)}
    return found if found and found <= _ATOMS else None


def fits(given: object, wanted: object) -> bool:
    """False if no value of type `given` can be meant where `wanted` stands.

    >>> fits(str, float), fits(int, float), fits(list[int], tuple[int, ...]), fits(list[str], list[float])
    (False, True, True, False)
    """
    items, wanted_items = inner(given), inner(wanted)
    if items is not None and wanted_items is not None:
        return fits(items, wanted_items)
    has, wants = sorts(given), sorts(wanted)
    if is_file(wanted) and has is not None:
        return str in has
    if is_file(given) and wants is not None:
        return str in wants
    if has is None or wants is None:
        return True
    return any(_alike(a, b) for a in has for b in wants)


def _alike(given: type, wanted: type) -> bool:
    if given in _NUMBERS and wanted in _NUMBERS:
        return _NUMBERS.index(given) <= _NUMBERS.index(wanted) or {given, wanted} == {bool, int}
    return given is wanted or (given in _COLLECTIONS and wanted in _COLLECTIONS)


def takes_none(annotation: object) -> bool:
    """False if None is certainly no value of this type."""
    if annotation is None or any(m is type(None) for m in members(annotation)):
        return True
    if get_origin(annotation) is Annotated:
        return takes_none(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return None in get_args(annotation)
    return sorts(annotation) is None and not is_file(annotation)


def has_parts(annotation: object) -> bool:
    """False if no value of this type can be indexed."""
    found = sorts(annotation)
    return found is None or not found <= frozenset(_NUMBERS)


def show(annotation: object) -> str:
    """The annotation as people write it."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.replace(f"{File.__module__}.File", "tidemill.File")
