"""Deployments: from Queued to Ready or Failed, in the background (contract 11.1)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from kvern.build.builder import Builder, BuildRequest
from kvern.build.errors import BuildError
from kvern.build.revision import Revision
from kvern.build.urls import Scrubber
from kvern.engine import Engine, HandlerError
from kvern.host.egress import destination
from kvern.service.build_logs import BuildLog, BuildLogs
from kvern.service.functions import Functions, LiveFunction
from kvern.service.observer import Observer
from kvern.store import StoreFault
from kvern.store.blobs import Blobs
from kvern.store.vault import FunctionSecrets
from kvern.wire import builds as wire
from kvern.wire.errors import InvalidError
from kvern.wire.functions import Status

_scrub = Scrubber()
"""For what may have got into a lock by a way that nobody thought of: locks are made without credentials."""

EGRESS_KEY = "kvern:egress"
"""In a function's metadata: what it may reach of what the service lets it reach, parted by spaces or commas."""

TRACE_MOST = 2000
"""Characters of a build's trace (contract 11.1)."""

_COLLECT_LEAST, _COLLECT_MOST = 60.0, 3600.0
"""Seconds between two looks for what no function uses, when nothing is deleted."""

_FAULT = "A fault of the service; its log tells more"

_log = logging.getLogger(__name__)


