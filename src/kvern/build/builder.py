"""From a bundle to a revision: unpack, find the handler, make the environment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvern.build import handler
from kvern.build.bundle import Limits, unpack
from kvern.build.bytecode import Bytecode
from kvern.build.environments import Environments
from kvern.build.errors import BuildError
from kvern.build.installer import Installer
from kvern.build.interpreters import Interpreters
from kvern.build.parsers import Parsers
from kvern.build.process import OnLine, Seat
from kvern.build.revision import Environment, Interpreter, Revision
from kvern.build.staging import clear, flush, in_thread, staging
from kvern.build.trash import Trash
from kvern.build.turns import Turns
from kvern.build.urls import Scrubber
from kvern.build.wheels import Wheels
from kvern.sandbox import Sandbox

_KEPT_LINES = 400
_RECORD = "revision.json"
_NOTED = {"handler", "environment"}


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to make a revision of.

    Args:
        function_id: the function that it is for.
        revision_id: unique for ever, one word; names the revision's folder.
        bundle: the zip on the host; only read by `Builder.build`.
        function_path: the entry file as the client sent it (contract 3.1).
        runtime: such as `py313`.
        index_url, extra_index_urls: the function's package indexes; may hold credentials.
        env_vars, secrets: the function's own; passed on, never used in a build.
        cpu: cores that one call may use.
        memory: bytes that one call may use.
        egress: the revision's.
        lock: what it was built with before, perhaps on another machine.
        project: whose it is: projects take turns.
    """

    function_id: int
    revision_id: str
    bundle: Path
    function_path: str
    runtime: str
    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: Sequence[str] = field(default=(), repr=False)
    env_vars: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cpu: float = 1.0
    memory: int = 1_500_000_000
    egress: Sequence[str] | None = None
    lock: str | None = None
    project: str = ""


