"""What is sent in order to create a function (contract 3.1)."""

from __future__ import annotations

from abc import ABC
from typing import Literal, TypeAlias

from kvern.client.data_classes._base import (
    CogniteResourceList,
    ExternalIDTransformerMixin,
    WriteableCogniteResourceWithClientRef,
)

RunTime: TypeAlias = Literal["py310", "py311", "py312", "py313"]
HANDLER_FILE_NAME = "handler.py"


class FunctionCore(WriteableCogniteResourceWithClientRef["FunctionWrite"], ABC):
    """What a function has when it is written and when it is read.

    Args:
        name: Name, 1 to 140 characters; need not be unique.
        external_id: Your own identifier, unique among functions, at most 255 characters.
        description: At most 500 characters.
        owner: Who answers for it, at most 128 characters.
        file_id: The zip of source code in the Files API.
        function_path: The file that defines `handle`: a POSIX path, relative to the root of the zip.
        secrets: Passed to `handle`; the values read back as `***`. Keys: lower-case letters, digits and dashes, at most
            15 characters.
        env_vars: Environment variables of the process.
        cpu: Cores; `limits()` tells the range. None takes the server's default.
        memory: Gigabytes; `limits()` tells the range. None takes the server's default.
        runtime: The Python that runs it. None takes the server's default.
        metadata: Your own key-value pairs.
    """

    def __init__(
        self,
        name: str,
        external_id: str | None,
        description: str | None,
        owner: str | None,
        file_id: int,
        function_path: str,
        secrets: dict[str, str] | None,
        env_vars: dict[str, str] | None,
        cpu: float | None,
        memory: float | None,
        runtime: RunTime | None,
        metadata: dict[str, str] | None,
    ) -> None:
        self.name = name
        self.file_id = file_id
        self.external_id = external_id
        self.description = description
        self.owner = owner
        self.function_path = function_path
        self.secrets = secrets
        self.env_vars = env_vars
        self.cpu = cpu
        self.memory = memory
        self.runtime: RunTime | None = runtime
        self.metadata = metadata


class FunctionWrite(FunctionCore):
    """What is sent in order to create a function.

    Args:
        name: Name, 1 to 140 characters; need not be unique.
        file_id: The zip of source code in the Files API.
        external_id: Your own identifier, unique among functions.
        description: What it does.
        owner: Who answers for it.
        function_path: The file that defines `handle`: a POSIX path, relative to the root of the zip.
        secrets: Passed to `handle`; can never be read back.
        env_vars: Environment variables of the process.
        cpu: Cores. None takes the server's default.
        memory: Gigabytes. None takes the server's default.
        runtime: The Python that runs it. None takes the server's default.
        metadata: Your own key-value pairs.
        index_url: The package index to install from instead of the usual one; may hold a user name and password.
        extra_index_urls: Further package indexes.
    """

    def __init__(
        self,
        name: str,
        file_id: int,
        external_id: str | None = None,
        description: str | None = None,
        owner: str | None = None,
        function_path: str = HANDLER_FILE_NAME,
        secrets: dict[str, str] | None = None,
        env_vars: dict[str, str] | None = None,
        cpu: float | None = None,
        memory: float | None = None,
        runtime: RunTime | None = None,
        metadata: dict[str, str] | None = None,
        index_url: str | None = None,
        extra_index_urls: list[str] | None = None,
    ) -> None:
        super().__init__(
            name,
            external_id,
            description,
            owner,
            file_id,
            function_path,
            secrets,
            env_vars,
            cpu,
            memory,
            runtime,
            metadata,
        )
        self.index_url = index_url
        self.extra_index_urls = extra_index_urls

    def as_write(self) -> FunctionWrite:
        """Itself."""
        return self


class FunctionWriteList(CogniteResourceList[FunctionWrite], ExternalIDTransformerMixin):
    """Functions to be created."""

    _RESOURCE = FunctionWrite
