"""Bits of a run's `flags` that the engine sets; the lower ones are `model.delta.RunFlag`."""

from tidemill.stores.state.runs import GREW, SUPERSEDED

__all__ = ["FORCED", "GREW", "HAS_INPUTS", "SEVERAL_HUBS", "STARTED", "SUPERSEDED"]

STARTED = 1 << 9
"""Needs n of its m inputs and has had them."""
HAS_INPUTS = 1 << 10
"""Has edges: its key and its claim need the inputs' digests."""
SEVERAL_HUBS = 1 << 11
"""Is actioned on further hubs."""
FORCED = 1 << 12
"""Was asked to execute again whatever is known."""
