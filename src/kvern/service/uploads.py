"""Uploads: the bytes of files, whole or in parts (contract 7.2, 7.3).

what goes wrong                        | what the file shows        | what is left on disk
---------------------------------------|----------------------------|-------------------------------------
the client goes away, too many bytes   | what it showed before      | nothing
the store refuses the write            | what it showed before      | nothing
the file is deleted meanwhile          | it is gone                 | nothing
parts come, but never all of them      | what it showed before      | the parts, until a week has passed
two uploads to one file at a time      | the one that ended last    | its bytes only
the service is killed                  | what it showed before      | nothing, after the next start
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from kvern.service.clients import Clients
from kvern.service.clock import Clock
from kvern.service.files import Files, unknown_file
from kvern.service.identity import BUILTIN, Principal
from kvern.service.links import UPLOAD_MS, Grant, Links
from kvern.store import Store, files, uploads
from kvern.store.blobs import Blobs
from kvern.store.uploads import PartRecord, UploadRecord
from kvern.wire import files as wire
from kvern.wire.errors import ForbiddenError, InvalidError, NotFoundError, TooLargeError

_PIECE = 4 * 1024**2
_SHOWN = 20
"""Parts that an error names."""


class Uploads:
    """Takes the bytes of files.

    Args:
        limit: bytes that one file may have, however it comes.
        clients: tell whether the client that asked for a link may still write files.
        link_ms: for how long a link is good, in ms. What comes over it may take longer.
    """

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        links: Links,
        files: Files,
        limit: int,
        clients: Clients | None = None,
        link_ms: int = UPLOAD_MS,
    ) -> None:
        self._link_ms = link_ms
        self._clients = clients
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._links = links
        self._files = files
        self._limit = limit
        self._keeping: set[asyncio.Task[bool]] = set()

    def link(self, project: str, file_id: int, who: Principal | None = None) -> str:
        """The proof of a link for all bytes of a file at once; it ends with the client that asked for it."""
        return self._links.sign("upload", project, file_id, self._link_ms, maker=_maker(who))

    async def begin(
        self, project: str, file_id: int, parts: int, who: Principal | None = None
    ) -> tuple[str, list[str]]:
        """Begin an upload in parts; its id, and the proofs of the links, in the order of the parts.

        Raises:
            InvalidError: not 1 to 250 parts.
        """
        if not 1 <= parts <= wire.PARTS_MOST:
            raise InvalidError(f"Expected 1 to {wire.PARTS_MOST} as `parts`, given {parts}")
        upload_id = secrets.token_hex(16)
        record = UploadRecord(
            id=upload_id, project=project, file_id=file_id, parts=parts, created_time=self._clock.now()
        )
        await self._store.transact(lambda connection: uploads.add(connection, record))
        maker = _maker(who)
        proofs = [
            self._links.sign("upload", project, file_id, self._link_ms, upload_id, number, maker)
            for number in range(parts)
        ]
        return upload_id, proofs

    async def take(self, proof: str, content: AsyncIterable[bytes]) -> None:
        """Take the bytes that come over a link: a whole file, or one part of it.

        Raises:
            ForbiddenError: the link is not good, or too old.
            NotFoundError: the file was deleted, or the upload in parts has ended.
            TooLargeError: there are more bytes than a file, or a part, may have.
        """
        grant = self._links.check("upload", proof)
        if grant.maker and self._clients is not None and not self._clients.may(grant.maker, "filesAcl:WRITE"):
            raise ForbiddenError("The link is not good any more: the client that asked for it is gone")
        if grant.upload:
            await self._take_part(grant, content)
        else:
            await self._take_whole(grant, content)

    async def _take_whole(self, grant: Grant, content: AsyncIterable[bytes]) -> None:
        if await self._store.read(lambda connection: files.get(connection, grant.project, grant.file_id)) is None:
            raise unknown_file(grant.file_id)
        key, size = await self._blobs.write(content, self._limit)
        now = self._clock.now()

        def work(connection: Connection) -> tuple[bool, list[str | None]]:
            kept, replaced = _replace(connection, grant.project, grant.file_id, key, size, now)
            return kept, [replaced if kept else key]

        if not await self._keep(key, work):
            raise unknown_file(grant.file_id)

    async def _take_part(self, grant: Grant, content: AsyncIterable[bytes]) -> None:
        if not await self._store.read(lambda connection: _is_open(connection, grant)):
            raise _ended(grant)
        key, size = await self._blobs.write(content, min(self._limit, wire.PART_MOST))
        part = PartRecord(upload_id=grant.upload, part=grant.part, blob=key, size=size)

        def work(connection: Connection) -> tuple[bool, list[str | None]]:
            if not _is_open(connection, grant):
                raise _ended(grant)
            others = (other for other in uploads.parts(connection, grant.upload) if other.part != grant.part)
            if size + sum(other.size for other in others) > self._limit:
                raise TooLargeError(f"Expected at most {self._limit} bytes in all parts of a file, given more")
            return True, [uploads.put_part(connection, part)]

        await self._keep(key, work)

    async def _keep(self, made: str | None, work: Callable[[Connection], tuple[bool, list[str | None]]]) -> bool:
        """Carry out the write that new bytes are for, and delete those that nobody needs after it.

        It goes on when the request that waits for it is broken off: whether the new bytes are needed is known only
        when the write has ended.

        Args:
            made: the key of the new bytes, which go when the write fails.
            work: tells whether it did what it should, and the keys that nobody needs any more.
        """

        async def keep() -> bool:
            try:
                done, useless = await self._store.transact(work)
            except Exception:
                await self._drop([made])
                raise
            await self._drop(useless)
            return done

        task = asyncio.create_task(keep(), name="keep-upload")
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
        return await asyncio.shield(task)

    async def complete(self, who: Principal, end: wire.UploadEnd) -> None:
        """Make the parts the file's bytes. Completing the same upload again does no harm (contract 1.8).

        Raises:
            UnknownItemsError: there is no such file.
            ForbiddenError: the file may not be written.
            InvalidError: there is no such upload, parts are missing, or all but the last are not large enough.
        """
        file = await self._files.writable(who, end)

        def look(connection: Connection) -> tuple[UploadRecord | None, list[PartRecord]]:
            return uploads.get(connection, who.project, end.upload_id), uploads.parts(connection, end.upload_id)

        upload, parts = await self._store.read(look)
        if upload is None or upload.file_id != file.id:
            raise InvalidError(
                f"Expected the `uploadId` of an upload to file {file.id} that began within the last week, "
                f"given {end.upload_id[:60]!r}"
            )
        if upload.completed_time is None:
            _check(upload, parts)
            await self._join(upload, parts)

    async def _join(self, upload: UploadRecord, parts: list[PartRecord]) -> None:
        keys = [part.blob for part in parts]
        if len(parts) == 1:
            key, size = parts[0].blob, parts[0].size
        else:
            try:
                key, size = await self._blobs.write(self._bytes(keys), sum(part.size for part in parts))
            except FileNotFoundError as error:
                now_kept = await self._store.read(lambda c: uploads.get(c, upload.project, upload.id))
                if now_kept is not None and now_kept.completed_time is not None:  # by the same request, sent again
                    return
                raise _disturbed(upload) from error
        now = self._clock.now()

        def work(connection: Connection) -> tuple[bool, list[str | None]]:
            """Whether the bytes became the file's, and the keys that nobody needs any more."""
            made: list[str | None] = [key] if len(parts) > 1 else []
            current = uploads.get(connection, upload.project, upload.id)
            if current is not None and current.completed_time is not None:  # by the same request, sent again
                return True, made
            if [part.blob for part in uploads.parts(connection, upload.id)] != keys:
                return False, made
            kept, replaced = _replace(connection, upload.project, upload.file_id, key, size, now)
            if not kept:
                return False, made
            uploads.complete(connection, upload.id, now)
            return True, [replaced, *(keys if len(parts) > 1 else [])]

        if not await self._keep(key if len(parts) > 1 else None, work):
            raise _disturbed(upload)

    async def _bytes(self, keys: list[str]) -> AsyncIterator[bytes]:
        for key in keys:
            async with self._blobs.local(key) as path:
                with await asyncio.to_thread(path.open, "rb") as file:
                    while piece := await asyncio.to_thread(file.read, _PIECE):
                        yield piece

    async def forget_before(self, moment: int) -> None:
        """Delete what was uploaded in parts, and never completed, since before `moment` (ms)."""
        await self._drop(await self._store.transact(lambda connection: uploads.forget_before(connection, moment)))

    async def _drop(self, keys: Sequence[str | None]) -> None:
        for key in keys:
            if key is not None:
                await self._blobs.delete(key)


