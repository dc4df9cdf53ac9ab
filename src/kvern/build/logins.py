"""Logins for hosts that a build asks for packages: of the operator's netrc, those and no others."""

from __future__ import annotations

import logging
import netrc
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from kvern.build.urls import Login

_URL = re.compile(r"(?:git\+|hg\+|svn\+|bzr\+)?[a-z][a-z0-9+.-]*://[^\s,;'\"<>]+", re.IGNORECASE)

_log = logging.getLogger(__name__)


def hosts_in(texts: Iterable[str]) -> set[str]:
    """The hosts of all URLs in `texts`."""
    found: set[str] = set()
    for text in texts:
        for match in _URL.finditer(text):
            try:
                host = urlsplit(match[0]).hostname
            except ValueError:
                continue
            if host:
                found.add(host)
    return found


def logins_for(file: Path, hosts: set[str], own: set[str]) -> Sequence[Login]:
    """What the netrc `file` has for `hosts`; its `default`, which is for any host, counts for those of `own` alone.

    Args:
        file: the operator's; one that cannot be read has nothing, and the log says so.
        hosts: all that are asked for packages.
        own: those of them that the operator has set.
    """
    try:
        known = netrc.netrc(str(file)).hosts
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        # Without the text of the line, which may be a password.
        what = error.msg if isinstance(error, netrc.NetrcParseError) else type(error).__name__
        _log.warning("%s is left out of builds: it cannot be read (%s)", file, what)
        return []
    found: list[Login] = []
    for host in sorted(hosts):
        entry = known.get(host) or (known.get("default") if host in own else None)
        if entry is not None:
            found.append(Login(host, entry[0], entry[2]))
    return found
