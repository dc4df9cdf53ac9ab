"""A program that runs another one which can read only some places of the machine (landlock(7)).

uv follows a `file:` link wherever it stands: on the page of an index, in the metadata of a wheel. Where it runs as the
server, without a box, that would be every file of the machine; a box would be one mount beside another, between which
uv cannot link files.

Run as `python -I -S confined.py READ COMMAND…`; `READ` has the paths, parted by line feeds. Reading is all that is
held. Where the kernel has no Landlock the command runs as it is.
"""

from __future__ import annotations

import os
import struct
import sys

try:
    import ctypes
except ImportError:  # some interpreters have none
    ctypes = None

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR, _REFER = 1 << 2, 1 << 3, 1 << 13
_REFER_SINCE = 2
_SET_NO_NEW_PRIVS = 38


def confine(places: list[str]) -> bool:
    """Have the kernel keep this process and what it starts from reading anything but `places`; False when it cannot."""
    if ctypes is None:
        return False
    libc = ctypes.CDLL(None)
    # Under the first version, which cannot be told to allow it, no file can be linked from one folder to another.
    if libc.syscall(_CREATE_RULESET, None, 0, _VERSION) < _REFER_SINCE:
        return False
    handled = struct.pack("=Q", _READ_FILE | _READ_DIR | _REFER)
    rules = libc.syscall(_CREATE_RULESET, handled, len(handled), 0)
    if rules < 0:
        return False
    for place, access in [("/", _REFER), *((place, _READ_FILE | _READ_DIR) for place in places)]:
        try:
            at = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        fit = access if os.path.isdir(place) else access & ~_READ_DIR  # noqa: PTH112
        libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", fit, at), 0)
        os.close(at)
    done = libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    os.close(rules)
    return done


if __name__ == "__main__":
    confine(sys.argv[1].split("\n"))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
