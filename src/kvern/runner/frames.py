"""The words that a server and a worker exchange: one frame a message, on a stream socket.

A frame is a header (kind, length of the meta part, length of the body, call id), the meta part (a JSON object, or
nothing) and the body (raw bytes: `data` on the way in, the response on the way out). There is never more than one
frame under way in a direction, so a small call is one write and one read on each side.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, cast

HEADER = struct.Struct(">BIIQ")

_to_json = json.JSONEncoder(separators=(",", ":")).encode

LOAD = 1
"""To a worker, first and once. Meta: `code`, `handler`, `function_id`, `env`, `secrets`, `rlimits`."""
LOADED = 2
"""From it: meta `takes`, the arguments that `handle` takes."""
NOT_LOADED = 3
"""From it: meta `message`, `trace`."""
CALL = 4
"""To a worker: meta `limit` (bytes of response), and where they apply `schedule_id`, `scheduled_time`, `access`,
`traceparent`."""
RETURNED = 5
"""From it: the body is the response's JSON text."""
RAISED = 6
UNUSABLE = 7
NO_MEMORY = 8
"""From it, instead of RETURNED: meta `message`, `trace`.

The meta of LOADED and of any answer has `cpu` (seconds in all its life) and `peak` (bytes); that of an answer may say
`spent`: why to use the worker no more.
"""

LOST = 113
"""With this status a worker leaves that can no longer reach the server: its handler closed what is not its."""

ANSWERS = frozenset({RETURNED, RAISED, UNUSABLE, NO_MEMORY})


class Frame(NamedTuple):
    """One message."""

    kind: int
    call_id: int
    meta: dict[str, Any]
    body: bytes


def encode(kind: int, call_id: int = 0, meta: dict[str, Any] | None = None, body: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return pack(kind, call_id, _to_json(meta).encode() if meta else b"", body)


def pack(kind: int, call_id: int, meta: bytes, body: bytes) -> bytes:
    """The bytes of a frame whose meta part is JSON already."""
    return HEADER.pack(kind, len(meta), len(body), call_id) + meta + body


def decode(frame: bytes, loads: Callable[[bytes], Any] = json.loads) -> Frame:
    """The frame in `frame`, which holds exactly one. Raises ValueError when it does not.

    Args:
        loads: reads the meta part; the server has a faster one.
    """
    kind, meta_length, body_length, call_id = HEADER.unpack_from(frame)
    start = HEADER.size + meta_length
    if len(frame) != start + body_length:
        raise ValueError(f"a frame of {start + body_length} bytes was announced, {len(frame)} came")
    meta: Any = loads(frame[HEADER.size : start]) if meta_length else {}
    if not isinstance(meta, dict):
        raise ValueError("the meta part of a frame is not a JSON object")  # noqa: TRY004
    return Frame(kind, call_id, cast("dict[str, Any]", meta), frame[start:])


def length(head: bytes | bytearray) -> int:
    """How many bytes the frame that begins with `head` (at least a header) has."""
    _, meta_length, body_length, _ = HEADER.unpack_from(head)
    return HEADER.size + meta_length + body_length


def receive(sock: socket.socket) -> Frame | None:
    """The next frame from a blocking socket; None when the other side has gone."""
    head = sock.recv(1 << 16)
    while 0 < len(head) < HEADER.size:
        more = sock.recv(1 << 16)
        if not more:
            return None
        head += more
    if not head:
        return None
    total = length(head)
    if total <= len(head):
        return decode(head)
    whole = bytearray(total)
    whole[: len(head)] = head
    view = memoryview(whole)
    filled = len(head)
    while filled < total:
        count = sock.recv_into(view[filled:])
        if not count:
            return None
        filled += count
    return decode(bytes(whole))
