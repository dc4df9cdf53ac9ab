"""Sessions, and what a token may do (contract 6, 8)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from kvern.client.data_classes._base import CogniteResource, CogniteResourceList, IdTransformerMixin

if TYPE_CHECKING:
    from kvern.client.data_classes.capabilities import ProjectCapabilityList

SessionStatus: TypeAlias = Literal["READY", "ACTIVE", "CANCELLED", "EXPIRED", "REVOKED", "ACCESS_LOST"]
SessionType: TypeAlias = Literal["CLIENT_CREDENTIALS", "TOKEN_EXCHANGE", "ONESHOT_TOKEN_EXCHANGE"]


class ClientCredentials(CogniteResource):
    """The id and secret of an application, to make a session with.

    Args:
        client_id: The application's id at the identity provider.
        client_secret: Its secret.
    """

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.client_id = client_id
        self.client_secret = client_secret


class CreatedSession(CogniteResource):
    """A session that was just made.

    Args:
        id: Server-generated.
        status: `READY` until something binds it.
        nonce: The one-time word that hands the session over; lives for about a minute.
        type: From which kind of credentials it was made.
        client_id: The application, if it was made from client credentials.
    """

    def __init__(
        self,
        id: int,
        status: SessionStatus,
        nonce: str,
        type: SessionType | None = None,
        client_id: str | None = None,
    ) -> None:
        self.id = id
        self.status: SessionStatus = status
        self.nonce = nonce
        self.type: SessionType | None = type
        self.client_id = client_id


class Session(CogniteResource):
    """A session.

    Args:
        id: Server-generated.
        type: From which kind of credentials it was made.
        status: Where it stands.
        creation_time: Milliseconds since the epoch.
        expiration_time: Milliseconds since the epoch; moves on when its token is refreshed.
        client_id: The application, if it was made from client credentials.
    """

    def __init__(
        self,
        id: int,
        type: SessionType,
        status: SessionStatus,
        creation_time: int,
        expiration_time: int,
        client_id: str | None = None,
    ) -> None:
        self.id = id
        self.type: SessionType = type
        self.status: SessionStatus = status
        self.creation_time = creation_time
        self.expiration_time = expiration_time
        self.client_id = client_id


class SessionList(CogniteResourceList[Session], IdTransformerMixin):
    """Sessions."""

    _RESOURCE = Session


class RevokedSession(CogniteResource):
    """A session that was revoked; without the right to list sessions, only its id is told.

    Args:
        id: Server-generated.
        type: From which kind of credentials it was made.
        status: Where it stands.
        creation_time: Milliseconds since the epoch.
        expiration_time: Milliseconds since the epoch.
        client_id: The application, if it was made from client credentials.
    """

    def __init__(
        self,
        id: int,
        type: SessionType | None = None,
        status: SessionStatus | None = None,
        creation_time: int | None = None,
        expiration_time: int | None = None,
        client_id: str | None = None,
    ) -> None:
        self.id = id
        self.type: SessionType | None = type
        self.status: SessionStatus | None = status
        self.creation_time = creation_time
        self.expiration_time = expiration_time
        self.client_id = client_id


class RevokedSessionList(CogniteResourceList[RevokedSession], IdTransformerMixin):
    """Sessions that were revoked."""

    _RESOURCE = RevokedSession


class ProjectSpec(CogniteResource):
    """A project that a token belongs to.

    Args:
        url_name: The project's name in URLs.
        groups: Ids of the token's groups in it.
    """

    def __init__(self, url_name: str, groups: list[int]) -> None:
        self.url_name = url_name
        self.groups = groups

    @property
    def project_url_name(self) -> str:
        """The same as `url_name`."""
        return self.url_name

    @classmethod
    def _load(cls, resource: dict[str, Any]) -> ProjectSpec:
        return cls(url_name=resource["projectUrlName"], groups=resource["groups"])

    def dump(self, camel_case: bool = True) -> dict[str, str | list[int]]:
        """The project as the API answers it."""
        return {"projectUrlName" if camel_case else "project_url_name": self.url_name, "groups": self.groups}


class TokenInspection(CogniteResource):
    """Whose token it is and what it may do.

    Args:
        subject: The token's subject.
        projects: The projects that it belongs to.
        capabilities: What it may do in them.
    """

    def __init__(self, subject: str, projects: list[ProjectSpec], capabilities: ProjectCapabilityList) -> None:
        self.subject = subject
        self.projects = projects
        self.capabilities = capabilities

    @classmethod
    def _load_field(cls, name: str, value: Any) -> Any:
        from kvern.client.data_classes.capabilities import ProjectCapabilityList

        if name == "projects":
            return [ProjectSpec.load(project) for project in value]
        return ProjectCapabilityList.load(value) if name == "capabilities" else value

    def dump(self, camel_case: bool = True) -> dict[str, Any]:
        """The inspection as the API answers it."""
        return {
            "subject": self.subject,
            "projects": [project.dump(camel_case) for project in self.projects],
            "capabilities": self.capabilities.dump(camel_case),
        }
