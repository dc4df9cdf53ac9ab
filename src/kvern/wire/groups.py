"""Groups: which capabilities a value of the identity provider's group claim gives (contract 8)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from kvern.wire.base import Body, Id, check_size
from kvern.wire.capabilities import CAPABILITIES_BYTES, Acl, check


class GroupWrite(Body):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    capabilities: Annotated[list[Annotated[dict[str, Any], Meta(max_length=16)]], Meta(max_length=1000)] = (
        msgspec.field(default_factory=list[Acl])
    )
    source_id: Annotated[str, Meta(max_length=255)] | None = None
    metadata: Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=256)] | None = None
    members: Any = None

    def __post_init__(self) -> None:
        check_size("capabilities", self.capabilities, CAPABILITIES_BYTES)
        for acl in self.capabilities:
            check(acl)
        if self.members:
            raise ValueError("Expected a group without `members`: who belongs to it is said by `sourceId`")


class GroupWrites(Body):
    items: Annotated[list[GroupWrite], Meta(min_length=1, max_length=100)]


class Group(Body):
    """A group as it is shown; one that was deleted is not."""

    id: Id
    name: str
    capabilities: list[Acl]
    is_deleted: bool
    source_id: str | None = None
    metadata: dict[str, str] | None = None


class GroupIds(Body):
    """Plain ids (contract 8)."""

    items: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
