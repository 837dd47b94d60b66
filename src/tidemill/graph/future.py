"""What calls return while a workflow is being built: light stand-ins for values that do not exist yet.

Names of slots end in an underscore, so that `future.name` can select an attribute of the coming value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tidemill.graph.check import UNKNOWN, has_parts, show, tuple_length
from tidemill.graph.index import Axis, Term, total
from tidemill.graph.problems import place, problem
from tidemill.model.errors import without_our_frames
from tidemill.model.values import Step, apply_path

Path = tuple[Step, ...]


class Kind:
    """What all results of one output of one task have in common.

    Attributes:
        task: the task's name.
        name: the output port.
        type: the resolved annotation of the value, `UNKNOWN` if there is none.
        named: the output was named by the user, so `future.name` means the output itself.
        attached: it is published by something that goes on, so results of what uses it are never reused.
    """

    __slots__ = ("_part", "attached", "name", "named", "task", "type")

    def __init__(
        self, task: str, name: str, type: object = UNKNOWN, *, named: bool = False, attached: bool = False
    ) -> None:
        self.attached = attached
        self.task = task
        self.name = name
        self.type = type
        self.named = named
        self._part: Kind | None = None

    @property
    def part(self) -> Kind:
        """The kind of selected parts, of which nothing else is known."""
        if self.type is UNKNOWN and not self.named:
            return self
        if self._part is None:
            self._part = Kind(self.task, self.name, attached=self.attached)
        return self._part

    def __repr__(self) -> str:
        return f"{self.task}.{self.name}" if self.named else self.task


VALUE = Kind("", "")
"""A literal value."""

BROKEN = Kind("", "broken")
"""The result of a call that has a problem: accepted everywhere, so that one mistake is reported once."""


class Owner(Protocol):
    """The builder of a graph, as its futures and the front ends see it."""

    def problem(self, text: str) -> None:
        """Record a problem at the line of the user's program that is being executed."""

    def broken(self) -> Future:
        """Stands for the result of a call that has a problem."""

    def call(self, task: Any, values: Sequence[object]) -> Any:
        """One call of a task with its arguments in port order."""

    def inline(self, workflow: Any, values: Sequence[object]) -> Any:
        """The calls of a workflow as a nested block."""

    def settled(self, leaf: Any) -> Any:
        """What a call that was made outside means here; anything else as it is."""

    def single(self, group: Group) -> Any:
        """A group with axes as elements, each of them one datum."""

    def gather(self, value: Any, over: Sequence[Axis] | None) -> Any:
        """The elements of a sweep as one list."""

    def after(self, target: Any, others: Sequence[object]) -> None:
        """Let the runs behind `target` wait for `others`."""

    def enter_block(self, name: str, flags: int = 0) -> Any:
        """Every following run belongs to a block, until `leave_block`."""

    def leave_block(self) -> None: ...

    def enter_after(self, others: Sequence[object]) -> None:
        """Let every following run wait for `others`, until `leave_after`."""

    def leave_after(self) -> None: ...

    def enter_options(self, options: Mapping[str, Any]) -> None:
        """Change the policies of tasks called from now on, until `leave_options`."""

    def leave_options(self) -> None: ...


def _unusable(how: str) -> Callable[..., Any]:
    def method(self: Pending, *_: object, **__: object) -> Any:
        raise problem(
            f"{self.what_()} is not known while the workflow is being built, so it cannot be {how}; "
            "do that inside a task"
        )

    return method


class Pending:
    """Base of everything that stands for values to come."""

    __slots__ = ()

    def what_(self) -> str:
        """How messages call it."""
        raise NotImplementedError

    def select_(self, step: Step) -> Any:
        """The part of the coming value that `step` selects."""
        raise NotImplementedError

    def after(self, *others: object) -> Any:
        """Start only when `others` are complete, without using their values. Returns this same object."""
        raise NotImplementedError

    def __getitem__(self, key: object) -> Any:
        return self.select_(_step(self, key))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.select_(name)

    def __iter__(self) -> Iterator[Any]:
        raise problem(
            f"{self.what_()} is not known while the workflow is being built, so it cannot be iterated or unpacked; "
            'name several results with @task(outputs=("x", "y")), or do that inside a task'
        )

    def __eq__(self, other: object) -> bool:
        if self is other or isinstance(other, Pending):
            return self is other
        return bool(_compared(self))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = object.__hash__

    def __format__(self, spec: str) -> str:
        raise problem(
            f"{self.what_()} is not known while the workflow is being built, so it cannot be written into a text; "
            "do that inside a task (to look at it, write {…!r})"
        )

    def __copy__(self) -> Pending:
        return self

    def __deepcopy__(self, memo: object) -> Pending:
        return self

    def __reduce_ex__(self, protocol: object) -> Any:
        import pickle

        raise pickle.PicklingError(
            f"{self.what_()} is not known yet; pass it as an argument of its own, or in a list, tuple, dict, dataclass"
        )

    @without_our_frames
    def run(self, **options: Any) -> Any:
        raise problem(self._nested("run"))

    @without_our_frames
    def submit(self, **options: Any) -> Any:
        raise problem(self._nested("submit"))

    @without_our_frames
    def plan(self, **options: Any) -> Any:
        raise problem(self._nested("plan"))

    def _nested(self, method: str) -> str:
        return f".{method}() belongs to the outermost call; inside a workflow or task, return or pass on {self.what_()}"


