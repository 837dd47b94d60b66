"""Services: brought up, published, looked at now and then, and brought down when nobody uses them any more."""

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Protocol

from tidemill.model.protocol import Claimed, Out, Published
from tidemill.model.states import Reason
from tidemill.workers.failure import Fault
from tidemill.workers.running import Post


class Link(Protocol):
    """What a service needs of its worker."""

    def publish(self, value: object) -> None:
        """The service is up: this is what its users get."""

    def over(self, seconds: float) -> bool:
        """Wait until nobody uses the service any more, at most so long; whether that is so."""


class Attached(Link):
    """The link of one attempt.

    Args:
        claim: the attempt's.
        out: makes what is sent of a value.
        post: the way to the engine.
    """

    def __init__(self, claim: Claimed, out: Callable[[object], Out], post: Post) -> None:
        self._claim = claim
        self._out = out
        self._post = post

    def publish(self, value: object) -> None:
        self._post.publish(Published(self._claim.run, self._claim.fence, self._out(value)))

    def over(self, seconds: float) -> bool:
        return self._post.over(self._claim.run, self._claim.fence, seconds)


def serve(made: Any, name: str, interval: float, link: Link) -> Any:
    """Run a service until it is over.

    Args:
        made: what its function or class gave: a generator, or an instance with `start` and perhaps `check` and `stop`.
        name: for messages.
        interval: seconds between two checks.
        link: to its users.

    Returns:
        what it published.

    Raises:
        BaseException: whatever the user's code raises.
    """
    if isinstance(made, Generator):
        return _serve_generator(made, name, interval, link)
    value = made.start()
    try:
        link.publish(value)
        check: Callable[[], object] | None = getattr(made, "check", None)
        while not link.over(interval):
            if check is not None and not check():
                break
    finally:
        stop = getattr(made, "stop", None)
        if stop is not None:
            stop()
    return value


def _serve_generator(made: Generator[Any, Any, Any], name: str, interval: float, link: Link) -> Any:
    try:
        value = next(made)
    except StopIteration:
        raise Fault(
            Reason.BAD_OUTPUT, f"the service {name} ended without publishing anything", hint="yield its address"
        ) from None
    try:
        link.publish(value)
        while not link.over(interval):
            pass
    except BaseException:
        made.close()
        raise
    with suppress(StopIteration):
        next(made)
        made.close()
        raise Fault(
            Reason.BAD_OUTPUT, f"the service {name} yields more than once", hint="what follows the yield takes it down"
        )
    return value
