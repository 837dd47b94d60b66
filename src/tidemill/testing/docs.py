"""Runs the examples of a documentation page, so that no page shows what does not work.

A page is Markdown. Its fenced blocks run from top to bottom in one directory:

* `python` blocks in one interpreter, as if typed at its prompt one after the other;
* `bash` blocks by `bash -e`, with the programs of this Python's environment first in PATH;
* `console` blocks: each line `$ command` is run by `bash -e`, and what stands below it up to the next must be what it
  prints. A line `...` stands for any lines, `...` within a line for any text; nothing below a command leaves its output
  open. A command that ends in a backslash goes on in the next line;
* a block of any language with `title="name"` is written to that file, and must be used further down;
* blocks in the languages of `SHOWN` are only read.

Any other language is an error, so no block can escape by a misspelling.
"""

import contextlib
import json
import linecache
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

SHOWN = frozenset({"json", "mermaid", "sql", "text", "toml", "yaml"})
TIMEOUT_S = 100.0
_FENCE = re.compile(r"(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[^\s`]*)(?P<rest>[^`]*)")
_TITLE = re.compile(r"""\btitle=(["'])(?P<title>.+?)\1""")


class ExampleError(AssertionError):
    """An example does not do what its page says; the message starts with page and line."""


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is the line of its opening fence, from 1."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order.

    Raises:
        ExampleError: if a block is not closed, or its language is neither run nor in `SHOWN`.
    """
    blocks = []
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        opening = _FENCE.fullmatch(line)
        if opening is None:
            continue
        body = []
        for _, inner in lines:
            if inner.strip().startswith(opening["fence"]) and not inner.strip().strip(opening["fence"][0]):
                break
            body.append(inner.removeprefix(opening["indent"]))
        else:
            raise ExampleError(f"{page}:{number}: this block is not closed")
        title = _TITLE.search(opening["rest"])
        text = "".join(f"{inner}\n" for inner in body)
        blocks.append(Block(page, number, opening["language"], title["title"] if title else "", text))
    for block in blocks:
        if not block.title and block.language not in _RUN and block.language not in SHOWN:
            known = ", ".join(sorted(_RUN.keys() | SHOWN))
            raise ExampleError(f"{block.place}: unknown language {block.language!r}; known are {known}")
    return blocks


def run_page(page: Path, directory: Path, *, timeout_s: float = TIMEOUT_S) -> int:
    """Run every example of a page in an empty directory.

    Args:
        page: the Markdown file.
        directory: where its blocks run.
        timeout_s: how long one block may take.

    Returns:
        How many blocks were run.

    Raises:
        ExampleError: at the first block that fails or prints something else.
    """
    blocks = read_blocks(page)
    with _Session(directory, timeout_s) as session:
        for position, block in enumerate(blocks):
            if block.title:
                _write_file(block, directory, blocks[position + 1 :])
            elif block.language in _RUN:
                _RUN[block.language](block, session)
    return sum(not block.title and block.language in _RUN for block in blocks)


def matches(expected: str, printed: str) -> bool:
    """Whether `printed` is `expected`, up to the wildcard `...` and blanks at the ends of lines."""
    pattern = ""
    for line in expected.rstrip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += r"[^\n]*".join(map(re.escape, line.rstrip().split("..."))) + r"\n"
    text = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
    return re.fullmatch(pattern, text) is not None


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a `console` block, each with what it is to print."""
    command, output = "", ""
    for line in block.text.splitlines():
        if command.endswith("\\\n"):
            command += f"{line}\n"
        elif line.startswith("$ "):
            if command:
                yield command, output
            command, output = f"{line[2:]}\n", ""
        elif command:
            output += f"{line}\n"
        else:
            raise ExampleError(f"{block.place}: a console block starts with '$ ' and a command")
    if command:
        yield command, output


