"""The built-in issuer: client credentials in, signed tokens out; and tokens for the sessions of calls.

PyJWT is imported where it is used, here and for foreign issuers: it loads all of X.509, for which no start waits. A
server loads it as soon as it is ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kvern.service.authority import Assertion
from kvern.service.clients import Clients, Credentials, good_until
from kvern.service.clock import Clock
from kvern.service.groups import Groups
from kvern.service.identity import BUILTIN, CallMark, Principal
from kvern.service.sessions import Sessions
from kvern.store.clients import ClientRecord
from kvern.store.sessions import SessionRecord
from kvern.wire.errors import UnauthenticatedError

ISSUER = BUILTIN
TOKEN_SECONDS = 3600
_ALGORITHM = "ES256"

__all__ = ["ISSUER", "TOKEN_SECONDS", "BuiltinIssuer", "Credentials"]


class _Claims(msgspec.Struct):
    """What a token of this issuer holds.

    `sid` in those of sessions, `call` (id and attempt) in those of calls.
    """

    sub: str
    exp: int
    iat: float = 0
    sid: int | None = None
    call: tuple[int, int] | None = None


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

    def client_token(self, record: ClientRecord, given: Credentials | None = None) -> str:
        """A token of `TOKEN_SECONDS` for a client; it is good no longer than the secret that was given for it."""
        until = None if given is None else self._clients.secret_until(record, given)
        now = self._clock.now()
        seconds = TOKEN_SECONDS if until is None else min(TOKEN_SECONDS, max(until - now, 0) / 1000)
        # In ms, so that it can be told from a secret that is changed in the same second.
        return self._sign({"sub": record.client_id, "iat": now / 1000}, seconds)

    def session_token(self, session: SessionRecord, seconds: float, call: CallMark | None = None) -> str:
        """A token with which a call acts for its session, and with what that session may do only.

        Args:
            call: the attempt with which the token ends.
        """
        claims: dict[str, Any] = {"sub": session.subject, "sid": session.id}
        if call is not None:
            claims["call"] = (call.id, call.attempt)
        return self._sign(claims, seconds)

    def _sign(self, claims: dict[str, Any], seconds: float) -> str:
        import jwt

        now = self._clock.now() // 1000
        times = {"iss": ISSUER, "aud": ISSUER, "iat": now, "exp": now + int(seconds)}
        return jwt.encode({**times, **claims}, self._key, algorithm=_ALGORITHM)

    async def verify(self, token: str) -> Assertion:
        import jwt

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
        call = None if claims.call is None else CallMark(*claims.call)
        return Assertion(
            ISSUER, claims.sub, claims.exp * 1000, session_id=claims.sid, call=call, issued=round(claims.iat * 1000)
        )

    def access(self, assertion: Assertion) -> Mapping[str, Principal]:
        if assertion.session_id is not None:
            principal = self._sessions.principal(assertion.session_id, assertion.expires)
            if principal is None:
                raise UnauthenticatedError("The session of this token has ended")
            call = assertion.call
            return {principal.project: principal if call is None else replace(principal, call_id=call.id)}
        record = self._clients.get(assertion.subject)
        if record is None:
            raise UnauthenticatedError("The client of this token does not exist any more")
        until = good_until(record, assertion.issued, self._clock.now())
        if until is None:
            raise UnauthenticatedError("The client has another secret now than the one that this token was got with")
        grant = self._groups.grant(record.project, ISSUER, record.client_id, ())
        if grant is None:
            return {}
        principal = Principal(
            subject=record.client_id,
            project=record.project,
            capabilities=grant.capabilities,
            expires=min(assertion.expires, until),
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
