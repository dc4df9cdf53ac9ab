"""uv at work: locks requirements and fills environments, as the server where no foreign code runs, else in a box.

Two ways, so that code of a package never runs with the server's rights, nor where it could harm other functions:

| | wheels only | with source distributions |
|---|---|---|
| when | first | only when something cannot be had as a wheel |
| where | a process of the server that can read only what it needs (`Confines`) | a box (`Sandbox`) |
| foreign code run | none: wheels are unpacked, not run | backends, each in a box of its own: `hooks.py` |
| cache | the shared one, by hard links | one of its own, thrown away |

The first way has the effect of pip's `--prefer-binary`: a version that comes only as source is taken only when no wheel
fits. In the second way uv resolves and downloads in its box, and a build backend runs in another one, without network
and without the credentials of indexes. Without a boundary (`plain`) there is neither, and a backend can see them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from kvern.build.cache import cache_folder
from kvern.build.confining import STRAY, Confines, behind
from kvern.build.errors import InstallError
from kvern.build.hooks import Hooks
from kvern.build.installed import check
from kvern.build.lock import checked, chosen, entries, with_chosen, with_demanded
from kvern.build.operator.places import folders_behind
from kvern.build.probe import probe
from kvern.build.process import OnLine, OverLimitError, Seat, run, run_seated, show, show_interpreter
from kvern.build.requirements import BUNDLE_URL, Requirements, normal
from kvern.build.revision import Interpreter
from kvern.build.sources import Sources
from kvern.sandbox import Box, Mount, Sandbox

_SOURCE_NEEDED = re.compile(
    r"no usable wheels|building (from source|source distributions).{0,120}disabled", re.I | re.S
)
_MESSAGE_LIMIT = 600
_KEPT_LINES = 400
_LOCK_LIMIT = 5_000_000


class SourceNeededError(Exception):
    """Something cannot be had as a wheel."""


@dataclass(frozen=True, slots=True)
class Job:
    """One lock or environment in the making.

    Args:
        work: an empty folder for it, removed by whoever made it.
        code: the unpacked bundle.
        requirements, sources: what to install, and from where.
        interpreter: under which Python.
        on_line: takes the output, free of credentials.
        is_alone: whether nothing of it may get into the cache that others use.
    """

    work: Path
    code: Path
    requirements: Requirements
    sources: Sources
    interpreter: Interpreter
    on_line: OnLine
    is_alone: bool = False

    @property
    def environment(self) -> Path:
        """Where the environment is made."""
        return self.work / "inside" / "environment"


class Installer:
    """Runs uv.

    Args:
        sandbox: where source distributions are built.
        cache: uv's cache for wheels; None for its own (see `cache_folder`).
        own_cache: where that is when there is no home folder to have it in.
        environ: the server's environment.
        seat: makes the limits for one run in a box; None for no limits but the build's time.
        network: whether build backends reach the network.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        cache: Path | None,
        own_cache: Path,
        environ: Mapping[str, str],
        seat: Callable[[], Seat] | None = None,
        *,
        network: bool = False,
    ) -> None:
        self._sandbox = sandbox
        self._seat = seat
        self._network = network
        self._environ = environ
        self._uv = Path(uv.find_uv_bin())
        self._chosen_cache = cache
        self._own_cache = own_cache

    async def lock(self, job: Job, *, from_source: bool) -> str:
        """Resolve the requirements to exact versions with hashes, in the form of a `requirements.txt`.

        Raises:
            SourceNeededError: without `from_source`, there is no wheel for something.
            InstallError: they cannot be resolved; the message says which and why.
        """
        wanted = job.requirements
        if not from_source and (wanted.needs_source or ":all:" in job.sources.no_binary):
            raise SourceNeededError("Something is asked for that has to be built.")
        inside = self.lay_out(job)
        out = inside / "lock.txt"
        arguments = ["pip", "compile", str(inside / "requirements.in"), "-o", str(out), "-q"]
        arguments += ["--generate-hashes", "--no-header", "--no-annotate", "-p", str(job.interpreter.executable)]
        arguments += ["-c", str(inside / "constraints.in"), *self._formats(job, from_source)]
        arguments += job.sources.deciding
        for option in job.sources.deciding_lines:
            arguments += [option, str(inside / f"{option.strip('-')}.in")]
        if wanted.prereleases and "--prerelease" not in job.sources.deciding:
            arguments += ["--prerelease", "allow"]
        choice: dict[str, str] = {}
        probing = asyncio.create_task(probe(job.sources, wanted.names) if not from_source else _nothing())
        try:
            # What the first way says is not shown before it is known whether there will be a second.
            lines, status = await self._run(job, arguments, from_source, is_shown=from_source, choice=choice)
            await probing
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
        if status != 0:
            if not from_source and _SOURCE_NEEDED.search(" ".join(lines)):
                raise SourceNeededError(_message(lines))
            if not from_source:
                for line in lines:
                    job.on_line(line)
            raise InstallError(f"The requirements cannot be met: {wanted.told(_message(lines))}", "\n".join(lines))
        # A build backend may have made anything of the file.
        if out.is_symlink() or not out.is_file() or out.stat().st_size > _LOCK_LIMIT:
            raise InstallError("The requirements cannot be met: no lock was written.", "\n".join(lines))
        listed = await self._files_of(job, out, from_source)
        # In a thread: a build backend may have written it.
        confines = Confines(job.sources, [inside], [])
        text = await asyncio.to_thread(_text, out, inside, choice, listed, confines)
        locked = {normal(re.split(r"[\s=@\[]", pinned, maxsplit=1)[0]) for pinned, _ in entries(text)}
        unbuilt = [name for name in job.sources.no_binary if normal(name) in locked]
        if unbuilt and not from_source:
            raise SourceNeededError(f"This server's settings want {', '.join(unbuilt)} built from source.")
        return with_demanded(text, wanted.hashes)

    async def _files_of(self, job: Job, lock: Path, from_source: bool) -> str:
        """All files of the packages of a lock with their hashes (PEP 751), from the cache; empty when that fails."""
        out = job.work / "inside" / "pylock.toml"
        arguments = ["pip", "compile", str(lock), "-o", str(out), "-q", "--format", "pylock.toml", "--no-header"]
        arguments += ["--generate-hashes", "--no-deps", "--offline", "-p", str(job.interpreter.executable)]
        _, status = await self._run(job, [*arguments, *self._formats(job, from_source)], from_source, is_shown=False)
        if status != 0 or out.is_symlink() or not out.is_file() or out.stat().st_size > _LOCK_LIMIT:
            return ""
        return out.read_text(errors="replace")

    async def install(self, job: Job, lock: str, *, from_source: bool) -> None:
        """Make `job.environment`: a virtual environment with what `lock` says, without bytecode.

        Raises:
            InstallError: something cannot be fetched, built or installed.
        """
        inside = self.lay_out(job)
        pinned = inside / "pinned.txt"
        pinned.unlink(missing_ok=True)
        with pinned.open("x") as file:
            file.write(lock.replace(BUNDLE_URL, _bundle_url(inside)))
        place = str(job.environment)
        venv = ["venv", "-q", "--no-project", "--relocatable", "-p", str(job.interpreter.executable), place]
        sync = ["pip", "sync", str(pinned), "-p", f"{place}/bin/python", "--require-hashes", "--no-compile-bytecode"]
        if from_source:
            deciding = job.sources.deciding
            for option, place in itertools.pairwise(deciding):
                sync += [option, place] if option == "--build-constraints" else []
            if "--build-constraints" in job.sources.deciding_lines:
                sync += ["--build-constraints", str(inside / "build-constraints.in")]
        for arguments in (venv, [*sync, *self._formats(job, from_source)]):
            lines, status = await self._run(job, arguments, from_source, is_shown=True)
            if status != 0:
                raise InstallError(f"The requirements cannot be installed: {_message(lines)}", "\n".join(lines))
        if job.environment.is_symlink() or not (job.environment / "bin" / "python").is_symlink():
            raise InstallError("The requirements cannot be installed: a package has replaced the environment.")
        await asyncio.to_thread(check, job.environment, [pinned for pinned, _ in entries(lock)])

    def _formats(self, job: Job, from_source: bool) -> list[str]:
        """Which kinds of distribution uv may take, and whether from an index."""
        formats = ["--no-build"]
        if from_source:
            formats = [f"--no-binary={name}" for name in job.sources.no_binary]
            formats += [f"--only-binary={name}" for name in job.sources.only_binary]
            formats += job.requirements.formats
        return [*formats, "--no-index"] if job.sources.no_index else formats

    def lay_out(self, job: Job) -> Path:
        """The folder that uv may write to, with what it reads; left as it is when it was laid out before."""
        inside = job.work / "inside"
        if inside.exists():
            return inside
        for name in ("bundle", "home", "tmp", "cache"):
            (inside / name).mkdir(parents=True, mode=0o700)
        wanted = job.requirements
        for local in wanted.local:
            # Copies, not links: a box could change a linked file, and the revision's code with it.
            there = inside / "bundle" / local
            there.parent.mkdir(parents=True, exist_ok=True)
            if (job.code / local).is_dir():
                shutil.copytree(job.code / local, there, dirs_exist_ok=True)
            else:
                shutil.copy(job.code / local, there)
        texts: dict[str, Sequence[str]] = {"requirements.in": wanted.lines, "constraints.in": wanted.constraints}
        texts |= {f"{option.strip('-')}.in": lines for option, lines in job.sources.deciding_lines.items()}
        for name, lines in texts.items():
            text = "".join(f"{line}\n" for line in lines)
            (inside / name).write_text(text.replace(BUNDLE_URL, _bundle_url(inside)))
        netrc = inside / "home" / ".netrc"
        netrc.touch(mode=0o600)
        netrc.write_text(job.sources.netrc)
        return inside

    def _environment(self, job: Job, from_source: bool) -> dict[str, str]:
        inside = job.work / "inside"
        # A host whose certificate is not looked at could put anything into the cache that others use.
        is_alone = job.is_alone or from_source or job.sources.no_cache or bool(job.requirements.trusted_hosts)
        cache = inside / "cache" if is_alone else self._cache(job)
        links = job.sources.env.get("UV_FIND_LINKS", "").replace(BUNDLE_URL, _bundle_url(inside))
        return {
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(inside / "home"),
            **({} if from_source else job.sources.keyring_env),
            "NETRC": str(inside / "home" / ".netrc"),
            "TMPDIR": str(inside / "tmp"),
            **job.sources.env,
            **({"UV_FIND_LINKS": links} if links else {}),
            # All of uv's own settings that have a meaning here are read by us.
            "UV_NO_CONFIG": "1",
            "UV_CACHE_DIR": str(cache),
            "UV_LINK_MODE": "hardlink" if is_alone or cache.stat().st_dev == inside.stat().st_dev else "copy",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        }

    def _cache(self, job: Job) -> Path:
        return cache_folder(self._chosen_cache or job.sources.cache_dir, self._own_cache, self._environ)

    async def _run(
        self,
        job: Job,
        arguments: Sequence[str],
        from_source: bool,
        *,
        is_shown: bool,
        choice: dict[str, str] | None = None,
    ) -> tuple[list[str], int]:
        """Run uv; its last lines, free of credentials and of the server's paths, and its exit status.

        With `choice` it is filled with the files that uv says it chose.
        """
        env = self._environment(job, from_source)
        if choice is not None:
            env["RUST_LOG"] = "uv_resolver::resolver=debug"
        inside = job.work / "inside"
        argv = [str(self._uv), *arguments]
        hooks: Hooks | None = None
        confines = Confines(job.sources, [inside, Path(env["UV_CACHE_DIR"])], [self._uv, *behind(job.interpreter)])
        if not from_source and self._sandbox.is_boundary:
            argv = await asyncio.to_thread(confines.command, job.interpreter.executable, argv)
        if from_source:
            files = [folder for path in job.sources.files for folder in folders_behind(path)]
            mounts = [*show_interpreter(job.interpreter), *show(self._uv, *files)]
            mounts.append(Mount(inside, str(inside), writable=True))
            if self._sandbox.is_boundary:
                hooks = Hooks(self._sandbox, inside, job.work, job.interpreter, network=self._network, seat=self._seat)
                mounts += hooks.mounts()
            argv = self._sandbox.command(Box(argv, env, mounts, workdir="/"))
        lines: deque[str] = deque(maxlen=_KEPT_LINES)

        def take(line: str) -> None:
            if choice is not None and line.startswith("DEBUG "):
                choice.update([pair] if (pair := chosen(line)) else ())
                return
            if STRAY in lines:  # what follows would tell whether the file is there
                return
            is_stray = not from_source and confines.is_stray(line)
            clean = STRAY if is_stray else job.sources.scrub(line).replace(f"{inside}/", "")
            lines.append(clean)
            if is_shown:
                job.on_line(clean)

        try:
            async with hooks.served() if hooks is not None else contextlib.nullcontext():
                if from_source and self._seat is not None:
                    status = await run_seated(argv, env, take, self._seat())
                else:
                    status = await run(argv, env, take)
            if status != 0 and hooks is not None and hooks.over:
                raise OverLimitError(hooks.over)
        except OverLimitError as error:
            message = f"The requirements cannot be installed: building them needed more {error} than a build may have."
            raise InstallError(message, "\n".join(lines)) from None
        return list(lines), status


