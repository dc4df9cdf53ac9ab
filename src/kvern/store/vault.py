"""The vault: what is secret of a function, encrypted at rest.

A key per function encrypts its secrets; the master key wraps that key. So a change of the master key re-wraps a few
bytes a function, and what is deleted with a function is gone with its key.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class FunctionSecrets(msgspec.Struct):
    """All that must never be shown again of a function: its secrets, and its package indexes (they hold passwords)."""

    secrets: dict[str, str] = {}
    index_url: str | None = None
    extra_index_urls: list[str] = []


class Vault:
    """Seals and opens a function's secrets.

    Args:
        path: the file of the master key, made with mode 0600 when it is not there.
        master_key: used in place of the file when given (`KVERN_MASTER_KEY`): 32 bytes, url-safe base64.

    Raises:
        ValueError: the master key is not 32 bytes of url-safe base64.
    """

    def __init__(self, path: Path, master_key: str | None = None) -> None:
        if master_key is None:
            if not path.exists():
                write_private(path, Fernet.generate_key())
            master_key = path.read_text().strip()
        try:
            self._master = MultiFernet([Fernet(master_key)])
        except ValueError as error:
            raise ValueError("the master key is not good: expected 32 bytes of url-safe base64") from error

    def seal(self, content: FunctionSecrets) -> tuple[bytes, bytes]:
        """The encrypted secrets and the wrapped key."""
        key = Fernet.generate_key()
        return Fernet(key).encrypt(msgspec.json.encode(content)), self._master.encrypt(key)

    def open(self, sealed: bytes, wrapped: bytes) -> FunctionSecrets:
        """Raises `ValueError` when the master key is not the one that sealed."""
        try:
            return msgspec.json.decode(Fernet(self._master.decrypt(wrapped)).decrypt(sealed), type=FunctionSecrets)
        except InvalidToken as error:
            raise ValueError(
                "a function's secrets cannot be read: the master key is not the one they were kept with"
            ) from error


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read; whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
