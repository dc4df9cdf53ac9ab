"""Which of a bundle's files says what it needs."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from kvern.build import metadata, pylock
from kvern.build.requirement_file import RequirementFile
from kvern.build.requirements import Requirements

FILE = "requirements.txt"
DEFAULT = "cognite-sdk"
"""Installed, at its latest, unless the file names it (contract 11.2)."""

_UNREAD = {
    "uv.lock": "make a requirements.txt of it with: uv export --no-emit-project -o requirements.txt",
    "poetry.lock": "make a requirements.txt of it with: poetry export -o requirements.txt",
    "pdm.lock": "make a requirements.txt of it with: pdm export -o requirements.txt",
    "Pipfile": "make a requirements.txt of it with: pipenv requirements > requirements.txt",
    "Pipfile.lock": "make a requirements.txt of it with: pipenv requirements > requirements.txt",
    "setup.py": "list what it needs in requirements.txt",
    "setup.cfg": "list what it needs in requirements.txt",
    "environment.yml": "list what it needs in requirements.txt",
}
_LISTED = 10


def read(code: Path, handler: str = "", version: str = "") -> Requirements:
    """The requirements of an unpacked bundle, and the default package. Blocks: what it reads was written by users.

    The first that is there decides alone: `requirements.txt`, `pylock.toml`, script metadata in the handler, the
    dependencies in `pyproject.toml`; all but the handler at the bundle's root. Others are named in `notes`.

    Args:
        code: the unpacked bundle.
        handler: its entry file; empty when it is not to be looked at.
        version: of the Python that the function will run under; empty when only `requirements.txt` is to be read.

    Raises:
        RequirementsError: a line cannot be understood, or would read something outside the bundle. The message names
            file and line.
    """
    found = Requirements()
    name = _declared(code, handler, version, found)
    if name and name != FILE:
        found.notes.append(f"What is needed is read from {name}; there is no {FILE}.")
    found.notes += _unread(code, handler, name)
    if DEFAULT not in found.names:
        found.lines.append(DEFAULT)
    return found


def _declared(code: Path, handler: str, version: str, found: Requirements) -> str:
    """Read the first file that says what is needed; its name, empty when there is none."""
    if (code / FILE).is_file():
        RequirementFile(code, found).read(PurePosixPath(FILE))
        return FILE
    if not version:
        return ""
    if (code / pylock.FILE).is_file():
        pylock.lock(code, version, found)
        return pylock.FILE
    if handler and metadata.script(code, handler, version, found):
        return handler
    if (code / metadata.PROJECT).is_file() and metadata.project(code, version, found):
        return metadata.PROJECT
    return ""


def _unread(code: Path, handler: str, name: str) -> list[str]:
    """What the build log is to say of files that look as if they were read."""
    found: list[str] = []
    places = dict.fromkeys((PurePosixPath(), PurePosixPath("src"), PurePosixPath(handler).parent))
    for folder in places:
        if not (code / folder).is_dir():
            continue
        for path in sorted((code / folder).iterdir()):
            inner = folder / path.name
            if path.name.lower() == FILE and str(inner) != FILE:
                found.append(f"{inner} is not read: only {FILE} at the top of the zip is.")
    if name != FILE:
        found += [f"{other} is not read; {what}" for other, what in _UNREAD.items() if (code / other).is_file()]
    elif (code / pylock.FILE).is_file():
        found.append(f"{pylock.FILE} is not read, since there is a {FILE}.")
    return found[:_LISTED]