_compared = _unusable("compared")

_BINARY = "add sub mul matmul truediv floordiv mod divmod pow and or xor lshift rshift"
_METHODS = {
    "used in a condition": "bool",
    "used as a number": "int float complex index round trunc floor ceil",
    "measured with len()": "len",
    "searched": "contains",
    "called": "call",
    "compared": "lt le gt ge",
    "calculated with": f"{_BINARY} r{_BINARY.replace(' ', ' r')} neg pos abs invert",
}
for _how, _names in _METHODS.items():
    for _name in _names.split():
        setattr(Pending, f"__{_name}__", _unusable(_how))
setattr(Pending, "__array_ufunc__", None)  # noqa: B010 — NumPy then leaves operators to the methods above


def _step(owner: Pending, key: object) -> Step:
    """A subscript as a selector step."""
    if isinstance(key, (str, int)) and not isinstance(key, bool):
        return key
    try:
        if isinstance(key, slice):
            start, stop, step = (None if p is None else operator.index(p) for p in (key.start, key.stop, key.step))
            return (start, stop, step)
        return operator.index(key)  # type: ignore[arg-type]
    except TypeError:
        raise problem(
            f"{owner.what_()} cannot be indexed with {key!r}: use a text, an integer or a slice of integers"
        ) from None


def no_part(owner: Future | Elements, step: Step) -> str:
    """What is wrong with indexing a number."""
    return f"{owner.what_()} is annotated {show(owner.kind_.type)}, so it cannot be indexed with {step!r}"


class Future(Pending):
    """The coming value of one output of one run (or of a gathered list).

    Attributes:
        owner_: the builder it belongs to.
        slot_: its number: of the outputs, or `GATHER` plus the number of the gathered list.
        path_: what of the value is selected.
        kind_: what is known about it.
        run_: number of the run, -1 for a gathered list.
    """

    __slots__ = ("kind_", "owner_", "path_", "run_", "slot_")

    def __init__(self, owner: Owner, slot: int, path: Path, kind: Kind, run: int) -> None:
        self.owner_ = owner
        self.slot_ = slot
        self.path_ = path
        self.kind_ = kind
        self.run_ = run

    def what_(self) -> str:
        return f"the result of {self.kind_.task}" if self.kind_.task else "this result"

    def select_(self, step: Step) -> Any:
        if self.kind_ is BROKEN or (self.kind_.named and step == self.kind_.name):
            return self
        if not isinstance(step, str) and not has_parts(self.kind_.type):
            self.owner_.problem(no_part(self, step))
            return self.owner_.broken()
        return Future(self.owner_, self.slot_, (*self.path_, step), self.kind_.part, self.run_)

    def after(self, *others: object) -> Future:
        self.owner_.after(self, others)
        return self

    def __iter__(self) -> Iterator[Any]:
        if self.kind_ is BROKEN:
            raise problem("this result comes from a call with a problem, so its parts are unknown")
        length = tuple_length(self.kind_.type)
        if length is None:
            return super().__iter__()
        return iter([self.select_(i) for i in range(length)])

    def __repr__(self) -> str:
        steps = "".join(f"[{slice(*s) if isinstance(s, tuple) else s!r}]" for s in self.path_)
        return f"<future {self.kind_!r}{steps}>"


class Values:
    """Literal elements of a sweep.

    Attributes:
        items: the elements; a sequence that nobody changes.
        types: their classes.
        site: where the sweep was made.
    """

    __slots__ = ("items", "site", "types")

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        self.types = frozenset({int}) if isinstance(items, range) else frozenset(map(type, items))
        self.site = place()


class Mapped(Protocol):
    """The runs of a mapped call."""

    first_run: int
    first_output: int
    axes: tuple[Axis, ...]

    def run_of(self, slot: int) -> int: ...


