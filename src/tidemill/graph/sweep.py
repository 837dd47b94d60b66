"""Sweeps: many values in place of one.

A task called with a sweep has one run for each of its values. `sweep`, `zip` and `product` each make one axis;
arguments with the same axis move together, arguments with different axes cross, in the order in which they appear.
"""

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast, overload

from tidemill.graph import context, lower
from tidemill.graph.blocks import Block
from tidemill.graph.call import Call
from tidemill.graph.future import Elements, Group, Loose, Pending, Values
from tidemill.graph.index import Axis, Term, total
from tidemill.graph.literals import item_of
from tidemill.graph.problems import problem
from tidemill.graph.task import Task, checked_count
from tidemill.model.delta import BlockFlag

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
P = ParamSpec("P")

# -------------------------------------------------------------------------------------------------------------- sweeps


def sweep(values: Iterable[T], name: str | None = None) -> T:
    """All of `values` in place of one of them.

    To a type checker the sweep is one value, because it may stand wherever one is expected.

    Args:
        values: a list, range, array, …; of an array with several dimensions, its rows. NumPy numbers become Python's.
        name: of the axis, for messages and for `gather(…, over=name)`.

    Raises:
        WiringError: if `values` has no order or is a text.
    """
    return cast("T", _elements(values, name, "sweep"))


def _elements(values: Any, name: str | None, what: str) -> Elements:
    """A sweep, or what is one already."""
    if isinstance(values, Elements):
        return values
    if isinstance(values, Pending):
        raise problem(
            f"{what}(): {values.what_()} is one value that is not known yet, so it cannot be swept over; "
            "call tasks inside a task to decide at run time"
        )
    items = _items(values, what)
    axis = Axis(len(items), name)
    return Elements(None, (axis,), (Term(axis, 1, axis.size, 1),), values=Values(items))


def _items(values: Any, what: str) -> Sequence[Any]:
    if isinstance(values, (str, bytes, AbstractSet, Mapping)) or not isinstance(values, Iterable):
        raise problem(f"{what}() takes a list, range or array of values, not {values!r}")
    if isinstance(values, range):
        return values
    if type(values).__module__.partition(".")[0] == "numpy" and hasattr(values, "tolist"):
        return _array(values, what)
    items = list(values)
    if any(kind.__module__ == "numpy" for kind in set(map(type, items))):
        items = [item_of(v) for v in items]
    return items


def _array(values: Any, what: str) -> list[Any]:
    if values.ndim == 0:
        raise problem(f"{what}() takes a list, range or array of values, not the single {values!r}")
    return list(values.tolist()) if values.ndim == 1 and values.dtype.kind in "biufUS" else list(values)


@overload
def zip(a: Iterable[A], b: Iterable[B], /, *, name: str | None = None) -> tuple[A, B]: ...  # noqa: A001
@overload
def zip(  # noqa: A001
    a: Iterable[A], b: Iterable[B], c: Iterable[C], /, *, name: str | None = None
) -> tuple[A, B, C]: ...
@overload
def zip(*values: Any, name: str | None = None) -> tuple[Any, ...]: ...  # noqa: A001
def zip(*values: Any, name: str | None = None) -> Any:  # noqa: A001
    """Sweeps that move together: `x, y = tm.zip([1, 2], [3, 4])` are (1, 3) and (2, 4).

    Args:
        values: lists or sweeps of equal length; results of a call with a sweep too.
        name: of the common axis.

    Returns:
        one sweep for each, over one axis.

    Raises:
        WiringError: if the lengths differ.
    """
    found = [_flat(v, "zip") for v in values]
    sizes = [total(e.axes_) for e in found]
    if len(set(sizes)) > 1:
        numbered = enumerate(builtins.zip(found, sizes, strict=True), 1)
        shown = ", ".join(f"{_title(e, i)} has {n}" for i, (e, n) in numbered)
        raise problem(f"zip() needs as many values in each: {shown}")
    if not found:
        return ()
    axis = Axis(sizes[0], name)
    return tuple(_along(e, axis, 1) for e in found)


@overload
def product(a: Iterable[A], b: Iterable[B], /, *, name: str | None = None) -> tuple[A, B]: ...
@overload
def product(a: Iterable[A], b: Iterable[B], c: Iterable[C], /, *, name: str | None = None) -> tuple[A, B, C]: ...
@overload
def product(*values: Any, name: str | None = None) -> tuple[Any, ...]: ...
def product(*values: Any, name: str | None = None) -> Any:
    """Sweeps over all combinations, the last one fastest.

    `x, y = tm.product([1, 2], [3, 4])` are (1, 3), (1, 4), (2, 3), (2, 4). Unlike arguments that cross because they
    have different axes, the combinations are one axis: their results are one flat list.

    Args:
        values: lists or sweeps; results of a call with a sweep too.
        name: of the common axis.

    Returns:
        one sweep for each, over one axis.
    """
    found = [_flat(v, "product") for v in values]
    size = 1
    for e in found:
        size *= total(e.axes_)
    axis = Axis(size, name)
    made = []
    stride = 1
    for e in reversed(found):
        made.append(_along(e, axis, stride))
        stride *= total(e.axes_)
    return tuple(reversed(made))


