"""Which addresses a function may reach: those that both the list of the service and that of the function have."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEAR = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
        *("fd00:ec2::/32", "fd20:ce::/32"),
    )
)
"""What means something else on each machine: itself, its link, and what clouds tell a machine about itself.

The last two lines are what Alibaba, Azure, Oracle, AWS and Google have beside link-local addresses.
"""

_WITHIN = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "::/96"))
"""IPv6 addresses whose last four bytes are an IPv4 address (RFC 6052, RFC 4291)."""

_SHARED = ipaddress.ip_network("100.64.0.0/10")

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.IGNORECASE)
_EXPECTED = "a name, *.name, an address or a network, each with or without a port, such as api.example.com:443"


@dataclass(frozen=True, slots=True)
class Destination:
    """What a function may reach.

    Args:
        name: a host name in lower case, or `*.` and the name that others are below of; empty for a network.
        network: addresses; None for a name.
        port: the only port; None for all.
    """

    name: str
    network: Network | None
    port: int | None

    def has_name(self, name: str, port: int) -> bool:
        """Whether it is for the host `name`."""
        if self.network is not None or self.port not in (None, port):
            return False
        return name.endswith(self.name[1:]) if self.name.startswith("*.") else name == self.name

    def has_address(self, address: Address, port: int) -> bool:
        """Whether it is for `address`."""
        if self.network is None or self.port not in (None, port) or address not in self.network:
            return False
        # One for half of the world does not mean what is near, such as 0.0.0.0/0 the service's own loopback.
        return not is_near(address) or any(_lies_in(self.network, near) for near in NEAR)


def destination(text: str) -> Destination:
    """The destination that `text` names. Raises ValueError."""
    trouble = ValueError(f"Expected as a destination {_EXPECTED}; given {text!r}")
    place, port = text.strip().lower(), None
    head, colon, tail = place.rpartition(":")
    if colon and (place.count(":") == 1 or head.endswith("]")):
        if not (tail.isascii() and tail.isdigit() and 0 < int(tail) < 65536):
            raise trouble
        place, port = head, int(tail)
    try:
        return Destination("", ipaddress.ip_network(place.removeprefix("[").removesuffix("]"), strict=False), port)
    except ValueError:
        if not _NAME.fullmatch(place) or place.replace(".", "").isdigit():
            raise trouble from None
    return Destination(place, None, port)


class Egress:
    """Says where a function may connect to.

    Names that are not on the lists are not looked up either: a look-up is a message to whoever serves that name.

    Args:
        lists: the destinations of each; all of them must have what is asked for.
        service: host and port of the service itself, which may always be reached; None for none.
    """

    def __init__(self, lists: Sequence[Sequence[Destination]], service: tuple[str, int] | None) -> None:
        self._lists = [tuple(each) for each in lists]
        self.service = service

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where to connect for `host` and `port`.

        Raises:
            PermissionError: it may not be reached.
            OSError: there is no such host.
        """
        host = host.lower().rstrip(".")
        refusal = PermissionError(f"{host}:{port} is not on the list of what this function may reach")
        if (host, port) == self.service:
            return [host]
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            if not self._has_address(literal, port):
                raise refusal
            return [host]
        if not all(any(one.has_name(host, port) for one in each) for each in self._lists):
            raise refusal
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        # Whoever serves what is below a star could lead it anywhere; a name that stands on the lists was meant.
        is_meant = all(any(one.name == host and one.has_name(host, port) for one in each) for each in self._lists)
        allowed = [str(one) for one in addresses if self._may_lead_to(one, port, is_meant=is_meant)]
        if not allowed:
            where = "this machine itself or its link" if any(map(is_near, addresses)) else "a private address"
            raise PermissionError(f"{host} leads to {where}, and that address is not on the list")
        return allowed

    def _may_lead_to(self, address: Address, port: int, *, is_meant: bool) -> bool:
        if self._has_address(address, port):
            return True
        return not is_near(address) and (is_meant or not is_private(address))

    def _has_address(self, address: Address, port: int) -> bool:
        meant = _meant(address)
        return all(any(one.has_address(meant, port) for one in each) for each in self._lists)


def is_near(address: Address) -> bool:
    """Whether it is one that means something else on each machine, such as a loopback or a cloud's metadata."""
    meant = _meant(address)
    return any(meant in network for network in NEAR)


def is_private(address: Address) -> bool:
    """Whether it is one of a network of somebody's own (RFC 1918, 4193, 6598)."""
    meant = _meant(address)
    return meant.is_private or meant in _SHARED


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if int(address) > 1 and any(address in network for network in _WITHIN):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _lies_in(network: Network, other: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and network.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and network.subnet_of(other)
