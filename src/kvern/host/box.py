"""A box that was started for a zygote: its process, and the server's ends of what leads into it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import kvern.runner
from kvern.build.revision import Environment
from kvern.host import processes
from kvern.host.control import Control
from kvern.host.egress import Egress
from kvern.host.gateway import Gateway
from kvern.sandbox import Box, Mount, Sandbox, users

MARK = "KVERN_BOX"
"""An environment variable by which processes of a plain box can be found, wherever they went."""


class BoxError(Exception):
    """The box could not be started, or died."""


class BoxDiedError(BoxError):
    """The box died after it had been started."""


class SpoiledError(BoxError):
    """The box died of a package that no zygote can have. It is noted; another zygote can be started."""


class StartedBox:
    """A box with an interpreter that becomes a zygote. Whoever starts it closes what it has, once it is dead.

    Args:
        sandbox: what makes the box.
        environment: its interpreter and packages.
        folder: for the temporary files of a plain box, or the code of one that is told it later; made here.
        code: the bundle that it shows; None for one that is told later, see `fill`; the sandbox must be a boundary.
        egress: what it may reach by way of a `Gateway`; None when the network is open to it, or closed.
        network: whether the network is open to it, when `egress` is None.
        tmp_size: bytes that its temporary folder may hold; None for the sandbox's own default.

    Raises:
        BoxError: the sandbox cannot do this.
        OSError: it could not be started.

    `code` is where the bundle is, as the box sees it; `user` who it is, see `Box`; `work` is for its
    workers' working folders, which do not show among temporary files; `scratch` is all that it can write to;
    `control` leads to the zygote; `output` is the end of a pipe with what it prints; `gateway` is not served yet;
    `pidfd` tells when it is dead.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        environment: Environment,
        folder: Path,
        code: Path | None,
        egress: Egress | None,
        *,
        network: bool,
        tmp_size: int | None,
    ) -> None:
        if egress is not None and not sandbox.is_boundary:
            raise BoxError(
                f"the sandbox {sandbox.name!r} is no boundary, so it cannot keep the function off the network"
            )
        self.is_boundary = sandbox.is_boundary
        self._folder = folder
        self.gateway = Gateway(egress) if egress is not None else None
        places = self.gateway.places() if self.gateway is not None else []
        if code is None:
            code = folder / "code"
            code.mkdir(parents=True)
            code.chmod(0o755)
            self._slot: Path | None = code
        else:
            self._slot = None
        shown = Mount(code, "/kvern/code")
        packages = Mount(environment.path, "/kvern/environment")
        runner = Mount(Path(kvern.runner.__path__[0]), "/kvern/runner")
        mounts = [shown, packages, runner, *_interpreter(environment)]
        self.code = sandbox.inside(shown)
        self.user = users.take(sandbox.users, mounts)
        temporary, self.work = "/tmp", "/kvern/work"
        if not sandbox.is_boundary:
            temporary, self.work = str(folder / "tmp"), str(folder / "work")
            for path in (temporary, self.work):
                Path(path).mkdir(parents=True, exist_ok=True)
        self.scratch = [temporary, self.work, *(["/dev/shm"] if sandbox.is_boundary else [])]
        home = sandbox.inside(packages)
        self.control = Control()
        theirs = self.control.theirs
        self.output, output = os.pipe()
        os.set_blocking(self.output, False)
        self._mark = f"{os.getpid()}-{processes.started(os.getpid())}-{folder.name}"
        box = Box(
            argv=[
                *(f"{home}/bin/python", "-I", "-B", "-X", "utf8"),
                *(f"{sandbox.inside(runner)}/__main__.py", str(theirs.fileno())),
                *(str(word) for place in places for word in place),
            ],
            env={
                "HOME": temporary,
                "LANG": "C.UTF-8",
                "PATH": f"{home}/bin:/usr/local/bin:/usr/bin:/bin",
                "TMPDIR": temporary,
                "TZ": "UTC",
                "VIRTUAL_ENV": home,
                **(self.gateway.environ() if self.gateway is not None else {}),
                MARK: self._mark,
            },
            mounts=mounts,
            workdir=temporary,
            pass_fds=(theirs.fileno(),),
            network=network and egress is None,
            own=[self.work] if sandbox.is_boundary else [],
            tmp_size=tmp_size,
            user=self.user,
        )
        try:
            # On the event loop's thread, not in an executor's: the box dies with the thread that started it.
            self._process = subprocess.Popen(
                sandbox.command(box),
                env=dict(box.env),
                pass_fds=box.pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self.control.close()
            os.close(self.output)
            raise
        finally:
            theirs.close()
            os.close(output)
        self.pidfd = os.pidfd_open(self._process.pid)

    @property
    def has_code(self) -> bool:
        """Whether it was started with a bundle."""
        return self._slot is None

    def fill(self, code: Path) -> None:
        """Show what is below `code`, in a box that was started without. May block. Raises OSError.

        Files are links where that can be.
        """
        assert self._slot is not None

        def put(source: str, target: str) -> None:
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)

        shutil.copytree(code, self._slot, symlinks=True, copy_function=put, dirs_exist_ok=True)

    def kill(self) -> None:
        """Kill all that its processes' tree shows, without waiting."""
        for pid in reversed(processes.tree(self._process.pid)):
            processes.kill(pid)

    def kill_first(self) -> None:
        """Kill the first process in a boundary's own pid namespace.

        With it the kernel kills all of them, and bwrap, which waits for it, goes last.
        """
        inner = processes.tree(self._process.pid)[1:2]
        for pid in inner or [self._process.pid]:
            processes.kill(pid)

    def kill_group(self) -> None:
        """Kill the group of processes that it was started as. Harmless when there is none any more."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """How its own process ended, once `pidfd` tells that it has."""
        return self._process.wait()

    def clear(self, status: int) -> None:
        """When its own process has ended with `status`: kill what a plain box left, and remove the folder."""
        if not self.is_boundary and status != 0:  # its zygote was killed, and did not see to it
            self.kill_group()
            for pid, mark in list(processes.marked(MARK)):
                if mark == self._mark:
                    processes.kill(pid)
        shutil.rmtree(self._folder, ignore_errors=True)


def _interpreter(environment: Environment) -> list[Mount]:
    """What to show so that the environment's `bin/python` leads to its interpreter, by way of all its links."""
    prefix = environment.interpreter.prefix
    if prefix.parts[:2] == ("/", "usr"):
        return []
    mounts = [Mount(prefix, str(prefix))]
    link = environment.path / "bin" / "python"
    while link.is_symlink():
        link = link.parent / link.readlink()
        if link.is_absolute() and not link.is_relative_to(prefix) and not link.is_relative_to(environment.path):
            mounts.append(Mount(prefix, str(link.parent.parent)))
    return mounts
