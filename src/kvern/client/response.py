"""The answer to a raw request: the HTTP library's response behind a face that does not change with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta

    import httpx2


class CogniteHTTPResponse:
    """An HTTP answer.

    Args:
        response: The HTTP library's own object, which stays reachable as `httpx_response`.
    """

    __slots__ = ("_parsed", "_response")

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._parsed: list[Any] = []

    @property
    def httpx_response(self) -> httpx2.Response:
        """The HTTP library's own object; it may change with any release."""
        return self._response

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        return self._response.status_code

    @property
    def reason_phrase(self) -> str:
        """The words after the status, or an empty string."""
        return self._response.reason_phrase

    @property
    def reason(self) -> str:
        """The same as `reason_phrase`."""
        return self.reason_phrase

    @property
    def http_version(self) -> str:
        """Such as `HTTP/1.1`."""
        return self._response.http_version

    @property
    def url(self) -> httpx2.URL:
        """The URL that answered."""
        return self._response.url

    @property
    def headers(self) -> httpx2.Headers:
        """The answer's headers."""
        return self._response.headers

    @property
    def cookies(self) -> httpx2.Cookies:
        """The cookies of the answer; the client itself keeps none."""
        return self._response.cookies

    @property
    def history(self) -> list[CogniteHTTPResponse]:
        """The redirects that led here."""
        return [CogniteHTTPResponse(earlier) for earlier in self._response.history]

    @property
    def request(self) -> httpx2.Request:
        """The request as it was sent."""
        return self._response.request

    @property
    def content(self) -> bytes:
        """The body."""
        return self._response.content

    @property
    def text(self) -> str:
        """The body as text."""
        return self._response.text

    @property
    def encoding(self) -> str | None:
        """The charset by which `text` is decoded."""
        return self._response.encoding

    @encoding.setter
    def encoding(self, value: str) -> None:
        self._response.encoding = value

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self._response.is_success

    @property
    def is_error(self) -> bool:
        """Whether the status is 4xx or 5xx."""
        return self._response.is_error

    @property
    def elapsed(self) -> timedelta:
        """From sending the request to the end of the answer."""
        return self._response.elapsed

    @property
    def next_request(self) -> httpx2.Request | None:
        """The request that a redirect asks for."""
        return self._response.next_request

    @property
    def stream(self) -> Any:
        """The body's stream; read it through the `iter_` methods."""
        return self._response.stream

    @property
    def num_bytes_downloaded(self) -> int:
        """Bytes of the body that have arrived."""
        return self._response.num_bytes_downloaded

    def json(self) -> Any:
        """The body parsed as JSON, once."""
        if not self._parsed:
            self._parsed.append(self._response.json())
        return self._parsed[0]

    def __repr__(self) -> str:
        return f"<CogniteHTTPResponse [{self.status_code} {self.reason_phrase}]>"

    def raise_for_status(self) -> CogniteHTTPResponse:
        """This response, or `CogniteHTTPStatusError` when its status is 4xx or 5xx."""
        from kvern.client.exceptions import CogniteHTTPStatusError

        if self.is_error:
            raise CogniteHTTPStatusError(self.status_code, request=self.request, response=self)
        return self

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """The body in pieces of `chunk_size` bytes."""
        return self._response.iter_bytes(chunk_size)

    def read(self) -> bytes:
        """Reads the whole body."""
        return self._response.read()

    def close(self) -> None:
        """Gives the connection back."""
        self._response.close()

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """The body in pieces of `chunk_size` bytes."""
        async for chunk in self._response.aiter_bytes(chunk_size):
            yield chunk

    async def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """The body as text in pieces of `chunk_size` characters."""
        async for text in self._response.aiter_text(chunk_size):
            yield text

    async def aiter_lines(self) -> AsyncIterator[str]:
        """The body line by line."""
        async for line in self._response.aiter_lines():
            yield line

    async def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """The body as it came over the wire, still compressed."""
        async for chunk in self._response.aiter_raw(chunk_size):
            yield chunk

    async def aread(self) -> bytes:
        """Reads the whole body."""
        return await self._response.aread()

    async def aclose(self) -> None:
        """Gives the connection back."""
        await self._response.aclose()
