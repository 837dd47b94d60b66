"""Where in the user's program something was written, and the problems found there."""

import contextlib
import os
import sys

from tidemill.model.errors import WiringError

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_WITH = contextlib.__file__
"""What calls our `with` blocks."""
LIMIT = 100
"""Most problems that are kept; a loop over a million wrong calls says the same a million times."""


def place() -> str:
    """`file:line` of the innermost frame outside this package, or "" if there is none.

    The path is relative where the file is below the working directory.
    """
    frame = sys._getframe(1)  # noqa: SLF001 — the documented way to look at the caller without its cost in `inspect`
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE) and name != _WITH:
            return f"{_short(name)}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return ""


def _short(name: str) -> str:
    return name.removeprefix(os.path.join(os.getcwd(), ""))


def problem(text: str) -> WiringError:
    """One problem at the line that is being executed, as an error to be raised."""
    return WiringError([(place(), text)])


class Problems:
    """What is wrong with a workflow, collected while it is built; each text once per place.

    Attributes:
        found: (place, text) in the order found.
        site: place to be named instead of the line that is being executed, for calls made earlier.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self.site = ""

    def add(self, text: str) -> None:
        entry = (self.site or place(), text)
        if len(self.found) < LIMIT and entry not in self.found:
            self.found.append(entry)

    def check(self, cause: BaseException | None = None) -> None:
        """Raise everything found as one error.

        Raises:
            WiringError: if something was found. What `cause` says comes last if it is one too.
        """
        found = list(self.found)
        if isinstance(cause, WiringError):
            found += [entry for entry in cause.problems if entry not in found]
        if found:
            raise WiringError(found) from cause
