"""Several files at a time."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

TOGETHER = 16
"""Files that are transferred at the same time."""

_A = TypeVar("_A")
_B = TypeVar("_B")


def side_by_side(call: Callable[[_A], _B], items: Iterator[_A], together: int = TOGETHER) -> Iterator[_B]:
    """`call` of every item, several at a time, as they are done; few items are taken ahead of those that are done.

    After an error no further item is taken, and those under way are waited for.
    """
    from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(together, "transfer") as threads:
        pending = _start(threads, call, islice(items, 2 * together))
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= _start(threads, call, islice(items, len(done)))
                for one in done:
                    yield one.result()
        finally:
            for waiting in pending:
                waiting.cancel()


def _start(threads: "ThreadPoolExecutor", call: Callable[[_A], _B], items: Iterator[_A]) -> "set[Future[_B]]":
    return {threads.submit(call, item) for item in items}
