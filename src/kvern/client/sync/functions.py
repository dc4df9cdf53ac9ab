"""The synchronous twin of `kvern.client.api.functions`, written by `kvern.client.derive`: do not edit."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, overload

from kvern.client.api.functions import FunctionsAPI
from kvern.client.data_classes.functions import (
    DEFAULT_LIMIT_READ,
    HANDLER_FILE_NAME,
    Function,
    FunctionCall,
    FunctionHandle,
    FunctionList,
    FunctionsLimits,
    FunctionsStatus,
    FunctionStatus,
    FunctionWrite,
    RunTime,
)
from kvern.client.data_classes.shared import TimestampRange
from kvern.client.loop import SyncIterator, run_sync
from kvern.client.sequences import SequenceNotStr
from kvern.client.sync.calls import SyncFunctionCallsAPI
from kvern.client.sync.schedules import SyncFunctionSchedulesAPI


class SyncFunctionsAPI:
    """Functions: Python code that the server runs when it is called."""

    def __init__(self, api: FunctionsAPI) -> None:
        self.__api = api
        self.calls: SyncFunctionCallsAPI = SyncFunctionCallsAPI(api.calls)
        self.schedules: SyncFunctionSchedulesAPI = SyncFunctionSchedulesAPI(api.schedules)

    @overload
    def __call__(
        self,
        chunk_size: None = None,
        name: str | None = None,
        owner: str | None = None,
        file_id: int | None = None,
        status: FunctionStatus | None = None,
        external_id_prefix: str | None = None,
        created_time: dict[Literal["min", "max"], int] | TimestampRange | None = None,
        metadata: dict[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Function]: ...
    @overload
    def __call__(
        self,
        chunk_size: int,
        name: str | None = None,
        owner: str | None = None,
        file_id: int | None = None,
        status: FunctionStatus | None = None,
        external_id_prefix: str | None = None,
        created_time: dict[Literal["min", "max"], int] | TimestampRange | None = None,
        metadata: dict[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[FunctionList]: ...
    def __call__(
        self,
        chunk_size: int | None = None,
        name: str | None = None,
        owner: str | None = None,
        file_id: int | None = None,
        status: FunctionStatus | None = None,
        external_id_prefix: str | None = None,
        created_time: dict[Literal["min", "max"], int] | TimestampRange | None = None,
        metadata: dict[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Function | FunctionList]:
        """Iterates over functions.

        Args:
            chunk_size: How many to give at a time; one by one if None.
            name: The exact name.
            owner: The exact owner.
            file_id: The file that the function was made from.
            status: `Queued`, `Deploying`, `Ready` or `Failed`.
            external_id_prefix: How the external id begins.
            created_time: A range, in milliseconds since the epoch.
            metadata: Pairs that must all be there.
            limit: How many at most; -1, `float("inf")` or None for all.

        Example:
            >>> for function in client.functions():
            ...     print(function.name, function.status)
        """
        return SyncIterator(
            self.__api(chunk_size, name, owner, file_id, status, external_id_prefix, created_time, metadata, limit)
        )

    def create(
        self,
        name: str | FunctionWrite,
        folder: str | None = None,
        file_id: int | None = None,
        function_path: str = HANDLER_FILE_NAME,
        function_handle: FunctionHandle | Callable[..., object] | None = None,
        external_id: str | None = None,
        description: str | None = None,
        owner: str | None = None,
        secrets: dict[str, str] | None = None,
        env_vars: dict[str, str] | None = None,
        cpu: float | None = None,
        memory: float | None = None,
        runtime: RunTime | None = None,
        metadata: dict[str, str] | None = None,
        index_url: str | None = None,
        extra_index_urls: list[str] | None = None,
        skip_folder_validation: bool = False,
        data_set_id: int | None = None,
    ) -> Function:
        """Creates a function from a folder, from a Python function, or from a zip in the Files API.

        The code defines `handle`, which takes any of the keyword arguments `client`, `data`, `secrets` and
        `function_call_info`. Packages that it needs stand in `requirements.txt` in the folder, or in the docstring of a
        Python function, one a line between `[requirements]` and `[/requirements]`. Left out of a folder: `.git`,
        `__pycache__`, virtual environments, and what `.funcignore` and `.gitignore` name.

        Returns at once, while the function is being deployed: `function.wait()` waits until it is ready.

        Args:
            name: Name of the function; or all of it as one object, and then the other arguments are ignored.
            folder: Path of the folder with the code.
            file_id: Id of a zip in the Files API.
            function_path: The file that defines `handle`: a POSIX path, relative to the folder or the root of the zip.
            function_handle: The Python function itself, named `handle`. Only its own source is deployed.
            external_id: Your own identifier, unique among functions.
            description: At most 500 characters.
            owner: Who answers for it, at most 128 characters.
            secrets: At most 30; keys of at most 15 lower-case letters, digits and dashes.
            env_vars: At most 100 environment variables; names of letters, digits and underscores.
            cpu: Cores, as a float; `limits()` tells the range. None takes the server's default.
            memory: Gigabytes, as a float; `limits()` tells the range. None takes the server's default.
            runtime: The Python that runs it. None takes the server's default.
            metadata: At most 16 pairs; keys of at most 32, values of at most 512 characters.
            index_url: The package index to install from instead of the usual one.
            extra_index_urls: Further package indexes.
            skip_folder_validation: Do not try to import the folder's code here first, in a process of its own.
            data_set_id: The data set that the code is uploaded to.

        Returns:
            The function, in status `Queued`.

        Raises:
            TypeError: unless exactly one source is given, when the code defines no `handle` or one with other
                arguments, and when `cpu` or `memory` is no float.
            ValueError: for requirements that cannot be read, and for a `function_path` outside the folder.
            FileNotFoundError: when `function_path` is not in the folder.
            Exception: whatever importing the folder's code raises.
            RuntimeError: when the file does not become visible within half a minute.
            CogniteDuplicatedError: when the external id is taken.

        Example:
            >>> def handle(data):
            ...     return {"doubled": 2 * data["number"]}
            >>> function = client.functions.create(name="double", function_handle=handle)
            >>> function.wait()
        """
        return run_sync(
            self.__api.create(
                name,
                folder,
                file_id,
                function_path,
                function_handle,
                external_id,
                description,
                owner,
                secrets,
                env_vars,
                cpu,
                memory,
                runtime,
                metadata,
                index_url,
                extra_index_urls,
                skip_folder_validation,
                data_set_id,
            )
        )

    def delete(
        self, id: int | Sequence[int] | None = None, external_id: str | SequenceNotStr[str] | None = None
    ) -> None:
        """Deletes functions with their calls and schedules; the files that they were made from stay.

        Args:
            id: One id or several.
            external_id: One external id or several.

        Raises:
            CogniteNotFoundError: when one of them does not exist.

        Example:
            >>> client.functions.delete(id=function.id)
        """
        return run_sync(self.__api.delete(id, external_id))

    def list(
        self,
        name: str | None = None,
        owner: str | None = None,
        file_id: int | None = None,
        status: FunctionStatus | None = None,
        external_id_prefix: str | None = None,
        created_time: dict[Literal["min", "max"], int] | TimestampRange | None = None,
        metadata: dict[str, str] | None = None,
        limit: int | None = DEFAULT_LIMIT_READ,
    ) -> FunctionList:
        """Lists functions.

        Args:
            name: The exact name.
            owner: The exact owner.
            file_id: The file that the function was made from.
            status: `Queued`, `Deploying`, `Ready` or `Failed`.
            external_id_prefix: How the external id begins.
            created_time: A range, in milliseconds since the epoch.
            metadata: Pairs that must all be there.
            limit: How many at most; -1, `float("inf")` or None for all.

        Example:
            >>> ready = client.functions.list(status="Ready", limit=None)
        """
        return run_sync(
            self.__api.list(name, owner, file_id, status, external_id_prefix, created_time, metadata, limit)
        )

    def retrieve(self, id: int | None = None, external_id: str | None = None) -> Function | None:
        """Retrieves one function.

        Args:
            id: Its id. This or the external id is needed.
            external_id: Its external id.

        Returns:
            The function, or None if there is none.

        Raises:
            ValueError: unless exactly one identifier is given.

        Example:
            >>> function = client.functions.retrieve(id=function.id)
        """
        return run_sync(self.__api.retrieve(id, external_id))

    def retrieve_multiple(
        self,
        ids: Sequence[int] | None = None,
        external_ids: SequenceNotStr[str] | None = None,
        ignore_unknown_ids: bool = False,
    ) -> FunctionList:
        """Retrieves several functions.

        Args:
            ids: Their ids.
            external_ids: Their external ids.
            ignore_unknown_ids: Leave out what does not exist.

        Raises:
            CogniteNotFoundError: when one of them does not exist, unless ignored.

        Example:
            >>> functions = client.functions.retrieve_multiple(ids=[function.id])
        """
        return run_sync(self.__api.retrieve_multiple(ids, external_ids, ignore_unknown_ids))

    def call(
        self,
        id: int | None = None,
        external_id: str | None = None,
        data: dict[str, object] | None = None,
        wait: bool = True,
        nonce: str | None = None,
    ) -> FunctionCall:
        """Calls a function.

        Args:
            id: Its id. This or the external id is needed.
            external_id: Its external id.
            data: What `handle` gets as `data`; anything that JSON can hold. No place for secrets: whoever may read
                calls may read it.
            wait: Return when the call has ended; else as soon as the server has accepted it.
            nonce: From a session that was just created: on whose behalf the call runs. A session of the client itself
                is made if not given.

        Returns:
            The call. A `handle` that fails raises nothing here: look at the call's `status` and `error`.

        Raises:
            ValueError: unless exactly one identifier is given, and when no function has this external id.
            CogniteAPIError: when the server does not accept the call.

        Example:
            >>> call = client.functions.call(id=function.id, data={"number": 21})
            >>> call.get_response()
            {'doubled': 42}
        """
        return run_sync(self.__api.call(id, external_id, data, wait, nonce))

    def limits(self) -> FunctionsLimits:
        """What a function may use, and which Pythons there are.

        Example:
            >>> client.functions.limits().runtimes
        """
        return run_sync(self.__api.limits())

    def activate(self) -> FunctionsStatus:
        """Asks for functions to be activated in the project; on a Kvern server they always are.

        Example:
            >>> client.functions.activate().status
        """
        return run_sync(self.__api.activate())

    def status(self) -> FunctionsStatus:
        """Whether functions are activated in the project.

        Example:
            >>> client.functions.status().status
            'activated'
        """
        return run_sync(self.__api.status())
