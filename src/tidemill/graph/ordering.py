"""Order without data: runs that wait for others and do not use their values."""

from collections.abc import Sequence
from typing import Any

from tidemill.graph.blocks import END, Block
from tidemill.graph.future import BROKEN, Elements, Future, Group
from tidemill.graph.gathers import GATHER
from tidemill.graph.index import flatten, indices, total
from tidemill.graph.problems import place
from tidemill.graph.structure import leaves, rewrite


def after(graph: Any, target: Any, others: Sequence[object]) -> None:
    """Let the run, or the runs, behind `target` wait for `others`.

    Others with axes of the target move together with it; of their other axes every element is waited for.
    """
    targets = _targets(target)
    if any(leaf.kind_ is BROKEN for leaf in targets):
        return
    for leaf in targets:
        if leaf.runs_ is None if isinstance(leaf, Elements) else leaf.run_ < 0:
            what = "the end of a block" if isinstance(leaf, Future) and leaf.slot_ >= END else "a gathered list"
            graph.problem(f"{leaf.what_()} is {what}, not a run, so it cannot wait for anything")
            return
    for other in _others(graph, others):
        for leaf in targets:
            _wait(graph, leaf, other)


def _targets(target: Any) -> list[Any]:
    """One leaf for each call behind it."""
    if isinstance(target, Group) and target.names_:
        return leaves(target)[:1]
    return leaves(target)


def _others(graph: Any, others: Sequence[object]) -> list[Any]:
    built = rewrite([_ended(other) for other in others], graph.settled)
    found: list[Any] = []
    for other in built:
        parts = _targets(other)
        if not parts:
            graph.problem(f"only calls can be waited for, not {other!r}")
        found += [p for p in parts if p.kind_ is not BROKEN and not _literal(graph, p)]
    return found


def _ended(other: Any) -> Any:
    """The ends of blocks, also of those in a list."""
    if isinstance(other, Block):
        return other.done
    return [_ended(one) for one in other] if type(other) in (list, tuple) else other


def _literal(graph: Any, leaf: Any) -> bool:
    if isinstance(leaf, Elements) and leaf.values_ is not None:
        graph.problem("a sweep of values runs nothing, so nothing can wait for it")
        return True
    if leaf.owner_ is not graph:
        graph.problem(f"{leaf.what_()} belongs to another workflow, so it cannot be waited for here")
        return True
    return False


def _wait(graph: Any, target: Any, other: Any) -> None:
    if isinstance(other, Future) and other.slot_ >= END and (name := graph.blocks.around(other.slot_)):
        graph.problem(f"{target.what_()} waits for the end of the block {name}, in which it stands")
        return
    runs = target.runs_ if isinstance(target, Elements) else None
    first_run = target.run_ if runs is None else runs.first_run
    first_slot = target.slot_ if runs is None else runs.first_output
    before = _is_before(graph, other, first_run, first_slot)
    if not before:
        graph.forward.append((first_run, 1 if runs is None else total(runs.axes), place()))
    if isinstance(other, Elements):
        axes = () if runs is None else runs.axes
        other = _whole(other)
        over = [axis for axis in other.axes_ if axis not in axes]
        if over:
            if total(over) == 0:
                return
            other = graph.gather_at(other, over, first_run if before else graph.runs)
    if isinstance(target, Elements):
        _wait_mapped(graph, target, other)
    else:
        graph.orders[target.run_] = (*graph.orders.get(target.run_, ()), other.slot_)


def _whole(other: Elements) -> Elements:
    """Without a selection: what counts is that the run is complete."""
    found = other.like_(other.axes_, other.terms_)
    found.path_ = ()
    return found


def _is_before(graph: Any, other: Any, first_run: int, first_slot: int) -> bool:
    slot = other.base_ if isinstance(other, Elements) else other.slot_
    if slot >= END:
        return bool(graph.blocks.ended[slot - END].stop <= first_run)
    if slot >= GATHER:
        return bool(graph.gathers.position(slot) <= first_run)
    return bool(slot < first_slot)


def _wait_mapped(graph: Any, target: Elements, other: Any) -> None:
    runs: Any = target.runs_
    source = (other.base_, other.terms_) if isinstance(other, Elements) else (other.slot_, ())
    if runs.lazy:
        runs.add_source(source, order=True)
        return
    found = indices(flatten(source[1], runs.axes), 0, runs.size, runs.size)
    for run, index in enumerate(found, runs.first_run):
        graph.orders[run] = (*graph.orders.get(run, ()), source[0] + index)
