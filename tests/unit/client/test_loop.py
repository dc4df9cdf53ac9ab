"""The synchronous client: in scripts, threads, running event loops and forked processes."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kvern.client import AsyncCogniteClient, CogniteClient
from kvern.client.loop import SyncIterator, run_sync
from tests.unit.client.stub import Seen, Stub


@pytest.fixture(autouse=True)
def server(stub: Stub) -> Stub:
    stub.on("GET /functions/status", {"status": "activated"})
    return stub


async def test_it_works_inside_a_running_loop(client: CogniteClient) -> None:
    assert client.functions.status().status == "activated"


def test_it_works_in_threads(client: CogniteClient) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.functions.status().status, range(50)))
    assert answers == ["activated"] * 50


def test_it_works_in_a_forked_process(client: CogniteClient) -> None:
    client.functions.status()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, client.functions.status().status.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "activated"
    os.waitpid(child, 0)


async def test_one_asynchronous_client_works_in_several_loops(async_client: AsyncCogniteClient) -> None:
    def elsewhere() -> str:
        return asyncio.run(async_client.functions.status()).status

    assert (await async_client.functions.status()).status == "activated"
    assert await asyncio.to_thread(elsewhere) == "activated"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, also where it was ignored when this process was started, as in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_work(client: CogniteClient, stub: Stub, interruptible: None) -> None:
    asked, ended = threading.Event(), threading.Event()

    async def for_ever(seen: Seen) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    stub.on("GET /functions/status", for_ever)

    main = threading.get_ident()

    def interrupt() -> None:
        asked.wait(10)
        # An interrupt between the request and the wait for it would find nothing to end.
        while sys._current_frames()[main].f_code.co_name != "wait":
            pass
        # One that comes just before the wait begins to block is noticed only with the next.
        signal.pthread_kill(main, signal.SIGINT)
        while not ended.wait(1):
            signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        client.functions.status()
    assert ended.wait(10)


def test_a_call_from_its_own_loop_is_refused_instead_of_hanging(client: CogniteClient) -> None:
    async def inside() -> None:
        client.functions.status()

    with pytest.raises(RuntimeError, match="use AsyncCogniteClient"):
        run_sync(inside())


def test_an_iterator_gives_items_and_errors_as_they_come() -> None:
    async def source():  # type: ignore[no-untyped-def]
        yield 1
        yield None
        raise KeyError("after two")

    items = SyncIterator(source())
    assert iter(items) is items
    assert [next(items), next(items)] == [1, None]
    with pytest.raises(KeyError):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_clients_lead_to_each_other(client: CogniteClient, async_client: AsyncCogniteClient) -> None:
    assert client.get_async_client().config is client.config
    assert async_client.get_sync_client() is async_client.get_sync_client()
    assert async_client.get_sync_client().functions.status().status == "activated"


def test_clients_can_be_handed_to_another_process(client: CogniteClient, async_client: AsyncCogniteClient) -> None:
    again = pickle.loads(pickle.dumps(client))
    assert again.functions.status().status == "activated"
    assert pickle.loads(pickle.dumps(async_client)).config.project == "plant"


async def test_connections_can_be_closed(client: CogniteClient, async_client: AsyncCogniteClient) -> None:
    async with async_client as entered:
        await entered.functions.status()
    assert (await async_client.functions.status()).status == "activated"
    with client as other:
        other.functions.status()
    assert client.functions.status().status == "activated"


def test_what_there_is_not_is_told(client: CogniteClient) -> None:
    with pytest.raises(AttributeError, match=r"'time_series'.*functions, files and iam"):
        client.time_series  # type: ignore[attr-defined]
    assert not hasattr(client, "_private")