def _maker(who: Principal | None) -> str:
    return who.subject if who is not None and who.issuer == BUILTIN else ""


def _replace(
    connection: Connection, project: str, file_id: int, key: str, size: int, now: int
) -> tuple[bool, str | None]:
    """Give a file new bytes: whether it is still there, and the key of its old ones."""
    record = files.get(connection, project, file_id)
    if record is None:
        return False, None
    new = replace(record, blob=key, size=size, uploaded_time=now, last_updated_time=now)
    return files.save(connection, new), record.blob


def _is_open(connection: Connection, grant: Grant) -> bool:
    upload = uploads.get(connection, grant.project, grant.upload)
    return upload is not None and upload.completed_time is None


def _check(upload: UploadRecord, parts: list[PartRecord]) -> None:
    """All parts are here, and large enough (contract 7.3). Parts are told by their place in `uploadUrls`, from 0."""
    here = {part.part for part in parts}
    missing = [number for number in range(upload.parts) if number not in here]
    if missing:
        shown = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        raise InvalidError(
            f"Expected the bytes of all {upload.parts} parts before the upload is completed; "
            f"missing, by their place in `uploadUrls` from 0: {shown}"
        )
    small = [part for part in parts[:-1] if part.size < wire.PART_LEAST]
    if small:
        raise InvalidError(
            f"Expected at least {wire.PART_LEAST} bytes in every part but the last, "
            f"given {small[0].size} in part {small[0].part} of 0 to {upload.parts - 1}"
        )


def _ended(grant: Grant) -> NotFoundError:
    return NotFoundError(f"The upload in parts to file {grant.file_id} has ended; begin a new one")


def _disturbed(upload: UploadRecord) -> InvalidError:
    return InvalidError(
        f"File {upload.file_id} was deleted, or its parts were uploaded again, while the upload was completed; "
        "complete it again"
    )
