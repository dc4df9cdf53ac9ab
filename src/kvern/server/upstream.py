"""What Kvern does not serve, passed on to a project in the cloud, when the operator names one.

what goes wrong                          | the client gets
-----------------------------------------|--------------------------------------------------
the upstream cannot be reached           | 502: nothing was sent, trying again is safe
it breaks off, and the request only reads| 502
it breaks off otherwise                  | 500: the outcome is unknown (contract 1.8)
it breaks off in the middle of an answer | a broken connection
no connection to it is free              | 503: nothing was sent

What passes is a request and its answer, and nothing of who sits where: no cookies, no addresses of clients, no headers
between two neighbours. What Kvern serves itself goes nowhere, however its path is written.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable
from urllib.parse import quote, unquote, urlsplit

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match, Route
from starlette.types import Scope

from kvern.service.cookieless import no_cookies
from kvern.wire.errors import FaultError, NotFoundError, UnavailableError, UnreachableError

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")

_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-authentication-info proxy-connection te "
    b"trailer transfer-encoding upgrade http2-settings host".split()
)
"""Headers that are between two neighbours only (RFC 9110 7.6.1)."""

_OURS = re.compile(
    rb"authorization|cookie2?|expect|forwarded|via|max-forwards|x-forwarded(-.*)?|x-original-.*|x-rewrite-.*|x-real-ip"
    rb"|x-client-ip|x-cluster-client-ip|true-client-ip|cf-connecting-ip(v6)?|fastly-client-ip"
)
"""Of a request: what is for this server, or says what only a proxy may say. The upstream's neighbour is Kvern."""

_THEIRS = re.compile(rb"set-cookie2?|alt-svc|strict-transport-security|clear-site-data|public-key-pins(-report-only)?")
"""Of an answer: what a client would keep for this server's name."""

_READS = frozenset({"GET", "HEAD"})
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 300.0
_TURN_SECONDS = 10.0
_MOST_CONNECTIONS = 500

_DECODED_MOST = 4
"""How often a path is decoded before it counts as one that hides something."""


def decoded(path: str) -> str:
    """A path without any escapes, as a server may read it that decodes more than once.

    Raises:
        NotFoundError: it is escaped again and again.
    """
    for _ in range(_DECODED_MOST):
        plain = unquote(path)
        if plain == path:
            return plain
        path = plain
    raise NotFoundError("There is no such route here: a path that is escaped several times")


class Elsewhere(Route):
    """Paths of a project that Kvern does not serve; with `rest` in the path.

    Args:
        served: first segments of what it serves. Whatever begins with them is no path of this route, in whichever way
            it is written: with other letters, escapes, slashes or parameters.
    """

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], served: Collection[str]) -> None:
        super().__init__(path, endpoint, methods=[*METHODS])
        self._served = frozenset(name.lower() for name in served)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is not Match.NONE:
            rest = unquote(unquote(child["path_params"]["rest"])).replace("\\", "/").lstrip("/")
            if rest.partition("/")[0].partition(";")[0].strip().lower() in self._served:
                return Match.NONE, {}
        return match, child


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
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS, pool=_TURN_SECONDS),
            limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=20),
            follow_redirects=False,
            cookies=no_cookies(),
        )
        self._client.headers.clear()  # what a client does not say is not said for it, such as which packing it reads

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __call__(self, request: Request) -> Response:
        """The upstream's answer to this request."""
        token = await self._bearer(request)
        headers = _end_to_end(request.headers.raw, _OURS)
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
        except httpx2.PoolTimeout as error:
            raise UnavailableError(f"All connections to the upstream {self._base_url} are in use") from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise UnreachableError(f"The upstream {self._base_url} cannot be reached: {error}") from error
        except httpx2.TransportError as error:
            if request.method in _READS:
                raise UnreachableError(f"The upstream {self._base_url} broke off: {error}") from error
            raise FaultError(
                f"The upstream {self._base_url} broke off; whether the request took effect is unknown"
            ) from error
        response = StreamingResponse(_parts(answer), answer.status_code)
        response.raw_headers = [
            *_end_to_end(answer.headers.raw, _THEIRS),
            (b"content-security-policy", b"sandbox"),  # such as a page of errors, which is not this server's
        ]
        return response

    def _url(self, request: Request) -> str:
        rest = str(request.path_params["rest"])
        steps = decoded(rest).replace("\\", "/").split("/")
        if any(step.partition(";")[0] in (".", "..") for step in steps):
            raise NotFoundError("There is no such route here: a path with dots for folders")
        if any(not step for step in steps[:-1]) or steps == [""]:
            raise NotFoundError("There is no such route here: a path with an empty segment")
        project = self._project or str(request.path_params["project"])
        path = f"/api/v1/projects/{quote(project, safe='')}/{quote(rest, safe='/:@!$&()*+,;=~-._')}"
        query = request.url.query
        return f"{self._base_url}{path}{'?' + query if query else ''}"


def _end_to_end(raw: Iterable[tuple[bytes, bytes]], kept_back: re.Pattern[bytes]) -> list[tuple[bytes, bytes]]:
    """Headers that are passed on: not those between neighbours, nor those that `Connection` names as such."""
    headers = [(name.lower(), value) for name, value in raw]
    named = {
        word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")
    } | _HOP
    return [(name, value) for name, value in headers if name not in named and not kept_back.fullmatch(name)]


async def _parts(answer: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """As it came, packed or not: the headers that say so are passed on."""
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
