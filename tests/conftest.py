"""What several kinds of tests share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests import guardian, isolation, postgres

isolation.isolate()  # before anything else is imported, let alone started
guardian.guard()


@pytest.fixture(scope="session")
def postgres_sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder with the sockets of one PostgreSQL for the whole run, however many processes run it."""
    base = tmp_path_factory.getbasetemp()
    with postgres.shared((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "postgres") as sockets:
        yield sockets


@pytest.fixture(scope="session")
def new_postgres(postgres_sockets: str) -> Callable[[], str]:
    """Makes a fresh database; its URL."""
    numbers = itertools.count(1)
    return lambda: postgres.new_database(postgres_sockets, f"test_{os.getpid()}_{next(numbers)}")
