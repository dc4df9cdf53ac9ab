"""The synchronous twin of `kvern.client.api.iam`, written by `kvern.client.derive`: do not edit."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from kvern.client.api.iam import IAMAPI, SessionsAPI, TokenAPI
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
from kvern.client.loop import run_sync


class SyncSessionsAPI:
    """Sessions: on whose behalf a call runs."""

    def __init__(self, api: SessionsAPI) -> None:
        self.__api = api

    def create(
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
        return run_sync(self.__api.create(client_credentials, session_type))

    @overload
    def revoke(self, id: int) -> RevokedSession: ...
    @overload
    def revoke(self, id: Sequence[int]) -> RevokedSessionList: ...
    def revoke(self, id: int | Sequence[int]) -> RevokedSession | RevokedSessionList:
        """Revokes sessions: nothing runs on their behalf any more.

        Args:
            id: One id or several.

        Returns:
            The session, or a list if a list was given. Without the right to list sessions only the ids are told.

        Example:
            >>> client.iam.sessions.revoke(session.id)
        """
        return run_sync(self.__api.revoke(id))

    @overload
    def retrieve(self, id: int) -> Session: ...
    @overload
    def retrieve(self, id: Sequence[int]) -> SessionList: ...
    def retrieve(self, id: int | Sequence[int]) -> Session | SessionList | None:
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
        return run_sync(self.__api.retrieve(id))

    def list(self, status: SessionStatus | None = None, limit: int = DEFAULT_LIMIT_READ) -> SessionList:
        """Lists sessions.

        Args:
            status: Only sessions of this status.
            limit: How many at most; -1, `float("inf")` or None for all.

        Example:
            >>> for session in client.iam.sessions.list(status="ACTIVE"):
            ...     print(session.id)
        """
        return run_sync(self.__api.list(status, limit))


class SyncTokenAPI:
    """The client's own token."""

    def __init__(self, api: TokenAPI) -> None:
        self.__api = api

    def inspect(self) -> TokenInspection:
        """Whose token it is, which projects it belongs to and what it may do in them.

        Example:
            >>> client.iam.token.inspect().subject
        """
        return run_sync(self.__api.inspect())


class SyncIAMAPI:
    """Who may do what, and on whose behalf."""

    def __init__(self, api: IAMAPI) -> None:
        self.__api = api
        self.sessions: SyncSessionsAPI = SyncSessionsAPI(api.sessions)
        self.token: SyncTokenAPI = SyncTokenAPI(api.token)
