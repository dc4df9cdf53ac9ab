"""The whole Functions surface with the newest official SDK, the async client too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.compatibility import SDK8
from tests.acceptance.driver import Driver
from tests.acceptance.scenarios import Scenarios


class TestSdk8(Scenarios):
    client = SDK8

    @pytest.fixture(scope="class")
    @classmethod
    def sdk(cls, driver: Callable[[str], Driver]) -> Driver:
        return driver(SDK8)

    def test_the_async_client_does_the_same(self, sdk: Driver) -> None:
        result = sdk.run(
            """
        async def main():
            aclient = AsyncCogniteClient(config())
            calls = await asyncio.gather(*(
                aclient.functions.call(external_id="echo", data={"i": i}) for i in range(8)
            ))
            responses = await asyncio.gather(*(call.get_response_async() for call in calls))
            logs = await calls[0].get_logs_async()
            listed = await aclient.functions.calls.list(function_external_id="echo", limit=3)
            return [[c.status for c in calls], [r["i"] for r in responses], len(logs), len(listed)]
        result = asyncio.run(main())
        """
        )
        assert result == [["Completed"] * 8, list(range(8)), 1, 3]
