"""Both SDKs go through one list of scenarios against one live server: equal results, equal errors, equal requests.

The requests by which a client waits for the end of a call are left out: each does that in its own way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.server import Server
from tests.parity.exercise_names import LIVE

Outcomes = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def outcomes(probe: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    with Server(tmp_path_factory.mktemp("kvern")) as server:
        environment = {name: value for name, value in server.environment().items() if name != "PATH"}
        return {
            package: probe("exercise_live.py", package, **environment) for package in ("cognite.client", "kvern.client")
        }


def test_no_scenario_failed_by_itself(outcomes: Outcomes) -> None:
    assert list(outcomes["cognite.client"]) == list(outcomes["kvern.client"]) == LIVE
    for package, scenarios in outcomes.items():
        for name, outcome in scenarios.items():
            assert "the scenario itself failed" not in outcome["result"], (package, name, outcome["result"])


@pytest.mark.parametrize("name", LIVE)
def test_results_and_errors_are_equal(outcomes: Outcomes, name: str) -> None:
    assert outcomes["kvern.client"][name]["result"] == outcomes["cognite.client"][name]["result"]


@pytest.mark.parametrize("name", LIVE)
def test_requests_are_equal(outcomes: Outcomes, name: str) -> None:
    assert outcomes["kvern.client"][name]["requests"] == outcomes["cognite.client"][name]["requests"]
