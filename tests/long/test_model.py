"""The service against its model, for longer than in `tests/conformance`."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conformance.model import ServiceMachine
from tests.conformance.test_model import in_a_file, in_memory


@pytest.mark.parametrize("open_store", [in_memory, in_a_file])
def test_the_service_does_as_its_model(open_store: object) -> None:
    run_state_machine_as_test(
        lambda: ServiceMachine(open_store),  # type: ignore[arg-type]
        settings=settings(
            max_examples=500, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
