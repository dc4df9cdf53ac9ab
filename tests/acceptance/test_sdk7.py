"""The whole Functions surface with the last SDK before the async rewrite, which most functions still pin."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.compatibility import SDK7
from tests.acceptance.driver import Driver
from tests.acceptance.scenarios import Scenarios


class TestSdk7(Scenarios):
    client = SDK7

    @pytest.fixture(scope="class")
    @classmethod
    def sdk(cls, driver: Callable[[str], Driver]) -> Driver:
        return driver(SDK7)