def _along(elements: Elements, axis: Axis, stride: int) -> Elements:
    """Elements of any axes seen along one: element n is at `n // stride`, repeating from the beginning."""
    inner: dict[Axis, int] = {}
    size = stride
    for old in reversed(elements.axes_):
        inner[old] = size
        size *= old.size
    terms = tuple(Term(axis, inner[t.axis] * t.div, t.mod, t.stride) for t in elements.terms_)
    return elements.like_((axis,), terms)


def _flat(values: Any, what: str) -> Elements:
    if isinstance(values, Loose):
        raise problem(f"{what}() of a call's results works inside a workflow only, where the call's axes are known")
    if isinstance(values, Group) and values.axes_:
        return cast("Elements", values.owner_.single(values))
    return _elements(values, None, what)


def _title(elements: Elements, number: int) -> str:
    names = [axis.name for axis in elements.axes_ if axis.name]
    return f"argument {number}" + (f" ({', '.join(names)})" if names else "")


# ------------------------------------------------------------------------------------------------------------- repeats


class Repeat:
    """`n` draws. Apply it to a task: `tm.repeat(100)(simulate)(x)`; tasks with the same repeat move together."""

    def __init__(self, n: int, name: str | None = None) -> None:
        self.axis = Axis(checked_count(n), name)

    def __call__(self, task: Callable[P, T]) -> Task[P, T]:
        """The task with one run for each draw."""
        if not isinstance(task, Task):
            raise problem(f"only tasks can be repeated, not {task!r}")
        return task.repeat(self.axis)

    def __repr__(self) -> str:
        return f"<repeat {self.axis.size}>"


def repeat(n: int, name: str | None = None) -> Repeat:
    """Run a task `n` times with the same arguments, for different draws of something random.

    `tm.repeat(100)(simulate)(x)`, or `simulate.repeat(100)(x)`. Each draw is a result of its own: draw 0 is that of the
    plain call, and all of them are reused when the workflow runs again.

    Args:
        n: how many.
        name: of the axis.
    """
    return Repeat(n, name)


# ------------------------------------------------------------------------------------------------------------- gathers


def gather(x: T, over: Any = None) -> list[T]:
    """The results of a call with a sweep as one list, in sweep order.

    Args:
        x: the result.
        over: the sweep (or the name of its axis, or several of them) to gather; the others stay mapped. By default all
            are gathered, into one flat list.
    """
    graph = context.current()
    if graph is None:
        if isinstance(x, Loose):
            return cast("list[T]", Call(gather, (x,), {"over": over}))
        if isinstance(x, Elements) and over is None:
            return [x.literal_(i) for i in _positions(x)]
        raise problem(f"gather() takes the result of a call with a sweep, not {x!r}")
    found = graph.settled(x)
    axes = lower.axes_of(found)
    wanted = None if over is None else [a for part in _parts(over) for a in _axes(part, axes)]
    return cast("list[T]", graph.gather(found, wanted))


def _positions(x: Elements) -> Iterable[int]:
    if len(x.terms_) == 1 and x.terms_[0].div == 1:
        return range(x.base_, x.base_ + total(x.axes_))
    raise problem("gather() of combined sweeps works inside a workflow only")


def _parts(over: Any) -> Sequence[Any]:
    return over if isinstance(over, (list, tuple)) else [over]


def _axes(part: Any, axes: Sequence[Axis]) -> list[Axis]:
    """The axes that a sweep has, or those with a name.

    Raises:
        WiringError: if there is no such axis among `axes`.
    """
    if isinstance(part, Repeat):
        found = [part.axis]
    elif isinstance(part, Pending):
        found = lower.axes_of(part)
    else:
        found = [axis for axis in axes if axis.name is not None and axis.name == part]
    if not found or any(axis not in axes for axis in found):
        raise problem(f"gather(over={part!r}): the result was not computed over such a sweep; it has {list(axes)}")
    return found


# ---------------------------------------------------------------------------------------------------- for whole blocks


@contextmanager
def after(*others: Any) -> Iterator[None]:
    """`with tm.after(f, g):` the calls in the block start only when `f` and `g` are complete.

    They do not use their values. For one call: `h(x).after(f, g)`.
    """
    graph = context.current()
    if graph is None:
        raise problem("tm.after() works inside a workflow or task")
    graph.enter_after(others)
    try:
        yield
    finally:
        graph.leave_after()


@contextmanager
def block(name: str = "block", *, contained: bool = False) -> Iterator[Block]:
    """`with tm.block() as below:` the calls in the block, and all that they grow, finish as one.

    `tm.after(below)` and `f(x).after(below)` wait for its end, however it grew; `below.done` is that as a future.

    Args:
        name: shown by `tidemill status` and in messages.
        contained: what fails in the block does not make the workflow fail: only what needs its results ends without
            one, unless its task has `on_error="run"`.
    """
    graph = context.current()
    if graph is None:
        raise problem("tm.block() works inside a workflow or task")
    if type(name) is not str or not name:
        raise problem(f"tm.block({name!r}): the name of a block is a text")
    made = graph.enter_block(name, BlockFlag.CONTAINED if contained else 0)
    try:
        yield made
    finally:
        graph.leave_block()


@contextmanager
def options(**changed: Any) -> Iterator[None]:
    """`with tm.options(priority=5):` tasks called in the block have other policies, see `Task.options`."""
    graph = context.current()
    if graph is None:
        raise problem("tm.options() works inside a workflow or task; use task.options(…) elsewhere")
    graph.enter_options(changed)
    try:
        yield
    finally:
        graph.leave_options()
