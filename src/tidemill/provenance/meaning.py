"""What makes up the key of a run: the parts of its task's digest, its arguments and inputs by port, its repetition."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tidemill.engine.keys import base_key, final_key
from tidemill.model.errors import NotFoundError
from tidemill.model.preview import preview
from tidemill.model.spec import TaskSpec, decode_spec
from tidemill.model.states import RunState
from tidemill.provenance.ports import arguments, input_names
from tidemill.stores.state import lineage, runs, tasks
from tidemill.stores.state.data import InputRow
from tidemill.stores.state.database import Database
from tidemill.stores.state.lineage import Link
from tidemill.stores.state.runs import Run

_SHOWN = 12
"""Hexadecimal digits of a digest shown."""


class Component(msgspec.Struct, frozen=True):
    """One thing that a run's key depends on.

    Attributes:
        kind: "code", "helper", "constant", "package", "version", "ports", …; "argument", "input", "repetition".
        name: of the helper, parameter, …; "" where the kind says it all.
        value: a preview, or the beginning of a digest.
    """

    kind: str
    name: str
    value: str


class Meaning(NamedTuple):
    """A run taken apart.

    Attributes:
        arguments: encoded pieces of the argument template by port.
        names: the port of each input by number.
        inputs: by number; order-only edges left out.
    """

    run: Run
    spec: TaskSpec
    arguments: dict[str, bytes]
    replica: str
    names: dict[int, str]
    inputs: dict[int, Link]

    @property
    def arrived(self) -> bool:
        """Whether all inputs have ended, so that the key is known."""
        return all(link.state is not None for link in self.inputs.values())

    def key(self, spec: TaskSpec | None = None) -> bytes:
        """The key, or what it would be if the task were `spec`. All inputs must have arrived."""
        base = base_key((spec or self.spec).digest, self.run.args)
        if not self.inputs:
            return base
        links = (self.inputs[n] for n in sorted(self.inputs))
        rows = [
            InputRow(k.run, k.port, k.datum, k.state or 0, k.kind or 0, k.size or 0, k.src, k.digest, None)
            for k in links
        ]
        return final_key(base, self.run.flags, rows)


class Specs:
    """The tasks of a store, decoded once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[int, TaskSpec] = {}
        self._versions: dict[str, list[int]] | None = None

    def of(self, task: int) -> TaskSpec:
        """The specification of a task.

        Raises:
            NotFoundError: there is no such task.
        """
        found = self._known.get(task)
        if found is None:
            encoded = tasks.spec(self._db, task)
            if encoded is None:
                raise NotFoundError(f"there is no task {task}")
            found = self._known[task] = decode_spec(encoded)
        return found

    def versions(self, name: str) -> list[int]:
        """The tasks of this name, the newest first."""
        if self._versions is None:
            self._versions = {}
            for task, known, _, _ in reversed(tasks.every(self._db)):
                self._versions.setdefault(known, []).append(task)
        return self._versions.get(name, [])


def meanings(db: Database, specs: Specs, ids: Sequence[int]) -> dict[int, Meaning]:
    """Runs taken apart, by id; those that do not exist are missing."""
    rows = runs.get(db, list(ids))
    inputs: dict[int, dict[int, Link]] = {}
    for link in lineage.inputs(db, list(rows)):
        if link.port >= 0:
            inputs.setdefault(link.run, {})[link.port] = link
    return {r: _apart(row, specs.of(row.task), inputs.get(r, {})) for r, row in rows.items()}


def _apart(row: Run, spec: TaskSpec, inputs: dict[int, Link]) -> Meaning:
    pieces, replica = arguments(spec, row.args)
    names = input_names(spec, row.args) if inputs else {}
    return Meaning(row, spec, {a.port: a.encoded for a in pieces}, replica, names, inputs)


def components(meaning: Meaning, makers: Mapping[int, str]) -> list[Component]:
    """Everything the key of a run depends on.

    Args:
        meaning: the run.
        makers: what to call what each input, by number, comes from.
    """
    found = [Component(*part_name(name), value.hex()[:_SHOWN]) for name, value in sorted(meaning.spec.parts.items())]
    found += list(_argument_components(meaning))
    for number, link in sorted(meaning.inputs.items()):
        name = meaning.names.get(number, str(number))
        value = link.digest.hex()[:_SHOWN] if link.digest else "nothing yet" if link.state is None else "no value"
        maker = makers.get(number, "")
        found.append(Component("input", name, f"{value} from {maker}" if maker else value))
    if meaning.replica:
        found.append(Component("repetition", "", meaning.replica))
    return found


def _argument_components(meaning: Meaning) -> Iterable[Component]:
    labels = {n: f"input {n}" for n in meaning.inputs}
    for port, piece in meaning.arguments.items():
        yield Component("argument", port, preview(piece, inputs=labels))


def part_name(name: str) -> tuple[str, str]:
    """Kind and name of a part of a task's digest."""
    kind, _, rest = name.partition(":")
    return kind, rest


def is_reused(row: Run, source: int | None) -> bool:
    """Whether a run ended without having executed, `source` being the run whose result it has."""
    return row.state == RunState.COMPLETE and source is not None and source != row.id
