"""The synchronous twin of `kvern.client.api.downloads`, written by `kvern.client.derive`: do not edit."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvern.client.api.downloads import FileDownloads
from kvern.client.identifiers import NodeId
from kvern.client.loop import run_sync
from kvern.client.sequences import SequenceNotStr

if TYPE_CHECKING:
    from pathlib import Path


class SyncFileDownloads:
    """The part of the Files API that gets content out of files."""

    def __init__(self, api: FileDownloads) -> None:
        self.__api = api

    def retrieve_download_urls(
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
        return run_sync(self.__api.retrieve_download_urls(id, external_id, instance_id, extended_expiration))

    def download(
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
        return run_sync(
            self.__api.download(
                directory, id, external_id, instance_id, keep_directory_structure, resolve_duplicate_file_names
            )
        )

    def download_to_path(
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
        return run_sync(self.__api.download_to_path(path, id, external_id, instance_id))

    def download_bytes(
        self, id: int | None = None, external_id: str | None = None, instance_id: NodeId | tuple[str, str] | None = None
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
        return run_sync(self.__api.download_bytes(id, external_id, instance_id))
