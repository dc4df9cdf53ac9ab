"""The projects of a server, and whom each of them trusts: what `[projects.NAME]` in `kvern.toml` says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import tomllib
from msgspec import Meta

from kvern.service.identity import BUILTIN
from kvern.settings import check_project
from kvern.wire.capabilities import Acl, read

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""What a foreign token may be signed with. Never `none`, and never HS: its key would be one that others know."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class IssuerSettings(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An identity provider that a project trusts.

    Args:
        issuer: what its tokens have as `iss`, to the letter.
        audience: what its tokens must have as `aud`; one of several.
        discovery_url: where it describes itself. Default: `.well-known/openid-configuration` below the issuer.
        jwks_url: where its keys are, in place of discovery.
        algorithms: with which its tokens may be signed.
        groups_claim: the claim that names the groups; a path such as `realm_access.roles` for one that is nested.
        group_prefix: put before each of its groups; needed when a project trusts several issuers.
        subject_claim: the claim that says who it is.
        name_claim: the claim that says what people call it.
        leeway_seconds: by how much its clock may be off.
        token_url: where it gives tokens, in place of discovery.
        scope: asked for when a session's client credentials are tried there.
        token_parameters: further fields of that request, such as `audience`.
        exchange_client_id: Kvern's own client there, with which it exchanges tokens (RFC 8693).
        exchange_secret_file: file with that client's secret.
    """

    issuer: Text
    audience: Text | tuple[Text, ...]
    discovery_url: Text | None = None
    jwks_url: Text | None = None
    algorithms: tuple[str, ...] = ALGORITHMS
    groups_claim: Text = "groups"
    group_prefix: Annotated[str, Meta(max_length=64)] = ""
    subject_claim: Text = "sub"
    name_claim: Text = "name"
    leeway_seconds: Annotated[float, Meta(ge=0, le=300)] = 10
    token_url: Text | None = None
    scope: tuple[Text, ...] = ()
    token_parameters: dict[str, str] = {}
    exchange_client_id: Text | None = None
    exchange_secret_file: Path | None = None

    @property
    def audiences(self) -> tuple[str, ...]:
        return (self.audience,) if isinstance(self.audience, str) else self.audience

    def __post_init__(self) -> None:
        """Raises `ValueError` for an issuer that cannot be trusted safely."""
        if self.issuer == BUILTIN:
            raise ValueError(f"Expected an issuer other than the built-in one, given {self.issuer!r}")
        if not self.audiences:
            raise ValueError(f"Expected at least one audience of {self.issuer}")
        unknown = sorted(set(self.algorithms) - set(ALGORITHMS))
        if unknown or not self.algorithms:
            raise ValueError(f"Expected algorithms of {', '.join(ALGORITHMS)}, given {', '.join(unknown) or 'none'}")
        if self.discovery_url is not None and self.jwks_url is not None:
            raise ValueError("Expected discovery-url or jwks-url, given both")
        named = {"discovery-url": self.discovery_url, "jwks-url": self.jwks_url, "token-url": self.token_url}
        for name, url in named.items():
            if url is not None:
                check_url(name, url)
        if self.jwks_url is None and self.discovery_url is None:
            check_url("issuer", self.issuer)
        if (self.exchange_client_id is None) != (self.exchange_secret_file is None):
            raise ValueError("Expected both exchange-client-id and exchange-secret-file, or none of them")


def check_url(name: str, url: str) -> None:
    """Raises `ValueError` unless what comes from a URL can be trusted: https, or this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = parts = None
    if parts is None or not host or parts.username is not None:
        raise ValueError(f"Expected a URL as {name}, given {url!r}")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        raise ValueError(f"Expected a URL that begins with https:// as {name}, given {url!r}")


class GroupSettings(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A group that is kept in the file: who has `source_id` among the groups of the token may do this.

    Args:
        source_id: a value of the groups claim, with the issuer's prefix if it has one.
        capabilities: words such as `functions:read,run`, or objects in the contract's shape.
    """

    source_id: Annotated[str, Meta(min_length=1, max_length=255)]
    capabilities: Annotated[list[str | dict[str, Any]], Meta(min_length=1)]

    def __post_init__(self) -> None:
        read(self.capabilities)

    def acls(self) -> list[Acl]:
        return read(self.capabilities)


class Project(msgspec.Struct, rename="kebab", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One project: the issuers that it trusts beside the built-in one, and the groups that the file gives it."""

    issuers: tuple[IssuerSettings, ...] = ()
    groups: dict[Annotated[str, Meta(min_length=1, max_length=255)], GroupSettings] = {}

    def __post_init__(self) -> None:
        names = [issuer.issuer for issuer in self.issuers]
        prefixes = [issuer.group_prefix for issuer in self.issuers]
        if len(set(names)) < len(names):
            raise ValueError("Expected each issuer once, given one twice")
        if len(set(prefixes)) < len(prefixes):
            raise ValueError(
                "Expected a different group-prefix for each issuer of a project, else one speaks for another"
            )

    def issuer(self, name: str) -> IssuerSettings | None:
        """The settings of an issuer that this project trusts, or None."""
        return next((issuer for issuer in self.issuers if issuer.issuer == name), None)

    def source_ids(self, issuer: IssuerSettings, claims: Iterable[str]) -> set[str]:
        """The source ids for which an issuer may speak: a prefix belongs to one issuer alone, the longest that fits."""
        prefixes = [other.group_prefix for other in self.issuers]
        given = {issuer.group_prefix + claim for claim in claims}
        return {one for one in given if max(filter(one.startswith, prefixes), key=len) == issuer.group_prefix}


class Projects(Mapping[str, Project]):
    """The projects of a server, by name.

    Args:
        own: the project of the setting of that name: the operator's, whose clients may look after the server.
        others: further ones, and what is known of `own`.
    """

    def __init__(self, own: str, others: Mapping[str, Project] | None = None) -> None:
        self.own = own
        self._projects = {own: Project(), **(others or {})}

    def __getitem__(self, name: str) -> Project:
        return self._projects[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._projects)

    def __len__(self) -> int:
        return len(self._projects)


def read_projects(path: Path, own: str) -> Projects:
    """The projects that a settings file names; only `own` when there is no such file.

    Args:
        path: `kvern.toml`.
        own: the project of the setting of that name.

    Raises:
        ValueError: something in the file is wrong; the text names the place.
    """
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Projects(own)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    found: dict[str, Project] = {}
    place = ""
    try:
        for name, table in msgspec.convert(whole.get("projects", {}), dict[str, Any]).items():
            place = f".{name}"
            found[check_project(name)] = msgspec.convert(table, Project, dec_hook=_from_text)
    except ValueError as error:  # a ValidationError is one, too
        text, _, where = str(error).partition(" - at `$")
        raise ValueError(f"{path}: {text} (at projects{place}{where.rstrip('`')})") from error
    return Projects(own, found)


def _from_text(kind: type[Any], given: object) -> object:
    """What a settings file writes as text and msgspec does not know: the path of a file."""
    if kind is Path and isinstance(given, str) and given:
        return Path(given)
    raise ValueError(f"Expected the path of a file, given {given!r}")
