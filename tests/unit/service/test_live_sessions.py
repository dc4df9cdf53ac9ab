"""Sessions in memory: found by id and by nonce, and let go of both at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.fakes import PROJECT

from kvern.service.clock import FakeClock
from kvern.service.live_sessions import NONCE_MS, ONESHOT, LiveSessions, nonce_hash
from kvern.store.sessions import SessionRecord
from kvern.wire.errors import InvalidError


def waiting(
    number: int, nonce: str, clock: FakeClock, kind: str = "TOKEN_EXCHANGE", seconds: int = 3600
) -> SessionRecord:
    """A session that waits for its nonce, and is over after `seconds` if it is one-shot."""
    return SessionRecord(
        id=number,
        project=PROJECT,
        type=kind,
        status="READY",
        subject="somebody",
        capabilities="[]",
        creation_time=clock.now(),
        expiration_time=clock.now() + seconds * 1000,
        nonce_hash=nonce_hash(nonce),
    )


async def test_a_bound_session_acts_and_its_nonce_is_used() -> None:
    clock = FakeClock()
    live = LiveSessions(clock)
    live.hold(waiting(1, "word", clock))
    assert live.acting(1) is None, "nobody has bound it yet"
    assert live.bind(PROJECT, "word").id == 1
    assert live.acting(1) is live.get(1)
    assert not live.awaits("word")
    with pytest.raises(InvalidError, match="used before"):
        live.bind(PROJECT, "word")


async def test_a_session_that_is_taken_in_anew_replaces_what_was_held_of_it() -> None:
    clock = FakeClock()
    live = LiveSessions(clock)
    old = waiting(1, "word", clock)
    live.hold(old)
    live.hold(replace(old, status="ACTIVE", nonce_hash=None))
    assert not live.awaits("word"), "another server bound it"
    assert live.acting(1) is not None
    assert live.count() == {PROJECT: 1}


async def test_a_nonce_goes_with_its_session() -> None:
    clock = FakeClock()
    live = LiveSessions(clock)
    live.hold(waiting(1, "word", clock))
    live.drop(1)
    assert live.drop(1) is None
    assert 1 not in live
    with pytest.raises(InvalidError, match="unknown"):
        live.bind(PROJECT, "word")


async def test_what_is_stale_is_dropped_and_the_rest_stays() -> None:
    clock = FakeClock()
    live = LiveSessions(clock)
    live.hold(waiting(1, "late", clock))
    live.hold(waiting(2, "short", clock, ONESHOT, seconds=1))
    live.hold(waiting(3, "lasting", clock, seconds=1))
    for nonce in ("short", "lasting"):
        live.bind(PROJECT, nonce)
    await clock.advance(NONCE_MS + 1)
    live.hold(waiting(4, "fresh", clock))
    assert sorted(live.drop_stale()) == [1, 2]
    assert live.ids() == {3, 4}
    assert not live.awaits("late")
    assert live.awaits("fresh")
