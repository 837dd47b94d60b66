"""Failed assertions of the suite show their values."""

from pathlib import Path

import pytest

import tidemill.testing

FOLDER = Path(tidemill.testing.__file__).parent

pytest.register_assert_rewrite(*[f"tidemill.testing.{path.stem}" for path in FOLDER.glob("state*.py")])
