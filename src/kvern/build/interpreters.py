"""The Pythons of this machine: found wherever they are usually installed, and each asked what it really is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from kvern.build.revision import Interpreter

SERIES = ((3, 10), (3, 11), (3, 12), (3, 13), (3, 14))
"""The series that a function may ask for (contract 3.1)."""

_NAME = re.compile(r"^python(3(\.\d+)?)?$")
_VERSION = re.compile(r"(?<![\d.])3\.(\d+)(?:\.\d+)?")
_SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")
_QUESTION = """
import json, sys, sysconfig
print(json.dumps([
    sys.implementation.name, list(sys.version_info), getattr(sys, "_base_executable", None) or sys.executable,
    sys.base_prefix, bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
]))
"""
_PATIENCE = 20.0

Answer = tuple[str, list[int | str], str, str, bool]
"""Implementation, `sys.version_info`, executable, `sys.base_prefix`, and whether it is a free-threaded build."""


class Interpreters:
    """Every CPython 3.10 to 3.14 that the machine has; for each series the newest patch.

    The first question looks for them, which takes a tenth of a second or two; ask early, in a thread. What an
    executable answered is kept by its path and time of change, across restarts when `cache` names a file.

    Safe to use from any thread.

    Args:
        environ: where to look: `PATH`, `PYENV_ROOT`, `UV_PYTHON_INSTALL_DIR`, `XDG_DATA_HOME`, `HOME`.
        cache: a file to keep the answers in; may not exist yet.
        ask: starts an executable and gives what it says of itself, None when it is no Python.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        cache: Path | None = None,
        ask: Callable[[Path], Answer | None] | None = None,
    ) -> None:
        self._ask = ask or _ask
        self._environ = dict(os.environ if environ is None else environ)
        self._cache = cache
        self._lock = threading.Lock()
        self._found: dict[str, Interpreter] | None = None

    def all(self) -> dict[str, Interpreter]:
        """The interpreters by runtime name (`py310` …), oldest series first."""
        with self._lock:
            if self._found is None:
                self._found = self._look()
            return dict(self._found)

    def get(self, runtime: str) -> Interpreter | None:
        """The interpreter of a runtime. Looks again when it is not known, or is gone since it was found."""
        found = self.all().get(runtime)
        if found is None or not found.executable.exists():
            self.forget()
            found = self.all().get(runtime)
        return found

    def forget(self) -> None:
        """Look again at the next question."""
        with self._lock:
            self._found = None

    def _look(self) -> dict[str, Interpreter]:
        known = self._read_cache()
        answers: dict[str, Answer | None] = {}
        unknown: dict[str, Path] = {}
        for executable in _real(candidates(self._environ)):
            key = f"{executable}@{executable.stat().st_mtime_ns}"
            if key in known:
                answers[key] = known[key]
            else:
                unknown[key] = executable
        if unknown:
            with ThreadPoolExecutor(max_workers=4, thread_name_prefix="kvern-interpreters") as pool:
                answers.update(zip(unknown, pool.map(self._ask, unknown.values()), strict=True))
        if answers != known:
            self._write_cache(answers)
        return _newest(answer for answer in answers.values() if answer is not None)

    def _read_cache(self) -> dict[str, Answer | None]:
        if self._cache is None:
            return {}
        try:
            return cast("dict[str, Answer | None]", json.loads(self._cache.read_text()))
        except (OSError, ValueError):
            return {}

    def _write_cache(self, answers: Mapping[str, Answer | None]) -> None:
        if self._cache is None:
            return
        draft = self._cache.with_name(f"{self._cache.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            draft.write_text(json.dumps(answers))
            draft.replace(self._cache)


def candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """Paths that may be Pythons of a wanted series: the running one, `PATH`, pyenv's, uv's, the system's.

    pyenv's versions are looked up in its folder, since its shims are scripts that only work for the version chosen.
    """
    base: str = getattr(sys, "_base_executable", sys.executable) or sys.executable
    yield Path(base)
    home = Path(environ.get("HOME") or Path.home())
    folders = [Path(folder) for folder in environ.get("PATH", "").split(os.pathsep) if folder.startswith("/")]
    for folder in [*folders, *map(Path, _SYSTEM_FOLDERS)]:
        for path in _listed(folder):
            if _NAME.match(path.name):
                yield path
    pyenv = [Path(environ.get("PYENV_ROOT") or home / ".pyenv")]
    pyenv += [folder.parent for folder in folders if folder.name == "shims"]
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for folder in [*(root / "versions" for root in pyenv), uv, data / "mise" / "installs" / "python"]:
        for version in _listed(folder):
            if _is_wanted(version.name):
                yield version / "bin" / "python3"


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_wanted(name: str) -> bool:
    """Whether a folder named after a version, such as `3.13.0` or `cpython-3.12.8-linux-x86_64-gnu`, may be wanted."""
    version = _VERSION.search(name)
    return version is not None and (3, int(version[1])) in SERIES


def _real(paths: Iterable[Path]) -> Iterator[Path]:
    """The executables behind `paths`, each once; what is a script (a shim) is left out."""
    seen: set[Path] = set()
    for path in paths:
        try:
            real = path.resolve(strict=True)
            if real in seen or not os.access(real, os.X_OK):
                continue
            seen.add(real)
            with real.open("rb") as file:
                is_script = file.read(2) == b"#!"
        except (OSError, RuntimeError):
            continue
        if not is_script:
            yield real


def _ask(executable: Path) -> Answer | None:
    """What the executable says of itself; None when it cannot be started or is no Python."""
    try:
        done = subprocess.run(
            [executable, "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
            cwd="/",
        )
        return cast("Answer", tuple(json.loads(done.stdout)))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _newest(answers: Iterable[Answer]) -> dict[str, Interpreter]:
    best: dict[tuple[int, int], tuple[tuple[bool, int], Interpreter]] = {}
    for name, version, executable, prefix, free_threaded in answers:
        major, minor, micro = (int(part) for part in version[:3])
        final = version[3] == "final"
        # Free-threaded builds and alphas take other wheels, or none.
        if name != "cpython" or (major, minor) not in SERIES or free_threaded or version[3] in ("alpha", "beta"):
            continue
        real = Path(executable).resolve()
        rank = (final, micro)
        if not real.exists() or ((major, minor) in best and best[major, minor][0] >= rank):
            continue
        suffix = "" if final else f"rc{version[4]}"
        found = Interpreter(f"py{major}{minor}", f"{major}.{minor}.{micro}{suffix}", real, Path(prefix).resolve())
        best[major, minor] = rank, found
    return {interpreter.runtime: interpreter for _, (_, interpreter) in sorted(best.items())}
