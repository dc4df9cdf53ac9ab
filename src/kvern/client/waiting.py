"""Waiting for the end of a call, or of a deployment, without wasting time or requests.

A Kvern server holds its answer until the call ends (RFC 7240, `Prefer: wait`) and says so by `Preference-Applied`.
Any other server is asked again and again, after random pauses that grow to ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kvern.client.data_classes._base import take_over
from kvern.client.exceptions import CogniteConnectionError, CogniteNotFoundError, CogniteReadTimeout
from kvern.client.progress import Progress
from kvern.client.retries import back_off
from kvern.client.transport import Request, slot

if TYPE_CHECKING:
    from kvern.client.async_client import AsyncCogniteClient
    from kvern.client.data_classes.functions import Function, FunctionCall
    from kvern.client.response import CogniteHTTPResponse

_T = TypeVar("_T")

HELD_SECONDS = 25
"""How long a server is asked to hold an answer: less than the timeouts of common proxies."""

PATIENCE_SECONDS = 60.0
"""How long a wait bears that the server cannot be reached: long enough for it to be started again."""

_DEPLOYMENT_PAUSES = (0.05, 0.1, 0.2, 0.3, 0.5)


async def patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """What the asking gives; asks again while the server cannot be reached, for as long as `PATIENCE_SECONDS`.

    Args:
        ask: Only reads, so that it may be repeated.

    Raises:
        CogniteConnectionError, CogniteReadTimeout: when the patience is at its end.
    """
    import asyncio

    deadline: float | None = None
    pauses = back_off(0.5, 5.0)
    while True:
        try:
            return await ask()
        except (CogniteConnectionError, CogniteReadTimeout):
            now = time.monotonic()
            deadline = deadline or now + PATIENCE_SECONDS
            if now >= deadline:
                raise
            await asyncio.sleep(next(pauses))


async def send_held(client: AsyncCogniteClient, request: Request) -> CogniteHTTPResponse:
    """The answer to a request, which a Kvern server holds until the call in question ends or some seconds passed.

    Args:
        client: The client; its transport remembers in `server_waits` whether the server does so.
        request: The request.
    """
    transport = client.transport
    wishing = request._replace(
        headers={**(request.headers or {}), "Prefer": f"wait={HELD_SECONDS}"},
        timeout=transport.config.timeout + HELD_SECONDS,
        waiting=True,
    )
    response = await transport.call(wishing, slot(client, "waiting", "calls"))
    transport.server_waits = "wait" in response.headers.get("preference-applied", "")
    return response


async def start_call(
    client: AsyncCogniteClient, function_id: int, data: object, nonce: str, hold: bool
) -> FunctionCall:
    """Calls a function.

    Args:
        client: The client.
        function_id: Id of the function.
        data: What `handle` gets as `data`.
        nonce: On whose behalf it runs.
        hold: Whether the server may hold its answer until the call ends.

    Returns:
        The call, which may have ended already.
    """
    from kvern.client.data_classes.functions import FunctionCall

    request = Request("POST", f"/functions/{function_id}/call", json={"data": data, "nonce": nonce})
    # When all held answers are taken, the call must begin all the same.
    if hold and client.transport.server_waits is not False and not slot(client, "waiting", "calls").locked():
        response = await send_held(client, request)
    else:
        response = await client.transport.call(request, slot(client, "general", "write"))
    return FunctionCall.load(response.json()).set_client_ref(client)


async def until_ended(call: FunctionCall) -> None:
    """Returns when the status is anything but `Running`.

    Args:
        call: The call; it takes over each newer status.

    Raises:
        RuntimeError: when the call does not exist any more.
    """
    import asyncio

    client = call._cognite_client  # pyright: ignore[reportPrivateUsage]
    pauses = back_off(0.3, 10.0)
    while call.status == "Running":
        if client.transport.server_waits is False:
            await patiently(call.update_async)
        else:
            await patiently(partial(_take_over_held, client, call))
        if call.status == "Running" and not client.transport.server_waits:
            await asyncio.sleep(next(pauses))


async def _take_over_held(client: AsyncCogniteClient, call: FunctionCall) -> None:
    request = Request("GET", f"/functions/{call.function_id}/calls/{call.id}")
    try:
        response = await send_held(client, request)
    except CogniteNotFoundError:
        raise RuntimeError(f"Call {call.id} of function {call.function_id} does not exist any more") from None
    take_over(call, type(call).load(response.json()))


async def until_deployed(function: Function, timeout: float | None) -> None:
    """Returns when the status is `Ready` or `Failed`.

    Args:
        function: The function; it takes over each newer status.
        timeout: Seconds to wait at most.

    Raises:
        TimeoutError: when the deployment has not ended by then.
        CogniteNotFoundError: when the function does not exist any more.
    """
    import asyncio

    client = function._cognite_client  # pyright: ignore[reportPrivateUsage]
    deadline = None if timeout is None else time.monotonic() + timeout
    pauses = iter(_DEPLOYMENT_PAUSES)
    with Progress(f"Deploying {function.name!r}") as progress:
        while function.status in ("Queued", "Deploying"):
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"Function {function.id} is still {function.status} after {timeout} s")
            await asyncio.sleep(next(pauses, 1.0))
            latest = await patiently(partial(client.functions.retrieve, id=function.id))
            if latest is None:
                raise CogniteNotFoundError(
                    f"Function {function.id} does not exist any more", 404, [{"id": function.id}]
                )
            take_over(function, latest)
            progress.show(function.status)
