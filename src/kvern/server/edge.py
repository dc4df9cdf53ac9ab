"""Around every route: request ids, the guard, decoding, and the error table.

what is raised                     | status      | log
-----------------------------------|-------------|----------------------------------
ApiError                           | its own     | nothing; see `_with_news`
no such route, wrong method        | 404, 405    | nothing
FencedError                        | 503         | nothing: the service has said so
ReadTooLongError                   | 408         | warning, with the request id
StoreFault                         | 500         | error, with the request id
anything else                      | 500         | traceback, with the request id
the client went away               | no answer   | nothing
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Mounted
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kvern.server import unserved
from kvern.server.ask import Answer, Ask
from kvern.server.bodies import decode, read_body
from kvern.server.heads import Incoming
from kvern.server.http import WHOLE, Whole
from kvern.server.log import access
from kvern.server.short_way import Endpoint, ShortWay, number
from kvern.service.identity import Identity, Principal
from kvern.service.log_context import bound
from kvern.service.metrics import Metrics
from kvern.service.observer import Observer
from kvern.service.service import Service
from kvern.service.tracing import Tracer
from kvern.store import FencedError, StoreFault
from kvern.store.deadline import ReadTooLongError
from kvern.wire.base import encode
from kvern.wire.errors import ApiError, FaultError, ForbiddenError, TooLongError, UnauthenticatedError, UnavailableError

if TYPE_CHECKING:
    from kvern.server.app import Route

_BODY_SLACK = 1_000_000
"""Bytes that a body may have beside `data`."""

CLIENT_LEFT = 499
"""Told of a request whose client went away before there was an answer, as nginx has it."""

_CONVERTOR = re.compile(r":\w+}")

ROUTE = "kvern.route"
"""In the scope: which row of the table answers, for metrics and the access log."""

_STATUS = "kvern.status"
"""In the scope: how the request was answered."""

_BODY = "kvern.body"
"""In the scope: the body, once it was read."""

_PLAIN = re.compile(r"[ -~]*")

_random = random.Random(os.urandom(32))  # noqa: S311 - for request ids, which prove nothing
"""Unlike `secrets`, it asks the kernel once and not for each."""

_JSON_HEAD = "content-type: application/json\r\nx-content-type-options: nosniff\r\n"

PROBES = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by those who watch; no traces are made of them."""

_PERHAPS_OLD = frozenset({400, 401, 403, 404, 409})
"""What may rest on something that another server has changed meanwhile."""

_log = logging.getLogger(__name__)


def edge(service: Service, table: Sequence[Route]) -> ASGIApp:
    """The table's routes behind guard and error table."""
    paths: dict[str, dict[str, Endpoint]] = {}
    short = ShortWay()
    for row in table:
        path, endpoint = full_path(row.path), _endpoint(service, row)
        paths.setdefault(path, {})[row.method] = endpoint
        short.add(row.method, path, endpoint)
    routes = [Mounted(path, _by_method(endpoints), methods=[*endpoints]) for path, endpoints in paths.items()]
    if service.settings.upstream is not None:
        # With it comes a client of HTTP, for which no other service waits at its start.
        from kvern.server.upstream import Elsewhere, Upstream

        async def bearer(request: Request) -> str:
            """The caller's own token; for a function, the one that stands behind its session."""
            _, who = await _guard(service, request, ())
            token = None if who is None else who.token
            if who is not None and who.session_id is not None:
                token = await service.sessions.issuer_token(who.session_id)
            if token is None:
                raise ForbiddenError(
                    "There is nothing to show to the upstream: it knows tokens of its own identity provider only, and "
                    "none of that stands behind this request"
                )
            return token

        upstream = Upstream(service.settings.upstream, service.settings.upstream_project, bearer)

        async def passed_on(request: Request) -> Response:
            request.scope[ROUTE] = "upstream"
            return await upstream(request)

        service.on_stop(upstream.close)
        served = {row.path.split("/")[1] for row in table if row.path and not row.path.startswith("//")}
        routes.append(Elsewhere("/api/v1/projects/{project}/{rest:path}", passed_on, served))
    router = Router(routes)
    router.redirect_slashes = False  # clients do not follow redirects (contract 1.1)
    return _Envelope(short, router, service.metrics, service.observer, access_log=service.settings.access_log)


def _by_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> ASGIApp:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


