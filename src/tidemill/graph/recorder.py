"""From calls to columns.

Runs and outputs are numbered in the order of the calls, so every input comes before what uses it. Only `after` can name
a later run, and so close a circle, see `tidemill.graph.cycles`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tidemill.graph import gathering, lower, ordering
from tidemill.graph.blocks import Blocks
from tidemill.graph.columns import CallColumns
from tidemill.graph.entry import INPUTS, Definition, Entry, class_of
from tidemill.graph.future import BROKEN, Future, Owner
from tidemill.graph.gathers import Gathers
from tidemill.graph.index import Axis
from tidemill.graph.literals import INLINE, Keeper, Writer, array, item_of
from tidemill.graph.mapped import MappedCall, Source, try_encoding
from tidemill.graph.problems import Problems
from tidemill.graph.structure import leaves
from tidemill.model.delta import ClassSpec
from tidemill.model.errors import TidemillError, WiringError
from tidemill.model.values import Input, encode

EAGER = 1000
"""Mapped calls with at most this many runs are written out at once, so that many of them share a chunk."""


class Recorder(Owner):
    """The runs of a graph that is being built.

    Attributes:
        runs, outputs: how many there are so far.
        entries: the tasks, by index; `specs` are their encoded specifications.
        classes: the classes their runs stand in.
        segments: runs in the order of the calls.
        orders: run -> slots it waits for without using them, for runs written out in columns.
        forward: (run, how many from there, place) of runs that wait for later ones.
        ambient: axes of mapped workflows whose bodies are being built; nothing gathers these.
        attached: stretches of runs that use what goes on while they run.
        draw: in what a repeated run grows: which draw it is, see `growth.draw_of`.
        special: the next call needs a closer look, whatever its arguments.
    """

    def __init__(self, keeper: Keeper, known: dict[Any, Entry] | None = None) -> None:
        self.keeper = keeper
        self.writer = Writer(keeper)
        self.problems = Problems()
        self.runs = 0
        self.outputs = 0
        self.entries: list[Entry] = []
        self.specs: dict[bytes, int] = {}
        self.classes: dict[ClassSpec, int] = {}
        self.gathers = Gathers()
        self.blocks = Blocks()
        self.orders: dict[int, tuple[int, ...]] = {}
        self.forward: list[tuple[int, int, str]] = []
        self.ambient: tuple[Axis, ...] = ()
        self.special = False
        self.draw: list[int] = []
        self.attached: list[range] = []
        self._columns = CallColumns(0, 0, 0)
        self.segments: list[CallColumns | MappedCall] = [self._columns]
        self._known: dict[Any, Entry] = {} if known is None else known
        self._entries: dict[Any, Entry] = {}
        self._options: list[tuple[dict[str, Any], dict[Any, Entry]]] = []
        self._afters: list[tuple[object, ...]] = []

    # ---------------------------------------------------------------------------------------------------------- calling

    def call(self, task: Definition, values: Sequence[Any]) -> Any:
        """One call, its arguments in port order. Returns a future, elements, or a group of them.

        This is the path of a loop of a million calls: whatever is not a scalar or a whole result that has been seen to
        fit before takes the other one.
        """
        entry = self._entries.get(task) or self._enter(task)
        if entry is None:
            return self.broken()
        if self.special or entry.slow:
            return self._carefully(entry, values)
        template: list[Any] = []
        slots: list[int] = []
        plain = True
        for value, accepted in zip(values, entry.accepted, strict=True):
            kind = type(value)
            if kind is Future:
                if value.kind_ not in accepted or value.owner_ is not self:
                    return self._carefully(entry, values)
                if value.path_:
                    plain = False
                    template.append(Input(len(slots), value.path_))
                else:
                    template.append(INPUTS[len(slots)])
                slots.append(value.slot_)
            elif kind in accepted:
                plain = False
                template.append(value)
            elif kind.__module__ == "numpy" and type(item := item_of(value)) in accepted:
                plain = False
                template.append(item)
            else:
                return self._carefully(entry, values)
        if plain:
            args = entry.plain
        else:
            try:
                args = encode(template)
            except TidemillError:
                return self._carefully(entry, values)
            if len(args) > INLINE:
                return self._carefully(entry, values)
        return self._append(entry, args, slots)

    def _append(self, entry: Entry, args: bytes, slots: list[int]) -> Any:
        columns = self._columns
        columns.tasks.append(entry.index)
        columns.data += args
        columns.lengths.append(len(args))
        columns.counts.append(len(slots))
        columns.slots.extend(slots)
        run, slot = self.runs, self.outputs
        self.runs = run + 1
        self.outputs = slot + entry.width
        if entry.width == 1:
            return Future(self, slot, (), entry.kinds[0], run)
        return entry.future(self, run, slot)

    def _enter(self, task: Definition) -> Entry | None:
        """The entry of a task that is called for the first time here; None if it cannot be used."""
        found = task
        for options, _ in self._options:
            found = found.options(**options)
        entry = self._known.get(found)
        if entry is None:
            try:
                entry = Entry(found)
            except TidemillError as error:
                self.problem(f"{task.name}: {error.args[0]}")
                return None
            self._known[found] = entry
        self._entries[task] = entry
        entry.index = self.specs.setdefault(entry.encoded, len(self.specs))
        entry.cls = self.classes.setdefault(class_of(entry.spec), len(self.classes))
        if entry.index == len(self.entries):
            self.entries.append(entry)
        return entry

    # -------------------------------------------------------------------------------------------------- the careful way

    def _carefully(self, entry: Entry, values: Sequence[Any], extra: Sequence[Axis] = ()) -> Any:
        """A call of any kind."""
        try:
            call = lower.Arguments(self, entry.signature, values, self.ambient)
            call.map((*extra, *((entry.axis,) if entry.axis is not None else ())))
        except (WiringError, RecursionError) as error:
            return self._broken_by(error, entry.name)
        if call.broken:
            return self.broken()
        self._open_block()
        first = self.runs
        result = self._mapped(entry, call) if call.axes else self._single(entry, call)
        if call.attached:
            self.attached.append(range(first, self.runs))
        for others in self._afters:
            ordering.after(self, result, others)
        return result

    def _broken_by(self, error: Exception, name: str) -> Any:
        if isinstance(error, WiringError):
            for _, text in error.problems:
                self.problem(text)
        else:
            self.problem(f"{name}(): an argument contains itself or is nested too deeply")
        return self.broken()

    def _single(self, entry: Entry, call: lower.Arguments) -> Any:
        sources: list[Source] = []
        parts = [array(len(call.values))]
        for i, value in enumerate(call.values):
            before = len(sources)
            template = call.template(value, sources)
            parts.append(call.guarded(i, self._write(len(sources) > before), template) or b"")
        if call.broken:
            return self.broken()
        row = len(self._columns)
        self._columns.named.extend((row, name) for name in self.writer.take())
        entry.learn(call.values)
        return self._append(entry, b"".join(parts), [slot for slot, _ in sources])

    def _mapped(self, entry: Entry, call: lower.Arguments) -> Any:
        runs = MappedCall(entry.index, call.axes, entry.axis, (self.runs, self.outputs), entry.width)
        runs.explicit = bool(self.draw)
        runs.block = self.blocks.current
        sources: list[Source] = []
        for i, value in enumerate(call.values):
            before = len(sources)
            template = call.template(value, sources)
            literal = leaves(template)
            if literal:
                call.guarded(i, try_encoding, literal)
                runs.add_varying(template)
            else:
                data = call.guarded(i, self._write(len(sources) > before), template)
                runs.add_const(data or b"", self.writer.take())
        if call.broken:
            return self.broken()
        for source in sources:
            runs.add_source(source)
        self._add_mapped(entry, runs, len(sources))
        return entry.elements(self, runs, call.axes)

    def _write(self, placeholders: bool) -> Callable[[Any], bytes]:
        return self.writer.template if placeholders else self.writer.part

    def _add_mapped(self, entry: Entry, runs: MappedCall, inputs: int) -> None:
        self.runs += runs.size
        self.outputs += runs.size * entry.width
        if runs.size <= EAGER:
            args = runs.args(0, runs.size, self.writer)
            named = [*runs.named, *self.writer.take()]
            self._columns.extend(entry.index, args, runs.slots(0, runs.size), inputs, named)
        else:
            runs.lazy = True
            self._columns = CallColumns(self.runs, self.outputs, self.blocks.current)
            self.segments += [runs, self._columns]

    def assemble(self, value: Any, axes: Sequence[Axis] = ()) -> Any:
        """A run that puts a structure with futures together, so that it is one datum; one per element of `axes`."""
        entry = self._entries.get(gathering.ASSEMBLE) or self._enter(gathering.ASSEMBLE)
        assert entry is not None
        return self._carefully(entry, [value], axes)

    # ----------------------------------------------------------------------------------------------------- small things

    def _open_block(self) -> None:
        """A run follows: the blocks around it are needed."""
        if self.blocks.pending:
            self.blocks.open(self.runs)
            self._columns.mark(self.blocks.current)
            self._look()

    def _look(self) -> None:
        self.special = self.blocks.pending or bool(self._afters)

    def problem(self, text: str) -> None:
        self.problems.add(text)

    def broken(self) -> Future:
        return Future(self, 0, (), BROKEN, -1)
