"""Sessions of a foreign issuer's subjects: the tokens that stand behind them, and how the next one is had."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from kvern.service.clients import Credentials
from kvern.service.clock import Clock
from kvern.service.identity import Principal
from kvern.service.oidc_http import UnreachableIssuerError
from kvern.service.oidc_tokens import Granted, RefusedError, TokenEndpoint
from kvern.wire.errors import InvalidError


class Proof(msgspec.Struct):
    """What is shown to the issuer to get the next token; kept in the vault."""

    client_id: str | None = None
    client_secret: str | None = None
    refresh_token: str | None = None


@dataclass(slots=True)
class _Held:
    token: str
    since: int
    expires: int


class OidcSessions:
    """Gets tokens for sessions, and holds them in memory.

    Args:
        endpoints: the token endpoints of issuers, by project and issuer, in the order in which a project names them.
    """

    def __init__(self, clock: Clock, endpoints: Mapping[tuple[str, str], TokenEndpoint]) -> None:
        self._clock = clock
        self._endpoints = endpoints
        self._held: dict[int, _Held] = {}
        self._refreshing: dict[int, asyncio.Task[Granted]] = {}

    def issuer_for(self, who: Principal) -> str | None:
        """Whom to ask about a client that is not our own: who vouched for the caller, else the project's first issuer.

        A client's secret goes to one issuer only: no other one has a right to see it.
        """
        if (who.project, who.issuer) in self._endpoints:
            return who.issuer
        return next((issuer for project, issuer in self._endpoints if project == who.project), None)

    async def try_client(self, project: str, issuer: str, credentials: Credentials) -> Granted:
        """A token for a client of an issuer. Raises `InvalidError` when there is none."""
        try:
            return await self._endpoints[project, issuer].client(credentials)
        except (RefusedError, UnreachableIssuerError) as error:
            raise InvalidError(f"The session cannot be created: {_told(issuer, error)}") from error

    async def try_exchange(self, who: Principal) -> Granted | None:
        """A token of Kvern's own for the caller; None where the issuer does not exchange. Raises `InvalidError`."""
        endpoint = self._endpoints.get((who.project, who.issuer))
        if endpoint is None or who.token is None:
            return None
        try:
            return await endpoint.exchange(who.token) if await endpoint.can_exchange() else None
        except (RefusedError, UnreachableIssuerError) as error:
            raise InvalidError(
                f"The session cannot be created: the token cannot be exchanged; {_told(who.issuer, error)}"
            ) from error

    def hold(self, session_id: int, token: str, expires: int) -> None:
        """Remember the token that stands behind a session; `expires` in ms since the epoch."""
        self._held[session_id] = _Held(token, self._clock.now(), expires)

    def drop(self, session_id: int) -> None:
        self._held.pop(session_id, None)

    def is_fresh(self, session_id: int) -> bool:
        """Whether the token behind a session has more than half of its time left."""
        held = self._held.get(session_id)
        return held is not None and self._clock.now() < (held.since + held.expires) // 2

    def token(self, session_id: int) -> str | None:
        """The token that stands behind a session, when one is held that has not expired."""
        held = self._held.get(session_id)
        return held.token if held is not None and self._clock.now() < held.expires else None

    async def refresh(self, session_id: int, project: str, issuer: str, proof: Proof) -> Granted:
        """The next token behind a session; asked for once, however many calls wait for it.

        Raises:
            RefusedError: the issuer gives no token any more, or is not trusted any more.
            UnreachableIssuerError: it does not say.
        """
        task = self._refreshing.get(session_id)
        if task is None:
            task = asyncio.create_task(self._next(project, issuer, proof), name=f"refresh-{session_id}")
            self._refreshing[session_id] = task
            task.add_done_callback(lambda _: self._refreshing.pop(session_id, None))
        granted = await asyncio.shield(task)
        self.hold(session_id, granted.access_token, granted.assertion.expires)
        return granted

    async def _next(self, project: str, issuer: str, proof: Proof) -> Granted:
        endpoint = self._endpoints.get((project, issuer))
        if endpoint is None:
            raise RefusedError("the project does not trust this issuer any more")
        if proof.refresh_token is not None:
            return await endpoint.refresh(proof.refresh_token)
        return await endpoint.client(Credentials(proof.client_id or "", proof.client_secret or ""))


def _told(issuer: str, error: Exception) -> str:
    if isinstance(error, RefusedError):
        return f"the issuer {issuer} refuses: {error}"
    return f"the issuer {issuer} cannot be asked: {error}"
