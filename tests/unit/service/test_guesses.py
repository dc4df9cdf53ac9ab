"""Wrong secrets are counted by client and address, and nobody elsewhere shuts out a client that is right."""

from __future__ import annotations

from tests.unit.fakes import FakeClock

from kvern.service.guesses import REMEMBERED, Guesses


def test_one_more_may_be_wrong_after_a_while() -> None:
    clock = FakeClock()
    guesses = Guesses(clock)
    for _ in range(10):
        assert guesses.wait("a", "10.0.0.1") == 0
        guesses.wrong("a", "10.0.0.1")
    assert 0 < guesses.wait("a", "10.0.0.1") <= 6
    assert guesses.wait("b", "10.0.0.1") == 0
    assert guesses.wait("a", "10.0.0.2") == 0


def test_from_many_addresses_a_client_is_guessed_at_slowly_and_goes_on_itself() -> None:
    guesses = Guesses(FakeClock())
    guesses.right("a", "10.9.9.9")
    for number in range(100):
        guesses.wrong("a", f"10.0.0.{number}")
    assert guesses.wait("a", "10.0.1.1") > 0
    assert guesses.wait("a", "10.9.9.9") == 0
    assert guesses.wait("b", "10.0.1.1") == 0


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    guesses = Guesses(FakeClock())
    for number in range(10):
        guesses.wrong("a", f"2001:db8::{number:x}")
    assert guesses.wait("a", "2001:db8::ffff") > 0
    assert guesses.wait("a", "2001:db8:1::1") == 0


def test_what_is_remembered_is_bounded() -> None:
    guesses = Guesses(FakeClock())
    for number in range(3 * REMEMBERED):
        guesses.wrong(f"c{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        guesses.right(f"c{number}", "10.1.1.1")
    held = (guesses._pairs, guesses._addresses, guesses._clients)  # pyright: ignore[reportPrivateUsage]
    assert all(len(one._empty_until) <= REMEMBERED for one in held)  # pyright: ignore[reportPrivateUsage]
    assert len(guesses._right) == REMEMBERED  # pyright: ignore[reportPrivateUsage]