class Deployments:
    """Builds functions and readies their hosts; one task a function.

    Args:
        functions: whose status it writes.
        blobs: where the bundles are.
        builder: makes revisions.
        engine: readies their hosts.
        logs: takes what builds say.
        grace: seconds for which what no function uses any more is kept.
        observer: is told of builds.
    """

    def __init__(
        self,
        functions: Functions,
        blobs: Blobs,
        builder: Builder,
        engine: Engine,
        logs: BuildLogs,
        grace: float,
        observer: Observer,
    ) -> None:
        self._functions = functions
        self._blobs = blobs
        self._builder = builder
        self._engine = engine
        self._logs = logs
        self._grace = grace
        self._observer = observer
        self._collector: asyncio.Task[None] | None = None
        self._deleted = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._obtaining: dict[int, asyncio.Task[Revision]] = {}

    def start(self, *, shared: bool = False) -> None:
        """Go on with what an earlier run of the service left: Ready ones are found again, others built.

        Args:
            shared: whether other servers deploy from the same database. Then Ready ones that are not here are made
                here too, and what is not Ready is deployed by the server that has taken it.
        """
        everything = self._functions.everything()
        self._logs.clear({function.record.id for function in everything})
        for function in everything:
            status = function.record.status
            if status == "Ready" and self._restore(function):
                continue
            if shared:
                self.prefetch([function])
            elif status != "Failed":
                self.deploy(function)
        self._collector = asyncio.create_task(self._collect(), name="collect-builds")

    def _restore(self, function: LiveFunction) -> bool:
        try:
            request = self._request(function, self._functions.secrets(function))
            function.revision = self._builder.restore(request)
        except ValueError as error:
            _log.error("function %s: %s", function.record.id, error)
        return function.revision is not None

    async def stop(self) -> None:
        """End the builds that run; they begin again at the next start."""
        tasks: list[asyncio.Task[Any]] = [*self._tasks.values(), *self._obtaining.values()]
        tasks += [self._collector] if self._collector else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def let_go(self) -> None:
        """End the builds that run: they are another server's now."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def prefetch(self, functions: list[LiveFunction]) -> None:
        """Make in the background, for the first call here, what other servers have built."""
        for function in functions:
            if function.record.status == "Ready" and function.revision is None:
                self._obtain(function)

    async def obtain(self, function: LiveFunction) -> Revision:
        """The revision of a function that is Ready; made here when another server built it.

        Raises:
            BuildError: it is not Ready any more, or cannot be made here.
        """
        if function.revision is not None:
            return function.revision
        making = self._obtain(function)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if making.cancelled() and not (task and task.cancelling()):  # not who waits was cancelled, but the build
                raise BuildError("The function was deleted, or the service stopped, while it was made") from None
            raise

    def _obtain(self, function: LiveFunction) -> asyncio.Task[Revision]:
        number = function.record.id
        task = self._obtaining.get(number)
        if task is None:
            task = asyncio.create_task(self._make_here(function), name=f"obtain-{number}")
            self._obtaining[number] = task
            task.add_done_callback(self._obtained)
        return task

    def _obtained(self, task: asyncio.Task[Revision]) -> None:
        for number in [number for number, one in self._obtaining.items() if one is task]:
            del self._obtaining[number]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("%s: a function that another server has built cannot be made here: %s", task.get_name(), error)

    async def _make_here(self, function: LiveFunction) -> Revision:
        if function.record.status != "Ready" or function.deleted:
            raise BuildError("The function is not Ready any more")
        if self._restore(function) and function.revision is not None:
            return function.revision
        try:
            function.revision = await self._build(function, lambda _: None)
        except BuildError:
            raise
        except Exception as error:  # the call that waits for it must end
            _log.exception("making function %s here met a fault", function.record.id)
            raise BuildError(_in_words(error)) from error
        _log.info("function %s, which another server built, is here now", function.record.id)
        return function.revision

    def lock(self, function: LiveFunction) -> wire.Lock:
        """The packages of a function. Raises `InvalidError` unless it is Ready."""
        record, revision = function.record, function.revision
        if revision is not None:
            version, environment, lock = _version(revision), revision.environment.key, revision.environment.lock
        elif record.status == "Ready":  # another server has built it
            version, environment, lock = record.runtime_version or "", record.environment or "", record.lock or ""
        else:
            raise InvalidError(f"Expected a function that is Ready, and {record.id} is {record.status}: it has no lock")
        return wire.Lock(function_id=record.id, runtime_version=version, environment=environment, lock=_scrub(lock))

    async def log(self, function: LiveFunction, after: int, wait: float) -> wire.BuildLog:
        """The log of a function's build from entry number `after` on.

        While the build goes on, waits up to `wait` seconds for an entry that is new, or for the end.
        """
        entries = await self._logs.read(function.record.id, after, wait)
        return wire.BuildLog(items=entries, status=cast("Status", function.record.status))

    def deploy(self, function: LiveFunction) -> None:
        """Begin; returns at once."""
        log = self._logs.begin(function.record.id)
        task = asyncio.create_task(self._observed(function, log), name=f"deploy-{function.record.id}")
        self._tasks[function.record.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(function.record.id, None))

    async def withdraw(self, function: LiveFunction) -> None:
        """End a deleted function's build and its hosts, and clear away what was made for it."""
        for tasks in (self._tasks, self._obtaining):
            task = tasks.get(function.record.id)
            if task is None:
                continue
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(task, return_exceptions=True)
        await self._engine.retire(function.record.id)
        await self._builder.discard(function.record.revision)
        await self._logs.forget(function.record.id)
        self._deleted.set()

    async def _collect(self) -> None:
        """Clear away what no function uses: now, after deletions, and when their grace is over."""
        while True:
            self._deleted.clear()
            try:
                revisions = {function.record.revision for function in self._functions.everything()}
                count = await self._builder.collect(revisions, self._grace)
                if count:
                    _log.info("cleared away %d things that no function uses", count)
            except OSError as error:
                _log.error("what no function uses could not be cleared away, trying again later: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._deleted.wait(), max(_COLLECT_LEAST, min(_COLLECT_MOST, self._grace)))

    def running(self) -> int:
        """How many deployments have not ended."""
        return len(self._tasks)

    async def _observed(self, function: LiveFunction, log: BuildLog) -> None:
        with self._observer.build(function):
            await self._deploy(function, log)

    async def _deploy(self, function: LiveFunction, log: BuildLog) -> None:
        record = function.record
        status: Status = "Failed"
        record.status = "Deploying"
        # Nothing that is built rests on this, and the store keeps the order of what it is given.
        kept = asyncio.create_task(self._functions.save(function, "Deploying"))
        try:
            revision = await self._build(function, log.add)
            await asyncio.shield(kept)
            log.add(f"Loading {revision.handler} under {_version(revision)}.")
            await self._engine.prepare(revision)
            function.revision = revision
            record.environment, record.lock = revision.environment.key, revision.environment.lock
            record.runtime_version = _version(revision)
            record.error_message = record.error_trace = None
            status = "Ready"
        except (BuildError, HandlerError) as error:
            _fail(function, log, error.message, error.trace)
        except StoreFault as error:
            _log.error("function %s could not be deployed: %s", record.id, error)
            _fail(function, log, "The service could not keep the state of the deployment", str(error))
        except Exception as error:
            _log.exception("the deployment of function %s met a fault", record.id)
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            _fail(function, log, _in_words(error), f"{type(error).__name__}: {words}")
        finally:
            await asyncio.gather(kept, return_exceptions=True)
        _log.info("function %s %r is %s", record.id, record.name, status)
        await self._save(function, status)
        if status == "Ready":
            log.add("Ready.")
        await self._logs.finish(record.id, log)

    async def _build(self, function: LiveFunction, tell: Callable[[str], None]) -> Revision:
        def on_output(line: str) -> None:
            _log.debug("build of function %s: %s", function.record.id, line)
            tell(line)

        async with contextlib.AsyncExitStack() as stack:
            try:
                sealed = self._functions.secrets(function)
                bundle = await stack.enter_async_context(self._blobs.local(function.record.bundle))
                request = self._request(function, sealed, bundle)
            except FileNotFoundError as error:
                _log.error("function %s: %s", function.record.id, error)
                raise BuildError("The service has lost this function's zip; upload and deploy it again") from error
            except ValueError as error:
                raise BuildError(str(error)) from error
            return await self._builder.build(request, on_output)

    def _request(self, function: LiveFunction, sealed: FunctionSecrets, bundle: Path | None = None) -> BuildRequest:
        record = function.record
        return BuildRequest(
            function_id=record.id,
            revision_id=record.revision,
            bundle=bundle or Path(),
            function_path=record.function_path,
            runtime=record.runtime,
            index_url=sealed.index_url,
            extra_index_urls=tuple(sealed.extra_index_urls),
            env_vars=record.env_vars or {},
            secrets=sealed.secrets,
            cpu=record.cpu,
            memory=int(record.memory * 1_000_000_000),
            egress=_egress(record.metadata),
            lock=record.lock,
            project=record.project,
        )

    async def _save(self, function: LiveFunction, status: Status) -> None:
        """The status is shown once it is kept: whoever sees it here may ask another server next."""
        try:
            await self._functions.save(function, status)
        except StoreFault as error:  # after a restart it is built again
            _log.error("the end of the deployment of function %s could not be kept: %s", function.record.id, error)
        function.record.status = status


def _egress(metadata: Mapping[str, str] | None) -> list[str] | None:
    """What the function itself keeps its network to; None when it does not say. Raises ValueError."""
    told = (metadata or {}).get(EGRESS_KEY)
    if told is None:
        return None
    found = told.replace(",", " ").split()
    for text in found:
        destination(text)
    return found


def _in_words(error: Exception) -> str:
    """What whoever deploys can do about an error that is not theirs."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of the service is full; deploy again when its operator has made room"
    return _FAULT


def _version(revision: Revision) -> str:
    return f"Python {revision.environment.interpreter.version}"


def _fail(function: LiveFunction, log: BuildLog, message: str, trace: str) -> None:
    for line in f"Failed. {message}".splitlines():
        log.add(line)
    function.record.error_message = message
    function.record.error_trace = trace[-TRACE_MOST:]
