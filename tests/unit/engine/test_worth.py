from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kvern.engine.worth import Worth


def host(cost: float = 1.0, uses: int = 1, size: int = 10_000_000) -> Any:
    return SimpleNamespace(cost=cost, uses=uses, size=size, worth=0.0)


def used(worth: Worth, *hosts: Any) -> None:
    for one in hosts:
        worth.used(one)


def test_within_the_budget_nothing_goes() -> None:
    worth, one = Worth(), host()
    used(worth, one)
    assert worth.surplus([one], 10_000_000) == []


def test_what_is_cheap_to_make_seldom_needed_or_large_goes_first() -> None:
    worth = Worth()
    plain, cheap, often, large = host(), host(cost=0.1), host(uses=10), host(size=50_000_000)
    used(worth, plain, cheap, often, large)
    assert worth.surplus([often, cheap, plain, large], 0) == [cheap, large, plain, often]


def test_only_as_much_goes_as_must() -> None:
    worth = Worth()
    hosts = [host(uses=n) for n in (1, 2, 3)]
    used(worth, *hosts)
    assert worth.surplus(hosts, 25_000_000) == [hosts[0]]


def test_what_was_needed_often_but_long_ago_goes_at_last() -> None:
    worth, old = Worth(), host(uses=3)
    used(worth, old)
    for _ in range(10):
        new = host()
        used(worth, new)
        gone = worth.surplus([old, new], 10_000_000)
        if gone == [old]:
            return
        assert gone == [new]
    raise AssertionError("it is never stopped")
