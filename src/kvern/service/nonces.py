"""Nonces that carry their session: one that was answered is good, though nothing of it is written yet (contract 6.2).

A session that nobody has bound can do nothing, and most are bound within milliseconds. So its row is written with its
binding, in the transaction of the call that binds it; what has to outlive the service until then is in the nonce, under
the service's own signature. Who holds the nonce made the session: it tells nothing that they do not know.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib

import msgspec

from kvern.store.sessions import SessionRecord

_MAC_BYTES = 16
_LONGEST = 32_768
"""Characters of a nonce: far more than any has."""


class _Carried(msgspec.Struct, array_like=True):
    id: int
    project: str
    type: str
    subject: str
    capabilities: str
    creation_time: int
    expiration_time: int
    client_id: str | None
    issuer: str
    claims: str | None
    parent_id: int | None


_decoder = msgspec.json.Decoder(_Carried)


class Nonces:
    """Signs sessions and reads what was signed.

    Args:
        key: secret bytes of this service.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"kvern nonces" + key).digest()

    def sign(self, record: SessionRecord) -> str:
        """The nonce of a session that waits to be bound; one without a vault.

        What the session of a client may do is not carried: it is what the client may do.
        """
        carried = _Carried(*(getattr(record, name) for name in _Carried.__struct_fields__))
        if record.type == "CLIENT_CREDENTIALS":
            carried.capabilities = ""
        body = zlib.compress(msgspec.json.encode(carried), 1)
        return base64.urlsafe_b64encode(self._mac(body) + body).decode().rstrip("=")

    def read(self, nonce: str) -> SessionRecord | None:
        """The session of a nonce, as it waits to be bound; None when the nonce was not made here."""
        if not nonce.isascii() or len(nonce) > _LONGEST:
            return None
        try:
            text = base64.b64decode(nonce + "=" * (-len(nonce) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        mac, body = text[:_MAC_BYTES], text[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        carried = _decoder.decode(zlib.decompress(body))
        values = {name: getattr(carried, name) for name in _Carried.__struct_fields__}
        return SessionRecord(**values, status="READY", nonce_hash=None)

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._key, digest_size=_MAC_BYTES).digest()
