"""Durable things: `state` (rows), `objects` (bytes by digest), later `arrays` and `cache`.

Stores import `model` only, and not each other.
"""
