"""Who asks, and what they may do (contract 2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import msgspec

from kvern.wire.errors import ForbiddenError
from kvern.wire.identity import InspectedProject, Inspection

Acl: TypeAlias = dict[str, Any]
"""One capability as the contract writes it: `{"functionsAcl": {"actions": [...], "scope": {...}}}`."""

_EVERYTHING: dict[str, tuple[str, ...]] = {
    "functionsAcl": ("READ", "WRITE", "RUN"),
    "sessionsAcl": ("LIST", "CREATE", "DELETE"),
    "filesAcl": ("READ", "WRITE"),
    "projectsAcl": ("LIST", "READ", "CREATE", "UPDATE"),
    "groupsAcl": ("LIST", "READ", "CREATE", "UPDATE", "DELETE"),
    "datasetsAcl": ("READ", "WRITE", "OWNER"),
}


def every_capability() -> list[Acl]:
    """All that there is, for the client that is made at the first start."""
    return [{name: {"actions": list(actions), "scope": {"all": {}}}} for name, actions in _EVERYTHING.items()]


@dataclass(frozen=True)
class Principal:
    """Who a token speaks for.

    Args:
        subject: the client's id, or what an issuer calls the user.
        project: the one project in which the token is good.
        capabilities: the ACL list as JSON text.
        session_id: set when the token was given to a call's session.
        expires: ms since the epoch, when the token ends.
    """

    subject: str
    project: str
    capabilities: str
    expires: int
    session_id: int | None = None
    client_id: str | None = field(default=None)

    @cached_property
    def acls(self) -> list[Acl]:
        return msgspec.json.decode(self.capabilities, type=list[dict[str, Any]])

    @cached_property
    def _actions(self) -> frozenset[str]:
        return frozenset(
            f"{name}:{action}" for acl in self.acls for name, body in acl.items() for action in body["actions"]
        )

    def require(self, alternatives: Iterable[str]) -> None:
        """Raise `ForbiddenError` unless one of the capabilities, such as `functionsAcl:READ`, is there."""
        wanted = tuple(alternatives)
        if wanted and self._actions.isdisjoint(wanted):
            raise ForbiddenError(f"Missing capability {' or '.join(wanted)}")

    def may(self, capability: str) -> bool:
        return capability in self._actions

    def inspection(self) -> Inspection:
        """The answer of `token/inspect` (contract 8)."""
        scope = {"projectScope": {"projects": [self.project]}}
        return Inspection(
            subject=self.subject,
            projects=[InspectedProject(project_url_name=self.project, groups=[])],
            capabilities=[{**acl, **scope} for acl in self.acls],
        )
