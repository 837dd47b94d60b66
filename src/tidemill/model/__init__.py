"""Pure values: identities, digests, specifications, states, graph deltas, messages and errors.

Nothing in this room touches disk, SQL or the clock, and it imports no other room.
"""
