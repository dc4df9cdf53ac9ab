"""Many random cron rules against a second implementation."""

from __future__ import annotations

from tests.unit.service.test_cron import differences


def test_ten_thousand_random_rules_come_due_as_a_second_implementation_says() -> None:
    assert differences(rules=10_000, seed=2, count=30) == []
