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
        return self.network is not None and self.port in (None, port) and address in self.network


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
        allowed = [str(one) for one in addresses if not _is_near(one) or self._has_address(one, port)]
        if not allowed:
            raise PermissionError(
                f"{host} leads to this machine itself or its link, and that address is not on the list"
            )
        return allowed

    def _has_address(self, address: Address, port: int) -> bool:
        mapped = getattr(address, "ipv4_mapped", None) or address
        return all(any(one.has_address(mapped, port) for one in each) for each in self._lists)


def _is_near(address: Address) -> bool:
    """Whether it is one that means something else on each machine, such as a loopback or a cloud's metadata."""
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
