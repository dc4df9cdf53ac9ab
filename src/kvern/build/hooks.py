"""Build backends, apart from uv: when uv calls an interpreter, that runs in another box, which has no network.

uv resolves, downloads and unpacks in a box that has the network and the credentials of indexes. In that box, in place
of the interpreter, lies a script that asks for it to be run here. So backends, and whatever they start, see no
credential, reach nothing, and write to nothing that uv reads afterwards:

| | uv's box | a hook's box |
|---|---|---|
| network | that of the machine | none, unless `network` |
| netrc, passwords of indexes | yes | no |
| foreign code | none: archives are unpacked | yes |
| uv's cache, build environments | writable | read-only |
| the source tree | writable | a copy, thrown away |
| where results go | | a folder of its own, from which files are taken when all in the box is dead |
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

import kvern.runner
from kvern.build.process import OverLimitError, Seat, run, run_seated, show_interpreter
from kvern.build.revision import Interpreter
from kvern.build.staging import remove
from kvern.sandbox import Box, Mount, Sandbox

_STUB = """#!/bin/sh
at=$(mktemp -d '{desk}/XXXXXXXX') && mkfifo "$at/end" && pwd >"$at/cwd" && env -0 >"$at/env" || exit 125
printf '%s\\0' "$0" "$@" >"$at/argv"
echo "${{at##*/}}" >'{desk}/requests'
read -r status <"$at/end"
cat "$at/out"
cat "$at/err" >&2
exit "$status"
"""

_SAY = 'exec >"$0/out" 2>"$0/err" && exec "$@"'

_SHUT_IN = (
    "import os, sys; sys.path.insert(0, sys.argv[1]); import process; process.shut_in(); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)

_KEPT_ENV = ("VIRTUAL_ENV", "LANG", "PYTHONIOENCODING", "UV_INTERNAL__BUILD_DIR")
_SAID_MOST = 4_000_000
"""Bytes of a hook's output."""
_NO_LIMITS = 125
"""The exit status of a hook that could not be run, or was over a limit."""


