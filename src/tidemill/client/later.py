"""Modules imported at first use: a program that only runs workflows shall not wait for those that answer questions."""

from importlib import import_module
from typing import Any


class Later:
    """Stands for a module until something of it is needed.

    Args:
        name: of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
