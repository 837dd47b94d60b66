"""What a call is, as a digest: equal calls of equal code have equal plans."""

import os
from collections.abc import Iterable
from typing import Any

from tidemill.graph.code import code_parts, combine
from tidemill.graph.future import Elements, Loose
from tidemill.graph.index import Axis
from tidemill.graph.ports import BindError
from tidemill.graph.structure import rewrite
from tidemill.model.digest import digest
from tidemill.model.file import File
from tidemill.model.fileid import FileId
from tidemill.model.values import Ref, encode, id_ref


class Identities:
    """Digests of calls made outside of the graph, computed from the inside out."""

    def __init__(self) -> None:
        self._axes: dict[Axis, int] = {}
        self._known: dict[int, bytes] = {}

    def of(self, calls: Iterable[Loose]) -> bytes:
        """The identity of the last call; every call comes after those among its arguments.

        Raises:
            ValueCodecError: if an argument cannot be encoded.
        """
        found = b""
        for call in calls:
            args = rewrite(_arguments(call), self._leaf)
            found = self._known[id(call)] = digest(_function(call.fn_) + encode(args, _state))
        return found

    def _leaf(self, leaf: Any) -> Any:
        if isinstance(leaf, Loose):
            return ("call", self._known[id(leaf)])
        if not isinstance(leaf, Elements) or leaf.values_ is None:
            return "future"
        number = self._axes.setdefault
        terms = [(number(t.axis, len(self._axes)), *t[1:]) for t in leaf.terms_]
        items = leaf.values_.items
        found = encode(items if isinstance(items, range) else list(items), _state)
        return ("sweep", terms, leaf.path_, found)


def _state(leaf: Any) -> Ref:
    """A file or directory by its state: here nobody reads it, and not every one that a workflow is given is used. One
    that is fetched, by its address. The id of one in the store says all by itself."""
    if isinstance(leaf, FileId):
        return id_ref(leaf)
    if isinstance(leaf, File) and leaf.url:
        return Ref(encode(["url", leaf.url]), 0, "file")
    if isinstance(leaf, File) and leaf.ref is not None:
        return leaf.ref
    found = os.stat(leaf)
    return Ref(encode([os.path.abspath(leaf), found.st_size, found.st_mtime_ns]), found.st_size, "file")


def _arguments(call: Loose) -> list[Any]:
    """The arguments in port order, however they were passed."""
    signature = getattr(call.fn_, "signature", None)
    if signature is not None:
        try:
            return list(signature.bind(call.args_, call.kwargs_))
        except BindError:
            pass
    return [list(call.args_), dict(call.kwargs_)]


def _function(fn: Any) -> bytes:
    """Identity of a task, a workflow, or one of our own functions."""
    if hasattr(fn, "spec"):
        repeats = 0 if fn.axis is None else fn.axis.size
        return encode(["task", fn.spec.name, fn.spec.digest, repeats])
    if hasattr(fn, "signature"):
        return encode(["workflow", fn.name, combine(code_parts(fn.fn))])
    return encode(["function", fn.__module__, fn.__qualname__])
