"""What all resources share: requests, lists page by page, and work that is sent in several requests."""

# ruff: noqa: A002 (the names of the arguments are those of the official SDK)
from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kvern.client.data_classes._base import CogniteResource, CogniteResourceList, attach
from kvern.client.exceptions import CogniteAPIError, CogniteDuplicatedError, CogniteNotFoundError
from kvern.client.transport import Request, slot

if TYPE_CHECKING:
    import asyncio

    from kvern.client.async_client import AsyncCogniteClient
    from kvern.client.identifiers import Identifiers
    from kvern.client.response import CogniteHTTPResponse
    from kvern.client.transport import Transport

T = TypeVar("T", bound=CogniteResource)
T_List = TypeVar("T_List", bound=CogniteResourceList[Any])
_Chunk = TypeVar("_Chunk")
_Result = TypeVar("_Result")


def is_unlimited(limit: float | None) -> bool:
    """Whether the limit stands for "all": None, -1 or infinity."""
    return limit is None or limit in (-1, math.inf)


def checked_limit(limit: float | None) -> int | None:
    """The limit, or None for "all".

    Raises:
        ValueError: for a number below 1 other than -1.
        TypeError: for what is no integer.
    """
    if is_unlimited(limit):
        return None
    if not isinstance(limit, int):
        raise TypeError(f"Expected a limit as an integer of 1 or more, or -1, infinity or None for all; got {limit!r}")
    if limit < 1:
        raise ValueError(f"Expected a limit of 1 or more, or -1, infinity or None for all; got {limit}")
    return limit


def in_chunks(items: Sequence[_Chunk], size: int) -> Iterable[Sequence[_Chunk]]:
    """The items, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


class APIClient:
    """One resource of the API.

    Args:
        client: The client that it belongs to.
    """

    _RESOURCE_PATH = ""
    _GROUP = "general"

    def __init__(self, client: AsyncCogniteClient) -> None:
        self._client = client

    @property
    def _transport(self) -> Transport:
        return self._client.transport

    def _slot(self, limit: str) -> asyncio.Semaphore:
        return slot(self._client, self._GROUP, limit)

    async def _get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        response = await self._transport.call(Request("GET", path, params=params), self._slot("read"))
        return response.json()

    async def _post(
        self, path: str, body: dict[str, Any] | None, limit: str, params: dict[str, Any] | None = None
    ) -> Any:
        response = await self._transport.call(Request("POST", path, json=body, params=params), self._slot(limit))
        return _json(response)

    async def _pages(
        self, method: str, path: str, filter: dict[str, Any], limit: float | None, page_size: int
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The items of a list with cursors, a page at a time (contract 1.7)."""
        remaining = checked_limit(limit)
        cursor: str | None = None
        while True:
            size = page_size if remaining is None else min(page_size, remaining)
            page: dict[str, Any] = {"limit": size, **({"cursor": cursor} if cursor is not None else {})}
            if method == "GET":
                answer = await self._get(path, {**filter, **page})
            else:
                answer = await self._post(path, {**({"filter": filter} if filter else {}), **page}, "read")
            items: list[dict[str, Any]] = answer["items"]
            yield items
            cursor = answer.get("nextCursor")
            if remaining is not None:
                remaining -= len(items)
            if cursor is None or (remaining is not None and remaining <= 0):
                return

    async def _list(
        self,
        list_class: type[T_List],
        method: str,
        path: str,
        filter: dict[str, Any],
        limit: float | None,
        page_size: int = 1000,
    ) -> T_List:
        items = [item async for page in self._pages(method, path, filter, limit, page_size) for item in page]
        return attach(list_class.load(items), self._client)

    async def _by_ids(
        self,
        list_class: type[T_List],
        path: str,
        identifiers: Identifiers,
        ignore_unknown_ids: bool | None = None,
        chunk_size: int = 1000,
    ) -> T_List:
        flag = {} if ignore_unknown_ids is None else {"ignoreUnknownIds": ignore_unknown_ids}

        async def fetch(chunk: list[dict[str, Any]]) -> list[dict[str, Any]]:
            answer = await self._post(f"{path}/byids", {"items": chunk, **flag}, "read")
            return answer["items"]

        answers = await in_several_requests(list(identifiers.chunks(chunk_size)), fetch, fail_fast=True)
        return attach(list_class.load([item for items in answers for item in items]), self._client)

    async def _one_by_id(
        self,
        list_class: type[CogniteResourceList[T]],
        path: str,
        identifiers: Identifiers,
        ignore_unknown_ids: bool | None = None,
    ) -> T | None:
        identifiers.single()
        try:
            found = await self._by_ids(list_class, path, identifiers, ignore_unknown_ids)
        except CogniteNotFoundError:
            return None
        return found[0] if found else None

    async def _delete(
        self, path: str, identifiers: Identifiers, chunk_size: int, **fields: Any
    ) -> list[dict[str, Any]]:
        """Deletes (or revokes) in several requests if need be; what the answers list, if they do."""

        async def send(chunk: list[dict[str, Any]]) -> list[dict[str, Any]]:
            answer = await self._post(path, {"items": chunk, **fields}, "delete")
            return answer.get("items", [])

        answers = await in_several_requests(list(identifiers.chunks(chunk_size)), send, show=_bare_identifier)
        return [item for items in answers for item in items]


