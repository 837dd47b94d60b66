"""Doing what attempts deferred and could not do themselves, because their processes were killed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tidemill.workers.deferred import FOLDER, left_over

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = "import sys; sys.path.insert(0, {!r}); from tidemill.workers.deferred import main; del sys.path[0]; main({!r})"


def start(scratch: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes] | None:
    """Start a process that does what dead processes left over below a scratch directory; None if there is nothing.

    It has a session of its own and outlives this process if it must. What it prints goes where this process prints.

    Args:
        scratch: directory that the executors of a pool share.
        environment: variables, instead of those of this process.
    """
    paths = left_over(scratch / FOLDER)
    if not paths:
        return None
    command = [sys.executable, "-P", "-c", _BOOT.format(_ROOT, paths)]
    with suppress(OSError):  # no more processes: the next who looks does it
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
    return None


def let_go(process: subprocess.Popen[bytes], patience: float) -> None:
    """Wait for such a process, and leave it alone if it takes longer.

    Args:
        process: from `start`.
        patience: seconds.
    """
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    process.returncode = process.poll() or 0  # or its end would count as forgotten