class Hooks:
    """Serves the calls of one uv's box.

    Args:
        sandbox: a boundary.
        inside: the folder that uv's box can write to, and sees at the same path; `cache`, `bundle` and `environment`
            below it are what hooks see of it.
        work: a folder that uv's box does not see.
        interpreter: whose calls are served.
        network: whether hooks reach the network.
        seat: makes the limits for one hook; None for none.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        inside: Path,
        work: Path,
        interpreter: Interpreter,
        *,
        network: bool,
        seat: Callable[[], Seat] | None,
    ) -> None:
        self._sandbox = sandbox
        self._inside = inside
        self._work = work
        self._interpreter = interpreter
        self._network = network
        self._seat = seat
        self._desk = inside / "desk"
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: list[int] = []
        self._over = ""

    @property
    def over(self) -> str:
        """Which limit a hook was over: `memory`, `processes`, or nothing."""
        return self._over

    def mounts(self) -> list[Mount]:
        """What uv's box must show, after the interpreter."""
        return [Mount(self._desk / "python", str(self._interpreter.executable.resolve()))]

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncGenerator[None, None]:
        """Serve while uv runs; at the end all hooks are dead."""
        self._desk.mkdir(exist_ok=True)
        stub = self._desk / "python"
        stub.write_text(_STUB.format(desk=self._desk))
        stub.chmod(0o755)
        requests = self._desk / "requests"
        if not requests.exists():
            os.mkfifo(requests, 0o600)
        loop = asyncio.get_running_loop()
        queue = os.open(requests, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        loop.add_reader(queue, self._take, queue)
        try:
            yield
        finally:
            loop.remove_reader(queue)
            os.close(queue)
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            for end in self._ends:
                os.close(end)
            self._ends.clear()

    def _take(self, queue: int) -> None:
        for name in os.read(queue, 4096).decode(errors="replace").split():
            desk = self._desk / name
            if desk.parent == self._desk and desk.is_dir():
                task = asyncio.create_task(self._answer(desk))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer(self, desk: Path) -> None:
        out, err, status = b"", b"", _NO_LIMITS
        try:
            argv = [os.fsdecode(word) for word in (desk / "argv").read_bytes().split(b"\0")[:-1]]
            words = [os.fsdecode(word) for word in (desk / "env").read_bytes().split(b"\0") if word]
            env = {name: value for name, _, value in (word.partition("=") for word in words)}
            cwd = Path((desk / "cwd").read_text().removesuffix("\n"))
            status, out, err = await self._hook(argv, env, cwd)
        except OverLimitError as error:
            self._over = self._over or str(error)
            err = f"it needed more {error} than a build may have\n".encode()
        except (OSError, ValueError) as error:
            err = f"it could not be run: {error}\n".encode()
        (desk / "out").write_bytes(out)
        (desk / "err").write_bytes(err)
        end = os.open(desk / "end", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._ends.append(end)  # open until uv has ended: the script may come to read it only later
        os.write(end, b"%d\n" % (status if status >= 0 else 128 - status))

    async def _hook(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> tuple[int, bytes, bytes]:
        place = self._work / f"hook-{os.urandom(6).hex()}"
        said, temporary = place / "said", place / "tmp"
        try:
            for folder in (said, temporary):
                folder.mkdir(parents=True)
            # First: what else is shown may lie below it.
            mounts = [Mount(temporary, "/tmp", writable=True)]
            mounts += [*show_interpreter(self._interpreter), *self._shown()]
            mounts.append(Mount(Path(kvern.runner.__path__[0]), "/kvern/runner"))
            mounts.append(Mount(said, "/kvern/said", writable=True))
            workdir = "/"
            if any(cwd.is_relative_to(self._inside / name) for name in ("cache", "bundle")) and cwd.is_dir():
                await asyncio.to_thread(shutil.copytree, cwd, place / "tree", symlinks=True)
                mounts.append(Mount(place / "tree", str(cwd), writable=True))
                workdir = str(cwd)
            results = self._results(argv, place)
            for target, folder in results.items():
                mounts.append(Mount(folder, str(target), writable=True))
                mounts += await asyncio.to_thread(_lay_out, target, folder)
            python = [str(self._interpreter.executable), "-I", "-S", "-B", "-c", _SHUT_IN, "/kvern/runner"]
            box = Box(
                ["/bin/sh", "-c", _SAY, "/kvern/said", *python, *argv],
                {
                    **{name: env[name] for name in _KEPT_ENV if name in env},
                    "PATH": env.get("PATH", "/usr/bin:/bin"),
                    "HOME": "/tmp",
                    "TMPDIR": "/tmp",
                },
                mounts,
                workdir=workdir,
                network=self._network,
            )
            command = self._sandbox.command(box)
            trouble: list[str] = []
            if self._seat is None:
                status = await run(command, box.env, trouble.append)
            else:
                status = await run_seated(command, box.env, trouble.append, self._seat())
            await asyncio.to_thread(_take_results, results)
            err = _read(said / "err") + "".join(f"{line}\n" for line in trouble).encode()
            return status, _read(said / "out"), err
        finally:
            await asyncio.to_thread(remove, place)

    def _shown(self) -> list[Mount]:
        folders = [self._inside / name for name in ("cache", "bundle", "environment")]
        return [Mount(folder, str(folder)) for folder in folders if folder.is_dir()]

    def _results(self, argv: Sequence[str], place: Path) -> dict[Path, Path]:
        """The folders of builds that uv named to the hook, and the folder that stands for each in the box."""
        text = "\n".join(argv[1:])
        found = sorted((self._inside / "cache").glob("builds-v*/*"))
        named = [folder for folder in found if folder.name in text]  # these names are random
        return {folder: place / f"result-{number}" for number, folder in enumerate(named) if folder.is_dir()}


def _is_result(name: str) -> bool:
    """Whether something in a build environment's folder is what a hook has made, and not of the environment."""
    return name == "metadata_directory" or name.endswith(".txt")


def _lay_out(target: Path, folder: Path) -> list[Mount]:
    """Make in `folder` what there is in `target`; what a hook may not change of it comes as mounts."""
    folder.mkdir()
    is_environment = (target / "pyvenv.cfg").exists()
    mounts: list[Mount] = []
    for entry in target.iterdir():
        if entry.is_symlink():
            (folder / entry.name).symlink_to(entry.readlink())
        elif is_environment and not _is_result(entry.name):
            mounts.append(Mount(entry, str(entry)))
        elif entry.is_dir():
            shutil.copytree(entry, folder / entry.name, symlinks=True)
        else:
            shutil.copy2(entry, folder / entry.name)
    return mounts


def _take_results(results: Mapping[Path, Path]) -> None:
    """Move what hooks have made to where uv looks for it: plain files and folders only."""
    for target, folder in results.items():
        is_environment = (target / "pyvenv.cfg").exists()
        for entry in folder.iterdir():
            if not is_environment or _is_result(entry.name):
                _take(entry, target / entry.name)


def _take(source: Path, target: Path) -> None:
    kind = source.lstat().st_mode
    if stat.S_ISDIR(kind):
        source.chmod(0o700)
        target.mkdir(exist_ok=True)
        for entry in source.iterdir():
            _take(entry, target / entry.name)
    elif stat.S_ISREG(kind):
        source.replace(target)


def _read(path: Path) -> bytes:
    """What a hook has said; it may have made anything of the file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            return file.read(_SAID_MOST) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""