def _json(response: CogniteHTTPResponse) -> Any:
    return response.json() if response.content else {}


def _bare_identifier(identifier: dict[str, Any]) -> Any:
    return next(iter(identifier.values()))


async def in_several_requests(
    chunks: Sequence[Sequence[_Chunk]],
    send: Callable[[Any], Coroutine[Any, Any, _Result]],
    fail_fast: bool = False,
    show: Callable[[Any], Any] = lambda item: item,
) -> list[_Result]:
    """Sends all chunks at once; the answers in the order of the chunks.

    Args:
        chunks: What each request is about.
        send: Sends one.
        fail_fast: Stop the others as soon as one fails.
        show: How an item appears in the error.

    Raises:
        CogniteAPIError: of the kind of the last failure, with the items of all requests sorted by outcome.
    """
    import asyncio

    tasks = [asyncio.ensure_future(send(chunk)) for chunk in chunks]
    if not tasks:
        return []
    try:
        when = asyncio.FIRST_EXCEPTION if fail_fast else asyncio.ALL_COMPLETED
        _, pending = await asyncio.wait(tasks, return_when=when)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    errors = [None if task.cancelled() else task.exception() for task in tasks]
    if not any(task.cancelled() for task in tasks) and not any(errors):
        return [task.result() for task in tasks]
    raise _compound(chunks, tasks, errors, show)


def _compound(
    chunks: Sequence[Sequence[Any]],
    tasks: Sequence[asyncio.Future[Any]],
    errors: Sequence[BaseException | None],
    show: Callable[[Any], Any],
) -> BaseException:
    outcomes: dict[str, list[Any]] = {"successful": [], "failed": [], "unknown": [], "skipped": []}
    for chunk, task, error in zip(chunks, tasks, errors, strict=True):
        if task.cancelled():
            outcome = "skipped"
        elif error is None:
            outcome = "successful"
        else:
            outcome = "unknown" if isinstance(error, CogniteAPIError) and error.code >= 500 else "failed"
        outcomes[outcome].extend(show(item) for item in chunk)
    raised = [error for error in errors if error is not None]
    specific = (CogniteNotFoundError, CogniteDuplicatedError)
    # A failure of an unforeseen kind says more than an unknown identifier elsewhere.
    cause = next((error for error in reversed(raised) if not isinstance(error, specific)), raised[-1])
    if not isinstance(cause, CogniteAPIError):
        return cause
    missing = [one for error in raised if isinstance(error, CogniteNotFoundError) for one in error.missing]
    duplicated = [one for error in raised if isinstance(error, CogniteDuplicatedError) for one in error.duplicated]
    kind = type(cause)
    return kind(
        message=cause.message,
        code=cause.code,
        x_request_id=cause.x_request_id,
        missing=missing or cause.missing or [],
        duplicated=duplicated or cause.duplicated or [],
        extra=cause.extra,
        cluster=cause.cluster,
        project=cause.project,
        **outcomes,
    )
