"""Identity providers in memory: they sign what a test wants, answer as real ones do, and can be down."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from kvern.service.clock import FakeClock
from kvern.service.oidc_http import Reply, UnreachableIssuerError

AUDIENCE = "api://kvern"


def key_for(algorithm: str, name: str = "one") -> Any:
    """A private key, made once for each name and kind."""
    return _key("RSA" if algorithm[:2] in ("RS", "PS") else algorithm, name)


@cache
def _key(algorithm: str, _name: str) -> Any:
    if algorithm.startswith("ES"):
        return ec.generate_private_key(
            {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm]
        )
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk(algorithm: str, kid: str | None, name: str = "one", **more: Any) -> dict[str, Any]:
    """The public key as an issuer publishes it."""
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key_for(algorithm, name).public_key(), as_dict=True)
    return {**made, **({} if kid is None else {"kid": kid}), **more}


class FakeIssuer:
    """One identity provider.

    Args:
        url: its name, and where it describes itself.
    """

    def __init__(self, url: str, clock: FakeClock) -> None:
        self.url = url
        self.clock = clock
        self.keys: Any = [jwk("ES256", "one")]
        self.metadata: dict[str, Any] = {
            "issuer": url,
            "jwks_uri": f"{url}/keys",
            "token_endpoint": f"{url}/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "grant_types_supported": ["client_credentials"],
        }
        self.down = False
        self.fetched: list[str] = []
        self.clients: dict[str, str] = {}
        self.groups: dict[str, list[str]] = {}
        """Of its subjects: they stand in the tokens that its token endpoint gives."""
        self.lifetime = 3600
        self.asked: list[dict[str, str]] = []
        self.refresh_tokens: dict[str, str] = {}

    def claims(self, subject: str = "alice", **more: Any) -> dict[str, Any]:
        now = self.clock.now() // 1000
        made = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "nbf": now, "exp": now + self.lifetime}
        made["groups"] = self.groups.get(subject, [])
        return {name: value for name, value in {**made, **more}.items() if value is not None}

    def token(
        self,
        subject: str = "alice",
        *,
        algorithm: str = "ES256",
        key: str = "one",
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token; claims that are None are left out."""
        named = {"kid": "one", **(headers or {})}
        return jwt.encode(
            self.claims(subject, **claims),
            key_for(algorithm, key),
            algorithm=algorithm,
            headers={name: value for name, value in named.items() if value is not None},
        )

    async def get(self, url: str) -> Reply:
        self.fetched.append(url)
        if self.down:
            raise UnreachableIssuerError(f"{url} cannot be reached")
        if url == f"{self.url}/.well-known/openid-configuration":
            return Reply(200, self.metadata)
        if url == f"{self.url}/keys":
            return Reply(200, self.keys if isinstance(self.keys, dict) else {"keys": self.keys})
        return Reply(404, {})

    async def post(self, url: str, fields: Mapping[str, str], basic: tuple[str, str] | None = None) -> Reply:
        if self.down:
            raise UnreachableIssuerError(f"{url} cannot be reached")
        self.asked.append({**fields, **({} if basic is None else {"basic": ":".join(basic)})})
        client_id, secret = basic or (fields.get("client_id", ""), fields.get("client_secret", ""))
        if self.clients.get(client_id) != secret:
            return Reply(401, {"error": "invalid_client", "error_description": "no such client, or another secret"})
        grant = fields["grant_type"]
        answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": self.lifetime}
        if grant == "client_credentials":
            return Reply(200, {**answer, "access_token": self.token(client_id)})
        if grant == "refresh_token":
            subject = self.refresh_tokens.pop(fields["refresh_token"], None)
            if subject is None:
                return Reply(400, {"error": "invalid_grant"})
        else:
            subject = str(jwt.decode(fields["subject_token"], options={"verify_signature": False})["sub"])
        refresh = f"refresh-{len(self.asked)}"
        self.refresh_tokens[refresh] = subject
        return Reply(200, {**answer, "access_token": self.token(subject), "refresh_token": refresh})


class FakeHttp:
    """Asks whichever of some issuers a URL belongs to."""

    def __init__(self, *issuers: FakeIssuer) -> None:
        self.issuers = list(issuers)

    def _of(self, url: str) -> FakeIssuer:
        for issuer in self.issuers:
            if url.startswith(issuer.url + "/"):
                return issuer
        raise UnreachableIssuerError(f"{url} cannot be reached")

    async def get(self, url: str) -> Reply:
        return await self._of(url).get(url)

    async def post(self, url: str, fields: Mapping[str, str], basic: tuple[str, str] | None = None) -> Reply:
        return await self._of(url).post(url, fields, basic)

    async def close(self) -> None:
        """Nothing is open."""


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token put together by hand."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(coded(part) for part in parts)


def coded(part: bytes) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
