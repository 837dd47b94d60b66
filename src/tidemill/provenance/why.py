"""Why a run executed, did not execute, waits, or ended as it did."""

from collections.abc import Iterable, Iterator

import msgspec

from tidemill.engine import flags
from tidemill.model.delta import RunFlag
from tidemill.model.ids import Id, datum_id, run_id
from tidemill.model.protocol import Failure
from tidemill.model.states import DatumState, RunState, RunView
from tidemill.provenance import difference, request
from tidemill.provenance.difference import Change, Comparison
from tidemill.provenance.find import find_run
from tidemill.provenance.likeness import NEWEST, SAME_KEY, Likeness, Likenesses
from tidemill.provenance.meaning import Component, Meaning, Specs, components, meanings
from tidemill.provenance.walk import Walk
from tidemill.stores.state import attempts, blocks, classes, data, history, lineage, runs
from tidemill.stores.state.database import Database

_failure = msgspec.msgpack.Decoder(Failure).decode

_GONE = {DatumState.EXPIRED: "expired", DatumState.LOST: "lost", DatumState.DELETED: "deleted"}
_ENDED = {RunState.ERROR: "failed", RunState.CANCELLED: "cancelled", RunState.SKIPPED: "skipped"}
_MOST = 20
"""Inputs named at most."""


