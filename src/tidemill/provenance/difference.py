"""What differs between two runs of a task, followed through their inputs to where it began."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from tidemill.model.ids import run_id
from tidemill.model.preview import preview
from tidemill.model.states import DatumState
from tidemill.provenance.meaning import Meaning, Specs, meanings, part_name
from tidemill.stores.state import data, gathers, lineage
from tidemill.stores.state.database import Database
from tidemill.stores.state.lineage import Link

DEPTH = 50
"""Runs followed one after the other."""

WIDTH = 3
"""Different inputs of one run, or members of one list, that are followed."""

_WORDS = {
    "code": "the code of {task} changed",
    "bytecode": "the code of {task} changed",
    "helper": "helper {name} {how}",
    "constant": "constant {name} {how}",
    "opaque": "{name} {how}",
    "package": "package {name}: another version",
    "default": "the default of {name} {how}",
    "closure": "the enclosed variable {name} {how}",
    "ports": "the ports of {task} changed",
    "environment": "the environment changed",
    "command": "the command of {task} changed",
}


class Change(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that differs.

    Attributes:
        kind, name: as of `Component`.
        text: what happened to it.
        before, after: previews, or beginnings of digests; "" where there was, or is, nothing.
        run: of an input, the run that made it now.
        was: the run that had made it.
        causes: why that input differs.
    """

    kind: str
    name: str
    text: str
    before: str = ""
    after: str = ""
    run: str = ""
    was: str = ""
    causes: tuple["Change", ...] = ()


def roots(changes: Iterable[Change]) -> list[Change]:
    """The changes with which it began."""
    found: dict[tuple[str, str, str], Change] = {}
    pending = list(changes)
    while pending:
        one = pending.pop(0)
        if one.causes:
            pending += one.causes
        else:
            found.setdefault((one.kind, one.name, one.text), one)
    return list(found.values())


def own_changes(now: Meaning, then: Meaning) -> list[Change]:
    """Differences of the task, the arguments and the repetition; inputs are left to `Comparison`."""
    found = list(_part_changes(now, then)) if now.spec.digest != then.spec.digest else []
    if now.run.args != then.run.args:
        found += _argument_changes(now, then)
        if now.replica != then.replica:
            text = f"repetition: {then.replica or 0} → {now.replica or 0}"
            found.append(
                Change(kind="repetition", name="", text=text, before=then.replica or "0", after=now.replica or "0")
            )
    return found


def _part_changes(now: Meaning, then: Meaning) -> Iterator[Change]:
    new, old = now.spec.parts, then.spec.parts
    task = now.spec.name
    different = [n for n in sorted({*new, *old}) if new.get(n) != old.get(n)]
    for part in different:
        kind, name = part_name(part)
        before, after = (old[part].hex()[:12] if part in old else ""), (new[part].hex()[:12] if part in new else "")
        how = "changed" if before and after else "is used now" if after else "is not used any more"
        if kind == "version":
            text = f"version: {then.spec.version or 'none'} → {now.spec.version or 'none'}"
        else:
            text = _WORDS.get(kind, "{kind} {name} {how}").format(kind=kind, task=task, name=name, how=how)
        yield Change(kind=kind, name=name, text=" ".join(text.split()), before=before, after=after)
    if not different:
        yield Change(kind="code", name="", text=f"{task} is another task than before")


def _argument_changes(now: Meaning, then: Meaning) -> Iterator[Change]:
    labels = dict.fromkeys({*now.inputs, *then.inputs}, "a result")
    for port in dict.fromkeys((*now.arguments, *then.arguments)):
        new, old = now.arguments.get(port), then.arguments.get(port)
        if new == old:
            continue
        before = preview(old, 60, labels) if old is not None else ""
        after = preview(new, 60, labels) if new is not None else ""
        text = f"argument {port}: {before or 'none'} → {after or 'none'}"
        yield Change(kind="argument", name=port, text=text, before=before, after=after)


class Pair(NamedTuple):
    """One input of two runs."""

    name: str
    now: Link
    then: Link | None