class _Number(Convertor[int]):
    """`{name:number}` in a path."""

    regex = "[0-9]+"

    def convert(self, value: str) -> int:
        return number(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())


def full_path(path: str) -> str:
    """A path of the table as Starlette has it."""
    path = path.replace(":int}", ":number}")  # Starlette's own does not bear more than 4300 digits
    return path[1:] if path.startswith("//") else f"/api/v1/projects/{{project}}{path}"


def _endpoint(service: Service, row: Route) -> Endpoint:
    decoder = None if row.body is None else msgspec.json.Decoder(row.body)
    most = service.settings.megabytes(service.settings.data_limit_mb) + _BODY_SLACK
    public_url = service.settings.public_url
    route = _CONVERTOR.sub("}", row.path.removeprefix("/") if row.path.startswith("//") else row.path or "/")

    lasting = row.path.startswith("/kvern/") or (row.path.startswith("/groups") and row.method != "GET")
    """Whether it is about rights that outlive a call."""

    async def handle(request: Request) -> ASGIApp:
        identity = principal = None
        if row.capability is not None:
            identity, principal = await _guard(service, request, row.capability)
            if lasting and principal is not None and principal.session_id is not None:
                raise ForbiddenError(
                    "Expected the token of a client or of a person, given that of a function's session: what lasts "
                    "longer than a call (groups, clients, keys) is not looked after from inside one"
                )
        body = None
        if decoder is not None:
            raw = request.scope.get(_BODY)
            if raw is None:
                raw = request.scope[_BODY] = await read_body(request, most)
            body = decode(request, raw, decoder)
        return _response(await row.handler(Ask(request, principal, body, public_url, identity)))

    async def endpoint(request: Request) -> ASGIApp:
        request.scope[ROUTE] = route
        if row.capability is not None and service.servers.shared:
            return await _with_news(service, request, handle)
        return await handle(request)

    return endpoint


def _response(answer: Any) -> ASGIApp:
    if isinstance(answer, Answer):
        content = answer.body if isinstance(answer.body, bytes) else encode(answer.body)
        return Json(content, answer.status, answer.headers)
    return answer


async def _with_news(service: Service, request: Request, handle: Endpoint) -> ASGIApp:
    """Handle again what was refused for a reason that another server has done away with: the function is there by now,
    the client too, the name is free. What is refused has changed nothing.
    """
    before = service.changes.taken_up
    try:
        return await handle(request)
    except ApiError as error:
        if error.code not in _PERHAPS_OLD:
            raise
        await service.changes.catch_up()
        if service.changes.taken_up == before:
            raise
    return await handle(request)


