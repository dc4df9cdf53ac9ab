"""The built-in issuer: client credentials in, signed tokens out; and tokens for the sessions of calls."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kvern.service.clock import Clock
from kvern.service.identity import Principal, every_capability
from kvern.store import Store, clients
from kvern.store.clients import ClientRecord
from kvern.store.sessions import SessionRecord
from kvern.store.vault import write_private
from kvern.wire.errors import UnauthenticatedError

ISSUER = "kvern"
TOKEN_SECONDS = 3600
_ALGORITHM = "ES256"
_CACHED = 4096


class Authority(Protocol):
    """Says who a token is. `verify` is called for every request and must not block."""

    def verify(self, token: str) -> Principal:
        """Raises `UnauthenticatedError` when the token is not good here and now."""
        ...


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's id and its secret in plain; the secret is never kept by the service."""

    client_id: str
    client_secret: str


class BuiltinIssuer:
    """Signs and verifies tokens of one service.

    Args:
        store: where clients are kept.
        clock: tells when a token ends.
        key: file of the signing key, made with mode 0600 at the first start.
        session_alive: whether a session may still act.
    """

    def __init__(self, store: Store, clock: Clock, key: Path, session_alive: Callable[[int], bool]) -> None:
        self._store = store
        self._clock = clock
        self._session_alive = session_alive
        if not key.exists():
            write_private(key, _new_key())
        loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
        self._key = cast(ec.EllipticCurvePrivateKey, loaded)
        self._public = self._key.public_key()
        self._clients: dict[str, ClientRecord] = {}
        self._verified: OrderedDict[str, Principal] = OrderedDict()

    async def start(self) -> None:
        self._clients = {record.client_id: record for record in await self._store.read(clients.everything)}

    def has_clients(self) -> bool:
        return bool(self._clients)

    async def add_client(self, project: str, name: str) -> Credentials:
        """Make a client that may do everything in `project`; the only time that its secret is shown."""
        made = Credentials(f"kvern-{secrets.token_hex(8)}", secrets.token_urlsafe(32))
        record = ClientRecord(
            client_id=made.client_id,
            project=project,
            name=name,
            secret_hash=_hash(made.client_secret),
            capabilities=msgspec.json.encode(every_capability()).decode(),
            created_time=self._clock.now(),
        )
        await self._store.transact(lambda connection: clients.add(connection, record))
        self._clients[record.client_id] = record
        return made

    def authenticate(self, credentials: Credentials) -> ClientRecord:
        """The client behind an id and a secret. Raises `UnauthenticatedError`, the same for both being wrong."""
        record = self._clients.get(credentials.client_id)
        given = _hash(credentials.client_secret)
        if not hmac.compare_digest(given, record.secret_hash if record else "0" * 64) or record is None:
            raise UnauthenticatedError("The client id or the client secret is not good")
        return record

    def client_token(self, record: ClientRecord) -> str:
        """A token of `TOKEN_SECONDS` for a client."""
        return self._sign({"sub": record.client_id}, TOKEN_SECONDS)

    def session_token(self, session: SessionRecord, seconds: float) -> str:
        """A token with which a call acts for its session, and with that session's capabilities only."""
        return self._sign(
            {"sub": session.subject, "sid": session.id, "pid": session.project, "cap": session.capabilities}, seconds
        )

    def _sign(self, claims: dict[str, Any], seconds: float) -> str:
        now = self._clock.now() // 1000
        times = {"iss": ISSUER, "aud": ISSUER, "iat": now, "exp": now + int(seconds)}
        return jwt.encode({**times, **claims}, self._key, algorithm=_ALGORITHM)

    def verify(self, token: str) -> Principal:
        principal = self._verified.get(token)
        if principal is None:
            principal = self._check(token)
            self._verified[token] = principal
            if len(self._verified) > _CACHED:
                self._verified.popitem(last=False)
        if principal.expires <= self._clock.now():
            self._verified.pop(token, None)
            raise UnauthenticatedError("The token has expired")
        if principal.session_id is not None:
            if not self._session_alive(principal.session_id):
                raise UnauthenticatedError("The session of this token has ended")
        elif principal.subject not in self._clients:
            raise UnauthenticatedError("The client of this token does not exist any more")
        return principal

    def _check(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                audience=ISSUER,
                issuer=ISSUER,
                # Times are judged by the service's own clock, in `verify`.
                options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError("The token is not good: it was not made by this service") from error
        expires = int(claims["exp"]) * 1000
        if "sid" in claims:
            return Principal(
                subject=claims["sub"],
                project=claims["pid"],
                capabilities=claims["cap"],
                session_id=claims["sid"],
                expires=expires,
            )
        record = self._clients.get(claims["sub"])
        if record is None:
            raise UnauthenticatedError("The client of this token does not exist any more")
        return Principal(
            subject=record.client_id,
            project=record.project,
            capabilities=record.capabilities,
            client_id=record.client_id,
            expires=expires,
        )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
