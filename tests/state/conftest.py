"""Failed assertions of the suite show their values."""

import pytest

PARTS = (
    "base",
    "changes",
    "child",
    "graph",
    "nouns",
    "rows",
    "schema",
    "several",
    "transactions",
    "transitions",
    "values",
)

pytest.register_assert_rewrite("tidemill.testing.state", *[f"tidemill.testing.state_{part}" for part in PARTS])
