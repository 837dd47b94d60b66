"""Everything about one run, block or datum, with values previewed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from tidemill.client import files, queries, views
from tidemill.client.queries import BlockStatus
from tidemill.engine import flags, gathers_read
from tidemill.model.delta import RunFlag
from tidemill.model.digest import show as show_digest
from tidemill.model.errors import NotFoundError
from tidemill.model.ids import Id, datum_id, run_id
from tidemill.model.preview import preview, shorten, size_text
from tidemill.model.protocol import Failure, Input
from tidemill.model.spec import TaskSpec
from tidemill.model.states import AttemptState, BlockState, DatumState, Reason
from tidemill.model.values import inputs_in
from tidemill.provenance.find import find_run
from tidemill.provenance.meaning import Meaning, Specs, meanings
from tidemill.provenance.request import request
from tidemill.provenance.walk import Walk
from tidemill.server.addresses import Place
from tidemill.stores.state import attempts, blocks, data, edges, gathers, lineage, overview, runs, supersedes
from tidemill.stores.state.attempts import Attempt
from tidemill.stores.state.database import Database
from tidemill.stores.state.lineage import Link

SHOWN = 20
"""Consumers of a datum named."""

LIST_MEMBERS = 4
"""Members of a list previewed."""

WIDE = 400
"""Characters of the preview of a single datum."""

_failure = msgspec.msgpack.Decoder(Failure).decode


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was given at one port.

    Attributes:
        port: the parameter.
        value: a preview; of a result that has not come, what it comes from.
        sources: public ids of the runs and lists that results in it come from.
    """

    port: str
    value: str
    sources: list[str]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a run."""

    port: str
    id: str
    state: str
    value: str
    size: int
    digest: str


class AttemptInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One try.

    Attributes:
        number: which; the fence of its lease.
        state: "running", "complete", "error", "lost", "cancelled", "released".
        reason: of a failure: "exception", "timeout", "out of memory", ….
        worker, host: who made it.
        started: seconds since the epoch.
        seconds, cpu: wall and CPU seconds.
        memory: peak in bytes.
        disk: peak in bytes in its directory, None where it wrote no files.
        error: of a failure, in one line.
    """

    number: int
    state: str
    reason: str
    worker: str
    host: str
    started: float | None
    seconds: float | None
    cpu: float | None
    memory: int | None
    disk: int | None
    error: str


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a run.

    Attributes:
        id, task, state: as everywhere.
        block, workflow: the root block it belongs to, and its name.
        place: where the task is defined.
        arguments, outputs, attempts: see there.
        after: what it waits for without using it.
        files, used: files that it wrote beside its results, and read beside its inputs.
        reused_from: the run whose result it has, "" if it executed itself.
        grew: the block of the runs that it called, 0 if it called none.
        cause: the run because of which it has no result, "" if there is none or it is its own.
        newer: the run that stands in for it since something was executed again.
        failure: traceback or other text of the last failure.
        scratch: directory of the last failure that was kept.
        options: what differs from the default: "not cached", "forced", "external", "cpus 4", ….
        key: the run key, as far as it is known.
    """

    id: str
    task: str
    state: str
    block: int
    workflow: str
    place: str
    arguments: list[Argument]
    outputs: list[Output]
    attempts: list[AttemptInfo]
    after: list[str]
    reused_from: str
    grew: int
    cause: str
    newer: str
    failure: str
    scratch: str
    options: list[str]
    key: str
    files: list[str] = []
    used: list[str] = []

    def _pairs(self) -> Iterable[tuple[str, object]]:
        yield "run", f"{self.task} {self.id}"
        yield "state", self.state
        yield "workflow", f"{self.workflow} (block {self.block})"
        yield "defined at", self.place
        yield "options", ", ".join(self.options)
        yield "reused from", self.reused_from
        yield "because of", self.cause
        yield "superseded by", self.newer
        yield "grew", f"block {self.grew}" if self.grew else ""
        yield "after", ", ".join(self.after)
        for a in self.arguments:
            yield f"input {a.port}", a.value + (f"  ← {', '.join(a.sources)}" if a.sources else "")
        for o in self.outputs:
            yield f"output {o.port}", {"complete": o.value, "published": f"{o.value} (published)"}.get(o.state, o.state)
        yield from [("wrote", f) for f in self.files] + [("read", f) for f in self.used]

    def _attempt_table(self) -> views.Table:
        heads = ["try", "state", "reason", "worker", "started", "took", "cpu", "memory", "disk", "error"]
        rows = [
            [
                a.number, a.state, a.reason, f"{a.worker}@{a.host}" if a.worker else "", views.moment(a.started),
                views.span(a.seconds), views.span(a.cpu), views.memory(a.memory), views.memory(a.disk),
                shorten(a.error, 80),
            ]
            for a in self.attempts
        ]  # fmt: skip
        return views.Table(heads, rows, numbers=(0, 5, 6, 7, 8))

    def __str__(self) -> str:
        parts = [views.fields(self._pairs())]
        if self.attempts:
            parts.append(str(self._attempt_table()))
        if self.failure:
            parts.append(self.failure.rstrip())
        if self.scratch:
            parts.append(f"its directory was kept: {self.scratch}")
        return "\n\n".join(parts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return views.html_fields(self._pairs()) + (self._attempt_table().html() if self.attempts else "")


class DatumInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a datum.

    Attributes:
        kind: "value", "list" or "end of block".
        value: a preview.
        made_by: the run whose output it is.
        same_as: the datum whose value it shares.
        used_by: runs that have it as an input and lists that it is a member of, some of them.
        more: whether there are more of these.
        objects: digests of stored files that its value names.
    """

    id: str
    kind: str
    state: str
    value: str
    size: int
    digest: str
    made_by: str
    same_as: str
    used_by: list[str]
    more: bool
    objects: list[str]

    def _pairs(self) -> Iterable[tuple[str, object]]:
        yield "datum", f"{self.id} ({self.kind})"
        yield "state", self.state
        yield "value", self.value
        yield "size", size_text(self.size) if self.kind == "value" else f"{self.size:,} members"
        yield "digest", self.digest
        yield "made by", self.made_by
        yield "same as", self.same_as
        yield "used by", ", ".join(self.used_by) + " and others" * self.more
        yield "files", ", ".join(self.objects)

    def __str__(self) -> str:
        return views.fields(self._pairs())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return views.html_fields(self._pairs())


class BlockInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a block.

    Attributes:
        status: counters, of a workflow by task.
        workflow: the root block.
        parent: the block around it, 0 for a workflow.
        grown_by: the run that called its runs, "" for those of a workflow itself.
        parts: the blocks in it, some of them.
        contained: what ended badly in contained blocks, so that the workflow did not fail because of it.
        result: previews of the data that the workflow's result is made of.
    """

    status: BlockStatus
    workflow: int
    parent: int
    grown_by: str
    parts: list[int]
    result: list[str]
    contained: str = ""

    def __str__(self) -> str:
        shown = queries.Status(store="", served=False, blocks=[self.status], more=False)
        pairs = [
            ("part of", f"block {self.parent}" if self.parent else ""),
            ("called by", self.grown_by),
            ("parts", ", ".join(map(str, self.parts))),
            ("contained", self.contained),
            ("result", ", ".join(self.result)),
        ]
        return "\n\n".join(filter(None, [str(shown), views.fields(pairs)]))

    def _repr_html_(self) -> str:
        return self.status._repr_html_()

    def __repr__(self) -> str:
        return str(self)


def show(db: Database, place: Place, what: Id) -> RunInfo | BlockInfo | DatumInfo:
    """Everything about what an id names.

    Raises:
        NotFoundError: there is no such thing.
    """
    if what.kind == "run":
        return show_run(db, what)
    if what.kind == "block":
        return _show_block(db, place, what.number)
    return _show_datum(db, what.number)


# ---------------------------------------------------------------------------------------------------------------- runs


def show_run(db: Database, what: Id) -> RunInfo:
    """Everything about a run.

    Raises:
        NotFoundError: there is no such run.
    """
    row = find_run(db, what)
    specs, walk = Specs(db), Walk(db, order=True)
    meaning = meanings(db, specs, [row.id])[row.id]
    root = blocks.find(db, blocks.find(db, row.block).root)
    tried = attempt_infos(db, row.id)
    failure = last_failure(db, row.id)
    grew = blocks.owned_by(db, row.id) if row.flags & runs.GREW else None
    source = walk.reused_from([row.id]).get(row.id)
    cause = row.cause if row.cause not in {None, row.id} else None
    newer = supersedes.successors(db, [row.id], supersedes.RUN).get(row.id)
    others = lineage.heads(db, [r for r in (source, cause, newer) if r])
    waits = [k for k in lineage.inputs(db, [row.id]) if k.port < 0]
    return RunInfo(
        id=run_id(row.block, row.id),
        task=meaning.spec.name,
        state=str(runs.views(db, [row.id])[row.id]),
        block=root.id,
        workflow=root.name,
        place=meaning.spec.place,
        arguments=describe_arguments(db, meaning, walk),
        outputs=_outputs(db, meaning),
        attempts=tried,
        after=[_source_name(db, walk, k) for k in waits],
        reused_from=_run_name(others, source),
        grew=grew.id if grew is not None else 0,
        cause=_run_name(others, cause),
        newer=_run_name(others, newer),
        failure=(failure.traceback or f"{failure.kind}: {failure.message}") if failure is not None else "",
        scratch=failure.scratch if failure is not None else "",
        options=_options(db, row, meaning.spec),
        key=show_digest(bytes(row.key)),
        files=files.written(db, row.id),
        used=files.used(db, row.id),
    )


def _run_name(heads: dict[int, lineage.Head], run: int | None) -> str:
    return run_id(heads[run].block, run) if run is not None and run in heads else ""


def _options(db: Database, row: runs.Run, spec: TaskSpec) -> list[str]:
    found = []
    if row.flags & RunFlag.NO_CACHE:
        found.append("not cached")
    if row.flags & flags.FORCED:
        found.append("forced")
    if row.flags & RunFlag.EXTERNAL:
        found.append("external")
    found += request(db, row.cls, spec)
    if spec.retries:
        found.append(f"retries {spec.retries}")
    return found


def describe_arguments(db: Database, meaning: Meaning, walk: Walk) -> list[Argument]:
    """The inputs of a run by port, with results in place of their placeholders as far as they are there."""
    values = dict(zip(meaning.inputs, _shown(db, [k.datum for k in meaning.inputs.values()]), strict=True))
    walk.up([meaning.run.id], 1)
    names = {n: _source_name(db, walk, k) for n, k in meaning.inputs.items()}
    found = []
    for port, piece in meaning.arguments.items():
        numbers = list(dict.fromkeys(i.number for i in inputs_in(piece)))
        labels = {n: values[n] or "⟨no value⟩" for n in numbers if n in values}
        sources = [names[n] for n in numbers if n in names]
        found.append(Argument(port=port, value=preview(piece, 120, labels), sources=sources))
    return found


def _source_name(db: Database, walk: Walk, link: Link) -> str:
    source = link.source or link.made_by or walk.makers.get(link.datum)
    if source is None:
        return datum_id(link.datum)
    return run_id(lineage.heads(db, [source])[source].block, source)


def _outputs(db: Database, meaning: Meaning) -> list[Output]:
    first = meaning.run.out
    ids = list(range(first, first + len(meaning.spec.outputs)))
    heads = data.get(db, ids, values=False)
    found = []
    for port, i, text in zip(meaning.spec.outputs, ids, _previews(db, ids, 120), strict=True):
        head = heads.get(i)
        state = DatumState(head.state).name.lower() if head is not None else "pending"
        digest = show_digest(head.digest) if head is not None and head.digest else ""
        size = head.size if head is not None else 0
        found.append(Output(port=port.name, id=datum_id(i), state=state, value=text, size=size, digest=digest))
    return found


def attempt_infos(db: Database, run: int) -> list[AttemptInfo]:
    """The tries of a run, the one under way included."""
    tried = attempts.of(db, [run])
    names = overview.workers(db, [a.worker for a in tried])
    found = [_attempt_info(a, names) for a in tried]
    held = overview.lease(db, run)
    if held is not None:
        found.append(
            AttemptInfo(
                number=held.fence, state="running", reason="", worker=held.name, host=held.host, started=held.t,
                seconds=None, cpu=None, memory=None, disk=None, error="",
            )
        )  # fmt: skip
    return found


def _attempt_info(a: Attempt, names: dict[int, tuple[object, ...]]) -> AttemptInfo:
    failure = _failure(a.body) if a.body else None
    worker = names.get(a.worker)
    return AttemptInfo(
        number=a.n,
        state=AttemptState(a.state).name.lower(),
        reason=Reason(a.reason).name.lower().replace("_", " ") if a.reason else "",
        worker=str(worker[1]) if worker else "",
        host=str(worker[2]) if worker else "",
        started=a.t0,
        seconds=a.t1 - a.t0 if a.t0 is not None and a.t1 is not None else None,
        cpu=a.cpu,
        memory=a.rss,
        disk=a.disk,
        error=f"{failure.kind}: {failure.message}" if failure is not None else "",
    )


def last_failure(db: Database, run: int) -> Failure | None:
    """Why the last failed attempt of a run failed."""
    bodies = [a.body for a in attempts.of(db, [run]) if a.body]
    return _failure(bodies[-1]) if bodies else None


# ----------------------------------------------------------------------------------------------------- blocks and data


def _show_block(db: Database, place: Place, block: int) -> BlockInfo:
    row = blocks.find(db, block)
    owner = lineage.heads(db, [row.owner]) if row.owner is not None else {}
    submitted = blocks.delta(db, block) if row.parent is None else None
    result = blocks.result_of(submitted, row.out_lo) if submitted is not None else None
    newest = [supersedes.newest(db, ref) for ref in result[1][:SHOWN]] if result is not None else []
    status = queries.block_status(db, place, row)
    return BlockInfo(
        status=status,
        workflow=row.root,
        parent=row.parent or 0,
        grown_by=_run_name(owner, row.owner),
        parts=[b.id for b in blocks.children(db, block)][:SHOWN],
        result=[t for t in _previews(db, newest, 120) if t],
        contained=queries.contained(status, row) if row.parent is None and row.state >= BlockState.COMPLETE else "",
    )


def _show_datum(db: Database, datum: int) -> DatumInfo:
    row = data.get(db, [datum], values=False).get(datum)
    lists = lineage.lists(db, [datum])
    walk = Walk(db, order=False)
    if row is None and datum not in lists:
        walk.start(Id("datum", datum))  # raises NotFoundError for what will never be there
    maker = row.run if row is not None else walk.makers.get(datum)
    if row is None and maker is None and datum not in lists:
        raise NotFoundError(f"there is no datum {datum}")
    used = edges.consumers(db, [datum], SHOWN + 1)
    heads = lineage.heads(db, [r for _, r, _ in used[:SHOWN]] + ([maker] if maker else []))
    holders = [datum_id(g) for g, _, _ in gathers.containing(db, [datum])[:SHOWN]]
    kind = "list" if datum in lists or (row and row.kind == data.GATHER) else "value"
    return DatumInfo(
        id=datum_id(datum),
        kind="end of block" if row is not None and row.kind == data.BLOCK else kind,
        state=DatumState(row.state).name.lower() if row is not None else "pending",
        value=_previews(db, [datum], WIDE)[0],
        size=row.size if row is not None else lists[datum].members if datum in lists else 0,
        digest=show_digest(row.digest) if row is not None and row.digest else "",
        made_by=_run_name(heads, maker),
        same_as=datum_id(row.src) if row is not None and row.src else "",
        used_by=[run_id(heads[r].block, r) for _, r, _ in used[:SHOWN]] + holders,
        more=len(used) > SHOWN,
        objects=[show_digest(d) for d in overview.objects_of(db, datum)],
    )


def _previews(db: Database, ids: Sequence[int], limit: int) -> list[str]:
    """Previews of data, "" where there is no value."""
    return [preview(v, limit) if isinstance(v, bytes) else shorten(v, limit) for v in _shown(db, ids)]


def _shown(db: Database, ids: Sequence[int]) -> list[str | bytes]:
    """Data as their encoded values or, where they have none in their rows, in words; "" where there is nothing."""
    rows = data.get(db, list(ids))
    sources = data.get(db, [d.src for d in rows.values() if d.src])
    found: list[str | bytes] = []
    for i in ids:
        row = rows.get(i)
        row = sources.get(row.src, row) if row is not None and row.src else row
        found.append(_value(db, row) if row is not None and row.state in (data.COMPLETE, data.PUBLISHED) else "")
    return found


def _value(db: Database, row: data.Datum) -> str | bytes:
    if row.kind == data.GATHER:
        members = gathers_read.members(db, row.id, 0, LIST_MEMBERS)
        shown = [_member(m) for m in members]
        return f"[{', '.join(shown)}{', …' if row.size > len(shown) else ''}]"
    if row.kind == data.BLOCK:
        return "done"
    return bytes(row.value) if row.value is not None else f"<{size_text(row.size)} in the object store>"


def _member(found: Input) -> str:
    if found.value is not None:
        return preview(found.value, 30)
    rest = f"<{size_text(found.size)}>" if found.digest else "None"
    return f"list of {found.size:,}" if found.gather else rest
