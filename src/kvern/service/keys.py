"""The keys of a service: in its data folder, or with the database that several servers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kvern.service import issuer, links
from kvern.store import Store, keys
from kvern.store.vault import Vault, write_private

_MASTER, _ISSUER, _LINKS = "master.key", "issuer.pem", "links.key"

_OTHER_MASTER = """the master key is not the one that the keys in this database are wrapped by. All servers on one
database need the same: set KVERN_MASTER_KEY to it; when none was set on the first server, it is the content of
keys/master.key in that server's data folder""".replace("\n", " ")


@dataclass(frozen=True, slots=True)
class Keys:
    """What secrets are sealed with, tokens are signed with, and links are proved with."""

    vault: Vault
    issuer: bytes
    links: bytes


async def load_keys(store: Store, folder: Path, master_key: str | None) -> Keys:
    """The keys of a service: those of all servers on its database, where that is shared.

    Args:
        folder: for those of this service alone; made when missing.
        master_key: `KVERN_MASTER_KEY`; goes before the one in the folder.

    Raises:
        ValueError: the master key is no key, or not the one of the database.
    """
    return await shared_keys(store, folder, master_key) if store.shared else local_keys(folder, master_key)


def local_keys(folder: Path, master_key: str | None) -> Keys:
    """The keys of one service alone: files with mode 0600, made at the first start.

    Args:
        folder: theirs; made when missing.
        master_key: goes before the one in the folder.
    """
    vault = _vault(folder, master_key)
    return Keys(vault, _kept(folder / _ISSUER, issuer.new_key), _kept(folder / _LINKS, links.new_key))


async def shared_keys(store: Store, folder: Path, master_key: str | None) -> Keys:
    """The keys of all servers on a database, in which they lie wrapped by the master key.

    The first server to come brings them: those of its folder, when there are.

    Raises:
        ValueError: the master key is not theirs.
    """
    vault = _vault(folder, master_key)
    found: list[bytes] = []
    for name, make in ((_ISSUER, issuer.new_key), (_LINKS, links.new_key)):
        path = folder / name
        ours = vault.wrap(path.read_bytes() if path.exists() else make())
        wrapped = await store.apart(lambda connection, name=name, ours=ours: keys.get_or_add(connection, name, ours))
        try:
            found.append(vault.unwrap(wrapped))
        except ValueError as error:
            raise ValueError(_OTHER_MASTER) from error
    return Keys(vault, *found)


def _vault(folder: Path, master_key: str | None) -> Vault:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Vault(folder / _MASTER, master_key)


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        write_private(path, make())
    return path.read_bytes()