class _Session:
    """What the blocks of one page share: a directory, an environment and an interpreter, started when first needed."""

    def __init__(self, directory: Path, timeout_s: float) -> None:
        self.directory = directory
        self.timeout_s = timeout_s
        here = str(Path(sys.executable).parent)
        plain = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
        self.env = {**os.environ, **plain, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        self._closing = contextlib.ExitStack()
        self._interpreter: _Interpreter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    def bash(self, place: str, command: str) -> str:
        """Run a command and return what it printed on both streams."""
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                ["bash", "-e", "-o", "pipefail", "-c", command],
                cwd=self.directory,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = process.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            printed = _read(output)
        if code != 0:
            reason = f"took longer than {self.timeout_s:g} s" if code is None else f"ended with exit code {code}"
            raise ExampleError(f"{place}: the command {reason}\n{_quote(command)}\n  and printed\n{_quote(printed)}")
        return printed

    def python(self, place: str, code: str) -> None:
        """Run code in the page's interpreter."""
        if self._interpreter is None:
            self._interpreter = self._closing.enter_context(_Interpreter(self.directory, self.env))
        error = self._interpreter.run(place, code, self.timeout_s)
        if error:
            printed = self._interpreter.printed()
            raise ExampleError(f"{place}: {error.rstrip()}\n  and what was printed so far\n{_quote(printed)}")


class _Interpreter:
    """A Python of its own. Requests and answers are lines of JSON on two pipes, so its own streams stay the page's."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        answers, answer = os.pipe()
        request, requests = os.pipe()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        command = [sys.executable, "-m", "tidemill.testing.docs", str(request), str(answer)]
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=(request, answer),
            start_new_session=True,
        )
        os.close(request)
        os.close(answer)
        self._requests = os.fdopen(requests, "w", encoding="utf-8")
        self._answers = os.fdopen(answers, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Let it end as at the end of input, or end it if it does not."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        _end(self._process)
        self._answers.close()
        self._output.close()

    def run(self, place: str, code: str, timeout_s: float) -> str:
        """Run a block; returns the traceback, or an empty string."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps([place, code]) + "\n")
            self._requests.flush()
        if not select.select([self._answers], [], [], timeout_s)[0]:
            _end(self._process)
            return f"the block took longer than {timeout_s:g} s"
        answer = self._answers.readline()
        return str(json.loads(answer)) if answer else "the interpreter ended"

    def printed(self) -> str:
        return _read(self._output)


def _run_python(block: Block, session: _Session) -> None:
    session.python(block.place, block.text)


def _run_bash(block: Block, session: _Session) -> None:
    session.bash(block.place, block.text)


def _run_console(block: Block, session: _Session) -> None:
    for command, expected in commands(block):
        printed = session.bash(block.place, command)
        if expected.strip() and not matches(expected, printed):
            raise ExampleError(
                f"{block.place}: the command prints something else\n{_quote(command)}\n"
                f"  the page says\n{_quote(expected)}\n  it prints\n{_quote(printed)}"
            )


_RUN = {"python": _run_python, "bash": _run_bash, "console": _run_console}


def _write_file(block: Block, directory: Path, later: list[Block]) -> None:
    path = directory / block.title
    if not path.resolve().is_relative_to(directory.resolve()):
        raise ExampleError(f"{block.place}: the title {block.title!r} is not a path below the page's directory")
    name = re.compile(rf"\b{re.escape(path.stem)}\b")
    if not any(name.search(other.text) for other in later if other.language in _RUN):
        raise ExampleError(f"{block.place}: no block further down uses the file {block.title!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started and left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _quote(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def _serve(requests: IO[str], answers: IO[str]) -> None:
    """The interpreter's side: run each block in a fresh `__main__`, as a prompt would."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    sys.argv = [""]
    for line in requests:
        place, code = json.loads(line)
        name = f"<{place}>"
        # Where tracebacks and inspect look for source that is in no file.
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        error = ""
        try:
            exec(compile(code, name, "exec"), main.__dict__)  # noqa: S102  running examples is the purpose
        except BaseException:  # noqa: BLE001  an example may raise SystemExit, too
            error = traceback.format_exc()
        sys.stdout.flush()
        answers.write(json.dumps(error) + "\n")
        answers.flush()


if __name__ == "__main__":
    _pipes = [int(number) for number in sys.argv[1:]]
    for _pipe in _pipes:
        os.set_inheritable(_pipe, False)
    _serve(os.fdopen(_pipes[0]), os.fdopen(_pipes[1], "w"))
