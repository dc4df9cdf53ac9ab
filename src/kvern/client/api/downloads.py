"""Getting content out of files (contract 7.2, 7.3)."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kvern.client.api.base import APIClient, in_several_requests
from kvern.client.config import global_config
from kvern.client.data_classes.files import FileMetadata, FileMetadataList
from kvern.client.exceptions import CogniteHTTPStatusError
from kvern.client.identifiers import Identifiers, NodeId, identifier_dict
from kvern.client.progress import Progress
from kvern.client.sequences import SequenceNotStr
from kvern.client.transport import Request

if TYPE_CHECKING:
    from pathlib import Path

_LINKS_PER_REQUEST = 100


class FileDownloads(APIClient):
    """The part of the Files API that gets content out of files."""

    _GROUP = "files"

    async def retrieve_download_urls(
        self,
        id: int | Sequence[int] | None = None,
        external_id: str | SequenceNotStr[str] | None = None,
        instance_id: NodeId | tuple[str, str] | Sequence[NodeId | tuple[str, str]] | None = None,
        extended_expiration: bool = False,
    ) -> dict[int | str | NodeId, str]:
        """URLs by which anybody can download the content, for 30 seconds.

        Args:
            id: One id or several.
            external_id: One external id or several.
            instance_id: One instance id or several.
            extended_expiration: For an hour instead.

        Returns:
            The URLs, by the identifiers that were given.

        Raises:
            CogniteNotFoundError: when one of them does not exist.

        Example:
            >>> client.files.retrieve_download_urls(id=file.id)
        """
        params = {"extendedExpiration": True} if extended_expiration else {}

        async def fetch(chunk: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
            answer = await self._post("/files/downloadlink", {"items": list(chunk)}, "read", params)
            return answer["items"]

        chunks = list(Identifiers(id, external_id, instance_id).chunks(_LINKS_PER_REQUEST))
        answers = await in_several_requests(chunks, fetch, fail_fast=True)
        return {_identifier(item): item["downloadUrl"] for items in answers for item in items}

    async def download(
        self,
        directory: str | Path,
        id: int | Sequence[int] | None = None,
        external_id: str | SequenceNotStr[str] | None = None,
        instance_id: NodeId | tuple[str, str] | Sequence[NodeId | tuple[str, str]] | None = None,
        keep_directory_structure: bool = False,
        resolve_duplicate_file_names: bool = False,
    ) -> None:
        """Downloads files into a folder, under their names.

        Args:
            directory: The folder.
            id: One id or several.
            external_id: One external id or several.
            instance_id: One instance id or several.
            keep_directory_structure: Into folders below it, as the files' `directory` says.
            resolve_duplicate_file_names: Number files of the same name, instead of overwriting one by the other.

        Raises:
            NotADirectoryError: when the folder does not exist.
            RuntimeError: when a file's name or directory leads out of the folder.
            CogniteNotFoundError: when a file does not exist.

        Example:
            >>> client.files.download("downloads", id=[file.id])
        """
        from pathlib import Path

        folder = Path(directory)
        if not folder.is_dir():
            raise NotADirectoryError(folder)
        identifiers = Identifiers(id, external_id, instance_id)
        files = await self._by_ids(FileMetadataList, "/files", identifiers, ignore_unknown_ids=False)
        targets = [_target(folder, file, keep_directory_structure) for file in files]
        if resolve_duplicate_file_names:
            targets = _distinct(targets)
        repeated = sorted(str(path) for path, count in Counter(targets).items() if count > 1)
        if repeated:
            warnings.warn(
                f"Several files have the same name, only one of each is kept: {repeated}", UserWarning, stacklevel=2
            )
        for parent in {target.parent for target in targets}:
            parent.mkdir(parents=True, exist_ok=True)

        async def fetch(chunk: Sequence[tuple[FileMetadata, Path]]) -> None:
            file, target = chunk[0]
            await self._download({"id": file.id}, target)

        chunks = [[pair] for pair in zip(files, targets, strict=True)]
        await in_several_requests(chunks, fetch, fail_fast=True, show=lambda pair: pair[0])

    async def download_to_path(
        self,
        path: Path | str,
        id: int | None = None,
        external_id: str | None = None,
        instance_id: NodeId | tuple[str, str] | None = None,
    ) -> None:
        """Downloads one file.

        Args:
            path: Where to.
            id: Its id. Exactly one identifier is needed.
            external_id: Its external id.
            instance_id: Its instance id.

        Raises:
            NotADirectoryError: when the folder of the path does not exist.
            CogniteNotFoundError: when the file does not exist.

        Example:
            >>> client.files.download_to_path("some.bin", id=file.id)
        """
        from pathlib import Path

        target = Path(path)
        if not target.parent.is_dir():
            raise NotADirectoryError(target.parent)
        await self._download(identifier_dict(Identifiers(id, external_id, instance_id).single()), target)

    async def download_bytes(
        self,
        id: int | None = None,
        external_id: str | None = None,
        instance_id: NodeId | tuple[str, str] | None = None,
    ) -> bytes:
        """Downloads one file into memory.

        Args:
            id: Its id. Exactly one identifier is needed.
            external_id: Its external id.
            instance_id: Its instance id.

        Raises:
            CogniteNotFoundError: when the file does not exist.

        Example:
            >>> client.files.download_bytes(id=file.id)
            b'some bytes'
        """
        identifier = identifier_dict(Identifiers(id, external_id, instance_id).single())
        request = await self._download_request(identifier)
        response = await self._transport.send(request, self._slot("download"))
        return response.content

    async def _download_request(self, identifier: dict[str, Any]) -> Request:
        answer = await self._post("/files/downloadlink", {"items": [identifier]}, "read")
        timeout = self._client.config.file_transfer_timeout
        return Request("GET", answer["items"][0]["downloadUrl"], timeout=timeout, bare=True)

    async def _download(self, identifier: dict[str, Any], target: Path) -> None:
        request = await self._download_request(identifier)
        try:
            async with self._transport.stream(request, self._slot("download")) as response:
                size = int(response.headers.get("content-length", 0)) or None
                with Progress(f"Downloading {target.name}", size) as progress, target.open("wb") as file:
                    async for piece in response.aiter_bytes(global_config.file_download_chunk_size):
                        file.write(piece)
                        progress.advance(len(piece))
        except CogniteHTTPStatusError as error:
            raise await self._transport.api_error(error) from None


def _identifier(item: dict[str, Any]) -> int | str | NodeId:
    if "id" in item:
        return item["id"]
    return item["externalId"] if "externalId" in item else NodeId.load(item["instanceId"])


def _target(folder: Path, file: FileMetadata, keep_structure: bool) -> Path:
    parent = folder / (file.directory or "").lstrip("/") if keep_structure else folder
    target = parent / file.name
    if not target.resolve().is_relative_to(folder.resolve()):
        raise RuntimeError(f"File {file.id} ({file.directory or ''}/{file.name}) would be written outside of {folder}")
    return target


def _distinct(targets: Sequence[Path]) -> list[Path]:
    taken: set[Path] = set()
    distinct: list[Path] = []
    for target in targets:
        suffix = "".join(target.suffixes)
        stem = target.name.removesuffix(suffix)
        candidate, number = target, 0
        while candidate in taken or (number and candidate in targets):
            number += 1
            candidate = target.with_name(f"{stem}({number}){suffix}")
        taken.add(candidate)
        distinct.append(candidate)
    return distinct
