"""The graph of one workflow, or of what one running task grew, while it is being built."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.graph import gathering, lower, ordering
from tidemill.graph.blocks import Block, Nested
from tidemill.graph.context import building
from tidemill.graph.entry import Entry
from tidemill.graph.future import BROKEN, Elements, Future, Group, Kind, Loose
from tidemill.graph.index import Axis
from tidemill.graph.literals import Keeper
from tidemill.graph.recorder import Recorder
from tidemill.graph.structure import bounded, leaves, rewrite
from tidemill.model.errors import WiringError


class Builder(Recorder):
    """A graph that is being built: what calls, workflows in workflows, calls from outside and order do to its columns.

    Args:
        keeper: where files and large values among the arguments go.
        known: entries of tasks from earlier graphs, none of which is used any more.

    Attributes:
        root: the call that the graph is for; its calls are not in a block of their own.
    """

    def __init__(self, keeper: Keeper, known: dict[Any, Entry] | None = None) -> None:
        super().__init__(keeper, known)
        self.root: Loose | None = None
        self._at_root = False
        self._made: dict[int, tuple[Loose, Any]] = {}
        self._awaited: dict[Any, tuple[int, Any]] = {}

    # ------------------------------------------------------------------------------------------- workflows in workflows

    def inline(self, workflow: Any, values: Sequence[Any]) -> Any:
        """The calls of a workflow, in a block of their own unless it is the root."""
        root, self._at_root = self._at_root, False
        try:
            call = lower.Arguments(self, workflow.signature, values, self.ambient)
            call.map()
        except (WiringError, RecursionError) as error:
            return self._broken_by(error, workflow.name)
        if call.broken:
            return self.broken()
        site, self.problems.site = self.problems.site, ""
        outer, self.ambient = self.ambient, tuple(dict.fromkeys((*self.ambient, *call.axes)))
        if not root:
            self.enter_block(workflow.name)
        args, kwargs = workflow.signature.spread(call.values)
        try:
            result = workflow.fn(*args, **kwargs)
        finally:
            self.problems.site, self.ambient = site, outer
            if not root:
                self.leave_block()
        return gathering.along(self, workflow.name, result, call.axes) if call.axes else result

    def materialise(self, call: Loose) -> Any:
        """What a call that was made outside of this graph returns in it; the same call is made once."""
        waiting = [call]
        while waiting:
            top = waiting[-1]
            with bounded(_arguments_of(top)):
                missing = [leaf for leaf in leaves([list(top.args_), dict(top.kwargs_)]) if self._is_missing(leaf)]
            if missing and id(top) not in self._made:
                waiting += reversed(missing)
                continue
            waiting.pop()
            if id(top) not in self._made:
                self._made[id(top)] = (top, self._make(top))
        return self._made[id(call)][1]

    @property
    def made(self) -> list[Loose]:
        """The calls from outside, each after those among its arguments; the root last."""
        return [call for call, _ in self._made.values()]

    def _is_missing(self, leaf: Any) -> bool:
        return isinstance(leaf, Loose) and id(leaf) not in self._made

    def _make(self, call: Loose) -> Any:
        def replace(leaf: Any) -> Any:
            return self._made[id(leaf)][1] if isinstance(leaf, Loose) else leaf

        with bounded(_arguments_of(call)):
            args = rewrite(list(call.args_), replace)
            kwargs = rewrite(dict(call.kwargs_), replace)
        site, self.problems.site = self.problems.site, call.place_
        self._at_root = call is self.root
        try:
            with building(self):
                return call.fn_(*args, **kwargs)
        finally:
            self.problems.site, self._at_root = site, False

    # ------------------------------------------------------------------------------------------- blocks, order, options

    def enter_block(self, name: str, flags: int = 0) -> Block:
        """What is called from now on belongs to a block, until `leave_block`."""
        found = Block(self, self.blocks.enter(name, self.runs, flags))
        self._look()
        return found

    def leave_block(self) -> None:
        self.blocks.leave(self.runs)
        self._columns.mark(self.blocks.current)
        self._look()

    def serve(self, service: Any, values: Sequence[Any]) -> Any:
        """One call of a service: what it publishes, for the block that is entered with it."""
        found = self.call(service, values)
        broken = getattr(found, "kind_", None) is BROKEN
        if type(found) is not Future and not broken:
            self.problem(
                f"{service.name}() is a service: it cannot be called with a sweep; use one for each, in a loop"
            )
            broken = True
        block = self.enter_block(service.name)
        if broken:
            self.enter_after([])
            return self.broken()
        kind = Kind(service.name, "address", found.kind_.type, attached=True)
        found = Future(self, found.slot_, (), kind, found.run_)
        self.blocks.serve(block.nested, found.run_, found.slot_)
        self._columns.mark(self.blocks.current)
        self.enter_after([found])
        return found

    def leave_service(self) -> None:
        """The block of a service's users ends."""
        self.leave_after()
        self.leave_block()

    def end_of(self, block: Nested) -> int:
        """The slot of a block's end."""
        slot = self.blocks.end_of(block, self.runs)
        self._columns.mark(self.blocks.current)
        self._look()
        return slot

    def after(self, target: Any, others: Sequence[object]) -> None:
        ordering.after(self, target, others)

    def enter_after(self, others: Sequence[object]) -> None:
        self._afters.append(tuple(others))
        self._look()

    def leave_after(self) -> None:
        self._afters.pop()
        self._look()

    def enter_options(self, options: Mapping[str, Any]) -> None:
        self._options.append((dict(options), self._entries))
        self._entries = {}

    def leave_options(self) -> None:
        self._entries = self._options.pop()[1]

    # --------------------------------------------------------------------------------------------------- lists, results

    def single(self, group: Group) -> Any:
        return self.assemble(gathering.closed(self, group), group.axes_)

    def gather(self, value: Any, over: Sequence[Axis] | None) -> Any:
        return gathering.gather(self, value, over)

    def gather_futures(self, futures: Sequence[Future]) -> Future:
        """A list of whole results as one datum."""
        slot = self.gathers.add_slots([f.slot_ for f in futures], self.runs, self.blocks.current)
        return Future(self, slot, (), gathering.LIST, -1)

    def gather_at(self, elements: Elements, over: Sequence[Axis], position: int) -> Any:
        """A list that is only waited for, complete before run number `position`."""
        key = (elements.base_, elements.terms_, tuple(over))
        known = self._awaited.get(key)
        if known is None or known[0] > position:
            known = self._awaited[key] = (position, gathering.gather_slots(self, elements, over, position))
        return known[1]

    def settled(self, leaf: Any) -> Any:
        """What something pending is in this graph."""
        return self.materialise(leaf) if isinstance(leaf, Loose) else leaf


def _arguments_of(call: Loose) -> str:
    return f"an argument of {getattr(call.fn_, 'name', 'the call')}()"
