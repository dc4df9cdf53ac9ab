"""Files over HTTP (contract 7)."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.datastructures import QueryParams
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from kvern.server.ask import Answer, Ask, answers
from kvern.service.files import Content, Files, shown
from kvern.service.identity import Principal
from kvern.service.service import Service
from kvern.store.blobs import Blobs
from kvern.wire import files as wire
from kvern.wire.base import Empty, Items, Page, list_body
from kvern.wire.errors import InvalidError, NotFoundError

_TRIES = 3
"""How often a download that loses its bytes to a new upload is begun again."""

_TEXTS = ("name", "externalIdPrefix", "directoryPrefix", "mimeType", "source")
_VALUES = ("uploaded", "metadata", "dataSetIds", "assetIds")
_TIMES = ("createdTime", "lastUpdatedTime", "uploadedTime", "sourceCreatedTime", "sourceModifiedTime")
"""Keys of a filter in a query: as they stand, as JSON, and as ranges."""


class FileRoutes:
    def __init__(self, service: Service) -> None:
        self._files = service.files
        self._uploads = service.uploads
        self._blobs = service.blobs

    @answers(wire.File, 201, "overwrite")
    async def create(self, ask: Ask[wire.FileWrite]) -> Answer:
        base_url = ask.base_url()
        made = await self._files.create(ask.who, ask.body, overwrite=ask.flag("overwrite"))
        return Answer(self._with_link(ask.who, base_url, made), 201)

    @answers(Items[wire.File], 201)
    async def upload_link(self, ask: Ask[wire.UploadIds]) -> Answer:
        """A new link for a file that is there; wrapped in `items`, unlike the answer of `create` (contract 7.2)."""
        base_url = ask.base_url()
        file = await self._for_upload(ask)
        return Answer(list_body([self._with_link(ask.who, base_url, file)]), 201)

    def _with_link(self, who: Principal, base_url: str, file: wire.File) -> wire.File:
        file.upload_url = _upload_url(base_url, self._uploads.link(who.project, file.id, who))
        return file

    @answers(wire.File, 201, "overwrite", "parts")
    async def init_multipart(self, ask: Ask[wire.FileWrite]) -> Answer:
        base_url, parts = ask.base_url(), _parts(ask)
        made = await self._files.create(ask.who, ask.body, overwrite=ask.flag("overwrite"))
        return Answer(await self._with_links(ask.who, base_url, made, parts), 201)

    @answers(Items[wire.File], 201, "parts")
    async def multipart_link(self, ask: Ask[wire.UploadIds]) -> Answer:
        base_url, parts = ask.base_url(), _parts(ask)
        file = await self._for_upload(ask)
        return Answer(list_body([await self._with_links(ask.who, base_url, file, parts)]), 201)

    async def _with_links(self, who: Principal, base_url: str, file: wire.File, parts: int) -> wire.File:
        file.upload_id, proofs = await self._uploads.begin(who.project, file.id, parts, who)
        file.upload_urls = [_upload_url(base_url, proof) for proof in proofs]
        return file

    async def _for_upload(self, ask: Ask[wire.UploadIds]) -> wire.File:
        return shown(await self._files.writable(ask.who, ask.body.items[0]))

    @answers(Empty)
    async def complete_multipart(self, ask: Ask[wire.UploadEnd]) -> Answer:
        await self._uploads.complete(ask.who, ask.body)
        return Answer(Empty())

    @answers(Empty)
    async def upload(self, ask: Ask[None]) -> Answer:
        """Open to whoever has the link; a bearer token beside it is not looked at (contract 7.3)."""
        await self._uploads.take(ask.text("proof"), ask.request.stream())
        return Answer(Empty())

    @answers(Items[wire.File])
    async def update(self, ask: Ask[wire.FileUpdates]) -> Answer:
        return Answer(list_body([*await self._files.update(ask.who, ask.body.items)]))

    @answers(wire.File)
    async def retrieve(self, ask: Ask[None]) -> Answer:
        return Answer(await self._files.retrieve(ask.who, ask.number("file_id")))

    @answers(Items[wire.File])
    async def by_ids(self, ask: Ask[wire.FileIds]) -> Answer:
        ignore_unknown = bool(ask.body.ignore_unknown_ids)
        return Answer(list_body([*await self._files.by_ids(ask.who, ask.body.items, ignore_unknown=ignore_unknown)]))

    @answers(Empty)
    async def delete(self, ask: Ask[wire.FileIds]) -> Answer:
        await self._files.delete(ask.who, ask.body.items, ignore_unknown=bool(ask.body.ignore_unknown_ids))
        return Answer(Empty())

    @answers(Page[wire.File], 200, *_TEXTS, "uploaded", "limit", "cursor")
    async def list(self, ask: Ask[None]) -> Answer:
        params = ask.request.query_params
        query = wire.FileQuery(filter=_filter(params), limit=ask.limit(100), cursor=params.get("cursor"))
        rows, cursor = await self._files.page(ask.who, query)
        return Answer(list_body([*rows], cursor))

    @answers(Page[wire.File])
    async def filter(self, ask: Ask[wire.FileQuery]) -> Answer:
        rows, cursor = await self._files.page(ask.who, ask.body)
        return Answer(list_body([*rows], cursor))

    @answers(Items[wire.DownloadLink], 200, "extendedExpiration")
    async def download_link(self, ask: Ask[wire.DownloadIds]) -> Answer:
        base_url = ask.base_url()
        links = await self._files.download_links(ask.who, ask.body.items, extended=ask.flag("extendedExpiration"))
        return Answer(
            list_body([{**item, "downloadUrl": f"{base_url}/api/v1/files/download/{proof}"} for item, proof in links])
        )

    @answers(None, media="*/*")
    async def download(self, ask: Ask[None]) -> Response:
        """Open to whoever has the link."""
        proof = ask.text("proof")
        return _Download(self._files, self._blobs, proof, await self._files.content(proof))


class _Download(Response):
    """Sends a file's bytes. They are held open: a new upload, or a deletion, meanwhile does no harm."""

    def __init__(self, files: Files, blobs: Blobs, proof: str, content: Content) -> None:
        super().__init__()
        self._files = files
        self._blobs = blobs
        self._proof = proof
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = self._content
        for _ in range(_TRIES):
            try:
                async with self._blobs.local(content.key) as path:
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                content = await self._files.content(self._proof)
                continue
            try:
                await _response(content, descriptor)(scope, receive, send)
            finally:
                os.close(descriptor)
            return
        raise NotFoundError("The file is being replaced or was deleted; ask for its bytes again")


