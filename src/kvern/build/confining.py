"""What of the machine uv may read where it runs as the server, and which of its words speak of anything else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from kvern.build import confined
from kvern.build.operator.places import folders_behind
from kvern.build.revision import Interpreter
from kvern.build.sources import Sources
from kvern.sandbox.bubblewrap import ETC, SYSTEM

STRAY = "error: A package or an index leads to a file of the server, which is no place to take packages from"

_KERNEL = ("/proc", "/sys", "/dev")
_FILE = re.compile(r"(?:file:(?://(?:localhost)?)?|\bfile `)(/[^\s`'\"#]*)", re.I)
"""As a URL, or as uv says which file it cannot open."""
_LARGEST = 4_000_000


class Confines:
    """The places of one run: of the system what every box has too, and those that the operator's settings name.

    Args:
        sources: whose files, and what these name, may be read.
        own: folders of the build.
        programs: that are run.
    """

    def __init__(self, sources: Sources, own: Sequence[Path], programs: Sequence[Path]) -> None:
        self._sources = sources
        self._own = own
        self._programs = programs

    def command(self, python: Path, argv: Sequence[str]) -> list[str]:
        """The command by which an interpreter runs `argv` so. Reads the operator's files: not for an event loop."""
        etc = [f"/etc/{name}" for name in ETC]
        places = [*SYSTEM, *etc, *_KERNEL, *self._own, *self._programs, *self._operators(), *self._keyrings()]
        read = "\n".join(dict.fromkeys(map(str, places)))
        return [str(python), "-I", "-S", confined.__file__, read, *argv]

    def is_stray(self, text: str) -> bool:
        """Whether a text names a file that is none of the build's, the operator's or the system's."""
        named = [Path(os.path.normpath(unquote(path))) for path in _FILE.findall(text)]
        return bool(named) and not all(
            any(path.is_relative_to(place) for place in (*SYSTEM, *self._own, *self._programs, *self._operators()))
            for path in named
        )

    def _operators(self) -> list[Path]:
        found = [folder for path in self._sources.files for folder in folders_behind(path)]
        return [*found, *(place for path in self._sources.files for place in _named_in(path))]

    def _keyrings(self) -> list[Path]:
        """A keyring may be a program of any kind, with its secrets in the home folder."""
        env = self._sources.keyring_env
        if not env:
            return []
        programs = [Path(folder).parent for folder in env.get("PATH", "").split(os.pathsep) if folder]
        homes = [Path(env["HOME"])] if env.get("HOME") else []
        return [path for path in (*programs, *homes, Path(sys.base_prefix)) if path != Path("/")]


def behind(interpreter: Interpreter) -> list[Path]:
    """What an interpreter needs."""
    return [interpreter.prefix, interpreter.executable]


def _named_in(path: Path) -> list[Path]:
    """Files that a file of the operator's, such as one of constraints, names as URLs."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return []
        return [Path(os.path.normpath(unquote(place))) for place in _FILE.findall(path.read_text(errors="replace"))]
    except OSError:
        return []