class Elements(Pending):
    """The coming values of a sweep, one per combination of the axes; or a sweep's literal values.

    Used like a single value: it stands for each of them in turn.

    Attributes:
        owner_: the builder, None for literal values.
        axes_: the axes, the last one fastest.
        terms_: the index of an element among the literal values or, added to `base_`, its slot.
        values_: literal values, or None.
        base_: slot of the first element; 0 for literal values.
        path_, kind_: as for `Future`.
        runs_: the runs that compute it, or None.
    """

    __slots__ = ("axes_", "base_", "kind_", "owner_", "path_", "runs_", "terms_", "values_")

    def __init__(
        self,
        owner: Owner | None,
        axes: tuple[Axis, ...],
        terms: tuple[Term, ...],
        *,
        values: Values | None = None,
        base: int = 0,
        path: Path = (),
        kind: Kind = VALUE,
        runs: Mapped | None = None,
    ) -> None:
        self.owner_ = owner
        self.axes_ = axes
        self.terms_ = terms
        self.values_ = values
        self.base_ = base
        self.path_ = path
        self.kind_ = kind
        self.runs_ = runs

    def like_(self, axes: tuple[Axis, ...], terms: tuple[Term, ...]) -> Elements:
        """The same values seen along other axes."""
        return Elements(
            self.owner_,
            axes,
            terms,
            values=self.values_,
            base=self.base_,
            path=self.path_,
            kind=self.kind_,
            runs=self.runs_,
        )

    def with_values_(self, items: Sequence[Any]) -> Elements:
        """Other literal values in the same places."""
        found = self.like_(self.axes_, self.terms_)
        found.values_ = Values(items)
        return found

    def what_(self) -> str:
        return "a sweep" if self.values_ is not None else f"a result of {self.kind_.task or 'a sweep'}"

    def select_(self, step: Step) -> Any:
        if self.kind_ is BROKEN or (self.kind_.named and step == self.kind_.name):
            return self
        if self.owner_ is not None and not isinstance(step, str) and not has_parts(self.kind_.type):
            self.owner_.problem(no_part(self, step))
            return self.owner_.broken()
        found = self.like_(self.axes_, self.terms_)
        found.path_ = (*self.path_, step)
        found.kind_ = self.kind_.part
        return found

    def literal_(self, index: int) -> Any:
        """One literal value."""
        assert self.values_ is not None
        value = self.values_.items[index]
        return apply_path(value, self.path_) if self.path_ else value

    def after(self, *others: object) -> Elements:
        if self.owner_ is None:
            raise problem("a sweep of values runs nothing, so it cannot wait for anything")
        self.owner_.after(self, others)
        return self

    def __iter__(self) -> Iterator[Any]:
        length = tuple_length(self.kind_.type)
        if length is None:
            return super().__iter__()
        return iter([self.select_(i) for i in range(length)])

    def __repr__(self) -> str:
        shape = " × ".join(map(repr, self.axes_))
        if self.values_ is None:
            return f"<{total(self.axes_)} futures {self.kind_!r} over {shape}>"
        items = self.values_.items
        shown = ", ".join(repr(v) for v in items[:3])
        return f"<{shape}: {shown}{', …' if len(items) > 3 else ''}>"


class Group(Pending):
    """Several coming values that make up one: the outputs of a run, or what a mapped workflow returned.

    Attributes:
        value_: tuple, list, dict, … with the futures.
        names_: the output ports' names, () for a workflow's result.
        axes_: axes along which there is one such value per element. A part may not depend on them; one with more axes
            is a list in each of these values.
        task_: for messages.
    """

    __slots__ = ("axes_", "names_", "owner_", "task_", "value_")

    def __init__(self, owner: Owner, task: str, value: Any, names: tuple[str, ...], axes: tuple[Axis, ...]) -> None:
        self.owner_ = owner
        self.task_ = task
        self.value_ = value
        self.names_ = names
        self.axes_ = axes

    def what_(self) -> str:
        return f"the result of {self.task_}"

    def select_(self, step: Step) -> Any:
        if isinstance(step, str) and step in self.names_:
            index = self.names_.index(step)
            return list(self.value_.values() if isinstance(self.value_, dict) else self.value_)[index]
        try:
            found = apply_path(self.value_, (step,))
        except TypeError:
            has = f"has {', '.join(self.names_)}" if self.names_ else f"is {self.value_!r}"
            self.owner_.problem(f"{self.what_()} has no {step!r}; it {has}")
            return self.owner_.broken()
        if self.axes_ and not isinstance(found, Pending):
            return Group(self.owner_, self.task_, found, (), self.axes_)
        return found

    def after(self, *others: object) -> Group:
        self.owner_.after(self, others)
        return self

    def __iter__(self) -> Iterator[Any]:
        if self.names_:
            return iter(list(self.value_.values()) if isinstance(self.value_, dict) else self.value_)
        if isinstance(self.value_, (tuple, list)):
            return iter([self.select_(i) for i in range(len(self.value_))])
        return super().__iter__()

    def __repr__(self) -> str:
        return f"<{self.task_} {', '.join(self.names_) or repr(self.value_)}>"


class Loose(Pending):
    """A call that no workflow is being built for yet: the function and its arguments.

    Selecting from one is again a call, of `getitem`, so that nothing is evaluated before it is asked for.
    """

    __slots__ = ("args_", "fn_", "kwargs_", "place_")

    def __init__(self, fn: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        self.fn_ = fn
        self.args_ = args
        self.kwargs_ = kwargs
        self.place_ = place()

    def what_(self) -> str:
        return f"the result of {getattr(self.fn_, 'name', 'this call')}"
