"""Lists of a sweep's elements, structures as one datum, and what a workflow returns."""

from collections.abc import Callable, Sequence
from types import GenericAlias
from typing import Any

from tidemill.graph import lower
from tidemill.graph.check import UNKNOWN
from tidemill.graph.future import BROKEN, Elements, Future, Group, Kind, Loose, Pending, Values
from tidemill.graph.index import Axis, at, flatten, row_major, total
from tidemill.graph.ports import positional
from tidemill.graph.structure import bounded, leaves, rewrite
from tidemill.model.digest import digest
from tidemill.model.spec import Port, TaskSpec
from tidemill.model.values import Input

LIST = Kind("", "list", list)


class _Assemble:
    """The built-in task whose result is its argument, a structure with placeholders that have been filled in."""

    name = "assemble"
    signature = positional("assemble", {"value": UNKNOWN})
    output_types = (UNKNOWN,)
    output_names: tuple[str, ...] = ()
    mapping = False
    axis: Axis | None = None
    fn = None
    spec = TaskSpec(
        name="assemble",
        digest=digest(b"tidemill:assemble:1"),
        kind="builtin",
        inputs=(Port("value"),),
        doc="Put several results together as one value.",
    )

    def options(self, **options: Any) -> "_Assemble":
        return self


ASSEMBLE = _Assemble()

# ------------------------------------------------------------------------------------------------------------- choosing


def pick(graph: Any, value: Any, over: Sequence[Axis], number: int) -> Any:
    """Combination `number` of the axes `over`, which are all that anything in `value` has."""

    def visit(leaf: Any) -> Any:
        if isinstance(leaf, Group):
            return rewrite(leaf.value_, visit)
        if not isinstance(leaf, Elements):
            return leaf
        own = [axis for axis in over if axis in leaf.axes_]
        slot = leaf.base_ + at(flatten(leaf.terms_, own), _within(leaf, over, number))
        if leaf.values_ is not None:
            return leaf.literal_(slot)
        run = -1 if leaf.runs_ is None else leaf.runs_.run_of(slot)
        return Future(graph, slot, leaf.path_, leaf.kind_, run)

    return rewrite(value, visit)


def _within(leaf: Elements, over: Sequence[Axis], number: int) -> int:
    """The number among the combinations of those of `over` that the leaf has."""
    found, size, stride = 0, 1, 1
    for axis in reversed(over):
        if axis in leaf.axes_:
            found += number // size % axis.size * stride
            stride *= axis.size
        size *= axis.size
    return found


def nested(axes: Sequence[Axis], element: Callable[[int], Any], number: int = 0) -> Any:
    """`element(n)` for the combinations of `axes`, a list in lists for each further axis."""
    if not axes:
        return element(number)
    first = axes[0]
    return [nested(axes[1:], element, number * first.size + i) for i in range(first.size)]


# ------------------------------------------------------------------------------------------------------------ gathering


def gather(graph: Any, value: Any, over: Sequence[Axis] | None) -> Any:
    """The elements along `over` (all axes, None) as one list, in sweep order; one per combination of the other axes."""
    if isinstance(value, Loose):
        value = graph.materialise(value)
    axes = lower.element_axes(value)
    if any(leaf.kind_ is BROKEN for leaf in leaves(value)):
        return graph.broken()
    if over is None:
        over = [axis for axis in axes if axis not in graph.ambient]
    over = [axis for axis in axes if axis in over]
    if not over or not isinstance(value, Pending):
        graph.problem("there is nothing to gather: this is not the result of a call with a sweep")
        return graph.broken()
    if any(axis in graph.ambient for axis in over):
        graph.problem(
            "inside a workflow that is called with a sweep, that sweep is a single value and cannot be gathered"
        )
        return graph.broken()
    return collect(graph, value, over)


def collect(graph: Any, value: Any, over: Sequence[Axis]) -> Any:
    """`gather` without its checks."""
    size = total(over)
    keep = tuple(axis for axis in value.axes_ if axis not in over)
    if size == 0:
        return []
    if isinstance(value, Elements) and value.values_ is not None:
        return _literal_list(value, over, keep)
    if isinstance(value, Group):
        value = closed(graph, value)
    if isinstance(value, Group) or value.path_:
        if not keep and size * len(leaves(value)) <= lower.FEW:
            return [pick(graph, value, over, n) for n in range(size)]
        value = graph.assemble(value, value.axes_)
    return gather_slots(graph, value, over, graph.runs)