async def _nothing() -> None:
    """Stands for the probe where there was one before."""


def _text(out: Path, inside: Path, choice: Mapping[str, str], listed: str, confines: Confines) -> str:
    text = with_chosen(checked(out.read_text(errors="replace")), choice, listed)
    if confines.is_stray(text):
        raise InstallError(f"The requirements cannot be met: {_message([STRAY])}", STRAY)
    return text.replace(_bundle_url(inside), BUNDLE_URL)


def _bundle_url(inside: Path) -> str:
    return (inside / "bundle").as_uri() + "/"


def _message(lines: Sequence[str]) -> str:
    """What uv's output says went wrong, in one line: its `error:` and the `cause:` lines that tell more."""
    headline, causes = "", list[str]()
    for line in lines:
        kind, colon, text = line.strip().partition(": ")
        if colon and kind == "error":
            headline, causes = text, []
        elif colon and kind == "cause" and headline:
            causes.append(text)
    if not headline:
        return (lines[-1].strip() if lines else "uv ended without a word")[:_MESSAGE_LIMIT]
    # With these the headline says no more than the sentence that it is put into.
    parts = causes[:1] if causes and headline.startswith("No solution found") else [headline, *causes[:1], *causes[-1:]]
    return ": ".join(dict.fromkeys(part.rstrip(".") for part in parts))[:_MESSAGE_LIMIT]
