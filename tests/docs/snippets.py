"""Executes snippets of documentation, each in a fresh directory and a fresh `__main__`, all of a group with one store.

As a program this is the interpreter that does so: requests and answers are lines of JSON on its standard streams.
"""

import ast
import contextlib
import io
import json
import linecache
import os
import select
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, Self

from tidemill.client.connection import Connection, connect
from tidemill.client.store import Store
from tools.coming_from import Entry

TIMEOUT_S = 60.0
WORKERS = 2


class Snippets:
    """An interpreter and a store, both started when first needed.

    Args:
        directory: of the store and the snippets' directories.
        setup: runs before each snippet.
    """

    def __init__(self, directory: Path, setup: str = "") -> None:
        self._directory = directory
        self._setup = setup
        self._count = 0
        plain = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "TIDEMILL_STORE": str(directory / "store")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self._env = {**os.environ, **plain, "PATH": path}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _end(self, *, kill: bool = False) -> None:
        """Let the interpreter end as at the end of its input, or end it."""
        if self._process is None:
            return
        if kill:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate(timeout=TIMEOUT_S)
        self._process = None

    def wrong(self, entry: Entry) -> str:
        """Execute the snippet of an entry; what is not as expected, "" if nothing."""
        self._count += 1
        place = self._directory / f"snippet-{self._count}"
        place.mkdir()
        if entry.shell:
            return judged(entry, *self._bash(entry.shell, place))
        answer = self._python(f"{self._setup}\n{entry.code}", place)
        return judged(entry, answer["printed"], answer["error"])

    def _bash(self, command: str, place: Path) -> tuple[str, str]:
        try:
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", command],
                cwd=place,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "", f"it took longer than {TIMEOUT_S:g} s"
        return done.stdout, f"exit code {done.returncode}: {done.stderr}" if done.returncode else ""

    def _python(self, code: str, place: Path) -> dict[str, str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.docs.snippets"],
                cwd=self._directory,
                env={**self._env, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([str(place), code]) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], TIMEOUT_S)[0]:
            self._end(kill=True)
            return {"printed": "", "error": f"it took longer than {TIMEOUT_S:g} s"}
        line = self._process.stdout.readline()
        if not line:
            self._end()
            return {"printed": "", "error": "the interpreter ended"}
        answer: dict[str, str] = json.loads(line)
        return answer


def judged(entry: Entry, printed: str, error: str) -> str:
    """How what a snippet did differs from what its entry expects, "" if it does not.

    Args:
        entry: with `expect` and `raises`.
        printed: all that it printed.
        error: type and message of what it raised, or "".
    """
    if not (entry.expect.strip() or entry.raises):
        return "it expects nothing"
    kind, _, message = entry.raises.partition(": ")
    raised, _, text = error.partition(": ")
    if raised != kind or message not in text:
        return f"expected to be raised: {entry.raises or 'nothing'}\nraised: {error or 'nothing'}\nprinted: {printed}"
    if printed.strip() != entry.expect.strip():
        return f"expected:\n{entry.expect.strip()}\nprinted:\n{printed.strip()}"
    return ""


def _answer(place: str, code: str) -> dict[str, str]:
    """Execute code as a prompt would: the value of a last line that is an expression is printed."""
    main: Any = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    name = f"<{place}>"
    # Where tracebacks and inspect look for source that is in no file.
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    os.chdir(place)
    printed, error = io.StringIO(), ""
    with contextlib.redirect_stdout(printed):
        try:
            tree = ast.parse(code)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec"), main.__dict__)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), name, "eval"), main.__dict__)
                if value is not None:
                    printed.write(f"{value!r}\n")
        except BaseException as found:  # noqa: BLE001  a snippet may raise SystemExit, too
            error = f"{type(found).__name__}: {found}"
    return {"printed": printed.getvalue(), "error": error}


def _serve() -> None:
    """Answer requests; the standard streams of the snippets and what they start are others."""
    sys.argv = [""]
    held: Connection | None = None
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers, tempfile.TemporaryFile() as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
        for line in requests:
            answers.write(json.dumps(_answer(*json.loads(line))) + "\n")
            answers.flush()
            if held is None and os.path.exists(os.environ["TIDEMILL_STORE"]):
                held = connect(Store().place, WORKERS)  # so that its engine does not end between two snippets
                held.welcome()


if __name__ == "__main__":
    _serve()
