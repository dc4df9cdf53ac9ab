"""Wrong client secrets are slowed down: before a secret is looked at, so that being told nothing tells nothing.

Every wrong one takes from what its client may still get wrong from that address, from what the address may in all, and
from what the client may from everywhere; all three fill up again with time. Who has none left is refused, whatever the
secret, except that from an address where a client's secret was right lately, only what it gets wrong itself from there
counts: nobody elsewhere can shut it out.

    of a client, from one address | 10 at once, then one in 6 s
    from one address              | 60 at once, then one a second
    of a client, from everywhere  | 100 at once, then one a second

What is remembered is bounded, and of this server alone.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable

from kvern.service.clock import Clock

REMEMBERED = 4096


class _Allowance:
    """Of each key, how many may go wrong: `most` at once, and one again every `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._ms = seconds * 1000
        self._empty_until: OrderedDict[Hashable, float] = OrderedDict()

    def left_in(self, key: Hashable, now: float) -> float:
        """Seconds until one more may go wrong; 0 when it may now."""
        full = self._empty_until.get(key, now)
        return max(full - now - (self._most - 1) * self._ms, 0) / 1000

    def take(self, key: Hashable, now: float) -> None:
        """One went wrong."""
        full = max(self._empty_until.pop(key, now), now)
        self._empty_until[key] = full + self._ms
        if len(self._empty_until) > REMEMBERED:
            self._empty_until.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        self._empty_until.pop(key, None)


class Guesses:
    """Counts wrong secrets.

    Args:
        clock: tells when another may be wrong.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pairs = _Allowance(10, 6)
        self._addresses = _Allowance(60, 1)
        self._clients = _Allowance(100, 1)
        self._right: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, client_id: str, address: str) -> float:
        """Seconds until a secret of this client is looked at again for this address; 0 when it is now."""
        now, place = self._clock.now(), _place(address)
        pair = (client_id[:100], place)
        waits = self._pairs.left_in(pair, now)
        if pair not in self._right:
            waits = max(waits, self._addresses.left_in(place, now), self._clients.left_in(pair[0], now))
        return waits

    def wrong(self, client_id: str, address: str) -> None:
        """A secret was wrong."""
        now, place = self._clock.now(), _place(address)
        self._pairs.take((client_id[:100], place), now)
        self._addresses.take(place, now)
        self._clients.take(client_id[:100], now)

    def right(self, client_id: str, address: str) -> None:
        """A secret was right."""
        pair = (client_id, _place(address))
        self._pairs.forget(pair)
        self._right.pop(pair, None)
        self._right[pair] = None
        if len(self._right) > REMEMBERED:
            self._right.popitem(last=False)


def _place(address: str) -> str:
    """An address; of IPv6 the network of 64 bits, which one machine has for itself."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if known.version == 4:
        return str(known)
    return str(ipaddress.ip_network((known, 64), strict=False))
