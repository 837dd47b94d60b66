"""Where `call.run()`, `.submit()` and `.plan()` go: the hook of `graph.runner`, filled when `tidemill` is imported."""

from typing import Any

from tidemill.client.store import Store, options_of
from tidemill.graph import runner


class StoreRunner:
    """Runs calls in the store that the options name."""

    def run(self, call: Any, **options: Any) -> Any:
        """Execute the call and return its result; see `Store.run`."""
        opening, rest = options_of(options)
        with Store(**opening) as store:
            return store.run(call, **rest)

    def submit(self, call: Any, **options: Any) -> Any:
        """Start executing the call and return a handle; see `Store.submit`."""
        opening, rest = options_of(options)
        return Store(**opening).submit(call, **rest)

    def plan(self, call: Any, **options: Any) -> Any:
        """Say what would run, and why; see `Store.plan`."""
        opening, rest = options_of(options)
        with Store(**opening) as store:
            return store.plan(call, **rest)


def register() -> None:
    """Make the embedded client what calls run by."""
    runner.register(StoreRunner())
