"""The synchronous client: the asynchronous one, run in an event loop of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvern.client.async_client import AsyncCogniteClient
from kvern.client.constructors import MadeFromSettings
from kvern.client.loop import run_sync
from kvern.client.sync.files import SyncFilesAPI
from kvern.client.sync.functions import SyncFunctionsAPI
from kvern.client.sync.iam import SyncIAMAPI

if TYPE_CHECKING:
    from typing_extensions import Self

    from kvern.client.config import ClientConfig
    from kvern.client.response import CogniteHTTPResponse


class CogniteClient(MadeFromSettings):
    """A client whose methods return when they are done; works in scripts, threads, notebooks and running event loops.

    Args:
        config: How the server is reached. If not given: `global_config.default_client_config`, else what the
            environment says (`KVERN_URL` and its like, `KVERN_PROFILE`, `CDF_URL` and its like), else the profile that
            `kvern login` made the default.

    Raises:
        ValueError: when none of these tells a server.

    Example:
        >>> client = CogniteClient()
        >>> client.functions.list()
    """

    def __init__(self, config: ClientConfig | None = None) -> None:
        self._async_client = AsyncCogniteClient(config)
        self.functions: SyncFunctionsAPI = SyncFunctionsAPI(self._async_client.functions)
        self.files: SyncFilesAPI = SyncFilesAPI(self._async_client.files)
        self.iam: SyncIAMAPI = SyncIAMAPI(self._async_client.iam)

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"])

    def get_async_client(self) -> AsyncCogniteClient:
        """The asynchronous client that does the work."""
        return self._async_client

    def get(
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
        return run_sync(self._async_client.get(url, params, headers))

    def post(
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
        return run_sync(self._async_client.post(url, json, params, headers))

    def put(
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
        return run_sync(self._async_client.put(url, json, params, headers))

    def close(self) -> None:
        """Closes the idle connections of all synchronous clients; not part of the official SDK."""
        run_sync(self._async_client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def config(self) -> ClientConfig:
        """How the server is reached."""
        return self._async_client.config
