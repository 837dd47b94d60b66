"""Growth: children of one root beside Toil, and a recursion that grows by itself beside the bare loop."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import limits
import toil_peer
from measure import Row, Watch, flush_ms, fresh, main
from stores import engine, execute
from work import fan, tree

CHILDREN = 500
DEPTH = 16
"""Of the recursion: 2^(DEPTH + 1) - 1 runs and as many that only hand on."""


def rows(directory: Path) -> Iterator[Row]:
    taken = [children(directory) for _ in range(3)]
    with Watch() as busy:
        start, each = toil_peer.children(directory)
    taken += [children(directory) for _ in range(3)]
    whole = CHILDREN / (start + CHILDREN * each)
    yield Row("children", CHILDREN / median(taken), whole, "/s Toil", busy.others, flush_ms(directory))
    with fresh(directory) as place, engine(place) as store, Watch() as watch:
        store.run(fan(CHILDREN), workers=2, progress=False)
    others = max(watch.others, busy.others)
    yield Row("children_served", CHILDREN / watch.seconds, 1 / each, "/s Toil", others, flush_ms(directory))
    bare = limits.independent(directory, 100_000).rate
    runs = 2 ** (DEPTH + 1) - 1
    with fresh(directory) as place, engine(place) as store, Watch() as watch:
        store.run(tree(DEPTH), workers=2, progress=False)
    yield Row("recursion", runs / watch.seconds, bare, "/s bare loop", watch.others, flush_ms(directory))


def children(directory: Path) -> float:
    """Seconds until a store that nobody serves has been made, and the children in it are done."""
    with fresh(directory) as place:
        return execute(place, fan(CHILDREN)).seconds


if __name__ == "__main__":
    main(rows)
