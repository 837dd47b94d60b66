"""Lineage as records, and as text: a tree in which runs of the same task that play the same part are one line."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

LINES = 60
"""Lines printed at most."""

Group = tuple[str, tuple[int, ...]]
"""How it is used (a port, "after", …), and the keys of its nodes."""

_WORDS = {
    "order": "after",
    "grown": "grown by",
    "reused": "reused from",
    "promised": "",
    "member": "",
    "used": "file of",
}
_DOWN_WORDS = {
    "order": "before", "grown": "grew", "reused": "reused by", "promised": "", "member": "", "used": "file for"
}  # fmt: skip


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run, or a datum that stands for itself.

    Attributes:
        key: the run's integer; of a datum its integer with a minus sign.
        id: the public id.
        kind: "run", "list", "datum".
        name: the task's name; empty for data.
        state: as users see it.
        members: of a list.
    """

    key: int
    id: str
    kind: str
    name: str = ""
    state: str = ""
    members: int = 0


class Edge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way from a node to one that came after it.

    Attributes:
        source, target: keys of nodes.
        kind: "data"; "order" (waited for, not used); "member" (of a list); "grown" (the source called the target);
            "reused" (the target took over the source's result); "used" (the target read a file that the source wrote
            beside its results); "promised" (the target will be the source's value).
        port: the target's input.
        datum: what went this way.
    """

    source: int
    target: int
    kind: str
    port: str = ""
    datum: int = 0


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """What came before or after something.

    Attributes:
        subject: the public id asked about.
        up: whether this is what it came from.
        start: keys of the nodes that the subject is.
        total: runs found, the subject's own included.
        nodes: the nearest of what was found, nearest first.
        edges: between these.
    """

    subject: str
    up: bool
    start: tuple[int, ...]
    total: int
    nodes: list[Node]
    edges: list[Edge]

    def text(self, lines: int = LINES) -> str:
        """A tree of at most so many lines, with the subject at the top."""
        return "\n".join(_Tree(self).lines(lines))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(self.text())}</pre>"


class _Tree:
    def __init__(self, found: Lineage) -> None:
        self._found = found
        self._nodes = {n.key: n for n in found.nodes}
        self._next: dict[int, list[tuple[str, int]]] = {}
        for e in found.edges:
            here, there = (e.target, e.source) if found.up else (e.source, e.target)
            self._next.setdefault(here, []).append((self._word(e), there))

    def _word(self, edge: Edge) -> str:
        if edge.kind == "data":
            return edge.port
        return (_WORDS if self._found.up else _DOWN_WORDS)[edge.kind]

    def lines(self, limit: int) -> list[str]:
        """One line per group, depth first; what stood above already is not unfolded again."""
        found: list[str] = []
        unfolded: set[int] = set()
        stack = [(group, "", "") for group in reversed(self._groups([("", k) for k in self._found.start]))]
        left_out = 0
        while stack:
            (word, keys), mark, indent = stack.pop()
            if len(found) >= limit:
                left_out += len(keys)
                continue
            fresh = [k for k in keys if k not in unfolded]
            below = self._groups([way for k in fresh for way in self._next.get(k, ())])
            unfolded.update(keys)
            again = " (see above)" if not fresh and any(k in self._next for k in keys) else ""
            label = f"{word}: " if word else ""
            found.append(f"{mark}{label}{self._describe(keys)}{again}")
            for i, group in reversed(list(enumerate(below))):
                last = i == len(below) - 1
                stack.append((group, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")))
        return [*found, *self._rest(left_out)]

    def _rest(self, left_out: int) -> list[str]:
        shown = sum(1 for n in self._found.nodes if n.kind == "run")
        hidden = self._found.total - shown
        words = [f"{left_out:,} more below"] * bool(left_out)
        words += [f"{hidden:,} runs further away (--limit 0 looks at all)"] * bool(hidden > 0)
        return [f"… {', '.join(words)}"] if words else []

    def _groups(self, ways: Iterable[tuple[str, int]]) -> list[Group]:
        """Nodes of the same task used the same way, in the order of their first."""
        groups: dict[tuple[str, str, str], dict[int, None]] = {}
        for word, key in ways:
            node = self._nodes.get(key)
            if node is not None:
                groups.setdefault((word, node.kind, node.name), {})[key] = None
        return [(word, tuple(sorted(keys))) for (word, _, _), keys in groups.items()]

    def _describe(self, keys: Sequence[int]) -> str:
        nodes = [self._nodes[k] for k in keys]
        first = nodes[0]
        if len(nodes) == 1:
            return _one(first)
        what = f"{first.name or first.kind} × {len(nodes):,}"
        span = f" ({first.id} … {nodes[-1].id})" if first.kind == "run" else ""
        states = Counter(n.state for n in nodes)
        shown = first.state if len(states) == 1 else ", ".join(f"{n:,} {state}" for state, n in states.items())
        return f"{what}{span} {shown}"


def _one(node: Node) -> str:
    if node.kind == "list":
        return f"list of {node.members:,} ({node.id}) {node.state}"
    return f"{node.name} {node.id} {node.state}".strip()
