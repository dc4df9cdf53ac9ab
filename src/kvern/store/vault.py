"""The vault: what is secret, encrypted at rest.

A key of its own encrypts the secrets of each function and each session; the master key wraps that key. So a change of
the master key re-wraps a few bytes each, and what is deleted with a function is gone with its key.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_KEY_SEPARATOR = re.compile(r"[\s,]+")

T = TypeVar("T", bound=msgspec.Struct)


class FunctionSecrets(msgspec.Struct):
    """All that must never be shown again of a function: its secrets, and its package indexes (they hold passwords)."""

    secrets: dict[str, str] = {}
    index_url: str | None = None
    extra_index_urls: list[str] = []


class Vault:
    """Seals and opens what is secret.

    While the master key changes there are several: the first seals, all of them open. They are on disk before the first
    thing is sealed with a new one, so a crash at any moment leaves all that is sealed open to the next start.

    Args:
        path: the file of the master key, made with mode 0600 when there is no key at all. One key a line.
        master_key: keys that go before those of the file (`KVERN_MASTER_KEY`): 32 bytes each, url-safe base64, with
            commas or spaces between them.

    Raises:
        ValueError: a master key is not 32 bytes of url-safe base64.
    """

    def __init__(self, path: Path, master_key: str | None = None) -> None:
        self.path = path
        self._given = [] if master_key is None else _KEY_SEPARATOR.split(master_key.strip(" ,\n"))
        kept = path.read_text().split() if path.exists() else []
        if not self._given and not kept:
            kept = [Fernet.generate_key().decode()]
            write_private(path, kept[0].encode())
        self._use([*self._given, *kept])

    def _use(self, keys: list[str]) -> None:
        self._keys = list(dict.fromkeys(keys))
        try:
            self._master = MultiFernet([Fernet(key) for key in self._keys])
        except ValueError as error:
            raise ValueError("the master key is not good: expected 32 bytes of url-safe base64") from error

    @property
    def is_between_keys(self) -> bool:
        """Whether a change of the key that is in the file was begun and not ended."""
        return not self._given and len(self._keys) > 1

    @property
    def source(self) -> str:
        """Where the master key comes from, for people."""
        return "KVERN_MASTER_KEY" if self._given else str(self.path)

    @property
    def is_given(self) -> bool:
        """Whether the master key comes from outside of the data folder."""
        return bool(self._given)

    def wrap(self, key: bytes) -> bytes:
        """A key, wrapped by the master key."""
        return self._master.encrypt(key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """A wrapped key. Raises `ValueError` when no master key is the one that wrapped it."""
        try:
            return self._master.decrypt(wrapped)
        except InvalidToken as error:
            raise ValueError("a key cannot be read: the master key is not the one it was kept with") from error

    def begin_rotation(self) -> None:
        """Seal with a new key from now on: a fresh one for the file, the first of those that were given.

        Raises:
            ValueError: the only key is one that was given, so there is nothing to change to.
        """
        if not self._given:
            fresh = [Fernet.generate_key().decode(), *self._keys]
            write_private(self.path, "\n".join(fresh).encode())
            self._use(fresh)
        elif len(self._keys) == 1:
            raise ValueError(
                "the master key comes from KVERN_MASTER_KEY, which holds one key: put a new one before it "
                "(KVERN_MASTER_KEY=NEW,OLD), start the service again, and rotate then"
            )

    def can_open(self, wrapped: bytes) -> bool:
        """Whether a master key is the one that wrapped this."""
        try:
            self._master.decrypt(wrapped)
        except InvalidToken:
            return False
        return True

    def rewrap(self, wrapped: bytes) -> bytes:
        """A wrapped key, wrapped by the key that seals now. Raises `ValueError` when no master key opens it."""
        try:
            return self._master.rotate(wrapped)
        except InvalidToken as error:
            raise ValueError("a key cannot be read: the master key is not the one it was kept with") from error

    def end_rotation(self) -> None:
        """Forget all keys but the one that seals: everything is wrapped by it."""
        if self._given:
            self.path.unlink(missing_ok=True)
        else:
            write_private(self.path, self._keys[0].encode())
        self._use(self._keys[:1])

    def seal(self, content: msgspec.Struct) -> tuple[bytes, bytes]:
        """The encrypted content and the wrapped key."""
        key = Fernet.generate_key()
        return Fernet(key).encrypt(msgspec.json.encode(content)), self._master.encrypt(key)

    def open(self, sealed: bytes, wrapped: bytes) -> FunctionSecrets:
        """What is secret of a function. Raises `ValueError` when no master key is the one that sealed."""
        return self.open_as(FunctionSecrets, sealed, wrapped)

    def open_as(self, kind: type[T], sealed: bytes, wrapped: bytes) -> T:
        """What was sealed. Raises `ValueError` when no master key is the one that sealed."""
        try:
            return msgspec.json.decode(Fernet(self._master.decrypt(wrapped)).decrypt(sealed), type=kind)
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
