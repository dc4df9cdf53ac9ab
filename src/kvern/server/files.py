"""Files over HTTP (contract 7)."""

from __future__ import annotations

from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response

from kvern.server.ask import Answer, Ask, answers
from kvern.service.service import Service
from kvern.wire import files as wire
from kvern.wire.base import Empty, Items, Page, list_body
from kvern.wire.errors import NotFoundError


class FileRoutes:
    def __init__(self, service: Service) -> None:
        self._files = service.files
        self._blobs = service.blobs

    @answers(wire.File, 201, "overwrite")
    async def create(self, ask: Ask[wire.FileWrite]) -> Answer:
        base_url = ask.base_url()
        made, proof = await self._files.create(ask.project, ask.body, overwrite=ask.flag("overwrite"))
        made.upload_url = f"{base_url}/api/v1/files/upload/{proof}"
        return Answer(made, 201)

    @answers(Empty)
    async def upload(self, ask: Ask[None]) -> Answer:
        """Open to whoever has the link; a bearer token beside it is not looked at (contract 7.3)."""
        await self._files.upload(ask.text("proof"), ask.request.stream())
        return Answer(Empty())

    @answers(wire.File)
    async def retrieve(self, ask: Ask[None]) -> Answer:
        return Answer(await self._files.retrieve(ask.project, ask.number("file_id")))

    @answers(Items[wire.File])
    async def by_ids(self, ask: Ask[wire.FileIds]) -> Answer:
        body = ask.body
        return Answer(
            list_body(await self._files.by_ids(ask.project, body.items, ignore_unknown=body.ignore_unknown_ids))
        )

    @answers(Empty)
    async def delete(self, ask: Ask[wire.FileIds]) -> Answer:
        await self._files.delete(ask.project, ask.body.items, ignore_unknown=ask.body.ignore_unknown_ids)
        return Answer(Empty())

    @answers(Page[wire.File], 200, "limit", "cursor")
    async def list(self, ask: Ask[None]) -> Answer:
        query = wire.FileQuery(limit=ask.limit(100), cursor=ask.request.query_params.get("cursor"))
        rows, cursor = await self._files.page(ask.project, query)
        return Answer(list_body([*rows], cursor))

    @answers(Page[wire.File])
    async def filter(self, ask: Ask[wire.FileQuery]) -> Answer:
        rows, cursor = await self._files.page(ask.project, ask.body)
        return Answer(list_body([*rows], cursor))

    @answers(Items[wire.DownloadLink], 200, "extendedExpiration")
    async def download_link(self, ask: Ask[wire.DownloadIds]) -> Answer:
        base_url = ask.base_url()
        links = await self._files.download_links(ask.project, ask.body.items, extended=ask.flag("extendedExpiration"))
        return Answer(
            list_body([{**item, "downloadUrl": f"{base_url}/api/v1/files/download/{proof}"} for item, proof in links])
        )

    @answers(None, media="*/*")
    async def download(self, ask: Ask[None]) -> Response:
        """Open to whoever has the link."""
        content = await self._files.content(ask.text("proof"))
        opened = self._blobs.local(content.key)
        try:
            path = await opened.__aenter__()
        except FileNotFoundError as error:
            raise NotFoundError("The file was deleted") from error

        async def close() -> None:
            await opened.__aexit__(None, None, None)

        return FileResponse(
            path,
            media_type=content.mime_type or "application/octet-stream",
            headers={
                "content-disposition": f"attachment; filename*=UTF-8''{quote(content.name, safe='')}",
                "x-content-type-options": "nosniff",
            },
            background=BackgroundTask(close),
        )
