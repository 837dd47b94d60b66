"""Where Python code comes from: the project, an installed package, Python itself, or Tidemill.

Project code is followed into its source, an installed package counts by its version, the rest does not count.
"""

import functools
import importlib.util
import os
import sys
from types import ModuleType
from typing import Literal

from tidemill.model.digest import digest

Origin = Literal["project", "package", "python", "tidemill"]

_MAIN = ("__main__", "__mp_main__")
_SITES = ("site-packages", "dist-packages")
_PYTHON = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_known: dict[str, Origin] = {}


def origin(name: str) -> Origin:
    """Where the module called `name` comes from."""
    if name in _MAIN:
        return "project"
    found = _known.get(name)
    if found is None:
        found = _known[name] = _find(name)
    return found


def _find(name: str) -> Origin:
    top = name.partition(".")[0]
    if top == "tidemill":
        return "tidemill"
    path = module_file(name)
    if path is None:
        return "python" if top in sys.stdlib_module_names else "project"
    if _site(path):
        return "package"
    return "python" if os.path.realpath(path).startswith(_PYTHON) else "project"


def module_file(name: str) -> str | None:
    """The file of a module, also of one that is not imported yet; of a namespace package, its first directory."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None and module is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        path = spec.origin if spec is not None and spec.has_location else None
    if path is None:
        path = next(iter(getattr(module, "__path__", ())), None)
    return path if isinstance(path, str) else None


def _site(path: str) -> str:
    """The directory of installed packages in which `path` lies, or ""."""
    parts = path.split(os.sep)
    for site in _SITES:
        if site in parts:
            return os.sep.join(parts[: parts.index(site) + 1])
    return ""


def label(name: str) -> str:
    """The name of a module in the names of parts.

    A script has the name under which it could be imported, so that running it and importing it is the same.
    """
    module = sys.modules.get(name)
    main = sys.modules.get("__main__")
    if name not in _MAIN and (module is None or module is not main):
        return name
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name not in _MAIN:
        return str(spec.name)
    path = getattr(module, "__file__", None)
    return os.path.splitext(os.path.basename(path))[0] if path else "__main__"


def package_digest(name: str) -> tuple[str, bytes]:
    """The part for the installed package that module `name` belongs to: its import name, and its version's digest."""
    top = name.partition(".")[0]
    return f"package:{top}", digest(f"{top}=={version(top)}".encode())


@functools.cache
def version(top: str) -> str:
    """The installed version of the distribution that brings the top-level module `top`; "" if it has none."""
    path = module_file(top)
    site = _site(path) if path else ""
    found = _versions(site).get(_normal(top)) if site else None
    return found if found is not None else _slow_version(top)


@functools.cache
def _versions(site: str) -> dict[str, str]:
    """Versions by distribution, read from directory names: two hundred times faster than `importlib.metadata`."""
    found = {}
    for entry in os.listdir(site):
        stem, suffix = os.path.splitext(entry)
        if suffix in {".dist-info", ".egg-info"}:
            name, _, rest = stem.partition("-")
            found[_normal(name)] = rest.partition("-py")[0]
    return found


def _normal(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _slow_version(top: str) -> str:
    """For a module whose distribution has another name."""
    from importlib import metadata

    for distribution in sorted(set(metadata.packages_distributions().get(top, ()))):
        return metadata.version(distribution)
    found = getattr(sys.modules.get(top), "__version__", "")
    return found if isinstance(found, str) else ""


def binary_digest(module: ModuleType) -> bytes:
    """The digest of the file of a project's extension module."""
    path = module_file(module.__name__)
    if path is None or not os.path.isfile(path):
        return digest(module.__name__.encode())
    with open(path, "rb") as file:
        return digest(file.read())
