"""A lock: every package at one version, with the hash of the file that is installed for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast
from urllib.parse import unquote, urlsplit

import tomllib

from kvern.build.errors import InstallError
from kvern.build.requirements import normal

_HASH = re.compile(r"--hash=(\w+:[0-9a-f]+)")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_PIN = re.compile(r"^[A-Za-z0-9][\w.-]*(\[[\w.,\s-]*\])?\s*(==\s*[\w.!+-]+|@\s*\S+)(\s*;.*)?$", re.ASCII)
_COMMIT = re.compile(r"@\s*git\+\S+@[0-9a-f]{40}([#\s]|$)")
_FILE = re.compile(r"\s#\s(\S+)\s*$")
_CHOSEN = re.compile(r"^DEBUG Selecting: (\S+)==(\S+) \[.*\] \((\S+)\)$")
_MISSPELT = "The requirements cannot be met: what was resolved is not a list of packages with hashes"


def entries(lock: str) -> list[tuple[str, list[str]]]:
    """Each line of a lock in the form of `requirements.txt`, as what it pins (`six==1.17.0`) and its hashes."""
    return [(pinned, hashes) for pinned, hashes, _ in _lines(lock)]


def files(lock: str) -> list[str]:
    """The names of the files that were chosen, as far as the lock tells them."""
    return [name for _, _, name in _lines(lock) if name]


def is_exact(lock: str) -> bool:
    """Whether one file alone fits each line, so that every index that installs the lock gives the same."""
    return all(len(hashes) == 1 for _, hashes in entries(lock))


def _lines(lock: str) -> list[tuple[str, list[str], str]]:
    found: list[tuple[str, list[str], str]] = []
    for line in re.sub(r"\\\n", " ", lock).splitlines():
        pinned = line.partition(" --hash=")[0].strip()
        if pinned and not pinned.startswith("#"):
            name = _FILE.search(line)
            found.append((pinned, sorted(_HASH.findall(line)), name[1] if name else ""))
    return found


def checked(lock: str) -> str:
    """The lock, if each of its lines pins a package with hashes, or to a commit.

    Raises:
        InstallError: it is anything else, such as an option: whoever installs it would obey that.
    """
    for line in re.sub(r"\\\n", " ", lock).splitlines():
        pinned = _HASH.sub("", _FILE.sub("", line)).strip()
        if not pinned or pinned.startswith("#"):
            continue
        if not _PIN.match(pinned):
            raise InstallError(f"{_MISSPELT}: one line is no pin.")
        if not _HASH.search(line) and not _COMMIT.search(pinned):
            raise InstallError(f"{_MISSPELT}: {_NAME.findall(pinned)[0]} has no hash.")
    return lock


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
                f"The requirements cannot be met: the bundle demands hashes for {pinned} that no file of it has."
            )
        lines.append(_line(pinned, kept, ""))
    return "".join(lines)


def chosen(line: str) -> tuple[str, str] | None:
    """What a line of uv's log says that it chose: a package as `name==version`, and the file; None for other lines.

    What is said last of a package holds, since uv may go back on a choice.
    """
    match = _CHOSEN.match(line)
    return (f"{normal(match[1])}=={match[2]}", match[3]) if match else None


def with_chosen(lock: str, choice: Mapping[str, str], pylock: str) -> str:
    """The lock with the hash of the chosen file alone, and its name.

    A set of hashes would leave it to an index which of them it serves under which name. Lines of which nothing is known
    stay as they are: see `is_exact`.

    Args:
        lock: in the form of `requirements.txt`.
        choice: file names by package, from `chosen`.
        pylock: the same packages with the names and hashes of all their files (PEP 751).
    """
    known = _hashes(pylock)
    lines: list[str] = []
    for pinned, hashes in entries(lock):
        file = choice.get(_key_of(pinned), "")
        digest = known.get((_key_of(pinned), file), "")
        if digest in hashes:
            lines.append(_line(pinned, [digest], file))
        else:
            lines.append(_line(pinned, hashes, ""))
    return "".join(lines)


def _key_of(pinned: str) -> str:
    name, equals, version = pinned.partition("==")
    return f"{normal(name.partition('[')[0].strip())}=={version.strip()}" if equals else ""


def _hashes(pylock: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    try:
        packages = cast("list[dict[str, object]]", tomllib.loads(pylock).get("packages", []))
        for package in packages:
            of = [*cast("list[dict[str, object]]", package.get("wheels", []))]
            if "sdist" in package:
                of.append(cast("dict[str, object]", package["sdist"]))
            for file in of:
                place = str(file.get("url") or file.get("path") or "")
                name = str(file.get("name") or unquote(urlsplit(place).path.rpartition("/")[2]))
                digest = cast("dict[str, str]", file.get("hashes", {})).get("sha256")
                if digest:
                    found[f"{normal(str(package['name']))}=={package.get('version')}", name] = f"sha256:{digest}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return found


def _line(pinned: str, hashes: list[str], file: str) -> str:
    text = " \\\n".join([pinned, *(f"    --hash={digest}" for digest in hashes)])
    return f"{text}  # {file}\n" if file and len(hashes) == 1 else f"{text}\n"