class Wait(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that has to happen first.

    Attributes:
        port: the input it is for, "" if it only orders.
        id: of the run, or of the list that is not complete.
        what: a task's name, or "list".
        state: of it.
    """

    port: str
    id: str
    what: str
    state: str


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The run with which it began."""

    id: str
    task: str
    state: str
    message: str


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The explanation of a run.

    Attributes:
        verdict: one word for programs: "reused", "new", "changed", "failed", "cancelled", "skipped", "expired", "lost",
            "deleted", "invalid", "not cached", "forced", "unfinished", "same" for why it executes; of a run that did
            not: "waiting", "held", "stopped"; "error", "skipped", "cancelled"
            because of another.
        text: the same as a sentence.
        like: the earlier run it was compared with, or reused from.
        how: what that has in common with it.
        components: everything its key depends on.
        changes: what differs from the earlier run.
        waits: what a run that has not started waits for.
        cause: of an end without a result, where it began.
    """

    run: str
    task: str
    state: str
    verdict: str
    text: str
    like: str
    how: str
    components: list[Component]
    changes: list[Change]
    waits: list[Wait]
    cause: Cause | None

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(str(self))}</pre>"

    def _lines(self) -> Iterator[str]:
        yield f"{self.task} {self.run} ({self.state}): {self.text}"
        if self.changes:
            yield f"what changed since {self.like} ({self.how}):"
            yield from _tree(self.changes, "  ")
        if self.waits:
            yield "it waits for:"
            yield from (f"  {_port(w)}{w.what} {w.id} {w.state}" for w in self.waits)
        yield "its key depends on:"
        width = max((len(c.kind) + len(c.name) for c in self.components), default=0) + 1
        yield from (f"  {f'{c.kind} {c.name}'.strip().ljust(width)}  {c.value}" for c in self.components)


def _tree(changes: Iterable[Change], indent: str) -> Iterator[str]:
    for one in changes:
        yield f"{indent}{one.text}"
        yield from _tree(one.causes, indent + "  ")


def _port(wait: Wait) -> str:
    return f"{wait.port}: " if wait.port else ""


def why(db: Database, what: Id) -> Why:
    """Explain a run.

    Raises:
        NotFoundError: there is no such run.
    """
    return _Explainer(db).explain(find_run(db, what).id)


def _past(state: str) -> str:
    return {"error": "failed"}.get(state, f"was {state}")


class _Explainer:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._specs = Specs(db)
        self._likenesses = Likenesses(db, self._specs)
        self._walk = Walk(db, order=True)

    def explain(self, run: int) -> Why:
        now = meanings(self._db, self._specs, [run])[run]
        state = runs.views(self._db, [run])[run]
        source = self._source(now)
        changes: list[Change] = []
        if source is not None:
            like: Likeness | None = Likeness(source, SAME_KEY)
            verdict, text = "reused", f"its result was known: reused from {self._name(source)}, which has the same key"
        else:
            like = self._likenesses.of(now)
            verdict, text, changes = self._executed(now, like)
        waits: list[Wait] = []
        if state in {RunView.WAITING, RunView.READY, RunView.HELD}:
            verdict, text, waits = self._unstarted(now, state, verdict, text)
        cause, executed = self._cause(now), text
        if cause is not None and cause.id != run_id(now.run.block, run):
            verdict, changes = str(state), []
            text = f"{cause.task} {cause.id} {_past(cause.state)}: {cause.message}"
        elif cause is not None:
            tried = bool(attempts.of(self._db, [run]))
            text = f"it {_past(cause.state)}" + f": {cause.message}" * (cause.message not in _ENDED.values())
            text += f"; why it was executed: {executed}" * tried
        elif state in {RunView.INVALID, RunView.DELETED}:
            text = f"its result was marked {state}; why it was executed: {text}"
        more = request.raised(self._db, now.run.cls, now.spec)
        text += f"; after failed attempts it asks for {', '.join(more)}" if more else ""
        return Why(
            run=run_id(now.run.block, run),
            task=now.spec.name,
            state=str(state),
            verdict=verdict,
            text=text,
            like=self._id(like.run) if like is not None else "",
            how=like.how if like is not None else "",
            components=components(now, {n: self._maker(link) for n, link in now.inputs.items()}),
            changes=changes,
            waits=waits,
            cause=cause,
        )

    # ------------------------------------------------------------------------------------------------------- executed

    def _source(self, now: Meaning) -> int | None:
        """The run whose result this one took over, None if it executed itself or has not ended well."""
        row = now.run
        if row.state != RunState.COMPLETE:
            return None
        if not row.flags & runs.GREW:
            return self._walk.reused_from([row.id]).get(row.id)
        if any(a.state == RunState.COMPLETE for a in attempts.of(self._db, [row.id])):
            return None
        return self._likenesses.with_key(bytes(row.key), row.id)

    def _attached(self, block: int) -> bool:
        row = blocks.get(self._db, block)
        return row is not None and bool(row.flags & blocks.ATTACHED)

    def _executed(self, now: Meaning, like: Likeness | None) -> tuple[str, str, list[Change]]:
        """(verdict, sentence, changes) of a run that executed or will."""
        if now.run.flags & RunFlag.NO_CACHE and now.spec.cache and self._attached(now.run.block):
            return "not cached", f"{now.spec.name} uses a service, and results of what does are not reused", []
        if now.run.flags & RunFlag.NO_CACHE:
            return "not cached", f"results of {now.spec.name} are not reused (cache=False)", []
        if now.run.flags & flags.FORCED:
            return "forced", "it was asked to execute again whatever is known", []
        then = meanings(self._db, self._specs, [like.run]).get(like.run) if like is not None else None
        if like is None or then is None:
            return "new", f"nothing like it was known: {now.spec.name} had not run before", []
        name = self._name(like.run)
        if like.how == SAME_KEY:
            return *self._unusable(then, name), []
        changes = Comparison(self._db, self._specs).changes(now, then)
        if not changes:
            return *self._unusable(then, name), []
        if like.how == NEWEST and any(c.kind == "argument" for c in changes):
            return "new", f"{now.spec.name} had not run with these arguments; compared with {name}, {like.how}", changes
        began = "; ".join(c.text for c in difference.roots(changes)[:_MOST])
        return "changed", f"{began} (compared with {name}, {like.how})", changes

    def _unusable(self, then: Meaning, name: str) -> tuple[str, str]:
        """Why the result of an equal earlier run could not be taken."""
        row = then.run
        state = RunState(row.state)
        if state in _ENDED:
            verdict = _ENDED[state]
            return verdict, f"the same was tried before, but {name} {'was ' * (verdict != 'failed')}{verdict}"
        if state in {RunState.INVALID, RunState.DELETED}:
            return state.name.lower(), f"the result of {name}, which has the same key, was marked {state.name.lower()}"
        if state is not RunState.COMPLETE:
            return "unfinished", f"{name}, which has the same key, had not ended"
        outs = range(row.out, row.out + len(then.spec.outputs))
        for head in data.get(self._db, list(outs), values=False).values():
            source = data.get(self._db, [head.src], values=False).get(head.src, head) if head.src else head
            word = _GONE.get(DatumState(source.state))
            if word is not None:
                return word, f"the result of {name}, which has the same key, is {word}"
        return "same", f"{name} has the same key, but its result was not there yet when this run was decided"

    # ------------------------------------------------------------------------------------------------------ unstarted

    def _unstarted(self, now: Meaning, state: RunView, verdict: str, text: str) -> tuple[str, str, list[Wait]]:
        if state is RunView.HELD:
            return "held", f"it is held: tidemill unhold {self._id(now.run.id)} lets it go on", []
        leader = history.leader(self._db, now.run.id)
        if leader is not None:
            wait = Wait(port="", id=self._id(leader), what=now.spec.name, state=self._state(leader))
            return "waiting", f"{self._name(leader)} has the same key and is under way: its result will be used", [wait]
        if state is RunView.WAITING:
            waits = self._waits(now.run.id)
            kinds = sorted({w.what for w in waits if w.what != "list"}) or ["a list"]
            more = f" and {len(kinds) - 3} others" if len(kinds) > 3 else ""
            return "waiting", f"it waits for {', '.join(kinds[:3])}{more}", waits
        if history.wakes(self._db, now.run.id) is not None:
            return verdict, "its last attempt failed; it is tried again after a pause", []
        hubs = {h.id: h for h in classes.hubs(self._db)}
        block = blocks.get(self._db, now.run.block)
        if block is not None and not hubs[block.hub].active:
            return "stopped", f"nobody works on its workflow: tidemill resume {block.root} goes on with it ({text})", []
        return verdict, f"it is ready and will execute: {text}", []

    def _waits(self, run: int) -> list[Wait]:
        """What is pending among its inputs, and below them as far as they are lists."""
        links = [k for k in lineage.inputs(self._db, [run]) if k.state is None]
        names = meanings(self._db, self._specs, [run])[run].names
        found: list[Wait] = []
        self._walk.up([run], 1)
        lists = lineage.lists(self._db, [k.datum for k in links])
        for link in links:
            port = names.get(link.port, "")
            inside = self._walk.waiting.get(link.datum, ()) if link.datum in lists else [link.datum]
            if link.datum in lists:
                state = f"{lists[link.datum].members - len(inside):,} of {lists[link.datum].members:,}"
                found.append(Wait(port=port, id=datum_id(link.datum), what="list", state=state))
            makers = [self._walk.makers[d] for d in list(inside)[: _MOST - len(found)] if d in self._walk.makers]
            found += self._described(port, makers)
        return found[:_MOST]

    def _described(self, port: str, ids: list[int]) -> Iterable[Wait]:
        heads = lineage.heads(self._db, ids)
        views = runs.views(self._db, ids)
        for i in ids:
            head = heads[i]
            yield Wait(port=port, id=run_id(head.block, i), what=self._specs.of(head.task).name, state=str(views[i]))

    # ------------------------------------------------------------------------------------------------------- the cause

    def _cause(self, now: Meaning) -> Cause | None:
        """The root cause of an end without a result."""
        if now.run.state not in _ENDED:
            return None
        run = now.run.cause or now.run.id
        head = lineage.heads(self._db, [run]).get(run)
        if head is None:
            return None
        tried = [a.body for a in attempts.of(self._db, [run]) if a.body]
        failure = _failure(tried[-1]) if tried else None
        message = f"{failure.kind}: {failure.message}" if failure else _ENDED.get(RunState(head.state), "")
        return Cause(
            id=run_id(head.block, run), task=self._specs.of(head.task).name, state=self._state(run), message=message
        )

    # ------------------------------------------------------------------------------------------------------------ names

    def _maker(self, link: lineage.Link) -> str:
        source = link.source or link.made_by
        return self._name(source) if source is not None else "a list" if link.kind == data.GATHER else ""

    def _name(self, run: int) -> str:
        head = lineage.heads(self._db, [run])[run]
        return f"{self._specs.of(head.task).name} {run_id(head.block, run)}"

    def _id(self, run: int) -> str:
        return run_id(lineage.heads(self._db, [run])[run].block, run)

    def _state(self, run: int) -> str:
        return str(runs.views(self._db, [run])[run])
