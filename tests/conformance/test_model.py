"""The service against its model, on every store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from kvern.store import Store
from kvern.store.sqlite import SqliteStore
from tests.conformance.model import ServiceMachine


def in_memory(_folder: Path) -> Store | None:
    return None


def in_a_file(folder: Path) -> Store:
    return SqliteStore(folder / "kvern.db")


@pytest.mark.parametrize("open_store", [in_memory, in_a_file])
def test_the_service_does_as_its_model(open_store: object) -> None:
    run_state_machine_as_test(
        lambda: ServiceMachine(open_store),  # type: ignore[arg-type]
        settings=settings(
            max_examples=10, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
