"""A lock: every package at one version, with the hashes of the files that may be installed for it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kvern.build.errors import InstallError
from kvern.build.requirements import normal

_HASH = re.compile(r"--hash=(\w+:[0-9a-f]+)")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")


def entries(lock: str) -> list[tuple[str, list[str]]]:
    """Each line of a lock in the form of `requirements.txt`, as what it pins (`six==1.17.0`) and its hashes."""
    found: list[tuple[str, list[str]]] = []
    for line in re.sub(r"\\\n", " ", lock).splitlines():
        pinned = line.partition(" --hash=")[0].strip()
        if pinned and not pinned.startswith("#"):
            found.append((pinned, sorted(_HASH.findall(line))))
    return found


def with_demanded(lock: str, demanded: Mapping[str, set[str]]) -> str:
    """The lock with only those hashes that `requirements.txt` itself demands, for the packages for which it does.

    Args:
        lock: in the form of `requirements.txt`.
        demanded: hashes by normalised name.

    Raises:
        InstallError: a demanded hash fits no file that could be installed.
    """
    if not demanded:
        return lock
    lines: list[str] = []
    for pinned, hashes in entries(lock):
        name = _NAME.match(pinned)
        wanted = demanded.get(normal(name[0]), set()) if name else set[str]()
        kept = [digest for digest in hashes if digest in wanted] if wanted else hashes
        if wanted and not kept:
            raise InstallError(
                f"The requirements cannot be met: requirements.txt demands hashes for {pinned} that no file of it has."
            )
        lines.append(" \\\n".join([pinned, *(f"    --hash={digest}" for digest in kept)]))
    return "".join(f"{line}\n" for line in lines)
