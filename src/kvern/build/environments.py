"""Environments, one for each lock and interpreter, shared by every function that needs the same."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvern.build.bytecode import Bytecode
from kvern.build.declared import read
from kvern.build.errors import BuildError, InstallError
from kvern.build.installer import Installer, Job, SourceNeededError
from kvern.build.lock import entries, files, is_exact
from kvern.build.process import OnLine
from kvern.build.requirements import Requirements
from kvern.build.revision import Environment, Interpreter
from kvern.build.sources import Sources, sources
from kvern.build.staging import exclusive, in_thread, remove, seal, staging
from kvern.build.urls import Scrubber
from kvern.build.wheels import Wheels

_INNER_RECORD = "kvern.json"
"""Where the record of an environment lay before it was kept out of what functions can read."""
_FORM = 1
"""Part of every key: a new number makes all environments anew."""


@dataclass(frozen=True, slots=True)
class _Locked:
    """The answer to one question: which versions, and under which key their environment lies."""

    key: str
    lock: str
    asked: str
    from_source: bool
    expires: float


@dataclass(frozen=True, slots=True)
class _Flight:
    """One environment in the making, and those who wait for it."""

    task: asyncio.Task[Environment]
    listeners: list[OnLine]


class Environments:
    """Makes environments and finds those that are there.

    Guarantees: an environment below `folder` is complete and read-only from the moment that it can be seen; two
    requests for the same one share the work, also across servers on the same folder; a crash leaves nothing but
    staging folders.

    An environment made of wheels is named by its lock, interpreter and platform alone. One for which a package had to
    be built is also named by its requirements and sources: foreign code has run while it was made, so only who asked
    for that same code gets it.

    Args:
        folder: where they lie; made when missing.
        staging_folder: for work not done yet; on the same file system.
        installer: makes them.
        bytecode: where their bytecode comes from.
        wheels: keeps what they are made of.
        environ: the server's environment, see `operator.settings`.
        lock_age: seconds for which a lock is used again for the same requirements, sources and interpreter instead of
            resolving anew, so that a deploy of changed code alone asks no index. 0 to always resolve.
        source_builds: whether packages may be built from source.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        folder: Path,
        staging_folder: Path,
        installer: Installer,
        bytecode: Bytecode,
        wheels: Wheels,
        environ: Mapping[str, str],
        *,
        lock_age: float,
        source_builds: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._staging = staging_folder
        self._installer = installer
        self._bytecode = bytecode
        self._wheels = wheels
        self._environ = environ
        self._lock_age = lock_age
        self._source_builds = source_builds
        self._clock = clock
        self._locked: dict[str, _Locked] = {}
        self._flights: dict[str, _Flight] = {}
        self._salt: bytes | None = None

    async def make(
        self,
        code: Path,
        handler: str,
        interpreter: Interpreter,
        index_url: str | None,
        extra_index_urls: Sequence[str],
        on_line: OnLine,
    ) -> Environment:
        """The environment for the requirements of an unpacked bundle; made if it is not there.

        Cancelling ends the work, unless another request waits for the same.

        Args:
            code: the unpacked bundle; must stay until this returns.
            handler: its entry file, which may say what it needs.
            interpreter: under which Python.
            index_url, extra_index_urls: the function's, credentials included.
            on_line: takes the output, free of credentials.

        Raises:
            RequirementsError: `requirements.txt` or an index is not understood or not allowed.
            InstallError: something cannot be resolved, fetched, built or installed.
        """
        # In a thread: what it reads was written by users.
        wanted = await asyncio.to_thread(read, code, handler, interpreter.version)
        for note in wanted.notes:
            on_line(note)
        found = await asyncio.to_thread(sources, wanted, index_url, extra_index_urls, self._environ)
        question = await asyncio.to_thread(self._question, code, wanted, found, interpreter)
        locked = self._recent(question)
        ready = self._found(locked.key) if locked else None
        if ready is not None:
            on_line("The requirements are as before, and their environment is there.")
            return ready
        flight = self._flights.get(question)
        if flight is None:
            listeners: list[OnLine] = []

            def tell(line: str) -> None:
                for listener in tuple(listeners):
                    listener(line)

            work = self._make(question, code, wanted, found, interpreter, tell)
            flight = self._flights[question] = _Flight(asyncio.create_task(work), listeners)
        flight.listeners.append(on_line)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(on_line)
            if self._flights.get(question) is flight and (flight.task.done() or not flight.listeners):
                del self._flights[question]
            if not flight.task.done() and not flight.listeners:
                flight.task.cancel()
                with contextlib.suppress(asyncio.CancelledError, BuildError):
                    await flight.task

    def restore(self, key: str) -> Environment | None:
        """The environment named `key`; None when it, or its interpreter, is not there."""
        path = self._folder / key
        try:
            outer = _record_of(path)
            record = json.loads((outer if outer.exists() else path / _INNER_RECORD).read_bytes())
            interpreter = Interpreter(
                record["runtime"], record["version"], Path(record["executable"]), Path(record["prefix"])
            )
            lock = str(record["lock"])
            built_for = record.get("built_for")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not path.is_dir() or not interpreter.executable.exists():
            return None
        found = Environment(key, path, interpreter, lock)
        if built_for is None and _key(lock, interpreter, "") == key:  # made before that was noted
            built_for = ""
        if built_for is not None:
            self._wheels.keep(found, str(built_for))
        return found

    async def remake(
        self, key: str, lock: str, code: Path, interpreter: Interpreter, on_line: OnLine
    ) -> Environment | None:
        """The environment that was named `key`, made from kept wheels when it is lost; asks no index.

        Its name is another one when the interpreter is a newer one of the same series.

        Args:
            key, lock: as they were.
            code: an unpacked bundle; nothing of it is used.
            interpreter: under which Python.
            on_line: takes the output.

        Returns:
            None when the wheels are not there, or are not for this interpreter.
        """
        ready = self._found(key)
        if ready is not None and ready.interpreter == interpreter:
            return ready
        kept = await asyncio.to_thread(self._wheels.pinned, key)
        if kept is None:
            return None
        pinned, built_for = kept
        anew = _key(lock, interpreter, built_for)
        nowhere = Sources(env={}, no_index=True, files=[self._wheels.folder], netrc="", scrub=Scrubber())
        async with staging(self._staging) as work, exclusive(self._folder / f".{anew}.lock"):
            ready = self._found(anew)
            if ready is not None:
                return ready
            on_line("The environment is lost; making it again from kept wheels.")
            job = Job(work, code, Requirements(), nowhere, interpreter, on_line, is_alone=True)
            try:
                await self._installer.install(job, pinned, from_source=False)
            except InstallError as error:
                on_line(f"That did not work: {error.message}")
                return None
            return await self._finish(job, anew, lock, built_for)

    async def again(
        self,
        lock: str,
        code: Path,
        handler: str,
        interpreter: Interpreter,
        index_url: str | None,
        extra_index_urls: Sequence[str],
        on_line: OnLine,
    ) -> Environment | None:
        """The environment of a lock that was made on another machine: the same versions, asked of the indexes.

        Args:
            lock: as it is there.
            code, handler, interpreter, index_url, extra_index_urls, on_line: as for `make`.

        Returns:
            None when they are not to be had: something was built from source, or an index has not got it any more.
        """
        # In a thread: what it reads was written by users.
        wanted = await asyncio.to_thread(read, code, handler, interpreter.version)
        found = await asyncio.to_thread(sources, wanted, index_url, extra_index_urls, self._environ)
        # Where several files fit, another index may give others than whoever has that environment got.
        asked = "" if is_exact(lock) else await asyncio.to_thread(self._question, code, wanted, found, interpreter)
        key = _key(lock, interpreter, asked)
        async with staging(self._staging) as work, exclusive(self._folder / f".{key}.lock"):
            ready = self._found(key)
            if ready is not None:
                return ready
            job = Job(work, code, wanted, found, interpreter, on_line)
            try:
                await self._installer.install(job, lock, from_source=False)
            except InstallError as error:
                on_line(f"Its lock cannot be installed here: {error.message}")
                return None
            return await self._finish(job, key, lock, asked)

    async def collect(self, used: set[str], before: float) -> int:
        """Remove the environments that are not `used` and that nobody asked for since the time `before`; how many."""
        count = 0
        for path in list(self._folder.iterdir()) if self._folder.is_dir() else []:
            if path.name.startswith(".") or path.name in used:
                continue
            async with exclusive(self._folder / f".{path.name}.lock"), staging(self._staging) as work:
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < before:
                        # A folder that nobody may write to cannot be moved. What is half removed has no name any more.
                        path.chmod(0o755)
                        path.rename(work / path.name)
                        _record_of(path).unlink(missing_ok=True)
                        count += 1
        return count

    def touch(self, key: str) -> None:
        """Note that someone has just used the environment `key`."""
        _touch(self._folder / key)

    def _found(self, key: str) -> Environment | None:
        """As `restore`, for one that is about to be used: it is not removed before a revision names it."""
        self.touch(key)
        return self.restore(key)

    async def _make(
        self, question: str, code: Path, wanted: Requirements, found: Sources, interpreter: Interpreter, tell: OnLine
    ) -> Environment:
        async with staging(self._staging) as work:
            job = Job(work, code, wanted, found, interpreter, tell)
            # Now: who brought the code may be gone before it is this one's turn, and others wait for the same.
            await in_thread(self._installer.lay_out, job)
            locked = self._recent(question)
            # What was built for an earlier lock is gone with its cache, so a source build locks and builds in one go.
            if locked is None or locked.from_source:
                locked = await self._lock(question, job)
            async with exclusive(self._folder / f".{locked.key}.lock"):
                ready = self._found(locked.key)
                if ready is not None:
                    tell("An environment with these packages is there already.")
                    return ready
                await self._installer.install(job, locked.lock, from_source=locked.from_source)
                return await self._finish(job, locked.key, locked.lock, locked.asked)

    async def _finish(self, job: Job, key: str, lock: str, built_for: str) -> Environment:
        finished = Environment(key, self._folder / key, job.interpreter, lock)
        job.on_line("Installed; preparing its modules.")
        async with self._bytecode.added(job.environment, job.interpreter):
            await in_thread(_finish, job.environment, finished, built_for)
        self._wheels.keep(finished, built_for)
        return finished

    async def _lock(self, question: str, job: Job) -> _Locked:
        from_source = False
        try:
            lock = await self._installer.lock(job, from_source=False)
        except SourceNeededError as reason:
            if not self._source_builds:
                raise InstallError(
                    f"The requirements cannot be met by wheels alone, and building from source is off here: {reason}"
                ) from None
            job.on_line("Not everything is there as a wheel; building from source.")
            from_source = True
            lock = await self._installer.lock(job, from_source=True)
        job.on_line(f"Locked {len(entries(lock))} packages for Python {job.interpreter.version}.")
        now = self._clock()
        asked = question if from_source or not is_exact(lock) else ""
        locked = _Locked(_key(lock, job.interpreter, asked), lock, asked, from_source, now + self._lock_age)
        self._locked = {name: known for name, known in self._locked.items() if known.expires > now}
        self._locked[question] = locked
        return locked

    def _recent(self, question: str) -> _Locked | None:
        locked = self._locked.get(question)
        return locked if locked and locked.expires > self._clock() else None

    def _question(self, code: Path, wanted: Requirements, found: Sources, interpreter: Interpreter) -> str:
        """A name for all that a lock follows from; it does not give away the credentials among it."""
        salt = self._secret()
        text = json.dumps(
            [
                wanted.lines,
                wanted.constraints,
                sorted((name, sorted(hashes)) for name, hashes in wanted.hashes.items()),
                [wanted.formats, wanted.prereleases],
                [(str(local), _digest(code / local)) for local in sorted(wanted.local)],
                found.digest(salt),
                str(interpreter.executable),
                interpreter.version,
            ]
        )
        return hashlib.blake2b(text.encode(), key=salt, digest_size=20).hexdigest()

    def _secret(self) -> bytes:
        if self._salt is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / ".salt"
            with contextlib.suppress(FileExistsError):
                draft = self._folder / f".salt.{secrets.token_hex(4)}"
                draft.touch(mode=0o600)
                draft.write_bytes(secrets.token_bytes(32))
                try:
                    os.link(draft, path)
                finally:
                    draft.unlink()
            self._salt = path.read_bytes()
        return self._salt