async def _guard(service: Service, request: Request, capability: tuple[str, ...]) -> tuple[Identity, Principal | None]:
    """Who asks, and as whom in the project of the path, if there is one.

    A token that is good, but not for this project, is told so as one that is not good: what projects there are is not
    everybody's to know (contract 1.2).
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise UnauthenticatedError("Unauthorized: expected a header `Authorization: Bearer <token>`")
    identity = service.authorities.known(token) or await service.authorities.verify(token)
    project = request.path_params.get("project")
    if project is None:
        return identity, None
    principal = identity.principals.get(project)
    if principal is None:
        raise UnauthenticatedError(f"Unauthorized: the token gives no access to the project {project[:40]!r}")
    principal.require(capability)
    return identity, principal


class Json:
    """An answer of JSON."""

    __slots__ = ("_content", "_headers", "status")

    def __init__(self, content: bytes, status: int, headers: Mapping[str, str]) -> None:
        self._content = content
        self.status = status
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-length", b"%d" % len(self._content)),
            (b"content-type", b"application/json"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if "cache-control" not in self._headers:
            headers.append((b"cache-control", b"no-store"))
        for name, value in self._headers.items():
            headers.append((name.encode("latin-1"), value.encode("latin-1")))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self._content})

    def at_once(self, whole: Whole, request_id: str) -> bool:
        """Send all of it in one write; False when it has to go the ordinary way."""
        head = f"content-length: {len(self._content)}\r\n{_JSON_HEAD}"
        if "cache-control" not in self._headers:
            head += "cache-control: no-store\r\n"
        for name, value in self._headers.items():
            if not _PLAIN.fullmatch(value):  # such as the end of a line, which uvicorn refuses
                return False
            head += f"{name}: {value}\r\n"
        return whole(self.status, f"{head}x-request-id: {request_id}\r\n\r\n".encode("latin-1"), self._content)


class _Envelope:
    """Gives every answer a request id, and every error the contract's envelope."""

    def __init__(
        self, short: ShortWay, app: ASGIApp, metrics: Metrics, observer: Observer, *, access_log: bool
    ) -> None:
        self._short = short
        self._app = app
        self._metrics = metrics
        self._observer = observer
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"{_random.getrandbits(64):016x}"
        tracer = self._observer.tracer
        with bound(request_id=request_id):
            if tracer is None or scope["path"] in PROBES:
                await self._answer(scope, receive, send, request_id)
            else:
                await self._trace(tracer, scope, receive, send, request_id)

    async def _trace(self, tracer: Tracer, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        with tracer.request(scope["method"], scope["headers"], request_id) as answered:
            try:
                await self._answer(scope, receive, send, request_id)
            finally:
                answered(scope.get(ROUTE, "none"), _told(scope), scope[_STATUS])

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        # With an application in the scope, Starlette raises for unknown routes, in place of a plain-text answer.
        scope["app"] = self
        scope[_STATUS] = CLIENT_LEFT
        came = time.perf_counter()
        self._metrics.answering += 1
        noting = _Noting(scope, send, request_id)
        try:
            endpoint = self._short.find(scope)
            if endpoint is None:
                await self._app(scope, receive, noting)
            else:
                answer = await endpoint(Incoming(scope, receive))
                whole: Whole | None = scope.get(WHOLE)
                if whole is not None and isinstance(answer, Json) and answer.at_once(whole, request_id):
                    scope[_STATUS] = answer.status
                else:
                    await answer(scope, receive, noting)
        except ClientDisconnect:
            return
        except Exception as error:
            answer = _refusal(scope, error, request_id)
            if scope[_STATUS] != CLIENT_LEFT:  # too late for an envelope: break the connection, so that nobody takes
                raise  # half for whole
            await answer(scope, receive, noting)
        finally:
            self._metrics.answering -= 1
            route, took, status = scope.get(ROUTE, "none"), time.perf_counter() - came, scope[_STATUS]
            self._metrics.answered(scope["method"], route, status, took)
            if self._access_log:
                client = scope.get("client")
                access(scope["method"], _told(scope), route, status, took, client[0] if client else None)


class _Noting:
    """Sends messages on: with the request's id, and taking note of the status."""

    __slots__ = ("_request_id", "_scope", "_send")

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._scope[_STATUS] = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self._request_id.encode())]
            if all(name != b"x-content-type-options" for name, _ in headers):
                headers.append((b"x-content-type-options", b"nosniff"))
            message["headers"] = headers
        await self._send(message)


def _told(scope: dict[str, Any] | Scope) -> str:
    """The path, as the log may have it: the proof in a link opens the file to whoever reads it."""
    path = quote(scope["path"], safe="/:@!$&'()*+,;=~")
    proof = scope.get("path_params", {}).get("proof")
    return path if proof is None else path.replace(quote(proof), "…")


def _refusal(scope: dict[str, Any] | Scope, error: Exception, request_id: str) -> Response:
    headers: dict[str, str] = {"cache-control": "no-store"}
    if isinstance(error, HTTPException):
        headers.update(error.headers or {})
        allowed = ", ".join(sorted(headers.get("Allow", "").replace(" ", "").split(",")))
        error = (
            unserved.wrong_method(scope["method"], scope["path"], allowed)
            if error.status_code == 405
            else unserved.refusal(scope["method"], scope["path"])
        )
    if isinstance(error, FencedError):
        error = UnavailableError("This server is cut off from the others; ask again in a moment")
    if isinstance(error, ReadTooLongError):
        _log.warning("%s %s request id %s: %s", scope["method"], _told(scope), request_id, error)
        error = TooLongError(
            "Given up, because it took too long; ask for less: a `limit`, a narrower `filter` or `partition`, fewer ids"
        )
    if not isinstance(error, ApiError):
        what = f"{scope['method']} {_told(scope)} request id {request_id}"
        if isinstance(error, StoreFault):
            _log.error("%s: %s", what, error)
        else:
            _log.error("%s met a fault", what, exc_info=error)
        error = FaultError(f"Internal server error; the service's log tells more under the request id {request_id}")
    if error.code == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(error.envelope(), error.code, headers, "application/json")
