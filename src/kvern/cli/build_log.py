"""Reading the log of a function's build, an addition of Kvern to the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvern.client import CogniteClient

_WAIT = 5
"""Seconds for which one request may be held back."""

NOT_SERVED = (400, 404, 405)


class BuildLog:
    """The log of one build, as far as it was read. A service that keeps none has an empty one.

    Args:
        client: of the service.
        function_id: whose build.
    """

    def __init__(self, client: CogniteClient, function_id: int) -> None:
        self.status = ""
        """The function's, when the log was read last."""
        self.is_served = True
        """Whether the service keeps such logs."""
        self._client = client
        self._path = f"/functions/{function_id}/build-log"
        self._seen = 0

    @property
    def has_ended(self) -> bool:
        """Whether no more comes."""
        return self.status in ("Ready", "Failed")

    def read(self, *, wait: bool) -> list[dict[str, Any]]:
        """The entries that are new; with `wait`, as soon as there are some, or the build has ended."""
        from kvern.client.exceptions import CogniteAPIError

        if not self.is_served:
            return []
        headers = {"Prefer": f"wait={_WAIT}"} if wait else None
        try:
            answer = self._client.get(self._path, {"after": self._seen}, headers).json()
        except CogniteAPIError as error:
            if error.code not in NOT_SERVED:
                raise
            self.is_served = False
            return []
        self.status = str(answer["status"])
        self._seen += len(answer["items"])
        return list(answer["items"])
