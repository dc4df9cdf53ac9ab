"""HTTP byte by byte: what no client sends."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit


@contextlib.contextmanager
def connected(url: str, seconds: float = 30) -> Iterator[socket.socket]:
    """A connection to the server of a URL."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=seconds) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def send(connection: socket.socket, content: bytes) -> bool:
    """Send; whether the server bore it to the end."""
    try:
        connection.sendall(content)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def read(connection: socket.socket) -> bytes:
    """All until the server closes, or breaks off."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            said += part
    return said


def exchange(url: str, content: bytes, seconds: float = 30) -> bytes:
    """Send some bytes; everything that the server says until it closes."""
    with connected(url, seconds) as connection:
        send(connection, content)
        return read(connection)


def statuses(said: bytes) -> list[int]:
    """The status of each answer in what a server said."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", said)]
