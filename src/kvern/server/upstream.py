"""What Kvern does not serve, passed on to a project in the cloud, when the operator names one.

what goes wrong                          | the client gets
-----------------------------------------|--------------------------------------------------
the upstream cannot be reached           | 502: nothing was sent, trying again is safe
it breaks off, and the request only reads| 502
it breaks off otherwise                  | 500: the outcome is unknown (contract 1.8)
it breaks off in the middle of an answer | a broken connection
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from urllib.parse import quote, urlsplit

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kvern.wire.errors import FaultError, NotFoundError, UnreachableError

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")

_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host".split()
)
"""Headers that are between two neighbours only (RFC 9110 7.6.1)."""

_READS = frozenset({"GET", "HEAD"})
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 300.0


class Upstream:
    """Passes requests on, bodies and answers as streams.

    Args:
        base_url: of the upstream, such as `https://westeurope-1.cognitedata.com`.
        project: the upstream's name of the project; None when it is the same.
        bearer: gives the token to send for a request that passed the guard; raises when there is none to send.
    """

    def __init__(self, base_url: str, project: str | None, bearer: Callable[[Request], Awaitable[str]]) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError(f"Expected the base URL of a cluster as upstream, given {base_url!r}")
        self._base_url = base_url.rstrip("/")
        self._project = project
        self._bearer = bearer
        timeout = httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        self._client = httpx2.AsyncClient(timeout=timeout, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __call__(self, request: Request) -> Response:
        """The upstream's answer to this request."""
        token = await self._bearer(request)
        headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _HOP]
        headers = [(name, value) for name, value in headers if name.lower() != b"authorization"]
        headers.append((b"authorization", f"Bearer {token}".encode()))
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        passed = self._client.build_request(
            request.method,
            self._url(request),
            headers=headers,
            content=request.stream() if has_body else None,
        )
        try:
            answer = await self._client.send(passed, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise UnreachableError(f"The upstream {self._base_url} cannot be reached: {error}") from error
        except httpx2.TransportError as error:
            if request.method in _READS:
                raise UnreachableError(f"The upstream {self._base_url} broke off: {error}") from error
            raise FaultError(
                f"The upstream {self._base_url} broke off; whether the request took effect is unknown"
            ) from error
        response = StreamingResponse(_parts(answer), answer.status_code)
        response.raw_headers = [(n.lower(), v) for n, v in answer.headers.raw if n.lower() not in _HOP]
        return response

    def _url(self, request: Request) -> str:
        rest = str(request.path_params["rest"])
        if any(step in (".", "..") for step in rest.split("/")):
            raise NotFoundError("There is no such route here: a path with dots for folders")
        project = self._project or str(request.path_params["project"])
        path = f"/api/v1/projects/{quote(project, safe='')}/{quote(rest, safe='/:@!$&()*+,;=~-._')}"
        query = request.url.query
        return f"{self._base_url}{path}{'?' + query if query else ''}"


async def _parts(answer: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """As it came, packed or not: the headers that say so are passed on."""
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
