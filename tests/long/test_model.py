"""The service against its model, for longer than in `tests/conformance`."""

from __future__ import annotations

import pytest

from tests.conformance.test_model import STORES, check, opener


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", STORES)
def test_the_service_does_as_its_model(kind: str, request: pytest.FixtureRequest) -> None:
    check(opener(kind, request), examples=300, steps=60)
