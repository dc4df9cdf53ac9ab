"""Every error that the client raises, under the names and attributes of the official SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

    from kvern.client.response import CogniteHTTPResponse

_SHOWN_ELEMENTS = 10
_KINDS = {1: "Informational response", 3: "Redirect response", 4: "Client error", 5: "Server error"}


class CogniteException(Exception):
    """Base of every error of this client."""


class CogniteRequestError(CogniteException):
    """A request that could not be carried out."""


class CogniteConnectionError(CogniteRequestError):
    """The connection failed or broke; whether the server acted on the request may be unknown."""


class CogniteConnectionRefused(CogniteConnectionError):
    """Nothing accepts connections at the server's address."""

    def __init__(self) -> None:
        super().__init__("The server refused the connection, or cannot be reached.")


class CogniteReadTimeout(CogniteRequestError):
    """The server did not answer within the timeout."""


class CogniteHTTPStatusError(CogniteRequestError):
    """An answer of status 4xx or 5xx, before it is turned into one of the API errors below.

    Args:
        status_code: The HTTP status.
        request: The request as it was sent.
        response: The answer.
    """

    def __init__(self, status_code: int, *, request: httpx2.Request, response: CogniteHTTPResponse) -> None:
        super().__init__(f"HTTP {status_code} Error")
        self.status_code = status_code
        self.request = request
        self.response = response

    @staticmethod
    def get_error_type(status_code: int) -> str:
        """The family that a status belongs to, in words."""
        return _KINDS.get(status_code // 100, "Invalid status code")

    def __str__(self) -> str:
        kind = self.get_error_type(self.status_code)
        return f"{kind} {self.status_code} {self.response.reason_phrase} from {self.request.url}"


class CogniteProjectAccessError(CogniteException):
    """The token gives no access to the project (HTTP 401).

    Args:
        project: The project that was asked for.
        x_request_id: Id of the failed request.
        maybe_projects: Projects that the token does give access to, where the server told.
        cluster: The cluster of the project, if known.
    """

    def __init__(
        self, project: str, x_request_id: str | None, maybe_projects: list[str] | None, cluster: str | None = None
    ) -> None:
        super().__init__(project, x_request_id, maybe_projects, cluster)
        self.project = project
        self.x_request_id = x_request_id
        self.maybe_projects = maybe_projects
        self.cluster = cluster

    def __str__(self) -> str:
        parts = [
            f"No access to project {self.project!r}: Unauthorized. The token is missing, invalid or expired.",
            "code: 401",
            f"X-Request-ID: {self.x_request_id}",
        ]
        if self.maybe_projects:
            parts[0] += f" This token belongs to: {self.maybe_projects}."
        if self.cluster:
            parts.append(f"cluster: {self.cluster}")
        return " | ".join(parts)


class CogniteFileUploadError(CogniteException):
    """The content of a file could not be uploaded.

    Args:
        message: What the storage answered.
        code: The HTTP status.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return f"{self.message} | code: {self.code}"


class CogniteMultiException(CogniteException):
    """Failure of work that was sent in several requests.

    Args:
        successful: Items of requests that succeeded.
        failed: Items of requests that the server refused.
        unknown: Items of requests whose outcome is unknown (5xx).
        skipped: Items that were not sent because another request had failed.
    """

    def __init__(
        self,
        successful: list[Any] | None = None,
        failed: list[Any] | None = None,
        unknown: list[Any] | None = None,
        skipped: list[Any] | None = None,
    ) -> None:
        self.successful: list[Any] = successful or []
        self.failed: list[Any] = failed or []
        self.unknown: list[Any] = unknown or []
        self.skipped: list[Any] = skipped or []

    def _summary(self) -> str:
        if not (self.successful or self.failed or self.unknown or self.skipped):
            return ""
        counts = [
            f"- succeeded (2xx): {len(self.successful)}",
            f"- outcome unknown (5xx): {len(self.unknown)}",
            f"- failed (4xx): {len(self.failed)}",
        ]
        if self.skipped:
            counts.append(f"- not sent: {len(self.skipped)}")
        return "\nItems of this operation:\n" + "\n".join(counts)


def _first_elements(elements: list[Any]) -> str:
    shown = ",".join(str(element) for element in elements[:_SHOWN_ELEMENTS])
    return f"[{shown}, ...]" if len(elements) > _SHOWN_ELEMENTS else f"[{shown}]"


class CogniteAPIError(CogniteMultiException):
    """The server answered with an error.

    Args:
        message: The server's message.
        code: The HTTP status.
        x_request_id: Id of the failed request, for the server's log.
        missing: Identifiers that the server does not know.
        duplicated: Identifiers that are taken.
        successful: Items of requests that succeeded.
        failed: Items of requests that were refused.
        unknown: Items of requests whose outcome is unknown.
        skipped: Items that were not sent.
        cluster: The cluster of the project, if known.
        project: The project.
        extra: Whatever else the error object held.
    """

    def __init__(
        self,
        message: str,
        code: int,
        x_request_id: str | None = None,
        missing: list[Any] | None = None,
        duplicated: list[Any] | None = None,
        successful: list[Any] | None = None,
        failed: list[Any] | None = None,
        unknown: list[Any] | None = None,
        skipped: list[Any] | None = None,
        cluster: str | None = None,
        project: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(successful, failed, unknown, skipped)
        self.message = message
        self.code = code
        self.x_request_id = x_request_id
        self.missing = missing
        self.duplicated = duplicated
        self.cluster = cluster
        self.project = project
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with `args`, which does not hold the keyword arguments.
        return _rebuild, (type(self), self.__dict__)

    def __str__(self) -> str:
        text = self.message
        if self.missing:
            text += f", missing: {_first_elements(self.missing)}"
        elif self.duplicated:
            text += f", duplicated: {_first_elements(self.duplicated)}"
        text += f" | code: {self.code} | X-Request-ID: {self.x_request_id}"
        if self.cluster:
            text += f" | cluster: {self.cluster}"
        if self.project:
            text += f" | project: {self.project}"
        text += self._summary()
        if self.extra:
            import json

            text += "\nMore from the server: " + json.dumps(self.extra, indent=4, sort_keys=True, default=str)
        return text


def _rebuild(kind: type[CogniteAPIError], state: dict[str, Any]) -> CogniteAPIError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    return error


class CogniteNotFoundError(CogniteAPIError):
    """At least one identifier of the request does not exist.

    Args:
        message: The server's message.
        code: The HTTP status.
        missing: The identifiers, in the shape in which they were sent.
        **kwargs: As for `CogniteAPIError`.
    """

    def __init__(self, message: str, code: int, missing: list[Any], **kwargs: Any) -> None:
        super().__init__(message, code, **kwargs)
        self.missing: list[Any] = missing

    @property
    def not_found(self) -> list[Any]:
        """The same as `missing`."""
        return self.missing


class CogniteDuplicatedError(CogniteAPIError):
    """At least one identifier of the request is taken.

    Args:
        message: The server's message.
        code: The HTTP status.
        duplicated: The identifiers, in the shape in which they were sent.
        **kwargs: As for `CogniteAPIError`.
    """

    def __init__(self, message: str, code: int, duplicated: list[Any], **kwargs: Any) -> None:
        super().__init__(message, code, **kwargs)
        self.duplicated: list[Any] = duplicated


class CogniteAuthorizationError(CogniteAPIError):
    """A file operation for which the token lacks a right."""


class CogniteImportError(CogniteException, ImportError):
    """An optional package is needed and not installed.

    Args:
        module: Name of the package.
        message: Text to show instead of the usual one.
    """

    def __init__(self, module: str, message: str | None = None) -> None:
        self.module = module
        self.message: str = (
            message or f"This needs the package {module!r}, which is not installed: pip install {module}"
        )
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class CogniteMissingClientError(CogniteException):
    """An object that was made by hand is asked for something that needs a server.

    Args:
        obj: The object without a client.
    """

    def __init__(self, obj: Any) -> None:
        self.type: type[Any] = type(obj)
        super().__init__(self.type)

    def __str__(self) -> str:
        return (
            f"This {self.type.__name__} knows no client: objects that come from the API have one, those made by hand "
            "get one by `.set_client_ref(client)`."
        )


class CogniteAuthError(CogniteException):
    """No valid token could be had."""


class CogniteOAuthError(CogniteAuthError):
    """The identity provider refused to issue a token (RFC 6749, section 5.2).

    Args:
        error: The provider's error code.
        description: The provider's explanation.
    """

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error, description)
        self.error = error
        self.description = description

    def __str__(self) -> str:
        return f"No access token: {self.error!r}. Description: {self.description}"
