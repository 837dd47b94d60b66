from pathlib import Path

import pytest

from tidemill.testing.docs import ExampleError, matches, run_page

GOOD = """
# A page

```python
import inspect, os, sys
answer = 42
open("made.txt", "w").write("by python\\n")
def double(n):
    return 2 * n
```

Read only:

```text
$ rm -rf everything
```

1. In a list:

   ```console
   $ cat made.txt
   by python
   $ echo "a long \\
   > line"; echo two; echo three; echo four
   a long ...
   ...
   four
   $ echo whatever
   ```

```bash
python -c 'print(6 * 7)' > from_bash.txt
```

~~~~python
assert open("from_bash.txt").read() == f"{answer}\\n" == f"{double(21)}\\n"
assert inspect.getsource(double).startswith("def double")
assert __name__ == "__main__" and sys.modules["__main__"].answer == 42
~~~~

```python title="helper/tool.py"
print("a tool for", __name__)
```

```console
$ python helper/tool.py
a tool for __main__
```
"""


def write(directory: Path, text: str) -> Path:
    page = directory / "page.md"
    page.write_text(text)
    return page


def test_blocks_run_in_order_in_one_directory_and_one_interpreter(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    assert run_page(write(tmp_path, GOOD), tmp_path / "here") == 5
    assert (tmp_path / "here" / "made.txt").exists()


def test_a_page_without_examples_runs(tmp_path: Path) -> None:
    assert run_page(write(tmp_path, "# Nothing\n"), tmp_path) == 0


FAILING = {
    "an exception": ("```python\nx = 1\nx.no_such\n```", r"page.md:1: .*x\.no_such.*AttributeError"),
    "an exit": ("```python\nraise SystemExit(0)\n```", "SystemExit"),
    "a dead interpreter": ("```python\nimport os\nos._exit(3)\n```", "the interpreter ended"),
    "a failing command": ("```bash\nfalse\ntrue\n```", "exit code 1"),
    "a failing pipe": ("```bash\nfalse | cat\n```", "exit code 1"),
    "a failing console command": ("```console\n$ echo said; exit 3\nsaid\n```", "exit code 3.*said"),
    "another output": ("text\n\n```console\n$ echo 1\n2\n```", "page.md:3: the command prints something else"),
    "less output": ("```console\n$ echo 1; echo 2\n1\n```", "prints something else"),
    "output without a command": ("```console\n1\n```", "starts with"),
    "an unknown language": ("```pyhton\n1\n```", "unknown language 'pyhton'; known are bash, console"),
    "no language": ("```\n1\n```", "unknown language ''"),
    "an open block": ("```python\n1\n", "not closed"),
    "an unused file": ("```python title='a.py'\n1\n```\n```bash\ntrue\n```", "uses the file 'a.py'"),
    "a file elsewhere": ("```text title='../a.txt'\n1\n```\n```bash\ncat a.txt\n```", "not a path below"),
}


@pytest.mark.parametrize(("page", "message"), FAILING.values(), ids=FAILING)
def test_what_fails_is_named_with_its_place(page: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match=f"(?s){message}"):
        run_page(write(tmp_path, page), tmp_path)


@pytest.mark.parametrize("block", ["```bash\ntail -f /dev/null\n```", "```python\nwhile True: pass\n```"])
def test_what_does_not_end_is_ended(block: str, tmp_path: Path) -> None:
    with pytest.raises(ExampleError, match=r"longer than 0\.5 s"):
        run_page(write(tmp_path, block), tmp_path, timeout_s=0.5)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb\n", "a\nb", True),
        ("a\nb\n", "a  \nb\n\n", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("...", "a\nb\nc", True),
        ("...", "", True),
        ("a\n...", "a", True),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n...\nc", "a\nb", False),
        ("took ... s", "took 1.25 s", True),
        ("took ... s", "took 1\n2 s", False),
        ("1.5 (x)*", "1.5 (x)*", True),
        ("1.5", "1x5", False),
    ],
)
def test_wildcards(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
