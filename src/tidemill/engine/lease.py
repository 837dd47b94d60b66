"""What the engine keeps in memory of a lease it gave: a cache of the lease row and of the run's columns that
completion needs.
"""

from typing import NamedTuple


class Leased(NamedTuple):
    """A lease under way.

    Attributes:
        fence: the attempt number under which results are accepted.
        worker: who holds it.
        key: the run key.
        tries, losses: charged to the run so far.
    """

    fence: int
    worker: int
    task: int
    block: int
    out: int
    cls: int
    key: bytes
    flags: int
    tries: int
    losses: int
