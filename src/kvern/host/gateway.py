"""The way out of a box without a network: listeners that the zygote opened in it, served by this process.

What connects to them from inside the box is an HTTP proxy's client (CONNECT, or a plain request for an `http://` URL),
a SOCKS5 client (RFC 1928, names included), or, on the service's own port, whoever wants the service.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from kvern.host.egress import Egress

PROXY_PORT = 3128
"""Inside of a box, on its own loopback."""

CONNECTIONS = 256
"""At a time, of one box; further ones are closed."""

CONNECT_TIMEOUT = 30.0
HEAD_TIMEOUT = 30.0
HEAD_LIMIT = 1 << 16
"""Bytes of a request's head."""

_CHUNK = 1 << 16
_DROPPED = ("proxy-", "connection:", "keep-alive:")


_Work = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Gateway:
    """Serves a box's listeners until it is closed. All methods are called on one event loop.

    Args:
        egress: where connections may go.
    """

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._listeners: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._closed = False

    def places(self) -> list[tuple[str, int]]:
        """Where in the box to listen: for proxy clients, and for the service, where that is on a loopback."""
        service = self._egress.service
        near = [service] if service is not None and service[0] in {"127.0.0.1", "::1", "localhost"} else []
        taken = near[0][1] if near else 0
        return [("127.0.0.1", PROXY_PORT + (taken == PROXY_PORT)), *near]

    def environ(self) -> dict[str, str]:
        """The variables by which programs in the box find the proxy."""
        host, port = self.places()[0]
        found = {f"{kind}_proxy": f"http://{host}:{port}" for kind in ("http", "https", "all")}
        found["no_proxy"] = "localhost,127.0.0.1,::1"
        return found | {name.upper(): value for name, value in found.items()}

    async def serve(self, listeners: list[socket.socket]) -> None:
        """Serve the listening sockets of `places`, in that order; the last may be missing."""
        for listener, work in zip(listeners, (self._proxy, self._service), strict=False):
            listener.setblocking(False)
            self._listeners.append(await asyncio.start_server(self._taken(work), sock=listener, limit=HEAD_LIMIT))
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close all. Harmless when called twice."""
        self._closed = True
        for listener in self._listeners:
            listener.close()
        for task in self._connections:
            task.cancel()

    def _taken(self, work: _Work) -> _Work:
        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                if len(self._connections) <= CONNECTIONS and not self._closed:
                    await work(reader, writer)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                pass  # the box's own connection; who is inside sees that it ends
            except asyncio.CancelledError:
                if not self._closed:
                    raise
            finally:
                self._connections.discard(task)
                writer.close()

        return accepted

    async def _service(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._egress.service is not None
        await _join(reader, writer, *await self._connect(*self._egress.service))

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_TIMEOUT):
            first = await reader.readexactly(1)
            socks = await _socks_request(reader, writer) if first == b"\x05" else None
            head = b"" if socks is not None else first + await reader.readuntil(b"\r\n\r\n")
        if socks is not None:
            await self._socks(reader, writer, *socks)
        else:
            await self._http(reader, writer, head)

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        try:
            there = await self._connect(host, port)
        except OSError as error:
            writer.write(_socks_reply(2 if isinstance(error, PermissionError) else 4))  # by the rules; unreachable
            await writer.drain()
        else:
            writer.write(_socks_reply(0))
            await _join(reader, writer, *there)

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        try:
            host, port, onward = _http_request(head)
            there = await self._connect(host, port)
        except ValueError as error:
            await _refuse(writer, "400 Bad Request", str(error))
        except PermissionError as error:
            await _refuse(writer, "403 Forbidden", str(error))
        except OSError as error:
            await _refuse(writer, "502 Bad Gateway", error.strerror or str(error))
        else:
            if onward:
                there[1].write(onward)
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _join(reader, writer, *there)

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        trouble = OSError("it cannot be reached")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                for address in await self._egress.addresses(host, port):
                    try:
                        return await asyncio.open_connection(address, port)
                    except OSError as error:
                        trouble = error
        except TimeoutError:
            raise OSError("it did not answer in time") from None
        raise trouble


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    """Hand on what comes from either side until both have ended."""
    try:
        await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer))
    finally:
        far_writer.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _socks_reply(code: int) -> bytes:
    return struct.pack(">BBBBIH", 5, code, 0, 1, 0, 0)


async def _socks_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
    """Where a SOCKS5 client wants to go; its first byte was read. Raises ValueError for what is no CONNECT."""
    (count,) = await reader.readexactly(1)
    await reader.readexactly(count)
    writer.write(b"\x05\x00")  # no authentication
    version, command, _, kind = await reader.readexactly(4)
    if kind == 1:
        host = socket.inet_ntop(socket.AF_INET, await reader.readexactly(4))
    elif kind == 4:
        host = socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
    else:
        (length,) = await reader.readexactly(1)
        host = (await reader.readexactly(length)).decode("ascii", "replace")
    (port,) = struct.unpack(">H", await reader.readexactly(2))
    if (version, command) != (5, 1) or kind not in {1, 3, 4}:
        writer.write(_socks_reply(7))  # command not supported
        await writer.drain()
        raise ValueError("a SOCKS request that is no CONNECT")
    return host, port


def _http_request(head: bytes) -> tuple[str, int, bytes]:
    """Where a proxy's client wants to go, and what to send there first; nothing for CONNECT. Raises ValueError."""
    line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = line.split(" ")
    if len(words) != 3:
        raise ValueError("Expected the request of a proxy's client")
    method, target, version = words
    url = urlsplit(f"//{target}" if method == "CONNECT" else target)
    port = url.port or (80 if url.scheme == "http" else None)
    if not url.hostname or not port or url.scheme not in {"", "http"} or (method != "CONNECT") != bool(url.scheme):
        raise ValueError("Expected CONNECT with host and port, or a request for an http:// URL")
    if method == "CONNECT":
        return url.hostname, port, b""
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    # One request a connection: the next one might be for another host.
    kept = [field for field in fields if not field.lower().startswith(_DROPPED)]
    text = "\r\n".join([f"{method} {path} {version}", *kept, "Connection: close", "", ""])
    return url.hostname, port, text.encode("latin-1")


async def _refuse(writer: asyncio.StreamWriter, status: str, why: str) -> None:
    body = f"kvern: {why}\n".encode()
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
