"""Identity providers in memory: they sign what a test wants, answer as real ones do, and can be down."""

from __future__ import annotations

import base64
import hashlib
import hmac
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
_DEEP = b'{"iss":' * 2000


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


def bad_tokens(issuer: FakeIssuer, elsewhere: str) -> tuple[str, dict[str, str]]:
    """A good token, and by what is wrong with them, many that are not.

    Args:
        elsewhere: the name of another issuer that the service trusts.
    """
    issuer.keys = [jwk("RS256", "one"), jwk("ES256", "ec")]
    pem = public_pem(key_for("RS256"))
    claims = issuer.claims()
    good = issuer.token(algorithm="RS256")
    head, body, signature = good.split(".")
    own_jwk = jwk("RS256", "one", "attacker")

    def hmac_token(algorithm: str, secret: bytes) -> str:
        unsigned_part = unsigned({"alg": algorithm, "kid": "one", "typ": "JWT"}, claims).rpartition(".")[0]
        digest = hmac.digest(secret, unsigned_part.encode(), hashlib.sha256)
        return f"{unsigned_part}.{unsigned({}, {}, digest).rpartition('.')[2]}"

    def attacker(headers: dict[str, Any], **more: Any) -> str:
        return issuer.token(algorithm="RS256", key="attacker", headers=headers, **more)

    corpus = {
        "nothing signed": unsigned({"alg": "none"}, claims),
        "none, in capitals": unsigned({"alg": "NONE", "kid": "one"}, claims),
        "none, with a signature": unsigned({"alg": "none", "kid": "one"}, claims, b"x"),
        "no algorithm": unsigned({"kid": "one"}, claims, b"x"),
        "an algorithm that is no string": unsigned({"alg": ["RS256"], "kid": "one"}, claims, b"x"),
        "HS256 with the public key as secret": hmac_token("HS256", pem),
        "HS256 with the public key, stripped": hmac_token("HS256", pem.strip()),
        "HS256 with no secret": hmac_token("HS256", b""),
        "a key of another kind": issuer.token(algorithm="ES256", headers={"kid": "one"}),
        "RS256 named with an EC key's id": issuer.token(algorithm="RS256", headers={"kid": "ec"}),
        "the signature cut off": f"{head}.{body}.",
        "the signature of another": f"{head}.{body}.{issuer.token('bob', algorithm='RS256').split('.')[2]}",
        "claims changed": f"{head}.{unsigned({}, {**claims, 'sub': 'root'}).split('.')[1]}.{signature}",
        "an attacker's key": attacker({}),
        "its own key in the header": attacker({"jwk": own_jwk}),
        "a key set to fetch": attacker({"jku": "https://evil.example/keys"}),
        "certificates to fetch": attacker({"x5u": "https://evil.example/cert", "x5c": ["MIIB"]}),
        "what is not understood, marked critical": issuer.token(algorithm="RS256", headers={"crit": ["exp"]}),
        "detached": unsigned({"alg": "RS256", "kid": "one", "b64": False, "crit": ["b64"]}, claims, b"x"),
        "an id token for logging out": issuer.token(algorithm="RS256", headers={"typ": "logout+jwt"}),
        "a type that is no string": unsigned({"alg": "RS256", "typ": 1, "kid": "one"}, claims, b"x"),
        "another issuer": issuer.token(algorithm="RS256", iss="https://evil.example"),
        "another issuer that is trusted": issuer.token(algorithm="RS256", iss=elsewhere),
        "the built-in issuer": issuer.token(algorithm="RS256", iss="kvern", aud="kvern"),
        "almost the issuer": issuer.token(algorithm="RS256", iss=issuer.url + "/"),
        "no issuer": issuer.token(algorithm="RS256", iss=None),
        "an issuer that is a list": unsigned({"alg": "RS256", "kid": "one"}, {**claims, "iss": [issuer.url]}, b"x"),
        "another audience": issuer.token(algorithm="RS256", aud="api://other"),
        "two audiences in one word": issuer.token(algorithm="RS256", aud=f"other {AUDIENCE}"),
        "no audience": issuer.token(algorithm="RS256", aud=None),
        "an audience that is a map": issuer.token(algorithm="RS256", aud={AUDIENCE: 1}),
        "expired": issuer.token(algorithm="RS256", exp=claims["iat"] - 11),
        "expired in 1970": issuer.token(algorithm="RS256", exp=0),
        "no end": issuer.token(algorithm="RS256", exp=None),
        "an end that is no number": issuer.token(algorithm="RS256", exp="tomorrow"),
        "an end that is true": issuer.token(algorithm="RS256", exp=True),
        "an end without end": issuer.token(algorithm="RS256", exp=float("inf")),
        "an end far too late": issuer.token(algorithm="RS256", exp=10**30),
        "not valid yet": issuer.token(algorithm="RS256", nbf=claims["iat"] + 60),
        "issued in the future": issuer.token(algorithm="RS256", iat=claims["iat"] + 60),
        "no subject": issuer.token(algorithm="RS256", sub=None),
        "an empty subject": issuer.token(algorithm="RS256", sub=""),
        "a subject that is a number": issuer.token(algorithm="RS256", sub=7),
        "a subject that is too long": issuer.token(algorithm="RS256", sub="a" * 256),
        "too many groups": issuer.token(algorithm="RS256", groups=[str(n) for n in range(1001)]),
        "huge": issuer.token(algorithm="RS256", filler="a" * 20_000),
        "a header of depth": coded(b"[" * 5000) + f".{body}.x",
        "claims of depth": f"{head}.{coded(_DEEP)}.x",
        "two parts": f"{head}.{body}",
        "five parts, as encrypted ones have": f"{good}.x.y",
        "words": "let.me.in",
        "nothing": "..",
        "no base64": "ä.ö.ü",
    }
    wrong_kids: list[Any] = [
        "../../../../dev/null",
        "/proc/self/environ",
        "one' OR '1'='1",
        "x'; DROP TABLE clients;--",
        "one\x00",
        "",
        "k" * 257,
        "k" * 9000,
        ["one"],
        {"kid": "one"},
        7,
        True,
    ]
    for kid in wrong_kids:
        header = {"alg": "RS256", "typ": "JWT", "kid": kid}
        signing_input = unsigned(header, claims).rpartition(".")[0]
        made = jwt.get_algorithm_by_name("RS256").sign(signing_input.encode(), key_for("RS256"))
        corpus[f"key id {str(kid)[:40]!r}"] = f"{signing_input}.{unsigned({}, {}, made).rpartition('.')[2]}"
    return good, corpus
