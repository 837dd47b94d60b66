"""One call, looked at carefully: what its arguments wait for, along which axes it is mapped, what it gathers.

A call has one run for each combination of its *mapped* axes: those that its arguments bring in, in order of appearance.
A port that wants a list is different: axes that nothing else brings in are gathered for it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tidemill.graph import check
from tidemill.graph.blocks import END
from tidemill.graph.future import BROKEN, Elements, Future, Group, Loose, Pending
from tidemill.graph.index import Axis
from tidemill.graph.literals import SCALARS, item_of
from tidemill.graph.mapped import Leaf, Source
from tidemill.graph.ports import Signature
from tidemill.graph.structure import pending, rewrite
from tidemill.model.errors import TidemillError
from tidemill.model.file import File, is_url
from tidemill.model.spec import Port
from tidemill.model.values import Input

FEW = 64
"""As many futures stand in an argument one by one; more are gathered first, so that fan-in is one edge."""


def wants(port: Port) -> str:
    return f"is annotated {port.type}" if port.type else "wants a file"


class Arguments:
    """The arguments of one call of a task or workflow, on their way.

    Attributes:
        values: in port order; calls made outside are built, files are `File`s, gathers done.
        axes: the axes along which the call is mapped.
        broken: an argument comes from a call with a problem, or has one.
        attached: an argument is something that goes on, such as a service.
    """

    def __init__(self, graph: Any, signature: Signature, values: Sequence[Any], ambient: Sequence[Axis]) -> None:
        self.graph = graph
        self.signature = signature
        self.ambient = ambient
        self.broken = False
        self.attached = False
        self.axes: tuple[Axis, ...] = ()
        self._pending: list[list[Any]] = []
        self.values = [self._settle(i, value) for i, value in enumerate(values)]

    def _problem(self, text: str) -> None:
        self.graph.problem(text)
        self.broken = True

    def map(self, extra: Sequence[Axis] = ()) -> None:
        """Decide which axes are mapped and which are gathered, gather, and check the types."""
        found: dict[Axis, None] = {}
        lists = []
        for i, parts in enumerate(self._pending):
            listed = bool(parts) and self._is_gathered(i)
            lists.append(listed)
            for axis in _axes(parts):
                if not listed or axis in self.ambient:
                    found[axis] = None
        for axis in extra:
            found[axis] = None
        if found:
            first = [axis for axis in self.ambient if axis in found]
            self.axes = (*first, *(axis for axis in found if axis not in first))
        for i, listed in enumerate(lists):
            over = [axis for axis in element_axes(self.values[i]) if axis not in found] if listed else []
            if over:
                self.values[i] = self.graph.gather(self.values[i], over)
            self._check(i)

    # ------------------------------------------------------------------------------------------------------- settling

    def _settle(self, i: int, value: Any) -> Any:
        """The value with nothing in it that belongs elsewhere."""
        file = self.signature.ports[i].file
        if type(value) in SCALARS and not (file and type(value) is str):
            self._pending.append([])
            return value
        found = pending(value)
        if any(isinstance(leaf, Loose) for leaf in found):
            value = rewrite(value, self.graph.settled)
            found = pending(value)
        for leaf in found:
            if isinstance(leaf, Group):
                continue
            self.attached |= leaf.kind_.attached
            if leaf.kind_ is BROKEN:
                self.broken = True
            elif leaf.owner_ is not None and leaf.owner_ is not self.graph:
                name = f"{self.signature.name}(): {self.signature.ports[i].name!r}"
                self._problem(f"{name} gets {leaf.what_()} from another workflow; call the task in this one instead")
            elif leaf.kind_.attached and (name := self.graph.blocks.outlives(leaf.slot_)):
                self._problem(
                    f"{self.signature.name}() uses the service {name} after its `with` block, when it is over"
                )
            elif type(leaf) is Future and leaf.slot_ >= END and (stands_in := self.graph.blocks.around(leaf.slot_)):
                self._problem(f"{self.signature.name}() waits for the end of the block {stands_in}, in which it stands")
        self._pending.append(found)
        return self._files(i, value) if file else item_of(value)

    def _files(self, i: int, value: Any) -> Any:
        """What stands for a file at a port for files, as the class that the port is annotated with."""
        if isinstance(value, list):
            return [self._files(i, v) for v in value]
        if isinstance(value, Elements) and value.values_ is not None and not value.path_:
            return value.with_values_([self._files(i, v) for v in value.values_.items])
        if isinstance(value, (str, Path, File)):
            as_file = check.is_file(self.signature.types[i], File)
            known = value.ref if isinstance(value, File) else None
            if is_url(value):
                found = File(value, known, as_path=not as_file)
                found.ref = self.graph.writer.keeper.file(found)
                return found
            if known is not None:
                return File(value, known, as_path=not as_file)
            return File(value) if as_file else Path(value)
        return value

    def _is_gathered(self, i: int) -> bool:
        """Whether the port wants a list of what the argument has one by one."""
        value = self.values[i]
        if not self.signature.ports[i].many or not element_axes(value):
            return False
        wanted = check.depth(self.signature.types[i])
        return wanted is None or element_depth(value) < wanted

    # --------------------------------------------------------------------------------------------------------- types

    def _check(self, i: int) -> None:
        """Report an argument that cannot fit the port's annotation."""
        port, wanted = self.signature.ports[i], self.signature.types[i]
        value = self.values[i]
        if port.variadic:
            parts = value if port.variadic == "*" else value.values() if isinstance(value, dict) else []
            for part in parts:
                self._check_one(port, wanted, part)
        else:
            self._check_one(port, wanted, value)

    def _check_one(self, port: Port, wanted: object, value: Any) -> None:
        literal = isinstance(value, Elements) and value.values_ is not None
        if isinstance(value, (Future, Elements)) and not literal:
            given = value.kind_.type
            if not self.signature.fits(given, wanted):
                self._problem(
                    f"{self.signature.name}(): {port.name!r} {wants(port)}, but gets {value.what_()}, "
                    f"which is annotated {check.show(given)}"
                )
            return
        if isinstance(value, Elements):
            classes = () if value.path_ else sorted(value.values_.types, key=repr)  # type: ignore[union-attr]
        else:
            classes = () if isinstance(value, Pending) else (type(value),)  # type: ignore[assignment]
        for given in classes:
            if given is type(None):
                if not port.optional and not check.takes_none(wanted):
                    self._problem(f"{self.signature.name}(): {port.name!r} {wants(port)}, but gets None")
            elif not self.signature.fits(given, wanted):
                shown = (
                    f"{given.__name__} values" if isinstance(value, Elements) else f"{given.__name__} {_short(value)}"
                )
                self._problem(f"{self.signature.name}(): {port.name!r} {wants(port)}, but gets {shown}")

    # ------------------------------------------------------------------------------------------------------ templates

    def template(self, value: Any, sources: list[Source]) -> Any:
        """The value with a placeholder for each future; where their values come from is added to `sources`."""

        def visit(leaf: Any) -> Any:
            if isinstance(leaf, Group):
                return rewrite(leaf.value_, visit, many)
            if isinstance(leaf, Future):
                sources.append((leaf.slot_, ()))
            elif leaf.values_ is not None:
                return Leaf(leaf)
            else:
                sources.append((leaf.base_, leaf.terms_))
            return Input(len(sources) - 1, leaf.path_)

        def many(value: list[Any]) -> Any:
            if len(value) > FEW and all(type(v) is Future and not v.path_ for v in value):
                return visit(self.graph.gather_futures(value))
            return None

        return rewrite(value, visit, many)

    def guarded(self, i: int, encode: Callable[[Any], Any], value: Any) -> Any:
        """`encode(value)`, with what cannot be encoded reported under the port's name."""
        try:
            return encode(value)
        except TidemillError as error:
            self._problem(f"{self.signature.name}(): {self.signature.ports[i].name!r}: {error.args[0]}")
            return None


def axes_of(value: Any) -> list[Axis]:
    """The axes of everything in `value`, in order of appearance."""
    return _axes(pending(value))


def _axes(found: list[Any]) -> list[Axis]:
    return list(dict.fromkeys(axis for leaf in found for axis in element_axes(leaf)))


def element_axes(value: Any) -> tuple[Axis, ...]:
    """The axes along which something pending has one value per element."""
    return value.axes_ if isinstance(value, (Elements, Group)) else ()


def element_depth(value: Any) -> int:
    """How many lists are nested in each element of a sweep, as far as that is known."""
    if isinstance(value, Group):
        return 0
    if value.values_ is None:
        return check.least_depth(value.kind_.type)
    return check.depth_of(value.literal_(0)) if len(value.values_.items) else 0


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
