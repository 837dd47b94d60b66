"""What tests need, shipped: conformance suites, a private PostgreSQL server, the runner of documentation examples.

This room may import every other one, and no other room imports it.
"""
