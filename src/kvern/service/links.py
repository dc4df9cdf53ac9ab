"""Links that carry their own proof: who has one may upload or download one file for a while (contract 7.3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Literal, TypeAlias

import msgspec

from kvern.service.clock import Clock
from kvern.wire.errors import ForbiddenError

UPLOAD_MS = 7 * 24 * 3_600_000
"""After so long what was begun and never uploaded is tidied away; no link lives longer."""

DOWNLOAD_MS = 30_000
DOWNLOAD_EXTENDED_MS = 3_600_000

Action: TypeAlias = Literal["upload", "download"]


class Grant(msgspec.Struct, array_like=True):
    """What a link allows: one action on one file of one project, until a moment (ms since the epoch).

    Args:
        upload: the upload in parts to which the bytes belong; empty when they are the whole file.
        part: the number of the part, from 0.
        maker: the client of the built-in issuer that asked for the link; empty for others.
    """

    action: Action
    project: str
    file_id: int
    until: int
    serial: str = ""
    upload: str = ""
    part: int = 0
    maker: str = ""


class Links:
    """Signs and checks links, with a key from `new_key`."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def sign(
        self,
        action: Action,
        project: str,
        file_id: int,
        milliseconds: int,
        upload: str = "",
        part: int = 0,
        maker: str = "",
    ) -> str:
        """The part of a link that proves access."""
        until = self._clock.now() + milliseconds
        body = msgspec.json.encode(Grant(action, project, file_id, until, secrets.token_hex(4), upload, part, maker))
        return f"{_text(body)}.{_text(self._mac(body))}"

    def check(self, action: Action, proof: str) -> Grant:
        """Raises `ForbiddenError` when the proof was not made here, is for something else, or is too old."""
        try:
            body, mac = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in proof.split("."))
        except ValueError as error:
            raise ForbiddenError("The link is not good: it was not made by this service") from error
        if not hmac.compare_digest(mac, self._mac(body)):
            raise ForbiddenError("The link is not good: it was not made by this service")
        grant = msgspec.json.decode(body, type=Grant)
        if grant.action != action:
            raise ForbiddenError(f"The link is not good: expected one for {action}, given one for {grant.action}")
        if grant.until < self._clock.now():
            raise ForbiddenError("The link has expired; ask for a new one")
        return grant

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)


def new_key() -> bytes:
    """A key that proves links."""
    return secrets.token_bytes(32)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
