"""What an environment really holds, against what its lock says."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from email.parser import BytesHeaderParser
from pathlib import Path

from kvern.build.errors import InstallError
from kvern.build.requirements import normal


def check(environment: Path, pins: Sequence[str]) -> None:
    """See to it that every package of the lock is in the environment, at its version and with its files.

    Args:
        environment: a virtual environment without bytecode.
        pins: such as `six==1.17.0` or `mine @ https://…`.

    Raises:
        InstallError: something is missing or another version.
    """
    wanted: dict[str, str] = {}
    for pin in pins:
        name, equals, version = pin.partition("==") if "@" not in pin.partition("==")[0] else (pin, "", "")
        name = re.split(r"[\[@\s]", name.strip(), maxsplit=1)[0]
        wanted[normal(name)] = _plain(version.partition(";")[0]) if equals else ""
    there: dict[str, str] = {}
    for folder in environment.glob("lib/python3*/site-packages/*.dist-info"):
        if not (folder / "METADATA").is_file():
            continue  # something that calls itself so
        try:
            headers = BytesHeaderParser().parsebytes((folder / "METADATA").read_bytes())
            name, version = normal(str(headers["Name"])), _plain(str(headers["Version"]))
            if name in wanted:
                _check_files(environment, folder, name)
        except OSError as error:
            raise _fault(f"{folder.name} lacks its {error.filename and Path(error.filename).name}") from None
        there[name] = version
    for name, version in wanted.items():
        if name not in there:
            raise _fault(f"{name} is missing")
        if version and there[name] != version:
            raise _fault(f"{name} has the version {there[name]}, not {version}")


def _check_files(environment: Path, folder: Path, name: str) -> None:
    top = str(environment.resolve())
    base = folder.parent.resolve()
    with (folder / "RECORD").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in csv.reader(file):
            # Whoever made the package wrote this, and must not learn what lies elsewhere.
            path = os.path.normpath(base / row[0]) if row else ""
            is_inside = path.startswith(f"{top}/") and not path.endswith(".pyc")
            if is_inside and not os.path.lexists(path):
                raise _fault(f"the file {row[0]} of {name} is missing")


def _plain(version: str) -> str:
    """A version in one spelling; 1.0 and 1.0.0 are the same (PEP 440)."""
    public, plus, local = version.strip().lower().removeprefix("v").partition("+")
    public = re.sub(r"^0!", "", public)
    public = re.sub(r"(\.0+)+$", "", public)
    return f"{public}{plus}{re.sub(r'[-_]', '.', local)}"


def _fault(text: str) -> InstallError:
    return InstallError(f"What was installed is not what was locked: {text}.")
