"""What can be refused, and the envelope in which a refusal travels (contract 1.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class ApiError(Exception):
    """The request cannot be carried out.

    Args:
        message: one sentence for people: what was wrong, what was expected, what was given.
        missing: identifiers that were not found, in the shape in which they were sent.
        duplicated: identifiers that are taken.
    """

    code = 400

    def __init__(
        self,
        message: str,
        *,
        missing: Sequence[dict[str, Any]] = (),
        duplicated: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.missing = list(missing)
        self.duplicated = list(duplicated)

    def envelope(self) -> bytes:
        """The body of the answer; `missing` and `duplicated` are left out when empty."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.missing:
            error["missing"] = self.missing
        if self.duplicated:
            error["duplicated"] = self.duplicated
        return msgspec.json.encode({"error": error})


class InvalidError(ApiError):
    """The request itself is wrong."""


class UnknownItemsError(ApiError):
    """An identifier in the body names nothing (contract 13.4)."""


class UnauthenticatedError(ApiError):
    """No token, or one that is not good."""

    code = 401


class ForbiddenError(ApiError):
    """The token is good but lacks the capability."""

    code = 403


class NotFoundError(ApiError):
    """An id in the path names nothing, or there is no such route."""

    code = 404


class MethodError(ApiError):
    """The path exists, but not with this method."""

    code = 405


class TooLongError(ApiError):
    """A read that was given up; nothing changed. Clients send a 503 again, and this would take as long again."""

    code = 408


class TakenError(ApiError):
    """The external id is in use."""

    code = 409


class ConflictError(ApiError):
    """What is asked for does not fit the state in which something is."""

    code = 409


class TooLargeError(ApiError):
    """A body over the server's maximum."""

    code = 413


class MediaTypeError(ApiError):
    """A body in an encoding or a type that the service does not read."""

    code = 415


class UnprocessableError(ApiError):
    """The request is well-formed, and contradicts one that was carried out."""

    code = 422


class BusyError(ApiError):
    """A limit on running calls is reached; nothing happened (contract 1.8)."""

    code = 429


class FaultError(ApiError):
    """A fault of the service; the outcome is unknown."""

    code = 500


class UnreachableError(ApiError):
    """A server behind this one does not answer; nothing happened there."""

    code = 502


class UnavailableError(ApiError):
    """Something that is needed cannot be had now; nothing happened, so that trying again is safe."""

    code = 503
