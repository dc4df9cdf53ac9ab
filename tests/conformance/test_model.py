"""The service against its model, on every store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from kvern.store import Store, tables
from kvern.store.postgres import PostgresStore
from kvern.store.sqlite import SqliteStore
from tests.conformance.model import ServiceMachine
from tests.postgres import execute

STORES = ("memory", "file", "postgres")
OpenStore = Callable[[Path], Store | None]


def opener(kind: str, request: pytest.FixtureRequest) -> OpenStore:
    """Makes an empty store of a kind, again and again; None is the fakes' own one in memory."""
    if kind == "memory":
        return lambda _folder: None
    if kind == "file":
        return lambda folder: SqliteStore(folder / "kvern.db")
    url: str = request.getfixturevalue("new_postgres")()
    first = PostgresStore(url)
    first.start()
    first.stop()
    every = ", ".join(table.name for table in tables.metadata.sorted_tables if table.name != "sequences")

    def emptied(_folder: Path) -> Store:
        execute(url, f"TRUNCATE {every}; UPDATE sequences SET next = 1001 WHERE name = 'ids'")
        return PostgresStore(url)

    return emptied


def check(open_store: OpenStore, examples: int, steps: int) -> None:
    """Do random things to services on fresh stores; each must be as its model after each step."""
    run_state_machine_as_test(
        lambda: ServiceMachine(open_store),
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("kind", STORES)
def test_the_service_does_as_its_model(kind: str, request: pytest.FixtureRequest) -> None:
    check(opener(kind, request), examples=8, steps=25)
