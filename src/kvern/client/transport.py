"""Requests: authentication, retries with back-off, pooled connections, and answers turned into errors (contract 1)."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from kvern.client import exceptions
from kvern.client.config import ClientConfig, global_config
from kvern.client.debugging import debug_logger
from kvern.client.documents import dump_json
from kvern.client.redaction import redacted_body, redacted_headers
from kvern.client.response import CogniteHTTPResponse
from kvern.client.retries import Tries, is_repeatable

if TYPE_CHECKING:
    import asyncio

    import httpx2

    from kvern.client.async_client import AsyncCogniteClient

# Shorter than the five seconds after which common servers close an idle connection.
_KEEPALIVE_SECONDS = 4

# Bytes that take so long to compress that other coroutines should go on meanwhile.
_LARGE = 1_000_000


def slot(client: AsyncCogniteClient, group: str, limit: str) -> asyncio.Semaphore:
    """What a request of a group must hold while it is under way."""
    settings = global_config.concurrency_settings
    return settings.semaphore(getattr(settings, group), limit, client.config.project)


def http_options() -> dict[str, Any]:
    """The part of the global settings that every HTTP client takes."""
    verify: Any = False if global_config.disable_ssl else (global_config.ssl_context or True)
    return {"verify": verify, "proxy": global_config.proxy}


class Pools:
    """One pool of connections for each event loop: connections belong to the loop that opened them."""

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, httpx2.AsyncClient]] = (
            WeakKeyDictionary()
        )

    def get(self, waiting: bool) -> httpx2.AsyncClient:
        """The pool of the running loop; requests that wait for a call to end have one to themselves."""
        import asyncio

        clients = self._clients.setdefault(asyncio.get_running_loop(), {})
        if waiting not in clients:
            clients[waiting] = new_http_client(
                global_config.concurrency_settings.waiting.calls if waiting else global_config.max_connection_pool_size
            )
        return clients[waiting]

    async def close(self) -> None:
        """Closes the connections of the running loop."""
        import asyncio

        for client in self._clients.pop(asyncio.get_running_loop(), {}).values():
            await client.aclose()

    def forget(self) -> None:
        """Leaves the connections to the parent process."""
        self._clients = WeakKeyDictionary()


def new_http_client(connections: int) -> httpx2.AsyncClient:
    """A pool of that many connections, which keeps no cookies."""
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    import httpx2

    return httpx2.AsyncClient(
        limits=httpx2.Limits(max_connections=connections, keepalive_expiry=_KEEPALIVE_SECONDS),
        follow_redirects=global_config.follow_redirects,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        **http_options(),
    )


pools: Pools = Pools()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pools.forget)


class Request(NamedTuple):
    """One request and how it may be treated.

    Args:
        method: The HTTP method.
        url: A full URL, or a path below the project that begins with `/`.
        json: The body, as what JSON can hold.
        content: The body as bytes, or a function that begins to read it, once for every try.
        params: The query.
        headers: Further headers.
        repeatable: Whether sending it twice does no harm; None judges by method and path.
        timeout: Seconds that the answer may take; None takes the client's setting.
        waiting: Whether the server is asked to hold its answer back.
        bare: No API headers but the token: for URLs that only store and give bytes.
    """

    method: str
    url: str
    json: Any = None
    content: bytes | Callable[[], AsyncIterator[bytes]] | None = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, Any] | None = None
    repeatable: bool | None = None
    timeout: float | None = None
    waiting: bool = False
    bare: bool = False


class Transport:
    """Sends the requests of one client.

    Args:
        config: How the server is reached.
        version: The API version in URLs.
    """

    def __init__(self, config: ClientConfig, version: str = "v1") -> None:
        self.config = config
        self.server_waits: bool | None = None
        self._api = f"{config.base_url}/api/{version}"
        self._project = f"{self._api}/projects/{config.project}"

    def url(self, path: str) -> str:
        """The full URL of a path: below the project, or below the server for `/api/...`."""
        if path.startswith(("http://", "https://")):
            return path
        if not path.startswith("/"):
            raise ValueError(f"Expected a path that begins with '/', or a full URL, got {path!r}")
        return f"{self.config.base_url}{path}" if path.startswith("/api/") else f"{self._project}{path}"

    async def send(self, request: Request, semaphore: asyncio.Semaphore | None = None) -> CogniteHTTPResponse:
        """The answer, when it is a success.

        Args:
            request: What to send.
            semaphore: Held while the request is under way, and not while it waits for its next try.

        Raises:
            CogniteHTTPStatusError: for an answer of 4xx or 5xx, after all tries.
            CogniteRequestError: when there is no answer, after all tries; one of its subclasses says why.
        """
        async with self._answered(request, semaphore, stream=False) as response:
            return response

    @asynccontextmanager
    async def stream(
        self, request: Request, semaphore: asyncio.Semaphore | None = None
    ) -> AsyncGenerator[CogniteHTTPResponse]:
        """As `send`, with the body still to be read."""
        async with self._answered(request, semaphore, stream=True) as response:
            yield response

    async def call(self, request: Request, semaphore: asyncio.Semaphore | None = None) -> CogniteHTTPResponse:
        """As `send`, but answers of 4xx and 5xx are raised as what they mean.

        Raises:
            CogniteNotFoundError, CogniteDuplicatedError, CogniteProjectAccessError, CogniteAPIError: as contract 1.6
                has it.
        """
        try:
            return await self.send(request, semaphore)
        except exceptions.CogniteHTTPStatusError as error:
            raise await self.api_error(error) from None

    @asynccontextmanager
    async def _answered(
        self, request: Request, semaphore: asyncio.Semaphore | None, stream: bool
    ) -> AsyncGenerator[CogniteHTTPResponse]:
        import asyncio

        url = self.url(request.url)
        repeatable = is_repeatable(request.method, url) if request.repeatable is None else request.repeatable
        tries = Tries(repeatable)
        while True:
            if semaphore is not None:
                await semaphore.acquire()
            try:
                delay = await self._try(request, url, tries, stream)
                if isinstance(delay, CogniteHTTPResponse):
                    try:
                        yield delay
                    finally:
                        if stream:
                            await delay.aclose()
                    return
            finally:
                if semaphore is not None:
                    semaphore.release()
            logger = debug_logger()
            if logger is not None:
                logger.debug(
                    "Try %d of %s %s failed: %s; next in %.2f s", tries.total, request.method, url, tries.why, delay
                )
            await asyncio.sleep(delay)

    async def _try(self, request: Request, url: str, tries: Tries, stream: bool) -> CogniteHTTPResponse | float:
        """The answer, or the seconds after which to try again."""
        import httpx2

        client = pools.get(request.waiting)
        headers, content = await self._prepare(request, url)
        built = client.build_request(
            request.method,
            url,
            content=content,
            params=dict(request.params) if request.params else None,
            headers=headers,
            timeout=request.timeout or self.config.timeout,
        )
        try:
            response = CogniteHTTPResponse(await client.send(built, stream=stream))
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            delay = tries.after_failure(error)
            if delay is None:
                raise _request_error(error) from error
            return delay
        except httpx2.HTTPError as error:
            raise exceptions.CogniteRequestError(str(error)) from error
        self._log(response, request, stream)
        if not response.is_error:
            return response
        delay = tries.after_status(response)
        if stream:
            await response.aread()
        if delay is not None:
            return delay
        raise exceptions.CogniteHTTPStatusError(response.status_code, request=built, response=response)

    async def _prepare(self, request: Request, url: str) -> tuple[dict[str, Any], bytes | AsyncIterator[bytes] | None]:
        import asyncio

        headers: dict[str, Any] = {"accept": "*/*"} if request.bare else self._api_headers()
        headers.update(request.headers or {})
        content = request.content() if callable(request.content) else request.content
        if request.json is not None:
            content = dump_json(request.json).encode()
            if not global_config.disable_gzip:
                compress = partial(gzip.compress, content, compresslevel=6, mtime=0)
                content = await asyncio.to_thread(compress) if len(content) > _LARGE else compress()
                headers["Content-Encoding"] = "gzip"
        if not f"{url}/".startswith(f"{self.config.base_url}/"):
            # A storage elsewhere has no use for the token, and some refuse it.
            return headers, content
        credentials = self.config.credentials
        if getattr(credentials, "is_immediate", False):
            name, value = credentials.authorization_header()
        else:
            # It may ask an identity provider, or a person: other coroutines go on meanwhile.
            name, value = await asyncio.to_thread(credentials.authorization_header)
        headers[name] = value
        return headers, content

    def _api_headers(self) -> dict[str, Any]:
        return {
            "content-type": "application/json",
            "accept": "application/json",
            "x-cdp-sdk": f"KvernPythonSDK:{_version()}",
            # As bytes: the HTTP library takes text for ASCII only.
            "x-cdp-app": self.config.client_name.encode("latin-1", "replace"),
            "cdf-version": self.config.api_subversion,
            "user-agent": f"kvern/{_version()} python/{sys.version_info[0]}.{sys.version_info[1]} {sys.platform}",
            **self.config.headers,
        }

    def _log(self, response: CogniteHTTPResponse, request: Request, stream: bool) -> None:
        logger = debug_logger()
        if logger is not None:
            logger.debug(
                "%s %s %d headers=%s payload=%s answer=%s",
                request.method,
                response.url,
                response.status_code,
                redacted_headers(response.request.headers),
                redacted_body(dump_json(request.json)) if request.json is not None else None,
                None if stream or request.bare else redacted_body(response.text),
            )

    async def api_error(self, error: exceptions.CogniteHTTPStatusError) -> exceptions.CogniteException:
        """What an answer of 4xx or 5xx means (contract 1.6)."""
        response, code = error.response, error.status_code
        message, details = _error_object(response)
        missing, duplicated = details.pop("missing", None) or None, details.pop("duplicated", None) or None
        request_id = response.headers.get("x-request-id")
        known: dict[str, Any] = {
            "x_request_id": request_id,
            "cluster": self.config.cdf_cluster,
            "project": self.config.project,
            "extra": details,
        }
        if code == 401:
            return exceptions.CogniteProjectAccessError(
                self.config.project, request_id, await self._other_projects(), self.config.cdf_cluster
            )
        if code == 409 and duplicated and not missing:
            return exceptions.CogniteDuplicatedError(message, code, duplicated, **known)
        if (code in (400, 404, 422) and missing and not duplicated) or (code == 404 and not duplicated):
            return exceptions.CogniteNotFoundError(message, code, missing or [], **known)
        return exceptions.CogniteAPIError(message, code, missing=missing, duplicated=duplicated, **known)

    async def _other_projects(self) -> list[str] | None:
        try:
            response = await self.send(Request("GET", "/api/v1/token/inspect", timeout=5, repeatable=False))
            projects = {project["projectUrlName"] for project in response.json()["projects"]}
        except (exceptions.CogniteException, LookupError, TypeError, ValueError):
            return None
        return sorted(projects - {self.config.project})


def _request_error(error: Exception) -> exceptions.CogniteRequestError:
    import httpx2

    text = f"{type(error).__name__}: {error}"
    if isinstance(error, httpx2.ConnectError):
        return exceptions.CogniteConnectionRefused()
    if isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout):
        return exceptions.CogniteReadTimeout(f"No answer in time: {text}")
    return exceptions.CogniteConnectionError(f"The connection broke: {text}")


def _error_object(response: CogniteHTTPResponse) -> tuple[str, dict[str, Any]]:
    try:
        error = response.json()["error"]
    except (ValueError, LookupError, TypeError):
        return response.text, {}
    if isinstance(error, dict) and "message" in error:
        details: dict[str, Any] = {key: value for key, value in error.items() if key not in ("code", "message")}  # pyright: ignore[reportUnknownVariableType]
        return str(error["message"]), details  # pyright: ignore[reportUnknownArgumentType]
    return (error if isinstance(error, str) else response.text), {}


def _version() -> str:
    from kvern import __version__

    return __version__
