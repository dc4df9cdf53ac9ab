"""Deployments: from Queued to Ready or Failed, in the background (contract 11.1)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from kvern.build.builder import Builder, BuildRequest
from kvern.build.errors import BuildError
from kvern.build.revision import Revision
from kvern.engine import Engine, HandlerError
from kvern.service.functions import Functions, LiveFunction
from kvern.store import StoreFault
from kvern.store.blobs import Blobs
from kvern.store.vault import FunctionSecrets

TRACE_MOST = 2000
"""Characters of a build's trace (contract 11.1)."""

_log = logging.getLogger(__name__)


class Deployments:
    """Builds functions and readies their hosts; one task a function.

    Args:
    """

    def __init__(self, functions: Functions, blobs: Blobs, builder: Builder, engine: Engine) -> None:
        self._functions = functions
        self._blobs = blobs
        self._builder = builder
        self._engine = engine
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Go on with what an earlier run of the service left: Ready ones are found again, others built."""
        for function in self._functions.everything():
            status = function.record.status
            if status == "Ready" and self._restore(function):
                continue
            if status != "Failed":
                self.deploy(function)

    def _restore(self, function: LiveFunction) -> bool:
        try:
            request = self._request(function, self._functions.secrets(function))
            function.revision = self._builder.restore(request)
        except ValueError as error:
            _log.error("function %s: %s", function.record.id, error)
        return function.revision is not None

    async def stop(self) -> None:
        """End the builds that run; they begin again at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def deploy(self, function: LiveFunction) -> None:
        """Begin; returns at once."""
        task = asyncio.create_task(self._deploy(function), name=f"deploy-{function.record.id}")
        self._tasks[function.record.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(function.record.id, None))

    async def withdraw(self, function: LiveFunction) -> None:
        """End a deleted function's build and its hosts, and clear away what was made for it."""
        task = self._tasks.get(function.record.id)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(task, return_exceptions=True)
        await self._engine.retire(function.record.id)
        await self._builder.discard(function.record.revision)

    async def _deploy(self, function: LiveFunction) -> None:
        record = function.record
        try:
            record.status = "Deploying"
            await self._functions.save(function)
            revision = await self._build(function)
            await self._engine.prepare(revision)
            function.revision = revision
            record.environment = revision.environment.key
            record.runtime_version = f"Python {revision.environment.interpreter.version}"
            record.error_message = record.error_trace = None
            record.status = "Ready"
        except (BuildError, HandlerError) as error:
            _fail(function, error.message, error.trace)
        except StoreFault as error:
            _log.error("function %s could not be deployed: %s", record.id, error)
            _fail(function, "The service could not keep the state of the deployment", str(error))
        except Exception as error:
            _log.exception("the deployment of function %s met a fault", record.id)
            _fail(function, "A fault of the service; its log tells more", f"{type(error).__name__}: {error}")
        _log.info("function %s %r is %s", record.id, record.name, record.status)
        await self._save(function)

    async def _build(self, function: LiveFunction) -> Revision:
        def on_output(line: str) -> None:
            _log.debug("build of function %s: %s", function.record.id, line)

        try:
            sealed = self._functions.secrets(function)
            async with self._blobs.local(function.record.bundle) as bundle:
                return await self._builder.build(self._request(function, sealed, bundle), on_output)
        except (ValueError, FileNotFoundError) as error:
            raise BuildError(str(error)) from error

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
        )

    async def _save(self, function: LiveFunction) -> None:
        try:
            await self._functions.save(function)
        except StoreFault as error:  # after a restart it is built again
            _log.error("the end of the deployment of function %s could not be kept: %s", function.record.id, error)


def _fail(function: LiveFunction, message: str, trace: str) -> None:
    function.record.status = "Failed"
    function.record.error_message = message
    function.record.error_trace = trace[-TRACE_MOST:]
