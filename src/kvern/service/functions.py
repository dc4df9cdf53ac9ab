"""Functions: what exists, and what may be created or deleted (contract 3).

All functions are held in memory; the store is written first, then memory, so memory never shows what could be lost.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from kvern.build.errors import BuildError
from kvern.build.revision import Revision
from kvern.service.clock import Clock
from kvern.service.files import Files
from kvern.service.function_limits import FunctionLimits
from kvern.service.identity import Principal
from kvern.service.ranges import in_range
from kvern.service.servers import Servers
from kvern.settings import Settings
from kvern.store import Store, StoreFault, functions
from kvern.store.blobs import Blobs
from kvern.store.functions import FunctionRecord
from kvern.store.vault import FunctionSecrets, Vault
from kvern.wire import functions as wire
from kvern.wire.base import ByIdOrExternalId, page_size
from kvern.wire.errors import ApiError, InvalidError, NotFoundError, TakenError, UnknownItemsError

LIST_MOST = 10_000
_MASK = "***"


@dataclass(slots=True, eq=False)
class LiveFunction:
    """A function in memory: its row, and what it takes to run it once it is Ready."""

    record: FunctionRecord
    revision: Revision | None = None
    running: int = 0
    """Calls that were accepted and have not ended."""

    promised: int = 0
    """Those of them that are being written as begun, for each of which a worker is free."""

    deleted: bool = False
    timings: list[float] = field(default_factory=list[float])
    """Seconds that the last calls took, to judge whether holding an answer back is worth it."""

    acts: bool = True
    """Whether `handle` takes `client`, and so needs a session; True until a call has shown otherwise."""

    options: wire.FunctionOptions = field(init=False)
    """What it asked for beyond the contract."""

    def __post_init__(self) -> None:
        self.options = msgspec.convert(self.record.options or {}, wire.FunctionOptions)


class Deployer(Protocol):
    """Makes a function Ready, or Failed, in the background."""

    def deploy(self, function: LiveFunction) -> None: ...
    async def obtain(self, function: LiveFunction) -> Revision: ...
    async def withdraw(self, function: LiveFunction) -> None: ...


class Functions:
    """The functions of a service."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        vault: Vault,
        clock: Clock,
        files: Files,
        settings: Settings,
        servers: Servers,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._vault = vault
        self._clock = clock
        self._files = files
        self._limits = FunctionLimits(settings)
        self._servers = servers
        self._live: dict[int, LiveFunction] = {}
        self._by_external_id: dict[tuple[str, str], LiveFunction] = {}
        self._arriving: Counter[str] = Counter()
        """Functions that are being written, by project: they count before they are here."""
        self._before_delete: list[Callable[[list[LiveFunction]], Awaitable[None]]] = []
        self._after_delete: list[Callable[[list[LiveFunction]], Awaitable[None]]] = []
        self._deployer: Deployer | None = None

    async def start(self, deployer: Deployer, runtimes: list[str]) -> None:
        """Load all functions. `runtimes` are those that this machine has, oldest first."""
        self._limits.runtimes = runtimes
        self._deployer = deployer
        for record in await self._store.read(functions.everything):
            self._hold(LiveFunction(record))

    async def reload(self, ids: set[str] | None) -> list[LiveFunction]:
        """Read some anew, or all: another server changed them. Those that are there now and were not read before."""
        if ids is None:
            records = await self._store.read(functions.everything)
            wanted = set(self._live)
        else:
            numbers = [int(number) for number in ids]
            records = await self._store.read(lambda connection: functions.several(connection, numbers))
            wanted = self._live.keys() & set(numbers)
        fresh: list[LiveFunction] = []
        for record in records:
            function = self._live.get(record.id)
            if function is None:
                function = LiveFunction(record)
                self._hold(function)
            elif record.server is None or record.server != self._servers.id:  # of its own this server knows more
                record.last_called = max(record.last_called or 0, function.record.last_called or 0) or None
                function.record = record
            fresh.append(function)
        gone = [self._live[number] for number in wanted - {record.id for record in records}]
        if gone:
            await self._let_go(gone)
        return fresh

    async def _let_go(self, gone: list[LiveFunction]) -> None:
        """Another server deleted these, with all that was kept of them."""
        for function in gone:
            function.deleted = True
        for action in self._before_delete:
            await action(gone)
        await self._forget(gone)

    async def _forget(self, gone: list[LiveFunction]) -> None:
        for function in gone:
            record = function.record
            self._live.pop(record.id, None)
            if record.external_id is not None:
                self._by_external_id.pop((record.project, record.external_id), None)
        for action in self._after_delete:
            await action(gone)
        if self._deployer is not None:
            for function in gone:
                await self._deployer.withdraw(function)

    def _hold(self, function: LiveFunction) -> None:
        record = function.record
        self._live[record.id] = function
        if record.external_id is not None:
            self._by_external_id[record.project, record.external_id] = function

    def everything(self) -> list[LiveFunction]:
        return list(self._live.values())

    def before_delete(self, action: Callable[[list[LiveFunction]], Awaitable[None]]) -> None:
        """Have `action` done whenever functions are deleted, before their rows go."""
        self._before_delete.append(action)

    def after_delete(self, action: Callable[[list[LiveFunction]], Awaitable[None]]) -> None:
        """Have `action` done whenever functions were deleted for good."""
        self._after_delete.append(action)

    def limits(self) -> wire.Limits:
        """What a function may ask for (contract 3.9)."""
        return self._limits.shown()

    async def create(self, who: Principal, wanted: wire.FunctionWrite) -> wire.Function:
        """Keep a new function and begin to deploy it.

        Raises:
            InvalidError: the file is unknown or has no content, the runtime is unknown, more cpu or memory is asked
                for than there is, or the project is full.
            TakenError: the external id is in use.
            ForbiddenError: `who` may not read files.
        """
        who.require(("filesAcl:READ",))
        project = who.project
        runtime = self._limits.runtime(wanted.runtime)
        cpu, memory = self._limits.cpu(wanted.cpu), self._limits.memory(wanted.memory)
        self._limits.check_soft_deadline(wanted.soft_deadline_seconds)
        self._check_room(project)
        self._check_external_id(project, wanted.external_id)
        bundle = await self._bundle(who, wanted.file_id)
        try:
            secrets = FunctionSecrets(wanted.secrets or {}, wanted.index_url, wanted.extra_index_urls or [])
            record = FunctionRecord(
                id=self._store.next_id(),
                project=project,
                name=wanted.name,
                status="Queued",
                file_id=wanted.file_id,
                bundle=bundle,
                function_path=wanted.function_path or wire.FUNCTION_PATH,
                cpu=cpu,
                memory=memory,
                runtime=runtime,
                revision=uuid.uuid4().hex,
                created_time=self._clock.now(),
                server=self._servers.id,
                external_id=wanted.external_id,
                owner=wanted.owner or None,
                description=wanted.description or None,
                metadata=wanted.metadata,
                env_vars=wanted.env_vars,
                secret_keys=None if wanted.secrets is None else list(wanted.secrets),
                options=_options(wanted),
            )
            self._check_room(project)
            self._arriving[project] += 1
            try:
                await self._store.transact(lambda connection: self._add(connection, record, secrets))
            finally:
                self._arriving[project] -= 1
        except (IntegrityError, ApiError, StoreFault) as error:
            await self._blobs.delete(bundle)
            if isinstance(error, IntegrityError):
                raise _taken(wanted.external_id) from error
            raise
        function = LiveFunction(record)
        self._hold(function)
        shown = self.shown(function)
        if self._deployer is not None:
            self._deployer.deploy(function)
        return shown

    def _add(self, connection: Connection, record: FunctionRecord, secrets: FunctionSecrets) -> None:
        # Sealed within the transaction: one that changes the master key comes wholly before it or after it.
        record.vault, record.vault_key = self._vault.seal(secrets)
        functions.add(connection, record)

    def take_keys(self, keys: dict[int, bytes]) -> None:
        """The keys of functions, wrapped anew."""
        for function_id, key in keys.items():
            if function_id in self._live:
                self._live[function_id].record.vault_key = key

    def _check_room(self, project: str) -> None:
        count = sum(1 for function in self._live.values() if function.record.project == project)
        count += self._arriving[project]
        self._limits.check_room(count)

    def _check_external_id(self, project: str, external_id: str | None) -> None:
        if external_id is not None and (project, external_id) in self._by_external_id:
            raise _taken(external_id)

    async def _bundle(self, who: Principal, file_id: int) -> str:
        """A copy of the file's bytes: a function keeps working when the file is deleted (contract 11.2)."""
        try:
            file = await self._files.get(who, file_id)
        except NotFoundError as error:
            raise InvalidError(
                f"Expected the id of an uploaded zip as fileId, but there is no file {file_id}"
            ) from error
        if file.blob is None:
            raise InvalidError(
                f"Expected an uploaded zip as fileId, but the content of file {file_id} was never uploaded"
            )
        try:
            return await self._blobs.copy(file.blob)
        except FileNotFoundError as error:
            raise InvalidError(f"Expected an uploaded zip as fileId, but file {file_id} was deleted") from error

    def get(self, project: str, function_id: int) -> LiveFunction:
        """Raises `NotFoundError`."""
        function = self._live.get(function_id)
        if function is None or function.record.project != project:
            raise NotFoundError(f"Function {function_id} does not exist", missing=[{"id": function_id}])
        return function

    def find(self, project: str, item: ByIdOrExternalId) -> LiveFunction | None:
        """The function with an id or an external id, or None."""
        if item.id is not None:
            function = self._live.get(item.id)
            return function if function is not None and function.record.project == project else None
        return self._by_external_id.get((project, item.external_id or ""))

    def several(self, project: str, items: Iterable[ByIdOrExternalId], *, ignore_unknown: bool) -> list[LiveFunction]:
        """In the order asked for. Raises `UnknownItemsError`."""
        found = [(item, self.find(project, item)) for item in items]
        missing = [wire.missing_function(item) for item, function in found if function is None]
        if missing and not ignore_unknown:
            raise UnknownItemsError("Function ids not found", missing=missing)
        return [function for _, function in found if function is not None]

    def select(self, project: str, wanted: wire.FunctionFilter, limit: int | None) -> list[wire.Function]:
        """Those that match, oldest first (contract 3.4)."""
        chosen = [
            function
            for function in self._live.values()
            if function.record.project == project and _matches(function.record, wanted)
        ]
        chosen.sort(key=lambda function: (function.record.created_time, function.record.id))
        return [self.shown(function) for function in chosen[: page_size(limit, LIST_MOST)]]

    async def delete(self, project: str, items: list[ByIdOrExternalId], *, ignore_unknown: bool) -> None:
        """Delete functions with their calls and schedules; all or none. Raises `UnknownItemsError`."""
        chosen = list({f.record.id: f for f in self.several(project, items, ignore_unknown=ignore_unknown)}.values())
        if not chosen:
            return
        ids = [function.record.id for function in chosen]
        for function in chosen:
            function.deleted = True
        try:
            for action in self._before_delete:
                await action(chosen)
            await self._store.transact(lambda connection: functions.remove(connection, ids))
        except BaseException:
            for function in chosen:
                function.deleted = False
            raise
        await self._forget(chosen)
        for function in chosen:
            await self._blobs.delete(function.record.bundle)

    async def revision(self, function: LiveFunction) -> Revision:
        """What to run of a function; made here first when another server has built it.

        Raises:
            BuildError: it is not Ready, or cannot be made here.
        """
        if function.revision is not None:
            return function.revision
        if self._deployer is None:
            raise BuildError("The function is not Ready any more")
        return await self._deployer.obtain(function)

    async def save(self, function: LiveFunction, status: wire.Status | None = None) -> None:
        """Write a function's status, or the one that it is about to have, and what goes with it."""

        def work(connection: Connection) -> None:
            functions.save(connection, function.record, status or function.record.status)

        await self._store.transact(work)

    def secrets(self, function: LiveFunction) -> FunctionSecrets:
        """What is secret of a function, in plain. Raises `ValueError` when the master key changed."""
        record = function.record
        if record.vault is None or record.vault_key is None:
            return FunctionSecrets()
        return self._vault.open(record.vault, record.vault_key)

    def shown(self, function: LiveFunction) -> wire.Function:
        """What the API shows: secrets masked, indexes left out (contract 3.1)."""
        record = function.record
        error = None
        if record.status == "Failed":
            error = wire.FunctionError(message=record.error_message or "", trace=record.error_trace or "")
        return wire.Function(
            id=record.id,
            created_time=record.created_time,
            name=record.name,
            status=cast(wire.Status, record.status),
            file_id=record.file_id,
            function_path=record.function_path,
            cpu=record.cpu,
            memory=record.memory,
            runtime=record.runtime,
            external_id=record.external_id,
            owner=record.owner,
            description=record.description,
            metadata=record.metadata,
            secrets=None if record.secret_keys is None else dict.fromkeys(record.secret_keys, _MASK),
            env_vars=record.env_vars,
            runtime_version=record.runtime_version,
            error=error,
            last_called=record.last_called,
            retries=function.options.retries,
            soft_deadline_seconds=function.options.soft_deadline_seconds,
        )


def _options(wanted: wire.FunctionWrite) -> dict[str, Any] | None:
    options = wire.FunctionOptions(retries=wanted.retries, soft_deadline_seconds=wanted.soft_deadline_seconds)
    return msgspec.to_builtins(options) or None


def _taken(external_id: str | None) -> TakenError:
    return TakenError(
        f"Expected an externalId that is not in use, given {external_id!r}", duplicated=[{"externalId": external_id}]
    )


def _matches(record: FunctionRecord, wanted: wire.FunctionFilter) -> bool:
    equal = (
        (wanted.name, record.name),
        (wanted.owner, record.owner),
        (wanted.file_id, record.file_id),
        (wanted.status, record.status),
    )
    if any(want is not None and want != have for want, have in equal):
        return False
    prefix = wanted.external_id_prefix
    if prefix is not None and (record.external_id is None or not record.external_id.startswith(prefix)):
        return False
    if wanted.metadata is not None and not (wanted.metadata.items() <= (record.metadata or {}).items()):
        return False
    return in_range(wanted.created_time, record.created_time)
