"""Reading request bodies: sizes, gzip, JSON, and errors that say what was expected and what was given."""

from __future__ import annotations

import codecs
import re
import zlib
from typing import Any, cast

import msgspec
from starlette.requests import ClientDisconnect, Request

from kvern.wire.errors import InvalidError, MediaTypeError, TooLargeError

_PATH = re.compile(r"^(?P<text>.*?)(?: - at `(?:key in )?\$(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_SECRET = frozenset({"secrets", "nonce", "clientSecret", "indexUrl", "extraIndexUrls", "envVars", "data"})
"""Fields whose values never stand in an error."""

_ANYTHING = frozenset({"data", "secrets"})
"""Fields that are kept as bytes."""

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)

_SHOWN = 60
_MEMBERS_MOST = 16
"""Of a gzip body; clients send one. Each costs a copy of what follows it."""


async def read_body(request: Request, most: int) -> bytes:
    """The bytes of a body, unpacked.

    Raises:
        TooLargeError: it has more than `most` bytes, packed or unpacked.
        MediaTypeError: it is packed otherwise than by gzip.
        ClientDisconnect: the client went away before its end.
        InvalidError: it is not what its `Content-Encoding` says.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    raw = parts[0] if len(parts) == 1 else b"".join(parts)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", "") or not raw:
        return raw  # clients send `gzip` with an empty body as well (contract 1.3)
    if encoding not in ("gzip", "x-gzip"):
        raise MediaTypeError(
            f"Expected a body that is plain or packed by gzip, given Content-Encoding {encoding[:40]!r}"
        )
    return _unpack(raw, most)


def _unpack(raw: bytes, most: int) -> bytes:
    """The members of a gzip file, one after the other (RFC 1952 2.2)."""
    content = b""
    for _ in range(_MEMBERS_MOST):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            content += unpacker.decompress(raw, most + 1 - len(content))
        except zlib.error as error:
            raise InvalidError(f"Expected a body packed by gzip, as Content-Encoding says: {error}") from error
        if len(content) > most:
            raise _too_large(most)
        if not unpacker.eof:
            raise InvalidError("Expected a whole body packed by gzip, given one that ends too early")
        raw = unpacker.unused_data
        if not raw:
            return content
    raise InvalidError(f"Expected at most {_MEMBERS_MOST} members in a body packed by gzip, given more")


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"Request body exceeds {most / 1_000_000:g} MB")


def decode(request: Request, raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """A body as the type of its route; an empty one counts as `{}`.

    Raises:
        MediaTypeError: it says that it is not JSON.
        InvalidError: it is not JSON, or not of that type; the message names the place, what was expected and given.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if raw and kind not in ("application/json", "") and not kind.endswith("+json"):
        raise MediaTypeError(f"Expected a body of type application/json, given {kind[:80]!r}")
    raw = raw or b"{}"
    try:
        if not raw.isascii():
            raw.decode()  # the decoder does not look at the letters of what it keeps as it came, such as `data`
        body = decoder.decode(raw)
        if b"\\u0000" in raw:
            _check_text(msgspec.json.decode(raw))
        return body
    except msgspec.ValidationError as error:
        raise InvalidError(_explained(str(error), raw)) from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"Expected a body of JSON, in UTF-8: byte {error.start} is not") from error
    except msgspec.DecodeError as error:
        raise InvalidError(f"Expected a body of JSON: {_half_pair(raw) or _mark(raw) or error}") from error
    except RecursionError as error:
        raise InvalidError("Expected a body of JSON that is not nested so deeply") from error


def _half_pair(raw: bytes) -> str | None:
    """What is wrong where a text has an escape for half of a surrogate pair, which is no letter (RFC 8259 8.2)."""
    half: tuple[int, bytes] | None = None
    for escape in _ESCAPE.finditer(raw):
        code = int(escape[1], 16) if escape[1] else 0
        if half is not None:
            if escape.start() == half[0] + 6 and 0xDC00 <= code < 0xE000:
                half = None
                continue
            break
        if 0xDC00 <= code < 0xE000:
            half = (escape.start(), escape[0])
            break
        if 0xD800 <= code < 0xDC00:
            half = (escape.start(), escape[0])
    if half is None:
        return None
    return f"{half[1].decode()} at byte {half[0]} is half of a surrogate pair, and no letter by itself"


def _mark(raw: bytes) -> str | None:
    return "it begins with a byte order mark, which JSON does not have" if raw.startswith(codecs.BOM_UTF8) else None


def _check_text(value: Any, place: str = "") -> None:
    """Raises `InvalidError` for a NUL character, which no text of a database can hold; `data` and secrets are none."""
    if isinstance(value, str) and "\0" in value:
        raise InvalidError(f"Expected text without NUL characters at `{place.lstrip('.') or 'body'}`")
    if isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            if key not in _ANYTHING:
                _check_text(key, f"{place}.<a key>")
                _check_text(one, f"{place}.{key}")
    elif isinstance(value, list):
        for index, one in enumerate(cast("list[Any]", value)):
            _check_text(one, f"{place}[{index}]")


def _explained(message: str, raw: bytes) -> str:
    """msgspec says what was expected and where; what was given is looked up there."""
    found = _PATH.match(message)
    if found is None or found["path"] is None:
        return message
    place = found["path"].lstrip(".") or "body"
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return f"{found['text']} at `{place}`"
    for step in _STEP.finditer(found["path"]):
        name, index = step[1], step[2]
        if name in _SECRET or (name is None and index is None):
            return f"{found['text']} at `{place}`"
        try:
            value = value[name] if name is not None else value[int(index)]
        except (KeyError, IndexError, TypeError):
            return f"{found['text']} at `{place}`"
    if isinstance(value, dict | list):
        return f"{found['text']} at `{place}`"
    shown = msgspec.json.encode(value).decode(errors="replace")
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    return f"{found['text']} at `{place}`, given {shown}"
