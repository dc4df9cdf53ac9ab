"""Which idle hosts to stop when they hold too much memory: GreedyDual-Size with Frequency (Cherkasova, 1998).

A host is worth what it would cost to make it anew, times how often it was needed, divided by the memory that it holds.
What is stopped sets a floor on which the worth of later uses stands, so that a host that was needed often, but long
ago, goes at last.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvern.host.host import Host

SIZE_LEAST = 1_000_000
"""Bytes; a host that holds less, or was not measured yet, counts as this."""

COST_LEAST = 0.01
"""Seconds."""


class Worth:
    """The worth of hosts, and the floor on which it stands."""

    def __init__(self) -> None:
        self._floor = 0.0

    def used(self, host: Host) -> None:
        """A call came for `host`, or it was measured."""
        cost = max(host.cost, COST_LEAST)
        host.worth = self._floor + cost * max(host.uses, 1) / max(host.size, SIZE_LEAST)

    def surplus(self, hosts: Iterable[Host], budget: int) -> list[Host]:
        """Those of `hosts` to stop so that the rest hold at most `budget` bytes; least worth first."""
        ordered = sorted(hosts, key=lambda host: host.worth, reverse=True)
        held = sum(host.size for host in ordered)
        stopped: list[Host] = []
        while ordered and held > budget:
            host = ordered.pop()
            self._floor = max(self._floor, host.worth)
            held -= host.size
            stopped.append(host)
        return stopped
