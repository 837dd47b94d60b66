"""Growth: children of one root beside Toil, and a recursion that grows by itself beside the bare loop."""

from collections.abc import Iterator
from pathlib import Path

import limits
import toil_peer
from measure import Row, Watch, flush_ms, fresh, main
from stores import engine, execute
from work import fan, tree

CHILDREN = 500
DEPTH = 16
"""Of the recursion: 2^(DEPTH + 1) - 1 runs and as many that only hand on."""


def rows(directory: Path) -> Iterator[Row]:
    with Watch() as busy:
        toil = CHILDREN / toil_peer.children_seconds(directory, CHILDREN)
    with fresh(directory) as place:
        watch = execute(place, fan(CHILDREN))
    more = {"seconds": watch.seconds}
    with fresh(directory) as place, engine(place) as store, Watch() as served:
        store.run(fan(CHILDREN), workers=2, progress=False)
    more["served_per_s"] = CHILDREN / served.seconds
    yield Row("children", CHILDREN / watch.seconds, toil, "/s Toil", max(watch.others, busy.others), 0.0, more)
    bare = limits.independent(directory, 100_000).rate
    runs = 2 ** (DEPTH + 1) - 1
    with fresh(directory) as place, engine(place) as store, Watch() as watch:
        store.run(tree(DEPTH), workers=2, progress=False)
    yield Row("recursion", runs / watch.seconds, bare, "/s bare loop", watch.others, flush_ms(directory))


if __name__ == "__main__":
    main(rows)
