"""Lineage of a run, a datum or a workflow's result: everything it came from, or everything that came from it.

What is asked of the database is one recursive query; it is asked again only where the way goes on through data that
have not ended, or (downwards) through aliases. Of what was found, the nearest are described and linked.
"""

from collections.abc import Iterable, Sequence

from tidemill.model.errors import UsageError
from tidemill.model.ids import Id, datum_id, run_id
from tidemill.model.states import DatumState
from tidemill.provenance.picture import Edge, Lineage, Node
from tidemill.provenance.ports import input_names
from tidemill.provenance.walk import Walk
from tidemill.stores.state import data, lineage, runs
from tidemill.stores.state.database import Database
from tidemill.stores.state.lineage import Link

NEAREST = 1000
"""Nodes described when nobody says how many."""

MEMBERS = 10_000
"""Members of lists looked at for links."""


def ancestors(db: Database, run: int, *, order: bool = False) -> list[int]:
    """The runs that a run comes from, itself first, then the nearest first; through what is pending, too."""
    return [n for n in Walk(db, order=order).up([run], None) if n > 0]


def descendants(db: Database, run: int, *, order: bool = False) -> list[int]:
    """The runs that come from a run, itself first, those included that reused what did."""
    return [n for n in Walk(db, order=order).down([run], None) if n > 0]


def trace(
    db: Database,
    what: Id,
    *,
    up: bool = True,
    depth: int | None = None,
    order: bool = False,
    limit: int = NEAREST,
) -> Lineage:
    """Where something comes from (`up`), or what came from it.

    Args:
        db: the store.
        what: a run, a datum, or a block, which stands for its result.
        up: the direction.
        depth: the number of runs to follow one after the other; None for all.
        order: also follow order-only edges, over which no data went.
        limit: how many nodes to describe; 0 for all.

    Raises:
        NotFoundError: there is no such thing.
        UsageError: the block has no result, or the depth is negative.
    """
    if depth is not None and depth < 0:
        raise UsageError(f"the depth must be 0 or more, not {depth}")
    walk = Walk(db, order=order)
    start = walk.start(what)
    found = walk.up(start, depth) if up else walk.down(start, depth)
    chosen = found[:limit] if limit else found
    total = sum(1 for n in found if n > 0)
    nodes, edges = _describe(walk, chosen), _links(walk, chosen, start)
    return Lineage(subject=str(what), up=up, start=tuple(start), total=total, nodes=nodes, edges=edges)


def _describe(walk: Walk, chosen: Sequence[int]) -> list[Node]:
    ids = [n for n in chosen if n > 0]
    heads = lineage.heads(walk.db, ids)
    views = runs.views(walk.db, ids)
    alone = [-n for n in chosen if n < 0]
    lists = lineage.lists(walk.db, alone) if alone else {}
    ended = data.states(walk.db, alone) if alone else {}
    nodes = []
    for n in chosen:
        if n > 0:
            head = heads[n]
            name = walk.spec(head.task).name
            nodes.append(Node(key=n, id=run_id(head.block, n), kind="run", name=name, state=str(views[n])))
            continue
        state = DatumState(ended.get(-n, 0)).name.lower()
        found = lists.get(-n)
        kind, members = ("list", found.members) if found is not None else ("datum", 0)
        nodes.append(Node(key=n, id=datum_id(-n), kind=kind, state=state, members=members))
    return nodes


def _links(walk: Walk, chosen: Sequence[int], start: Sequence[int]) -> list[Edge]:
    """The ways between the chosen nodes."""
    shown = set(chosen)
    ids = [n for n in chosen if n > 0]
    reused = walk.reused_from([n for n in start if n > 0])
    edges = [
        *_input_edges(walk, [n for n in ids if n not in reused]),
        *_member_edges(walk, [-n for n in chosen if n < 0]),
        *(Edge(source=g, target=r, kind="grown") for r, g in lineage.growers(walk.db, ids).items()),
        *(Edge(source=w, target=r, kind="used") for r, w in lineage.uses(walk.db, ids)),
        *(Edge(source=s, target=r, kind="reused") for r, s in reused.items()),
    ]
    return [e for e in edges if e.source in shown and e.target in shown]


def _input_edges(walk: Walk, ids: Sequence[int]) -> Iterable[Edge]:
    links = [link for link in lineage.inputs(walk.db, ids) if link.port >= 0 or walk.order]
    rows = runs.get(walk.db, sorted({link.run for link in links}))
    names = {r.id: input_names(walk.spec(r.task), r.args) for r in rows.values()}
    for link in links:
        kind = "data" if link.port >= 0 else "order"
        port = names[link.run].get(link.port, "") if link.port >= 0 else ""
        yield Edge(source=_node(walk, link), target=link.run, kind=kind, port=port, datum=link.datum)


def _node(walk: Walk, link: Link) -> int:
    if link.src is not None:
        return link.source if link.source is not None else -link.src
    made_by = link.made_by if link.made_by is not None else walk.makers.get(link.datum)
    return made_by if made_by is not None else -link.datum


def _member_edges(walk: Walk, alone: Sequence[int]) -> Iterable[Edge]:
    if not alone:
        return
    for gather, member, source in lineage.members(walk.db, alone, MEMBERS):
        yield Edge(source=source, target=-gather, kind="member", datum=member)
    for gather in alone:
        for member in walk.waiting.get(gather, ()):
            source = walk.makers.get(member, -member)
            yield Edge(source=source, target=-gather, kind="member", datum=member)
    for datum, target in lineage.forwards(walk.db, alone).items():
        maker = walk.makers.get(target)
        yield Edge(source=maker if maker is not None else -target, target=-datum, kind="promised", datum=target)
