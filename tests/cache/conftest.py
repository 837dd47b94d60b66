"""Fixtures for the node cache."""

import pytest

from tests.objects.conftest import _credentials, moto

__all__ = ["_credentials", "moto"]

pytest.register_assert_rewrite("tidemill.testing.objects")
