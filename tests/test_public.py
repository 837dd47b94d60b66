"""The root package: what it offers, and that offering it costs nothing."""

import subprocess
import sys

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