def _response(content: Content, descriptor: int) -> FileResponse:
    return FileResponse(
        f"/dev/fd/{descriptor}",
        media_type=content.mime_type or "application/octet-stream",
        headers={
            "content-disposition": f"attachment; filename*=UTF-8''{quote(content.name, safe='')}",
            "x-content-type-options": "nosniff",
            # Opened in a browser, a page or script that somebody uploaded is nothing of this server's.
            "content-security-policy": "default-src 'none'; sandbox",
            "cross-origin-resource-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "cache-control": "private",
        },
    )


def _upload_url(base_url: str, proof: str) -> str:
    return f"{base_url}/api/v1/files/upload/{proof}"


def _parts(ask: Ask[Any]) -> int:
    """`parts` of the query. Raises `InvalidError` before anything is made."""
    if "parts" not in ask.request.query_params:
        raise InvalidError(f"Expected a number of parts from 1 to {wire.PARTS_MOST} as `parts`, given none")
    parts = ask.whole("parts", 1, 1)
    if parts > wire.PARTS_MOST:
        raise InvalidError(f"Expected at most {wire.PARTS_MOST} as `parts`, given {parts}")
    return parts


def _filter(params: QueryParams) -> wire.FileFilter:
    """The filter that a query string states: values of JSON, and ranges as `minCreatedTime` and `maxCreatedTime`.

    Raises:
        InvalidError: a value is not what its key takes.
    """
    stated: dict[str, Any] = {name: params[name] for name in _TEXTS if name in params}
    try:
        for name in _VALUES:
            if name in params:
                stated[name] = _value(params[name])
        for name in _TIMES:
            ends = {end: f"{end}{name[0].upper()}{name[1:]}" for end in ("min", "max")}
            span = {end: _value(params[key]) for end, key in ends.items() if key in params}
            if span:
                stated[name] = span
        if "dataSetIds" in stated:
            stated["dataSetIds"] = [{"id": one} if isinstance(one, int) else one for one in stated["dataSetIds"]]
        return msgspec.convert(stated, type=wire.FileFilter)
    except (msgspec.MsgspecError, TypeError) as error:
        raise InvalidError(f"Expected a good filter in the query: {error}") from error


def _value(text: str) -> Any:
    value = msgspec.json.decode(text)
    if value is None:
        raise TypeError("a value is null")
    return value
