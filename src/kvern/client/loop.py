"""The event loop behind the synchronous client: one daemon thread in the process.

With a loop of its own, the synchronous client works from scripts, threads, notebooks and inside another running loop.
A forked child starts a new one, since threads do not survive a fork.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

_T = TypeVar("_T")
_END = object()


class _LoopThread:
    def __init__(self) -> None:
        # asyncio takes half as long to import as all of this client: left to the first request.
        import asyncio

        self.loop = asyncio.new_event_loop()
        self.submit = asyncio.run_coroutine_threadsafe
        self.thread = threading.Thread(target=self.loop.run_forever, name="kvern-client", daemon=True)
        self.thread.start()


class _Current:
    thread: _LoopThread | None = None
    lock = threading.Lock()


def _loop_thread() -> _LoopThread:
    if _Current.thread is None:
        with _Current.lock:
            if _Current.thread is None:
                _Current.thread = _LoopThread()
    return _Current.thread


def _forget_after_fork() -> None:
    _Current.thread = None
    _Current.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def run_sync(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs the coroutine to its end in the client's own loop; an interrupt cancels it.

    Raises:
        RuntimeError: when called by that loop itself, which would wait for itself for ever.
    """
    current = _loop_thread()
    if threading.current_thread() is current.thread:
        coroutine.close()
        raise RuntimeError("The synchronous client was called from inside its own event loop: use AsyncCogniteClient")
    future: Future[_T] | None = None
    try:
        future = current.submit(coroutine, current.loop)
        return future.result()
    finally:
        # Not done only when the waiting itself was interrupted: the work must not go on unseen.
        if future is not None and not future.done():
            future.cancel()


class SyncIterator(Iterator[_T], Generic[_T]):
    """An asynchronous iterator made synchronous: fetches each item when it is asked for.

    Args:
        source: The asynchronous iterator.
    """

    def __init__(self, source: AsyncIterator[_T]) -> None:
        self._source = source

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        item = run_sync(self._next())
        if item is _END:
            raise StopIteration
        return item

    async def _next(self) -> Any:
        # A coroutine cannot raise StopIteration.
        return await anext(self._source, _END)
