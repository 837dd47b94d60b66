"""The root package: what it offers, and that offering it costs nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tidemill

NAMES = [
    "Call",
    "File",
    "Handle",
    "NotFoundError",
    "Plan",
    "PlanReport",
    "RunCancelledError",
    "RunFailedError",
    "Store",
    "StoreError",
    "Task",
    "TidemillError",
    "UsageError",
    "WiringError",
    "Workflow",
    "__version__",
    "after",
    "block",
    "command",
    "gather",
    "open",
    "options",
    "product",
    "repeat",
    "sweep",
    "task",
    "workflow",
    "zip",
]


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_everything_is_offered_under_its_name() -> None:
    assert sorted(tidemill.__all__) == sorted(NAMES)
    assert dir(tidemill) == sorted(NAMES)
    for name in NAMES:
        assert getattr(tidemill, name) is not None
    assert tidemill.open is tidemill.Store


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = tidemill.nothing_like_it


def test_importing_it_imports_nothing_of_it() -> None:
    found = {m for m in modules_after("import tidemill") if m.partition(".")[0] in {"tidemill", "msgspec", "blake3"}}
    assert found == {"tidemill", "tidemill._version"}


def test_writing_a_workflow_needs_no_client() -> None:
    code = "import tidemill as tm; f = tm.task(lambda x: x, name='f') if False else tm.task"
    assert not any(m.startswith(("tidemill.client", "tidemill.server", "tidemill.engine")) for m in modules_after(code))


def test_opening_a_store_loads_nothing_heavy() -> None:
    heavy = {"numpy", "rich", "psycopg", "obstore", "cloudpickle", "psutil", "cyclopts", "pdb"}
    assert not heavy & modules_after("import tidemill as tm; tm.task; tm.open('nowhere')")


def test_questions_are_loaded_when_they_are_asked() -> None:
    found = modules_after("import tidemill as tm; tm.open('nowhere')")
    assert "tidemill.client.store" in found
    assert not {"tidemill.client.planning", "tidemill.client.details", "tidemill.provenance.why"} & found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("flow(0.0).run()", "RunFailedError: flow: 1 of 1 runs failed"),
        ("flow(1.0).submit(workers=0)", "UsageError: workers"),
        ("flow('a').run()", "WiringError: 1 problem"),
        ("half('a').run()", "WiringError: 1 problem"),
        ("flow(1.0).run(store='ftp://x')", "ConfigError: not a store address"),
        ("tm.open('nothing').result(1)", "NotFoundError"),
    ],
)
def test_a_mistake_shows_the_users_frames_only(tmp_path: Path, call: str, message: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import tidemill as tm\n\n\n@tm.task\ndef half(x: float) -> float:\n    return 1 / x\n\n\n"
        f"@tm.workflow\ndef flow(x: float):\n    return half(x)\n\n\n{call}\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    text = done.stderr.partition("Traceback")[2].partition("\n\n")[0]
    assert message in text
    places = re.findall(r'^  File "(.*)", line', text, re.MULTILINE)
    assert places[0] == str(script)
    assert len(places) == 2, "the script, and the door it went in by"
