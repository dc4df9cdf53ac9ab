"""The asynchronous client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvern.client.api.files import FilesAPI
from kvern.client.api.functions import FunctionsAPI
from kvern.client.api.iam import IAMAPI
from kvern.client.config import ClientConfig, global_config
from kvern.client.constructors import MadeFromSettings
from kvern.client.transport import Request, Transport, pools

if TYPE_CHECKING:
    from typing_extensions import Self

    from kvern.client.response import CogniteHTTPResponse
    from kvern.client.sync_client import CogniteClient


class AsyncCogniteClient(MadeFromSettings):
    """A client whose methods are awaited.

    Args:
        config: How the server is reached. If not given: `global_config.default_client_config`, else what the
            environment says (`KVERN_URL` and its like, `KVERN_PROFILE`, `CDF_URL` and its like), else the profile that
            `kvern login` made the default.

    Raises:
        ValueError: when none of these tells a server.

    Example:
        >>> async def main():
        ...     client = AsyncCogniteClient()
        ...     return await client.functions.list()
    """

    def __init__(self, config: ClientConfig | None = None) -> None:
        if config is None:
            config = global_config.default_client_config
        if config is None:
            from kvern.client.discovery import found_config

            config = found_config()
        self.transport: Transport = Transport(config)
        self.functions: FunctionsAPI = FunctionsAPI(self)
        self.files: FilesAPI = FilesAPI(self)
        self.iam: IAMAPI = IAMAPI(self)
        self._sync_client: CogniteClient | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"])

    def get_sync_client(self) -> CogniteClient:
        """A synchronous client with the same config."""
        from kvern.client.sync_client import CogniteClient

        if self._sync_client is None:
            self._sync_client = CogniteClient(self.config)
        return self._sync_client

    async def get(
        self, url: str, params: dict[str, Any] | None = None, headers: dict[str, Any] | None = None
    ) -> CogniteHTTPResponse:
        """Sends a GET request to any path of the API.

        Args:
            url: A path below the project that begins with `/`, or a full URL.
            params: The query.
            headers: Further headers.

        Raises:
            CogniteAPIError: for an answer of 4xx or 5xx.
        """
        return await self.transport.call(Request("GET", url, params=params, headers=headers))

    async def post(
        self,
        url: str,
        json: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
    ) -> CogniteHTTPResponse:
        """Sends a POST request to any path of the API.

        Args:
            url: A path below the project that begins with `/`, or a full URL.
            json: The body.
            params: The query.
            headers: Further headers.

        Raises:
            CogniteAPIError: for an answer of 4xx or 5xx.
        """
        return await self.transport.call(Request("POST", url, json=json, params=params, headers=headers))

    async def put(
        self,
        url: str,
        json: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
    ) -> CogniteHTTPResponse:
        """Sends a PUT request to any path of the API.

        Args:
            url: A path below the project that begins with `/`, or a full URL.
            json: The body.
            params: The query.
            headers: Further headers.

        Raises:
            CogniteAPIError: for an answer of 4xx or 5xx.
        """
        return await self.transport.call(Request("PUT", url, json=json, params=params, headers=headers))

    async def close(self) -> None:
        """Closes the idle connections of the running event loop, of all clients; not part of the official SDK."""
        await pools.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def config(self) -> ClientConfig:
        """How the server is reached."""
        return self.transport.config
