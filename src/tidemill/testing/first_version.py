"""What makes a store of this version one of the first, to see it brought to this one again."""

_LATER = {
    "class": ("disk", "walltime", "accelerators", "preemptible", "local", "service"),
    "attempt": ("disk",),
}
"""Columns that later versions added; their tables are named in `_TABLES`."""
_TABLES = ("place", "serves", "file", "journal", "folder", "used", "name", "message", "reader", "setting")
_INDEXES = ("content_digest", "literal_digest", "datum_object")
FIRST = "; ".join(
    [
        *(f"drop index {name}" for name in _INDEXES),
        *(f"drop table {name}" for name in _TABLES),
        *(f"alter table {table} drop column {column}" for table, columns in _LATER.items() for column in columns),
        "delete from meta where name in ('message', 'file')",
    ]
)
"""Makes a store of this version one of the first."""
