"""Who asks, and what they may do (contract 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from kvern.service.capabilities import Capabilities, parsed
from kvern.wire.capabilities import Acl, every_capability
from kvern.wire.errors import ForbiddenError
from kvern.wire.identity import InspectedProject, Inspection

BUILTIN = "kvern"
"""The name of the built-in issuer, in tokens and wherever an issuer is named."""


@dataclass(frozen=True, slots=True)
class CallMark:
    """An attempt of a call, as its token has it."""

    id: int
    attempt: int


__all__ = ["BUILTIN", "Acl", "CallMark", "Identity", "Principal", "every_capability"]


@dataclass(frozen=True)
class Principal:
    """Who a token speaks for in one project, and what it may do there.

    Args:
        subject: the client's id, or what an issuer calls the user.
        project: the one project in which this holds.
        capabilities: the ACL list as JSON text.
        expires: ms since the epoch, when the token ends.
        session_id: set when the token was given to a call's session.
        call_id: the call that has the token.
        client_id: set for a client of the built-in issuer.
        issuer: who vouches for the subject; of a session's token, who vouched when the session was made.
        groups: ids of the subject's groups in the project.
        claims: values of the issuer's group claim.
        name: what people call the subject, where the token tells.
        token: the foreign issuer's token itself, for those who act on with it.
    """

    subject: str
    project: str
    capabilities: str
    expires: int
    session_id: int | None = None
    call_id: int | None = None
    client_id: str | None = None
    issuer: str = BUILTIN
    groups: tuple[int, ...] = ()
    claims: tuple[str, ...] = ()
    name: str | None = None
    token: str | None = field(default=None, repr=False, compare=False)

    @cached_property
    def acls(self) -> list[Acl]:
        return msgspec.json.decode(self.capabilities, type=list[dict[str, Any]])

    @property
    def granted(self) -> Capabilities:
        return parsed(self.capabilities)

    @cached_property
    def _actions(self) -> frozenset[str]:
        return self.granted.actions

    def require(self, alternatives: Iterable[str]) -> None:
        """Raise `ForbiddenError` unless one of the capabilities, such as `functionsAcl:READ`, is there.

        One that is limited to some data sets counts: how far it reaches is checked where they are known (`reach`).
        """
        wanted = tuple(alternatives)
        if wanted and self._actions.isdisjoint(wanted):
            # The SDK looks for the words after the colon (contract 1.6).
            raise ForbiddenError(f"Missing capability {' or '.join(wanted)}: insufficient access rights")

    def may(self, capability: str) -> bool:
        return capability in self._actions


@dataclass(frozen=True)
class Identity:
    """Who a token is, in every project in which it is good.

    Args:
        subject: the client's id, or what an issuer calls the user.
        expires: ms since the epoch.
        principals: by project.
        session_id: set when the token was given to a call's session.
        call: the attempt that has the token; it ends with that.
    """

    subject: str
    expires: int
    principals: Mapping[str, Principal]
    session_id: int | None = None
    call: CallMark | None = None

    def inspection(self) -> Inspection:
        """The answer of `token/inspect` (contract 8): capabilities that are equal in several projects stand once."""
        scopes: dict[bytes, tuple[Acl, list[str]]] = {}
        for project, principal in self.principals.items():
            for acl in principal.acls:
                _, where = scopes.setdefault(msgspec.json.encode(acl, order="sorted"), (acl, []))
                if project not in where:
                    where.append(project)
        return Inspection(
            subject=self.subject,
            projects=[
                InspectedProject(project_url_name=project, groups=list(principal.groups))
                for project, principal in self.principals.items()
            ],
            capabilities=[{**acl, "projectScope": {"projects": where}} for acl, where in scopes.values()],
        )
