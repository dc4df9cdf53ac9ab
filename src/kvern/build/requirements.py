"""What a bundle needs: the form in which uv is given it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from kvern.build.errors import RequirementsError
from kvern.build.urls import Login, one_url

BUNDLE_URL = "file:///bundle/"
"""Stands for the bundle's root in lines and locks, so that the same archives make the same lock wherever they lie."""

_OURS = re.compile(
    r" in `?[^\s`]*(?:requirements|constraints)\.in`?(?: at position \d+)?|: [^\s:]*requirements\.in:\d+:\d+"
)
_TOLD = 5


@dataclass(slots=True)
class Requirements:
    """What a `requirements.txt` asks for, in the form in which uv is given it. No line holds credentials.

    Args:
        lines: requirements; archives of the bundle as `file:` URLs below `BUNDLE_URL`.
        constraints: the same, from `-c` files.
        hashes: the hashes that the file demands, by normalised name.
        names: normalised names of all that is required, where it can be told.
        index_url, extra_index_urls, find_links, trusted_hosts: as in the file, credentials included.
        local: the archives, and folders for `find_links`, of the bundle that are referred to, relative to its root.
        formats: `--no-binary=…` and `--only-binary=…`, as given.
        prereleases, no_index: whether `--pre` and `--no-index` are given.
        logins: credentials taken out of direct URLs.
        needs_source: whether something can only be had by building it: git, a source archive, `--no-binary`.
        places: where each of `lines` and `constraints` stands, such as `requirements.txt, line 3`.
        notes: what the build log is to say of the files that were read, and of those that were not.
    """

    lines: list[str] = field(default_factory=list[str])
    constraints: list[str] = field(default_factory=list[str])
    hashes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    names: set[str] = field(default_factory=set[str])
    index_url: str | None = None
    extra_index_urls: list[str] = field(default_factory=list[str])
    find_links: list[str] = field(default_factory=list[str])
    trusted_hosts: list[str] = field(default_factory=list[str])
    local: set[PurePosixPath] = field(default_factory=set[PurePosixPath])
    formats: list[str] = field(default_factory=list[str])
    prereleases: bool = False
    no_index: bool = False
    logins: list[Login] = field(default_factory=list[Login])
    needs_source: bool = False
    places: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])

    def told(self, message: str) -> str:
        """What uv says went wrong, with the user's files and lines in place of those that uv was given."""
        message = _OURS.sub("", message)
        told: list[str] = []
        for line, place in self.places.items():
            name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
            if name and re.search(rf"(?<![\w.-]){re.escape(normal(name))}(?![\w-])", message):
                told.append(f"{name}: {place}")
        return f"{message} ({'; '.join(told[:_TOLD])})" if told else message


def normal(name: str) -> str:
    """A package's name in the one spelling by which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def index(url: str, where: str) -> str:
    """`url` if it can be a package index: http or https, one word.

    Args:
        url: as given; it may hold credentials.
        where: what gave it, for the message.

    Raises:
        RequirementsError: it is something else. The message does not repeat it.
    """
    try:
        return one_url(url)
    except ValueError as error:
        raise RequirementsError(
            f"{where}: a package index must be given as an http:// or https:// URL, and {error}."
        ) from None
