"""The master key: changed while the service runs.

    the new key is on disk, before the old one -> all that is sealed from now on uses it
    -> every key is wrapped anew, in one transaction -> the old one is forgotten

A crash in between leaves both keys on disk, and the next start goes on from there.
"""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Connection

from kvern.service.functions import Functions
from kvern.service.servers import Servers
from kvern.service.sessions import Sessions
from kvern.store import Store, functions, keys, sessions
from kvern.store.vault import Vault
from kvern.wire.clients import MasterKeyRotation
from kvern.wire.errors import InvalidError

_log = logging.getLogger(__name__)


class MasterKey:
    """Changes the key that wraps all secrets."""

    def __init__(self, store: Store, vault: Vault, live: Functions, acting: Sessions, servers: Servers) -> None:
        self._store = store
        self._vault = vault
        self._functions = live
        self._sessions = acting
        self._servers = servers
        self._busy = asyncio.Lock()

    async def check(self) -> None:
        """Whether what is sealed can be opened; asked before anything else, and nothing is changed.

        Raises:
            ValueError: the master key is not the one that the secrets were kept with.
        """
        theirs = await self._store.read(functions.wrapped_keys)
        others = await self._store.read(sessions.wrapped_keys)
        closed = [sum(not self._vault.can_open(key) for key in keys) for keys in (theirs, others)]
        if any(closed):
            raise ValueError(
                f"the master key ({self._vault.source}) does not open the secrets of {closed[0]} of {len(theirs)} "
                f"functions and {closed[1]} of {len(others)} sessions: it is not the key that they were kept with. "
                f"Start with that key: put its file back ({self._vault.path}), or have it in KVERN_MASTER_KEY "
                "(KVERN_MASTER_KEY=NEW,OLD while the key changes). If it is lost for good, start with "
                "--without-lost-secrets until the functions concerned, which fail then, are deployed again"
            )

    async def start(self) -> None:
        """End a change that a crash cut short. Functions and sessions are loaded already."""
        if self._vault.is_between_keys:
            _log.warning("the change of the master key that was cut short is being ended")
            async with self._busy:
                await self._rewrap()

    async def rotate(self) -> MasterKeyRotation:
        """Change the master key. Raises `InvalidError` when there is no key to change to."""
        async with self._busy:
            if self._servers.shared and not self._vault.is_given and len((await self._servers.everyone())[0]) > 1:
                raise InvalidError(
                    "The master key stays as it is: several servers share the database, and this one's key comes from "
                    "its data folder. Set KVERN_MASTER_KEY=NEW,OLD on all of them, start them again, and rotate then"
                )
            try:
                await asyncio.to_thread(self._vault.begin_rotation)
            except ValueError as error:
                raise InvalidError(f"The master key stays as it is: {error}") from error
            return await self._rewrap()

    async def _rewrap(self) -> MasterKeyRotation:
        def work(connection: Connection) -> tuple[dict[int, bytes], dict[int, bytes]]:
            keys.rewrap(connection, self._one)
            return functions.rewrap(connection, self._one), sessions.rewrap(connection, self._one)

        theirs, others = await self._store.transact(work)
        self._functions.take_keys(theirs)
        self._sessions.take_keys(others)
        await asyncio.to_thread(self._vault.end_rotation)
        _log.info("the master key was changed: %d functions, %d sessions", len(theirs), len(others))
        return MasterKeyRotation(functions=len(theirs), sessions=len(others), source=self._vault.source)

    def _one(self, wrapped: bytes) -> bytes:
        try:
            return self._vault.rewrap(wrapped)
        except ValueError as error:
            _log.warning("%s; it is left as it is", error)
            return wrapped
