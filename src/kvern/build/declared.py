"""Which of a bundle's files says what it needs."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from kvern.build.requirement_file import RequirementFile
from kvern.build.requirements import Requirements

FILE = "requirements.txt"
DEFAULT = "cognite-sdk"
"""Installed, at its latest, unless the file names it (contract 11.2)."""


def read(code: Path) -> Requirements:
    """The requirements of an unpacked bundle: those of `requirements.txt` at its root, and the default package.

    pip's syntax: comments, continued lines, extras, markers, hashes, direct URLs, archives of the bundle, `-r` and
    `-c` of files of the bundle, and the index options.

    Args:
        code: the unpacked bundle.

    Raises:
        RequirementsError: a line cannot be understood, or would read something outside the bundle: other paths,
            `file:` URLs, `-e`, `${VARIABLES}`. The message names file and line.
    """
    found = Requirements()
    if (code / FILE).is_file():
        RequirementFile(code, found).read(PurePosixPath(FILE))
    if DEFAULT not in found.names:
        found.lines.append(DEFAULT)
    return found
