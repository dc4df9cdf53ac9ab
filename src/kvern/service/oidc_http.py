"""Asking a foreign issuer: small answers, soon, from the very URL that was meant."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote

if TYPE_CHECKING:  # it is loaded when an issuer is asked, as most services have none of others
    import httpx2

ANSWER_MOST = 1_000_000
"""Bytes of an answer that is read."""

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0


class UnreachableIssuerError(Exception):
    """An issuer does not answer, or answers what cannot be understood."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body is a JSON object."""

    status: int
    body: dict[str, Any]


class Http(Protocol):
    """How issuers are asked. Redirects are not followed. Raises `UnreachableIssuerError`, within seconds."""

    async def get(self, url: str) -> Reply: ...

    async def post(self, url: str, fields: Mapping[str, str], basic: tuple[str, str] | None = None) -> Reply:
        """Send a form; `basic` is a user and a password for the Authorization header."""
        ...

    async def close(self) -> None: ...


class RealHttp:
    """HTTP with certificates checked against the system's."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:  # made when it is needed: loading certificates takes a while
            import httpx2

            from kvern.service.cookieless import no_cookies

            timeout = httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
            self._client = httpx2.AsyncClient(timeout=timeout, follow_redirects=False, cookies=no_cookies())
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def get(self, url: str) -> Reply:
        return await self._ask(self._open().build_request("GET", url, headers={"accept": "application/json"}))

    async def post(self, url: str, fields: Mapping[str, str], basic: tuple[str, str] | None = None) -> Reply:
        request = self._open().build_request("POST", url, data=dict(fields), headers={"accept": "application/json"})
        if basic is not None:  # both are form-encoded first (RFC 6749 2.3.1)
            pair = ":".join(quote(part, safe="") for part in basic)
            request.headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return await self._ask(request)

    async def _ask(self, request: httpx2.Request) -> Reply:
        import httpx2

        where = f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"
        try:
            answer = await self._open().send(request, stream=True)
            try:
                raw = b""
                async for part in answer.aiter_bytes():
                    raw += part
                    if len(raw) > ANSWER_MOST:
                        raise UnreachableIssuerError(f"{where} answers more than {ANSWER_MOST} bytes")
            finally:
                await answer.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UnreachableIssuerError(
                f"{where} cannot be reached: {type(error).__name__} {error}".rstrip()
            ) from error
        try:
            body: object = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise UnreachableIssuerError(f"{where} answers {answer.status_code} without JSON") from error
        if not isinstance(body, dict):
            raise UnreachableIssuerError(f"{where} answers {answer.status_code} without a JSON object")
        return Reply(answer.status_code, cast("dict[str, Any]", body))
