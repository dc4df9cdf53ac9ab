"""Clients of the built-in issuer, and the upkeep of a server: what Kvern adds to the contract."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from kvern.wire.base import Body, Id, Milliseconds, check_size
from kvern.wire.capabilities import CAPABILITIES_BYTES, Acl, check

ClientId = Annotated[str, Meta(min_length=1, max_length=255)]


class ClientWrite(Body):
    """`project` defaults to the one in the path."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    capabilities: Annotated[list[Annotated[dict[str, Any], Meta(max_length=16)]], Meta(min_length=1, max_length=1000)]
    project: Annotated[str, Meta(max_length=32)] | None = None

    def __post_init__(self) -> None:
        check_size("capabilities", self.capabilities, CAPABILITIES_BYTES)
        for acl in self.capabilities:
            check(acl)


class ClientRotation(Body):
    """A new secret; the old one stays good for `overlap_seconds` more."""

    client_id: ClientId
    overlap_seconds: Annotated[int, Meta(ge=0, le=90 * 24 * 3600)] = 0
    project: Annotated[str, Meta(max_length=32)] | None = None


class ClientIds(Body):
    items: Annotated[list[ClientId], Meta(min_length=1, max_length=100)]
    project: Annotated[str, Meta(max_length=32)] | None = None


class Client(Body):
    """A client as it is shown; `client_secret` once, when it was just made."""

    client_id: str
    name: str
    project: str
    group_id: Id
    capabilities: list[Acl]
    created_time: Milliseconds
    client_secret: str | None = None
    rotated_time: Milliseconds | None = None
    old_secret_until: Milliseconds | None = None


class MasterKeyRotation(Body):
    """What the rotation of the master key did."""

    functions: int
    sessions: int
    source: str
