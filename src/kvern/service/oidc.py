"""A foreign issuer: its tokens verified by its own keys (OpenID Connect; RFC 7519, RFC 8725)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from kvern.service.authority import Assertion
from kvern.service.clock import Clock
from kvern.service.groups import Groups
from kvern.service.identity import Principal
from kvern.service.oidc_http import Http, UnreachableIssuerError
from kvern.service.oidc_keys import Key, Keys
from kvern.service.projects import IssuerSettings, Projects, check_url
from kvern.wire.errors import UnauthenticatedError

METADATA_MS = 3_600_000
"""Age after which an issuer is asked again how it describes itself."""

_SUBJECT_MOST = 255
_GROUPS_MOST = 1000
_GROUP_MOST = 1024
_TYPES = ("jwt", "at+jwt", "application/at+jwt", "application/jwt")


class OidcIssuer:
    """An `Authority` for the tokens of one identity provider, in the projects that trust it on the same terms.

    What a token says of itself is believed only where it cannot choose: the key comes from the issuer's own set, by
    its id; `jku`, `x5u`, `x5c` and `jwk` are not looked at; the algorithm has to be one that is allowed and that the
    key is for.

    Args:
        settings: the terms.
        projects: those that trust it so.
        groups: tell what belonging to the token's groups allows.
    """

    def __init__(
        self, settings: IssuerSettings, projects: tuple[str, ...], groups: Groups, clock: Clock, http: Http
    ) -> None:
        self.settings = settings
        self.projects = projects
        self._groups = groups
        self._clock = clock
        self._http = http
        self._keys = Keys(settings.issuer, clock, self._fetch_keys)
        self._metadata: dict[str, Any] | None = None
        self._described = 0

    @property
    def issuer(self) -> str:
        return self.settings.issuer

    async def metadata(self) -> dict[str, Any]:
        """How the issuer describes itself (OpenID Connect Discovery 4); the last answer while it is down.

        Raises:
            UnreachableIssuerError: it does not answer, or as somebody else.
        """
        its = self.settings
        now = self._clock.now()
        if self._metadata is not None and now - self._described < METADATA_MS:
            return self._metadata
        url = its.discovery_url or its.issuer.rstrip("/") + "/.well-known/openid-configuration"
        try:
            reply = await self._http.get(url)
            if reply.status != 200:
                raise UnreachableIssuerError(f"{url} answers {reply.status}")
            if reply.body.get("issuer") != its.issuer:
                raise UnreachableIssuerError(f"{url} describes the issuer {reply.body.get('issuer')!r}")
        except UnreachableIssuerError:
            if self._metadata is not None:
                return self._metadata
            raise
        self._metadata, self._described = reply.body, now
        return reply.body

    async def endpoint(self, name: str, given: str | None) -> str:
        """A URL of the issuer: the one that was set, else as it describes itself. Raises `UnreachableIssuerError`."""
        if given is not None:
            return given
        found: object = (await self.metadata()).get(name)
        if not isinstance(found, str):
            raise UnreachableIssuerError(f"{self.issuer} names no {name}")
        try:
            check_url(name, found)
        except ValueError as error:
            raise UnreachableIssuerError(str(error)) from error
        return found

    async def _fetch_keys(self) -> dict[str, Any]:
        url = await self.endpoint("jwks_uri", self.settings.jwks_url)
        reply = await self._http.get(url)
        if reply.status != 200:
            raise UnreachableIssuerError(f"{url} answers {reply.status}")
        return reply.body

    async def verify(self, token: str) -> Assertion:
        import jwt  # see `kvern.service.issuer`

        its = self.settings
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise UnauthenticatedError(f"The token is not good: {error}") from error
        algorithm: object = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in its.algorithms:
            raise UnauthenticatedError(
                f"The token is not good: expected a signature by {', '.join(its.algorithms)}, "
                f"given {str(algorithm)[:20]!r}"
            )
        if "crit" in header or "b64" in header:
            raise UnauthenticatedError("The token is not good: it demands what is not understood here (`crit`)")
        kind: object = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise UnauthenticatedError(f"The token is not good: expected an access token, given {str(kind)[:40]!r}")
        key = await self._keys.find(header.get("kid"), algorithm)
        try:
            return self._assertion(_signed(token, key, algorithm), token)
        except jwt.InvalidSignatureError as error:
            other = await self._keys.other(header.get("kid"), algorithm, key)
            if other is None:
                raise UnauthenticatedError("The token is not good: its signature is not its issuer's") from error
        try:
            return self._assertion(_signed(token, other, algorithm), token)
        except jwt.InvalidSignatureError as error:
            raise UnauthenticatedError("The token is not good: its signature is not its issuer's") from error

    def _assertion(self, claims: dict[str, Any], token: str) -> Assertion:
        its = self.settings
        if claims.get("iss") != its.issuer:
            raise UnauthenticatedError("The token is not good: it names another issuer")
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else _strings(audience)
        if not set(audiences) & set(its.audiences):
            expected = " or ".join(its.audiences)
            raise UnauthenticatedError(
                f"The token is not good: expected the audience {expected}, given {str(audience)[:200]}"
            )
        now, leeway = self._clock.now() / 1000, its.leeway_seconds
        expires = _moment(claims, "exp")
        if expires is None:
            raise UnauthenticatedError("The token is not good: expected to be told when it ends (`exp`)")
        if expires + leeway <= now:
            raise UnauthenticatedError("The token has expired")
        for name in ("nbf", "iat"):
            begins = _moment(claims, name)
            if begins is not None and begins - leeway > now:
                raise UnauthenticatedError(f"The token is not valid yet (`{name}`)")
        subject = _found(claims, its.subject_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= _SUBJECT_MOST:
            raise UnauthenticatedError(
                f"The token is not good: expected 1 to {_SUBJECT_MOST} characters as `{its.subject_claim}`"
            )
        groups = _strings(_found(claims, its.groups_claim))
        if len(groups) > _GROUPS_MOST:
            raise UnauthenticatedError(f"The token is not good: expected at most {_GROUPS_MOST} groups")
        name = _found(claims, its.name_claim)
        return Assertion(
            issuer=its.issuer,
            subject=subject,
            expires=int((expires + leeway) * 1000),
            claims=tuple(sorted({group for group in groups if 0 < len(group) <= _GROUP_MOST})),
            name=name if isinstance(name, str) else None,
            token=token,
        )

    def access(self, assertion: Assertion) -> Mapping[str, Principal]:
        principals: dict[str, Principal] = {}
        for project in self.projects:
            grant = self._groups.grant(project, self.issuer, assertion.subject, assertion.claims)
            if grant is not None:
                principals[project] = Principal(
                    subject=assertion.subject,
                    project=project,
                    capabilities=grant.capabilities,
                    expires=assertion.expires,
                    issuer=self.issuer,
                    groups=grant.groups,
                    claims=assertion.claims,
                    name=assertion.name,
                    token=assertion.token,
                )
        return principals


def foreign_issuers(projects: Projects, groups: Groups, clock: Clock, http: Http) -> dict[tuple[str, str], OidcIssuer]:
    """The issuers that projects trust, by project and name; one for all projects that trust it on the same terms."""
    terms: list[tuple[IssuerSettings, list[str]]] = []
    for name, project in projects.items():
        for settings in project.issuers:
            same = next((trusting for known, trusting in terms if known == settings), None)
            if same is None:
                terms.append((settings, [name]))
            else:
                same.append(name)
    issuers = [OidcIssuer(settings, tuple(trusting), groups, clock, http) for settings, trusting in terms]
    return {
        (name, settings.issuer): next(one for one in issuers if one.settings == settings)
        for name, project in projects.items()
        for settings in project.issuers
    }


_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    # The other claims are judged by `_assertion`: by the service's own clock, and with errors that say what is wrong.
    **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False),
    **dict.fromkeys(("verify_sub", "verify_jti"), False),
}


def _signed(token: str, key: Key, algorithm: str) -> dict[str, Any]:
    """The claims of a token. Raises `InvalidSignatureError` when the key is not the one that signed."""
    import jwt

    try:
        return jwt.decode(token, key.public, algorithms=[algorithm], options=_SIGNATURE_ONLY)
    except jwt.InvalidSignatureError:
        raise
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise UnauthenticatedError(f"The token is not good: {error}") from error


def _moment(claims: dict[str, Any], name: str) -> float | None:
    """Seconds since the epoch; None when the claim is not there."""
    given: object = claims.get(name)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 2**40:
        raise UnauthenticatedError(f"The token is not good: expected seconds since 1970 as `{name}`")
    return float(given)


def _found(claims: dict[str, Any], path: str) -> object:
    """A claim of that very name, else one that is nested: `realm_access.roles`."""
    if path in claims:
        return claims[path]
    value: object = claims
    for step in path.split("."):
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(step)
    return value


def _strings(value: object) -> list[str]:
    """A claim of several values: an array, or a string with spaces between them."""
    if isinstance(value, str):
        return value.split(" ") if value else []
    if isinstance(value, list):
        return [one for one in cast("list[object]", value) if isinstance(one, str)]
    return []
