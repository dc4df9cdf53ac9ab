"""The built-in issuer: client credentials in, signed tokens out; and tokens for the sessions of calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kvern.service.authority import Assertion
from kvern.service.clients import Clients, Credentials
from kvern.service.clock import Clock
from kvern.service.groups import Groups
from kvern.service.identity import BUILTIN, Principal
from kvern.service.sessions import Sessions
from kvern.store.clients import ClientRecord
from kvern.store.sessions import SessionRecord
from kvern.wire.errors import UnauthenticatedError

ISSUER = BUILTIN
TOKEN_SECONDS = 3600
_ALGORITHM = "ES256"

__all__ = ["ISSUER", "TOKEN_SECONDS", "BuiltinIssuer", "Credentials"]


class _Claims(msgspec.Struct):
    """What a token of this issuer holds; `sid` in those of sessions."""

    sub: str
    exp: int
    sid: int | None = None


class BuiltinIssuer:
    """Signs and verifies tokens of one service; an `Authority`.

    Args:
        clients: who may get tokens.
        groups: tell what they may do.
        clock: tells when a token ends.
        key: the signing key, PEM, from `new_key`.
        sessions: tell who acts in them.
    """

    issuer = ISSUER

    def __init__(
        self,
        clients: Clients,
        groups: Groups,
        clock: Clock,
        key: bytes,
        sessions: Sessions,
    ) -> None:
        self._clients = clients
        self._groups = groups
        self._clock = clock
        self._sessions = sessions
        loaded = serialization.load_pem_private_key(key, password=None)
        self._key = cast(ec.EllipticCurvePrivateKey, loaded)
        self._public = self._key.public_key()

    def client_token(self, record: ClientRecord) -> str:
        """A token of `TOKEN_SECONDS` for a client."""
        return self._sign({"sub": record.client_id}, TOKEN_SECONDS)

    def session_token(self, session: SessionRecord, seconds: float) -> str:
        """A token with which a call acts for its session, and with what that session may do only."""
        return self._sign({"sub": session.subject, "sid": session.id}, seconds)

    def _sign(self, claims: dict[str, Any], seconds: float) -> str:
        now = self._clock.now() // 1000
        times = {"iss": ISSUER, "aud": ISSUER, "iat": now, "exp": now + int(seconds)}
        return jwt.encode({**times, **claims}, self._key, algorithm=_ALGORITHM)

    async def verify(self, token: str) -> Assertion:
        try:
            decoded = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                audience=ISSUER,
                issuer=ISSUER,
                # The time is told by the service's own clock, and asked again for a known token.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "sub"]},
            )
            claims = msgspec.convert(decoded, _Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError, RecursionError) as error:
            raise UnauthenticatedError("The token is not good: it was not made by this service") from error
        if claims.sid is not None:
            await self._sessions.look_for(claims.sid)
        return Assertion(ISSUER, claims.sub, claims.exp * 1000, session_id=claims.sid)

    def access(self, assertion: Assertion) -> Mapping[str, Principal]:
        if assertion.session_id is not None:
            principal = self._sessions.principal(assertion.session_id, assertion.expires)
            if principal is None:
                raise UnauthenticatedError("The session of this token has ended")
            return {principal.project: principal}
        record = self._clients.get(assertion.subject)
        if record is None:
            raise UnauthenticatedError("The client of this token does not exist any more")
        grant = self._groups.grant(record.project, ISSUER, record.client_id, ())
        if grant is None:
            return {}
        principal = Principal(
            subject=record.client_id,
            project=record.project,
            capabilities=grant.capabilities,
            expires=assertion.expires,
            client_id=record.client_id,
            groups=grant.groups,
            name=record.name,
        )
        return {record.project: principal}


def new_key() -> bytes:
    """A signing key."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