class Comparison:
    """Compares runs of one store, following what differs.

    Args:
        db: the store.
        specs: its tasks.
    """

    def __init__(self, db: Database, specs: Specs) -> None:
        self._db = db
        self._specs = specs
        self._seen: set[tuple[int, int]] = set()

    def changes(self, now: Meaning, then: Meaning) -> list[Change]:
        """Everything that differs."""
        return self._compare(now, then, DEPTH)

    def _compare(self, now: Meaning, then: Meaning, depth: int) -> list[Change]:
        found = own_changes(now, then)
        pairs = different_inputs(now, then)
        found += [self._input(p, depth if i < WIDTH else 0) for i, p in enumerate(pairs)]
        return found

    def _input(self, pair: Pair, depth: int) -> Change:
        now, then, name = pair.now, pair.then, pair.name
        if then is None:
            return Change(kind="input", name=name, text=f"input {name} is a result now", run=self._name(now))
        if now.kind == data.GATHER and then.kind == data.GATHER:
            return self._list(pair, depth)
        return self._made(f"input {name}", name, now.source or now.made_by, then.source or then.made_by, depth)

    def _made(self, label: str, name: str, now: int | None, then: int | None, depth: int) -> Change:
        """Two runs made different values: why."""
        known = meanings(self._db, self._specs, [r for r in (now, then) if r is not None])
        new, old = known.get(now or 0), known.get(then or 0)
        if new is None or old is None:
            return Change(kind="input", name=name, text=f"{label} changed")
        here, there = _name(new), _name(old)
        causes: list[Change] = []
        if now == then:
            text = f"{label}: another output of {here}"
        elif new.spec.name != old.spec.name:
            text = f"{label} changed: made by {here}, no longer by {there}"
        else:
            text = f"{label} changed: made by {here} instead of {there}"
            if depth > 0 and (new.run.id, old.run.id) not in self._seen:
                self._seen.add((new.run.id, old.run.id))
                causes = self._compare(new, old, depth - 1)
                if not causes:
                    what = f"{here} gave another result than {there} from the same inputs"
                    causes = [Change(kind="nondeterministic", name=new.spec.name, text=what)]
        return Change(kind="input", name=name, text=text, run=here, was=there, causes=tuple(causes))

    def _list(self, pair: Pair, depth: int) -> Change:
        """Which members of a list differ."""
        new, old = _Members(self._db, pair.now), _Members(self._db, pair.then or pair.now)
        label = f"input {pair.name}"
        if len(new) != len(old):
            text = f"{label}: a list of {len(old):,} → {len(new):,}"
            different = list(new.differing(old, WIDTH))
            causes = [self._member(i, a, b, depth) for i, a, b in different] if depth > 0 else []
            return Change(
                kind="input", name=pair.name, text=text, before=str(len(old)), after=str(len(new)), causes=tuple(causes)
            )
        different = list(new.differing(old, WIDTH + 1))
        many = f"more than {WIDTH}" if len(different) > WIDTH else str(len(different))
        causes = [self._member(i, a, b, depth) for i, a, b in different[:WIDTH]] if depth > 0 else []
        text = f"{label}: {many} of {len(new):,} members changed"
        return Change(kind="input", name=pair.name, text=text, causes=tuple(causes))

    def _member(self, number: int, now: int, then: int, depth: int) -> Change:
        heads = data.get(self._db, [now, then], values=False)
        sources = data.get(self._db, [h.src for h in heads.values() if h.src], values=False)

        def maker(datum: int) -> int | None:
            head = heads.get(datum)
            return None if head is None else sources[head.src].run if head.src else head.run

        if heads.get(now) is None or heads[now].state != DatumState.COMPLETE:
            return Change(kind="input", name=f"[{number}]", text=f"member {number} has no value")
        return self._made(f"member {number}", f"[{number}]", maker(now), maker(then), depth - 1)

    def _name(self, link: Link) -> str:
        source = link.source or link.made_by
        head = lineage.heads(self._db, [source]).get(source) if source else None
        return run_id(head.block, head.id) if head is not None else ""


def different_inputs(now: Meaning, then: Meaning) -> list[Pair]:
    """The inputs that have ended and are not what they were, by their numbers."""
    found = []
    for number, link in sorted(now.inputs.items()):
        other = then.inputs.get(number)
        if link.state is None:
            continue
        if other is None or (link.state, link.digest) != (other.state, other.digest):
            found.append(Pair(now.names.get(number, str(number)), link, other))
    return found


def _name(meaning: Meaning) -> str:
    return f"{meaning.spec.name} {run_id(meaning.run.block, meaning.run.id)}"


class _Members:
    """The members of a list, read stretch by stretch."""

    def __init__(self, db: Database, link: Link) -> None:
        self._db = db
        self.stretches = gathers.stretches(db, link.src or link.datum)

    def __len__(self) -> int:
        return sum(s.n for s in self.stretches)

    def differing(self, other: "_Members", limit: int) -> Iterator[tuple[int, int, int]]:
        """(number, this member, the other's) of the members that differ, at most `limit`."""
        number = 0
        for mine, theirs in zip(self.stretches, other.stretches, strict=False):
            if mine.n != theirs.n or mine.digest is None or mine.digest != theirs.digest:
                pairs = zip(self._digests(mine), self._digests(theirs), strict=False)
                for i, ((a, found), (b, known)) in enumerate(pairs):
                    if found is None or found != known:
                        yield number + i, a, b
                        limit -= 1
                        if not limit:
                            return
            number += mine.n

    def _digests(self, stretch: gathers.Stretch) -> list[tuple[int, bytes | None]]:
        low, step = stretch.lo, stretch.step
        rows = {r[0]: r[5] for r in data.span(self._db, low, low + (stretch.n - 1) * step)}
        return [(i, rows.get(i)) for i in range(low, low + stretch.n * step, step)]
