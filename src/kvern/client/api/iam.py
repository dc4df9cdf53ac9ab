"""Sessions and tokens (contract 6, 8)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from kvern.client.api.base import APIClient
from kvern.client.credentials import OAuthClientCredentials
from kvern.client.data_classes.functions import DEFAULT_LIMIT_READ
from kvern.client.data_classes.iam import (
    ClientCredentials,
    CreatedSession,
    RevokedSession,
    RevokedSessionList,
    Session,
    SessionList,
    SessionStatus,
    SessionType,
    TokenInspection,
)
from kvern.client.identifiers import Identifiers

if TYPE_CHECKING:
    from kvern.client.async_client import AsyncCogniteClient

_PAGE = 100


class SessionsAPI(APIClient):
    """Sessions: on whose behalf a call runs."""

    _RESOURCE_PATH = "/sessions"

    async def create(
        self,
        client_credentials: ClientCredentials | None = None,
        session_type: SessionType | Literal["DEFAULT"] = "DEFAULT",
    ) -> CreatedSession:
        """Creates a session.

        Args:
            client_credentials: The application to make it for; the client's own if it has one.
            session_type: `CLIENT_CREDENTIALS` lives as long as the application, `TOKEN_EXCHANGE` as long as your login,
                `ONESHOT_TOKEN_EXCHANGE` briefly. `DEFAULT` is the first where there are client credentials, else the
                second.

        Returns:
            The session with its nonce, which lives for about a minute.

        Raises:
            ValueError: for another type, or without the client credentials that it needs.

        Example:
            >>> session = client.iam.sessions.create()
        """
        own = self._client.config.credentials
        if client_credentials is None and isinstance(own, OAuthClientCredentials):
            client_credentials = ClientCredentials(own.client_id, own.client_secret)
        kind = session_type.upper()
        if kind == "DEFAULT":
            kind = "TOKEN_EXCHANGE" if client_credentials is None else "CLIENT_CREDENTIALS"
        if kind == "CLIENT_CREDENTIALS":
            if client_credentials is None:
                raise ValueError(
                    "session_type='CLIENT_CREDENTIALS' needs client_credentials, here or in the client's config"
                )
            item = client_credentials.dump()
        elif kind == "TOKEN_EXCHANGE":
            item = {"tokenExchange": True}
        elif kind == "ONESHOT_TOKEN_EXCHANGE":
            item = {"oneshotTokenExchange": True}
        else:
            raise ValueError(
                "Expected session_type to be DEFAULT, CLIENT_CREDENTIALS, TOKEN_EXCHANGE or ONESHOT_TOKEN_EXCHANGE, "
                f"got {session_type!r}"
            )
        answer = await self._post(self._RESOURCE_PATH, {"items": [item]}, "write")
        return CreatedSession.load(answer["items"][0])

    @overload
    async def revoke(self, id: int) -> RevokedSession: ...
    @overload
    async def revoke(self, id: Sequence[int]) -> RevokedSessionList: ...
    async def revoke(self, id: int | Sequence[int]) -> RevokedSession | RevokedSessionList:
        """Revokes sessions: nothing runs on their behalf any more.

        Args:
            id: One id or several.

        Returns:
            The session, or a list if a list was given. Without the right to list sessions only the ids are told.

        Example:
            >>> client.iam.sessions.revoke(session.id)
        """
        identifiers = Identifiers(id)
        revoked = RevokedSessionList.load(await self._delete(f"{self._RESOURCE_PATH}/revoke", identifiers, _PAGE))
        return revoked[0] if identifiers.is_single else revoked

    @overload
    async def retrieve(self, id: int) -> Session: ...
    @overload
    async def retrieve(self, id: Sequence[int]) -> SessionList: ...
    async def retrieve(self, id: int | Sequence[int]) -> Session | SessionList | None:
        """Retrieves sessions.

        Args:
            id: One id or several.

        Returns:
            The session (None if there is none), or a list if a list was given.

        Raises:
            CogniteNotFoundError: when one of several does not exist.

        Example:
            >>> client.iam.sessions.retrieve(session.id)
        """
        identifiers = Identifiers(id)
        if identifiers.is_single:
            return await self._one_by_id(SessionList, self._RESOURCE_PATH, identifiers)
        return await self._by_ids(SessionList, self._RESOURCE_PATH, identifiers)

    async def list(self, status: SessionStatus | None = None, limit: int = DEFAULT_LIMIT_READ) -> SessionList:
        """Lists sessions.

        Args:
            status: Only sessions of this status.
            limit: How many at most; -1, `float("inf")` or None for all.

        Example:
            >>> for session in client.iam.sessions.list(status="ACTIVE"):
            ...     print(session.id)
        """
        conditions = {} if status is None else {"status": status.upper()}
        return await self._list(SessionList, "GET", self._RESOURCE_PATH, conditions, limit, _PAGE)


class TokenAPI(APIClient):
    """The client's own token."""

    async def inspect(self) -> TokenInspection:
        """Whose token it is, which projects it belongs to and what it may do in them.

        Example:
            >>> client.iam.token.inspect().subject
        """
        return TokenInspection.load(await self._get("/api/v1/token/inspect"))


class IAMAPI(APIClient):
    """Who may do what, and on whose behalf."""

    def __init__(self, client: AsyncCogniteClient) -> None:
        super().__init__(client)
        self.sessions: SessionsAPI = SessionsAPI(client)
        self.token: TokenAPI = TokenAPI(client)