class Builder:
    """Builds revisions below one folder: `revisions/<id>/code`, `environments/<key>`, `bytecode`, `wheels`,
    `staging/<random>`, `trash/<random>`.

    Guarantees: a build either gives a whole revision or leaves nothing behind; foreign code runs only in `sandbox`, and
    never sees a function's secrets or environment variables. All methods are called on one event loop.

    A deploy whose requirements, index settings and interpreter are those of one in the last `lock_age` seconds is not
    resolved anew: a deploy of changed code alone asks no index and takes some ten milliseconds. The price is that a
    package released meanwhile is taken up only after that time.

    Args:
        root: made when missing; only for this server's user.
        sandbox: where handlers are parsed and packages built.
        cache: uv's package cache; None for uv's own. On the file system of `root` packages are linked from it, else
            copied.
        timeout: seconds that one build may take, without the wait for its turn.
        parallel: builds at the same time; of further ones, projects take turns (`turns.py`).
        lock_age: seconds, see above; 0 to resolve at every deploy.
        limits: how large a bundle may be.
        source_builds: whether packages may be built from source; when off, every requirement must be there as a wheel.
        build_network: whether what builds them reaches the network; only a boundary can keep it off.
        environ: the server's environment, in which the operator's settings are (`operator.settings`).
        interpreters: the Pythons of this machine; looked for when not given.
        spare_parser: seconds for which a started parser waits for the next deploy, which saves it some 50 ms; 0 for
            none. Then `close` must be called at the end.
        seat: makes the limits on memory and processes for one box in which packages are built, modules compiled or
            handlers parsed; None for none.
    """

    def __init__(
        self,
        root: Path,
        sandbox: Sandbox,
        *,
        cache: Path | None = None,
        timeout: float = 900.0,
        parallel: int = 2,
        lock_age: float = 600.0,
        limits: Limits | None = None,
        source_builds: bool = True,
        build_network: bool = False,
        environ: Mapping[str, str] | None = None,
        interpreters: Interpreters | None = None,
        spare_parser: float = 0.0,
        seat: Callable[[], Seat] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # uv and interpreters are given these paths and start in another folder.
        root = root.resolve()
        self._revisions = root / "revisions"
        self._staging = root / "staging"
        self._trash = Trash(root / "trash")
        self._parsers = Parsers(sandbox, spare_parser, seat)
        self._timeout = timeout
        self._limits = limits
        self._turns = Turns(parallel)
        self._interpreters = interpreters or Interpreters(environ, root / "interpreters.json")
        self._bytecode = Bytecode(root / "bytecode", self._staging, sandbox, seat)
        self._wheels = Wheels(root / "wheels", self._staging)
        self._building: dict[str, float] = {}
        self._environments = Environments(
            root / "environments",
            self._staging,
            Installer(sandbox, cache, root / "cache", environ, seat, network=build_network),
            self._bytecode,
            self._wheels,
            environ,
            lock_age=lock_age,
            source_builds=source_builds,
        )

    async def build(self, request: BuildRequest, on_output: OnLine | None = None) -> Revision:
        """Make a revision. Cancelling ends the build, kills what it started and leaves nothing behind.

        Args:
            request: what to make it of.
            on_output: takes the build's output line by line, on the event loop, free of credentials.

        Raises:
            BuildError: the bundle, its handler or its requirements are not fit, or it took too long. `message` and
                `trace` are what the function's `error` shows (contract 11.1).
        """
        output: deque[str] = deque(maxlen=_KEPT_LINES)

        def take(line: str) -> None:
            output.append(line)
            if on_output is not None:
                on_output(line)

        async with self._turns.turn(request.project):
            self._building[request.revision_id] = time.time()
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._build(request, take)
            except BuildError as error:
                # Its text may repeat a line of the user's.
                scrub = Scrubber([url for url in (request.index_url, *request.extra_index_urls) if url])
                error.message, error.trace = scrub(error.message), scrub(error.trace)
                error.args = (error.message,)
                raise
            except TimeoutError:
                message = f"The build took longer than {self._timeout:g} seconds and was stopped."
                raise BuildError(message, "\n".join(output)) from None
            finally:
                del self._building[request.revision_id]

    def restore(self, request: BuildRequest) -> Revision | None:
        """The revision that `build` made of this request earlier, without building; `bundle` is not looked at.

        None when its code or its environment is not there any more.
        """
        folder = self._revisions / request.revision_id
        record = _record(folder)
        if record is None:
            return None
        entry = record["handler"]
        environment = self._environments.restore(record["environment"])
        if environment is None or not (folder / "code" / entry).is_file():
            return None
        return Revision(
            id=request.revision_id,
            function_id=request.function_id,
            code=folder / "code",
            handler=entry,
            environment=environment,
            env_vars=dict(request.env_vars),
            secrets=dict(request.secrets),
            cpu=request.cpu,
            memory=request.memory,
            egress=request.egress,
        )

    async def discard(self, revision_id: str) -> None:
        """Remove a revision's code, off the disk in the background. Harmless when it is gone.

        Its environment stays for others.
        """
        record = _record(self._revisions / revision_id)
        if record is not None:
            self._environments.touch(record["environment"])
        await asyncio.to_thread(self._trash.take, self._revisions / revision_id)

    async def runtimes(self) -> dict[str, Interpreter]:
        """The runtimes of this machine with their interpreters, oldest first. The first call looks for them."""
        return await asyncio.to_thread(self._interpreters.all)

    async def close(self) -> None:
        """End what waits for the next build, break off what goes on in the background. Harmless when called twice."""
        await self._parsers.close()
        await self._wheels.close()

    async def collect(self, revisions: set[str], grace: float) -> int:
        """Remove what no function uses: environments, kept wheels, bytecode, revisions; how many there were.

        What is being built or used by a build is never touched.

        Args:
            revisions: the ids of those that there are; others go, unless they are being built.
            grace: seconds for which what nobody uses any more is kept for the next deploy.
        """
        revisions = revisions | self._building.keys()
        before = min([time.time() - grace, *self._building.values()])
        grace = time.time() - before
        used: set[str] = set()
        count = 0
        for folder in list(self._revisions.iterdir()) if self._revisions.is_dir() else []:
            record = _record(folder)
            if folder.name not in revisions:
                await self.discard(folder.name)
                count += 1
            elif record is not None:
                used.add(record["environment"])
        count += await self._environments.collect(used, before)
        self._wheels.forget(used)
        count += await asyncio.to_thread(self._wheels.collect, used, grace)
        return count + await asyncio.to_thread(self._bytecode.collect, grace)

    async def clear_leftovers(self) -> None:
        """Throw away what builds of a server that was killed have left. Builds that still run are not touched."""
        await asyncio.to_thread(clear, self._staging, self._trash.take)
        await asyncio.to_thread(self._trash.resume)

    async def _build(self, request: BuildRequest, take: OnLine) -> Revision:
        interpreter = await asyncio.to_thread(self._interpreters.get, request.runtime)
        if interpreter is None:
            there = ", ".join(await self.runtimes()) or "none"
            raise BuildError(f"The runtime {request.runtime!r} is not on this machine; there is: {there}.")
        self._parsers.expect(interpreter)
        async with staging(self._staging) as work:
            draft = work / "revision"
            draft.mkdir()
            try:
                await self._draft(request, draft, interpreter, take)
                await in_thread(self._publish, draft, request.revision_id)
            except asyncio.CancelledError:
                await in_thread(self._trash.take, self._revisions / request.revision_id)
                raise
            finally:
                # Who deletes a function that is being built waits for this.
                await in_thread(self._trash.take, draft)
        revision = self.restore(request)
        if revision is None:
            raise BuildError("What was built was removed from the service's disk at once; deploy it again.")
        return revision

    async def _draft(self, request: BuildRequest, draft: Path, interpreter: Interpreter, take: OnLine) -> None:
        code = draft / "code"
        await self._unpack(request.bundle, code)
        entry = await asyncio.to_thread(handler.locate, code, request.function_path)
        await handler.check(code, entry, interpreter, self._parsers)
        environment = await self._environment(request, code, entry, interpreter, take)
        record = {"handler": entry, "environment": environment.key, "lock": environment.lock}
        (draft / _RECORD).write_text(json.dumps(record))

    async def _environment(
        self, request: BuildRequest, code: Path, entry: str, interpreter: Interpreter, take: OnLine
    ) -> Environment:
        """The environment of a revision: with the lock that it had when it was built before, else with a new one."""
        before = _record(self._revisions / request.revision_id)
        if before is not None and before.get("lock"):
            environment = await self._environments.remake(
                before["environment"], before["lock"], code, interpreter, take
            )
            if environment is not None:
                return environment
        indexes = (request.index_url, request.extra_index_urls)
        if request.lock is not None:
            environment = await self._environments.again(request.lock, code, entry, interpreter, *indexes, take)
            if environment is not None:
                return environment
        return await self._environments.make(code, entry, interpreter, *indexes, take)

    async def _unpack(self, bundle: Path, code: Path) -> None:
        stop = threading.Event()
        work = asyncio.ensure_future(asyncio.to_thread(unpack, bundle, code, self._limits, stop))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread must be out of the folder before the folder is removed.
            stop.set()
            with contextlib.suppress(BuildError):
                await work
            raise

    def _publish(self, draft: Path, revision_id: str) -> None:
        self._revisions.mkdir(exist_ok=True)
        folder = self._revisions / revision_id
        self._trash.take(folder)
        flush(draft)
        draft.rename(folder)


def _record(folder: Path) -> dict[str, str] | None:
    """What is noted of a revision: its `handler`, `environment` and `lock`; None when that cannot be read."""
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        return (
            {"lock": "", **{str(name): str(value) for name, value in record.items()}} if set(record) >= _NOTED else None
        )
    except (OSError, ValueError, AttributeError, TypeError):
        return None
