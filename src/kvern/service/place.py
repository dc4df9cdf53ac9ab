"""Servers on one database must have the same blobs: a server that looked elsewhere would not find what others keep."""

from __future__ import annotations

import secrets

from kvern.store import Store, servers
from kvern.store.blobs import MARK, Blobs


async def check_place(store: Store, blobs: Blobs, where: str) -> None:
    """Mark the blobs of a shared database at its first start, and know them again at every later one.

    Args:
        where: how people know the place.

    Raises:
        ValueError: these are not the blobs of the database.
    """
    if not store.shared:
        return
    known = await store.read(servers.blobs_mark)
    found = await blobs.mark(str(secrets.randbits(60)) if known is None else None)
    if known is None and found is not None and found.isascii() and found.isdigit():
        mark = int(found)
        known = await store.apart(lambda connection: servers.keep_blobs_mark(connection, mark))
    if found != str(known):
        raise ValueError(
            f"the blobs in {where} are not those of the database. All servers on one database need the same: give each "
            "of them the same --blobs, a folder that all of them have mounted or a bucket. (Where this is the right "
            f"place and was set up anew, put {known} as the content of {MARK} there.)"
        )
