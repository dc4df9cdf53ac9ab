"""Sessions: on whose behalf a call runs (contract 6)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from kvern.wire.base import Body, ById, Id, Milliseconds

Status: TypeAlias = Literal["READY", "ACTIVE", "CANCELLED", "EXPIRED", "REVOKED", "ACCESS_LOST"]
Type: TypeAlias = Literal["CLIENT_CREDENTIALS", "TOKEN_EXCHANGE", "ONESHOT_TOKEN_EXCHANGE"]


class SessionWrite(Body):
    """Exactly one of: a client's credentials, an exchange of the caller's token, a one-shot exchange."""

    client_id: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    client_secret: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    token_exchange: bool | None = None
    oneshot_token_exchange: bool | None = None

    def __post_init__(self) -> None:
        credentials = self.client_id is not None or self.client_secret is not None
        if credentials and (self.client_id is None or self.client_secret is None):
            raise ValueError("Expected both `clientId` and `clientSecret`")
        if credentials + bool(self.token_exchange) + bool(self.oneshot_token_exchange) != 1:
            raise ValueError(
                "Expected exactly one of: `clientId` with `clientSecret`, `tokenExchange: true`, "
                "`oneshotTokenExchange: true`"
            )


class SessionWrites(Body):
    items: Annotated[list[SessionWrite], Meta(min_length=1, max_length=1)]


class CreatedSession(Body):
    id: Id
    type: Type
    status: Status
    nonce: str
    client_id: str | None = None


class Session(Body):
    id: Id
    type: Type
    status: Status
    creation_time: Milliseconds
    expiration_time: Milliseconds
    client_id: str | None = None


class RevokedSession(Body):
    """All but the id is only for those who may list (contract 6.5)."""

    id: Id
    type: Type | None = None
    status: Status | None = None
    creation_time: Milliseconds | None = None
    expiration_time: Milliseconds | None = None
    client_id: str | None = None


class SessionIds(Body):
    items: Annotated[list[ById], Meta(min_length=1, max_length=1000)]