def closed(graph: Any, group: Group) -> Group:
    """The group with its parts of more axes than its own as lists, so that there is one value for each element."""

    def close(leaf: Any) -> Any:
        if isinstance(leaf, Group):
            return rewrite(leaf.value_, close)
        return inner_lists(graph, leaf, [a for a in lower.element_axes(leaf) if a not in group.axes_])

    return Group(group.owner_, group.task_, rewrite(group.value_, close), group.names_, group.axes_)


def inner_lists(graph: Any, value: Any, axes: Sequence[Axis]) -> Any:
    """Elements with these of their axes as nested lists."""
    if not axes:
        return value
    if value.path_ and value.values_ is None and total(value.axes_):
        value = graph.assemble(value, value.axes_)
    for axis in reversed(axes):
        value = collect(graph, value, [axis]) if isinstance(value, Elements) else [value] * axis.size
    return value


def gather_slots(graph: Any, value: Elements, over: Sequence[Axis], position: int) -> Any:
    """A list of whole results, as a datum."""
    keep = tuple(axis for axis in value.axes_ if axis not in over)
    over = [axis for axis in value.axes_ if axis in over]
    slot = graph.gathers.add_elements(value, over, keep, position, graph.blocks.current)
    kind = LIST if value.kind_.type is UNKNOWN else Kind(value.kind_.task, "list", GenericAlias(list, value.kind_.type))
    if keep:
        return Elements(graph, keep, row_major(keep), base=slot, kind=kind)
    return Future(graph, slot, (), kind, -1)


def _literal_list(value: Elements, over: Sequence[Axis], keep: tuple[Axis, ...]) -> Any:
    inner, outer = flatten(value.terms_, over), flatten(value.terms_, keep)

    def items(number: int) -> list[Any]:
        base = at(outer, number)
        return [value.literal_(base + at(inner, n)) for n in range(total(over))]

    if not keep:
        return items(0)
    return Elements(None, keep, row_major(keep), values=Values([items(n) for n in range(total(keep))]))


# ----------------------------------------------------------------------------------------------------- mapped workflows


def along(graph: Any, name: str, value: Any, axes: Sequence[Axis]) -> Any:
    """What a mapped workflow returned, as one value per element of its axes, whether or not it depends on them."""
    if isinstance(value, Loose):
        value = graph.materialise(value)
    if isinstance(value, Group):
        return Group(graph, name, value.value_, value.names_, tuple(dict.fromkeys((*axes, *value.axes_))))
    if isinstance(value, Elements):
        order = (*axes, *(axis for axis in value.axes_ if axis not in axes))
        return value.like_(order, value.terms_)
    if isinstance(value, Future):
        return (
            value
            if value.kind_ is BROKEN
            else Elements(graph, tuple(axes), (), base=value.slot_, path=value.path_, kind=value.kind_)
        )
    if leaves(value):
        return Group(graph, name, value, (), tuple(axes))
    return Elements(None, tuple(axes), (), values=Values([value]))


# -------------------------------------------------------------------------------------------------------------- results


def resolved(graph: Any, value: Any) -> Any:
    """What was returned, with nothing pending in it but futures.

    Elements become lists in sweep order, nested by axis.
    """

    def visit(leaf: Any) -> Any:
        if isinstance(leaf, Loose):
            return rewrite(graph.materialise(leaf), visit, many)
        if lower.element_axes(leaf):
            return rewrite(_lists(graph, leaf), visit, many)
        if isinstance(leaf, Group):
            return rewrite(leaf.value_, visit, many)
        if leaf.owner_ is not graph:
            graph.problem(f"{leaf.what_()}, which is returned, belongs to another workflow")
        return leaf

    def many(items: list[Any]) -> Any:
        if len(items) > lower.FEW and all(type(v) is Future and not v.path_ and v.owner_ is graph for v in items):
            return graph.gather_futures(items)
        return None

    with bounded("what is returned"):
        return rewrite(value, visit, many)


def template(value: Any) -> tuple[Any, list[int]]:
    """A resolved value with placeholders for its futures, and the slots that they stand for."""
    slots: list[int] = []

    def visit(leaf: Future) -> Input:
        slots.append(leaf.slot_)
        return Input(len(slots) - 1, leaf.path_)

    return rewrite(value, visit), slots


def _lists(graph: Any, value: Any) -> Any:
    """Elements as lists nested by axis."""
    axes = value.axes_
    if isinstance(value, Group):
        value = closed(graph, value)
    literal = isinstance(value, Elements) and value.values_ is not None
    if total(axes) == 0 or literal:
        return nested(axes, lambda n: pick(graph, value, axes, n))
    if isinstance(value, Group) or value.path_:
        if total(axes) * len(leaves(value)) <= lower.FEW:
            return nested(axes, lambda n: pick(graph, value, axes, n))
        value = graph.assemble(value, axes)
    return inner_lists(graph, value, value.axes_)
