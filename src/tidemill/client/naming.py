"""What to add to commands that users are told, so that they find the store."""

DEFAULT = ".tidemill"
"""The store that is used if none is named."""


def store_option(store: str) -> str:
    """The option that names a store, "" for the default one."""
    return "" if store == DEFAULT else f" --store {store}"