def _finish(made: Path, finished: Environment, built_for: str) -> None:
    """Make an environment read-only and move it to its place, its record beside it: functions see the one alone."""
    interpreter = finished.interpreter
    draft = made.parent / _INNER_RECORD
    remove(draft)
    with draft.open("x") as file:
        json.dump(
            {
                "lock": finished.lock,
                "built_for": built_for,
                "runtime": interpreter.runtime,
                "version": interpreter.version,
                "executable": str(interpreter.executable),
                "prefix": str(interpreter.prefix),
            },
            file,
        )
    seal(made)
    # A folder that nobody may write to cannot be moved.
    made.chmod(0o755)
    # Something without a record, left by hand or by a broken disk.
    remove(finished.path)
    # One flush for its thousands of files, so that power loss cannot leave a name with half an environment behind it.
    draft.replace(_record_of(finished.path))
    os.sync()
    os.utime(made)
    made.rename(finished.path)
    finished.path.chmod(0o555)


def _record_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.json")


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(path)


def _key(lock: str, interpreter: Interpreter, asked: str) -> str:
    """The name of an environment; `asked` is empty when it is made of wheels alone."""
    libc = "-".join(platform.libc_ver())
    system = [sys.platform, platform.machine(), libc]
    pins = [entries(lock), *([names] if (names := files(lock)) else [])]
    text = json.dumps([_FORM, *pins, str(interpreter.executable), interpreter.version, system, asked])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    """The hash of a file, or of all files in a folder with their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    inner = sorted(part for part in path.rglob("*") if part.is_file())
    text = json.dumps([(str(part.relative_to(path)), _digest(part)) for part in inner])
    return hashlib.sha256(text.encode()).hexdigest()
