"""The store of bytecode: what was compiled for one environment is linked into the next.

A unit is what one name at the top of site-packages holds: a package with all below it, or a single module. It is named
by the interpreter and by the paths and contents of all its sources, and it is compiled in a box that sees these sources
and nothing else. So nobody can poison it: compiling runs no code of a package, but should a source take the compiler
over, all that it could spoil is the bytecode of a unit with that very source in it, and who installs that unit runs its
code anyway. The server itself never reads bytecode; it only links the files.

Bytecode is not checked against its source (PEP 552), since an environment cannot change.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kvern.build import boxed
from kvern.build.process import OverLimitError, Seat, run, run_seated, show_interpreter
from kvern.build.revision import Interpreter
from kvern.build.staging import in_thread, open_to_all, remove, staging
from kvern.sandbox import Box, Mount, Sandbox, users

_FORM = 1
"""Part of every name: a new number makes all bytecode anew."""

_START = "import sys; sys.path.append(sys.argv[1]); from boxed import compiler; compiler.main()"
_ENV = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
_SELDOM_IMPORTED = ("tests",)
"""Folders with a third to a half of all modules; without bytecode they still work."""

_WORTH_A_PROCESS = 500_000
"""Bytes of source: some 0.3 s of compiling."""

_LARGEST = 100_000_000


def cached(name: str, interpreter: Interpreter) -> str:
    """Where an interpreter looks for the bytecode of a module file: `a/b.py` has `a/__pycache__/b.cpython-313.pyc`."""
    path = PurePosixPath(name)
    return str(path.parent / "__pycache__" / f"{path.stem}.cpython-{interpreter.runtime.removeprefix('py')}.pyc")


@dataclass(frozen=True, slots=True)
class _Unit:
    """Some sources.

    Args:
        key: names its bytecode.
        root: the top of site-packages.
        top: the name there.
        names: the files with path relative to `root`; the bytecode of each has its number in the list as name.
        size: bytes of source.
    """

    key: str
    root: Path
    top: str
    names: Sequence[str]
    size: int


class Bytecode:
    """Keeps bytecode below one folder, `<runtime>/<key>/<number>`.

    Args:
        folder: on the file system of the environments; made when missing.
        staging_folder: for work not done yet; on the same file system.
        sandbox: where modules are compiled.
        seat: makes the limits for one compiler; None for none.
    """

    def __init__(
        self, folder: Path, staging_folder: Path, sandbox: Sandbox, seat: Callable[[], Seat] | None = None
    ) -> None:
        self._seat = seat
        self._folder = folder
        self._staging = staging_folder
        self._sandbox = sandbox
        self._turns = asyncio.Semaphore(os.cpu_count() or 1)

    @contextlib.asynccontextmanager
    async def added(self, environment: Path, interpreter: Interpreter) -> AsyncGenerator[None, None]:
        """Give the modules of an environment their bytecode, compiling what was never compiled.

        What is new is kept for others when the context ends well; by then it must be on disk, as a whole (`os.sync`).

        Args:
            environment: its folder, with `lib/python*/site-packages` below it; nothing else may write to it.
            interpreter: its own.
        """
        async with staging(self._staging) as work:
            units = await asyncio.to_thread(_units, environment, interpreter)
            there = self._folder / interpreter.runtime
            missing = {unit.key: unit for unit in units if not _asked_for(there / unit.key)}
            largest_first = sorted(missing.values(), key=lambda unit: -unit.size)
            async with asyncio.TaskGroup() as group:
                for unit in largest_first:
                    group.create_task(self._compile(unit, work / unit.key, interpreter))
            await in_thread(self._link, units, work, interpreter)
            yield
            await in_thread(self._keep, list(missing), work, there)

    def collect(self, grace: float) -> int:
        """Remove what no environment has links to and nobody has asked for in the last `grace` seconds; how many."""
        count = 0
        for unit in self._folder.glob("*/*"):
            with contextlib.suppress(OSError):
                if time.time() - unit.stat().st_mtime > grace and all(
                    file.stat().st_nlink == 1 for file in unit.iterdir()
                ):
                    remove(unit)
                    count += 1
        return count

    async def _compile(self, unit: _Unit, out: Path, interpreter: Interpreter) -> None:
        async with self._turns:
            out.mkdir(mode=0o700)
            source, target = Mount(unit.root / unit.top, f"/kvern/source/{unit.top}"), Mount(out, "/kvern/out", True)
            program = Mount(Path(boxed.__path__[0]), "/kvern/boxed")
            inside = self._sandbox.inside
            place, root = (inside(mount).rpartition("/")[0] for mount in (program, source))
            processes = max(1, min(os.cpu_count() or 1, 4, unit.size // _WORTH_A_PROCESS))
            argv = [str(interpreter.executable), "-I", "-S", "-B", "-W", "ignore", "-c", _START]
            argv += [place, root, inside(target), str(processes)]
            mounts = [program, source, *show_interpreter(interpreter)]
            if self._sandbox.users:
                await in_thread(open_to_all, unit.root / unit.top)
            user = await asyncio.to_thread(users.take, self._sandbox.users, mounts)
            if user is not None:
                os.chown(out, user, user)
            box = Box(argv, _ENV, [*mounts, target], workdir="/", network=False, user=user)
            names = "\0".join(unit.names).encode("utf-8", "surrogateescape")
            # A module without bytecode is compiled when it is imported, so a box that dies is no reason to fail.
            command = self._sandbox.command(box)
            if self._seat is None:
                await run(command, _ENV, lambda _: None, stdin=names)
            else:
                with contextlib.suppress(OverLimitError):
                    await run_seated(command, _ENV, lambda _: None, self._seat(), stdin=names)
            await in_thread(_tidy, out, len(unit.names))

    def _link(self, units: Sequence[_Unit], work: Path, interpreter: Interpreter) -> None:
        there = self._folder / interpreter.runtime
        for unit in units:
            made = work / unit.key
            folder = made if made.is_dir() else there / unit.key
            for number, name in enumerate(unit.names):
                _put(folder / str(number), unit.root / cached(name, interpreter))

    def _keep(self, keys: Sequence[str], work: Path, there: Path) -> None:
        there.mkdir(parents=True, exist_ok=True)
        for key in keys:
            # Another build may have been quicker.
            with contextlib.suppress(OSError):
                (work / key).rename(there / key)


def _asked_for(unit: Path) -> bool:
    """Whether a unit is there; then it stays for a while, so that it can be linked."""
    try:
        os.utime(unit)
    except OSError:
        return False
    return True


def _units(environment: Path, interpreter: Interpreter) -> list[_Unit]:
    units: list[_Unit] = []
    for root in sorted(environment.glob("lib*/python*/site-packages")):
        if root.parent.parent.is_symlink() or root.parent.is_symlink() or root.is_symlink():
            continue
        for top in sorted(path.name for path in root.iterdir()):
            unit = _unit(root, top, interpreter)
            if unit is not None:
                units.append(unit)
    return units


def _unit(root: Path, top: str, interpreter: Interpreter) -> _Unit | None:
    sources: list[tuple[str, str]] = []
    total = 0
    for path in _modules(root / top):
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            sources.append((path.relative_to(root).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()))
            total += file.tell()
    if not sources:
        return None
    text = json.dumps([_FORM, interpreter.version, str(interpreter.executable), sources])
    key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]
    return _Unit(key, root, top, [name for name, _ in sources], total)


def _modules(top: Path) -> list[Path]:
    """The module files at `top` and below it, plain files only, in an order that is always the same."""
    if not top.is_dir() or top.is_symlink():
        return [top] if top.suffix == ".py" and _is_plain(top) else []
    found: list[Path] = []
    for at, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in _SELDOM_IMPORTED)
        found += [path for name in sorted(files) if name.endswith(".py") and _is_plain(path := Path(at, name))]
    return found


def _is_plain(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST


def _tidy(out: Path, count: int) -> None:
    """Leave nothing in `out` but plain, read-only files of ours with a number below `count` as name."""
    if out.stat().st_uid != os.geteuid():
        os.chown(out, os.geteuid(), os.getegid())
    for path in out.iterdir():
        if path.name.isdecimal() and path.name == str(int(path.name)) and int(path.name) < count and _is_plain(path):
            os.chown(path, os.geteuid(), os.getegid())
            path.chmod(0o444)
        else:
            remove(path)


def _put(made: Path, place: Path) -> None:
    """Link a file of bytecode to where it belongs, in place of what a wheel may have brought."""
    # Without bytecode the module still works: it was no module, or has a file in the place of the folder.
    with contextlib.suppress(OSError):
        if not made.exists():
            return
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(made, place)
        except OSError:  # as many links as the file system bears
            shutil.copy(made, place)
