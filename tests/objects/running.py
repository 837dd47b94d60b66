"""Programs that tests start as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]


def command(program: str, *arguments: object) -> list[str]:
    """The command line of a program in `programs/`."""
    return [sys.executable, str(PROGRAMS / program), *map(str, arguments)]


def run(program: str, *arguments: object, prefix: tuple[str, ...] = ()) -> None:
    """Run a program to its end, which must be a good one."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*prefix, *command(program, *arguments)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
