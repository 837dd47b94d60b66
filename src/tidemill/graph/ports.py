"""From a function's parameters to ports, and from the arguments of a call to values in port order."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidemill.graph.check import UNKNOWN, fits, inner, is_file, show
from tidemill.graph.classes import body, maker
from tidemill.model.spec import Port

_LIST_TEXT = re.compile(
    r"^(?:\w+\.)*(?:[Ll]ist|(?:Mutable)?Sequence|Iterable|Collection)\b|^(?:\w+\.)*[Tt]uple\[.*,\s*\.\.\.\s*\]$"
)

P = inspect.Parameter
_VARIADIC: dict[Any, str] = {P.VAR_POSITIONAL: "*", P.VAR_KEYWORD: "**"}


class BindError(Exception):
    """Arguments do not fit a signature; `texts` says why, once for each of them."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__("; ".join(texts))
        self.texts = texts


class Signature:
    """The inputs of a task or workflow.

    Attributes:
        name: of the task, for messages.
        ports: in the order in which the argument template has them.
        types: their resolved annotations, `UNKNOWN` where there is none. Of a "*" or "**" port: of each argument.
        returns: the resolved annotation of the result.
        arity: as many positional arguments need no binding; -1 if every call does.
    """

    def __init__(
        self, name: str, ports: Sequence[Port], types: Sequence[object], kinds: Sequence[Any], defaults: Sequence[Any]
    ) -> None:
        self.name = name
        self.ports = tuple(ports)
        self.types = tuple(types)
        self.returns: object = UNKNOWN
        self._fitting: set[tuple[object, object]] = set()
        self._kinds = tuple(kinds)
        self._defaults = tuple(defaults)
        self._number = {p.name: i for i, p in enumerate(ports) if not p.variadic}
        self._star = next((i for i, p in enumerate(ports) if p.variadic == "*"), None)
        self._positional = [i for i, k in enumerate(kinds) if k in {P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD}]
        self.arity = len(ports) if len(self._positional) == len(ports) else -1

    def fits(self, given: object, wanted: object) -> bool:
        """`check.fits`, remembered."""
        try:
            if (given, wanted) in self._fitting:
                return True
        except TypeError:
            return fits(given, wanted)
        found = fits(given, wanted)
        if found:
            self._fitting.add((given, wanted))
        return found

    def bind(self, args: Sequence[object], kwargs: Mapping[str, object]) -> list[object]:
        """The values in port order, defaults filled in.

        Raises:
            BindError: with everything that is wrong.
        """
        values = list(self._defaults)
        texts: list[str] = []
        self._bind_positional(args, values, texts)
        rest: dict[str, object] = {}
        for name, value in kwargs.items():
            self._bind_keyword(name, value, len(args), values, rest, texts)
        missing = [p.name for p, value in zip(self.ports, values, strict=True) if value is P.empty]
        if missing:
            texts.append(f"{self.name}() is missing {_quoted(missing)}")
        if texts:
            raise BindError(texts)
        return values

    def _bind_positional(self, args: Sequence[object], values: list[object], texts: list[str]) -> None:
        for i, value in zip(self._positional, args, strict=False):
            values[i] = value
        extra = args[len(self._positional) :]
        if self._star is not None:
            values[self._star] = list(extra)
        elif extra:
            takes = len(self._positional)
            texts.append(f"{self.name}() takes {takes} positional argument{'s' * (takes != 1)}, not {len(args)}")

    def _bind_keyword(
        self, name: str, value: object, given: int, values: list[object], rest: dict[str, object], texts: list[str]
    ) -> None:
        i = self._number.get(name)
        if i is not None and self._kinds[i] is not P.POSITIONAL_ONLY:
            if i in self._positional[:given]:
                texts.append(f"{self.name}() got {name!r} twice")
            values[i] = value
        elif self.ports and self.ports[-1].variadic == "**":
            rest[name] = value
            values[-1] = rest
        elif i is not None:
            texts.append(f"{self.name}() takes {name!r} by position only")
        else:
            import difflib

            near = difflib.get_close_matches(name, self._number, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {_quoted(self._number) or 'none'}"
            texts.append(f"{self.name}() has no parameter {name!r}{hint}")

    def spread(self, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments that pass values in port order to the function."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for port, kind, value in zip(self.ports, self._kinds, values, strict=True):
            if kind is P.VAR_POSITIONAL:
                args.extend(value)
            elif kind is P.VAR_KEYWORD:
                kwargs.update(value)
            elif kind is P.KEYWORD_ONLY:
                kwargs[port.name] = value
            else:
                args.append(value)
        return args, kwargs


def _quoted(names: Any) -> str:
    return ", ".join(repr(n) for n in names)


def signature(fn: Callable[..., Any], name: str) -> Signature:
    """The signature of a Python function, or of a class and its method `run`."""
    found = inspect.signature(fn)
    made = maker(fn)
    ports, types, kinds, defaults = [], [], [], []
    for p in found.parameters.values():
        kind = resolve(p.annotation, made)
        ports.append(port(p.name, p.annotation, kind, _VARIADIC.get(p.kind, ""), optional=p.default is not P.empty))
        types.append(kind)
        kinds.append(p.kind)
        defaults.append([] if p.kind is P.VAR_POSITIONAL else {} if p.kind is P.VAR_KEYWORD else p.default)
    result = Signature(name, ports, types, kinds, defaults)
    returned = body(fn)
    result.returns = resolve(inspect.signature(returned).return_annotation, returned)
    return result


def positional(name: str, types: Mapping[str, object]) -> Signature:
    """A signature of parameters without defaults, by position or name."""
    ports = [port(n, kind, kind) for n, kind in types.items()]
    return Signature(name, ports, list(types.values()), [P.POSITIONAL_OR_KEYWORD] * len(ports), [P.empty] * len(ports))


def port(name: str, written: object, kind: object, variadic: Any = "", *, optional: bool = False) -> Port:
    """A port for a parameter or result annotated as `written`, which resolves to `kind`."""
    text = "" if written is UNKNOWN else show(written)
    many = bool(_LIST_TEXT.match(text)) if kind is UNKNOWN else inner(kind) is not None
    file = kind is not UNKNOWN and is_file(kind)
    return Port(name, text, many and not variadic, "file" if file else "", variadic, optional)


def resolve(annotation: object, fn: Callable[..., Any]) -> object:
    """The annotation with text evaluated where the function was defined; `UNKNOWN` if that fails."""
    if not isinstance(annotation, str):
        return annotation
    fn = inspect.unwrap(fn)
    while isinstance(fn, functools.partial):
        fn = fn.func
    try:
        return eval(annotation, getattr(fn, "__globals__", {}), {})  # noqa: S307 — as typing.get_type_hints does
    except Exception:  # noqa: BLE001 — whatever a forward reference raises, its type is unknown
        return UNKNOWN
