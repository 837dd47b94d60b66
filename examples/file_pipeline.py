"""A pipeline over files: what is the Python standard library made of?

Shell commands and Python functions work on the source files of a dozen modules of the running Python, each step in a
directory of its own. Files are handed over through typed ports: a step gets exactly the files it names, and what it
leaves behind in its ports is kept under the digest of its content.

    python examples/file_pipeline.py

The report is written to pipeline-results/report.md.
"""

import ast
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import tidemill as tm

RESULTS = Path("pipeline-results")

MODULES = [
    *("argparse.py", "ast.py", "bisect.py", "calendar.py", "csv.py", "dataclasses.py", "difflib.py"),
    *("heapq.py", "json/decoder.py", "shutil.py", "statistics.py", "textwrap.py"),
]

# {source} stands for the path of the input file, and the file named in `outputs` is the result.
words = tm.command(
    "tr -cs '[:alpha:]' '\\n' < {source} | tr '[:upper:]' '[:lower:]' | LC_ALL=C sort | uniq -c > words.txt",
    name="words",
    inputs={"source": tm.File},
    outputs={"words": "words.txt"},
)

# A list of files becomes their paths, one after the other.
merge = tm.command(
    "cat {counts} | awk '{{ n[$2] += $1 }} END {{ for (w in n) if (length(w) > 2) print n[w], w }}'"
    " | LC_ALL=C sort -k1,1nr -k2,2 > total.txt",
    name="merge",
    inputs={"counts": list[tm.File]},
    outputs={"total": "total.txt"},
)

# What the command prints is the result.
lines = tm.command("wc -l < {source}", name="lines", inputs={"source": tm.File})


@tm.task
def functions(source: Path) -> dict[str, Any]:
    """How many functions and classes a module defines, and which function is the longest, in lines."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    longest = max(found, key=lambda node: (node.end_lineno or 0) - node.lineno)
    return {
        "functions": len(found),
        "classes": sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        "longest": longest.name,
        "length": (longest.end_lineno or 0) - longest.lineno + 1,
    }


@tm.task
def report(names: list[str], sizes: list[str], modules: list[dict[str, Any]], total: Path) -> Path:
    """One page about all modules; `total` has a count and a word in each line, the most frequent first."""
    page = [
        "# The standard library in numbers",
        "",
        "| module | lines | functions | classes | longest function |",
        "|---|--:|--:|--:|---|",
    ]
    for name, size, module in zip(names, sizes, modules, strict=True):
        longest = f"`{module['longest']}`, {module['length']} lines"
        page.append(f"| {name} | {size.strip()} | {module['functions']} | {module['classes']} | {longest} |")
    page += ["", "Its favourite words:", ""]
    with total.open(encoding="utf-8") as ranking:
        for place, (count, word) in zip(range(1, 11), map(str.split, ranking), strict=False):
            page.append(f"{place}. {word}, {count} times")
    path = Path("report.md")
    path.write_text("\n".join(page) + "\n", encoding="utf-8")
    return path


@tm.workflow
def census(library: Path, names: list[str]):
    """Count in each file by itself, then put the counts together."""
    source = tm.sweep([library / name for name in names])
    return report(names, lines(source), functions(source), merge(words(source)))


def main() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    made = census(library, MODULES).run(store=".tidemill", workers=2)
    RESULTS.mkdir(exist_ok=True)
    shutil.copyfile(made, RESULTS / "report.md")
    print((RESULTS / "report.md").read_text(encoding="utf-8"))
    print("Report:", RESULTS / "report.md")


if __name__ == "__main__":
    main()
