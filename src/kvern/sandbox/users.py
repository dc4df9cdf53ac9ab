"""Which user of the machine code in a box is, where boxes can have users of their own."""

from __future__ import annotations

import itertools
import logging
import secrets
import stat
from collections.abc import Sequence

from kvern.sandbox import Mount

_log = logging.getLogger(__name__)

_numbers = itertools.count(secrets.randbelow(1 << 16))  # two servers of a machine then seldom take the same ones


def take(users: range, mounts: Sequence[Mount]) -> int | None:
    """The next of `users`, for a box that shows `mounts`; None when there are none, or one could not read these."""
    if not users:
        return None
    for mount in mounts:
        mode = mount.source.stat().st_mode
        needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if mode & needed != needed:
            _log.warning("a box runs as the user of this service: no other user may read %s", mount.source)
            return None
    return users[next(_numbers) % len(users)]
